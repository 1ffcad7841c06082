"""Worlds without text, torch only: a bandit and a small control task."""
