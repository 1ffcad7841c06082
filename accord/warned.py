"""Warnings at the terminal: what we say ourselves is a sentence."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Inside, a warning of ours is a sentence, without a path and a line of our code; others' warnings stay theirs."""
    before, home = warnings.formatwarning, str(Path(__file__).parent)

    def sentence(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        ours = category is UserWarning and filename.startswith(home)
        return f"accord: {message}\n" if ours else before(message, category, filename, lineno, line)

    warnings.formatwarning = sentence
    try:
        yield
    finally:
        warnings.formatwarning = before
