"""A small world whose truth is known."""
