"""Parts of a text by which it can be found again, and by which nobody else's is."""

from __future__ import annotations

from collections.abc import Iterable

PIECE, LEAST = 40, 8
"""Length of a piece of a text that is looked for, and the shortest text that is."""


def pieces(text: str, others: Iterable[str] = (), most: int = 5) -> list[str]:
    """Parts of a text that stand in none of the others: what makes its words somebody's own.

    A corrected answer is for the most part the model's; only where it was changed does it betray who changed it. Parts
    are `PIECE` long, within one line where they can be, spread from the first to the last; a shorter text is its own.
    """
    known = [other for other in others if other]
    if len(text) <= PIECE:
        return [text] if len(text) >= LEAST and not any(text in other for other in known) else []
    starts = range(min(len(text), 20_000) - PIECE + 1)
    whole = [at for at in starts if not any(text[at : at + PIECE] in other for other in known)]
    plain = [at for at in whole if "\n" not in text[at : at + PIECE]] or whole
    chosen = {plain[round(at * (len(plain) - 1) / max(1, most - 1))] for at in range(most)} if plain else set()
    return [text[at : at + PIECE] for at in sorted(chosen)]
