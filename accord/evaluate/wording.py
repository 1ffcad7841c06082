"""Words that are none: the share of an answer's words that stand nowhere in what was there to read."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[A-Za-z\u00c0-\u024f\u0370-\u03ff\u0400-\u04ff]+")
"""A run of Latin, Greek or Cyrillic letters: scripts that put spaces between words."""


def words_in(text: str) -> list[str]:
    """The words of a text in small letters, in scripts that part them; of Chinese there are none."""
    return [word.lower() for word in _WORD.findall(text)]


def read_in(texts: Iterable[str]) -> frozenset[str]:
    """All words of these texts."""
    return frozenset(word for text in texts for word in words_in(text))


def made_up(answer: str, prompt: str, read: frozenset[str]) -> float | None:
    """Share of the words of an answer that stand neither in its prompt nor in `read`; None for one without words."""
    said = words_in(answer)
    asked = set(words_in(prompt))
    return sum(word not in read and word not in asked for word in said) / len(said) if said else None
