"""From many answers to one belief."""
