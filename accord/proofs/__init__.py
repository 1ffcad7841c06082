"""Small clean experiments beside their controls: over-optimisation, transfer, curriculum, labels of one's own."""
