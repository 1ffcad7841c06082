"""Tests of the world of text."""
