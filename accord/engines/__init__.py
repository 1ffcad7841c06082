"""Engines of other people that draw answers: each keeps the promise of `protocols.Generator`."""
