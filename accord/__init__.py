"""Accord: people compare, models learn, and every lesson can be traced to who taught it."""

__version__ = "0.1.0"
