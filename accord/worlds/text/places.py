"""Where the tokens of an answer stand in its text, so that what is said of a place reaches the token that wrote it."""

from __future__ import annotations

from collections.abc import Sequence

from accord.batches import Rollout
from accord.worlds.text.encode import Encoder

WINDOW = 16
"""Tokens that are spelt again to see what the next one adds: more than the bytes of any character."""


def places(encoder: Encoder, tokens: Sequence[int], finished: bool) -> list[tuple[int, int]]:
    """[T] for each token its first code point in `encoder.text(tokens, finished)` and one past its last.

    A token that ends the answer has no text (start = end); all tokens of one character have its place.
    """
    shown = list(tokens)
    if finished and shown and shown[-1] in encoder.stop:
        shown.pop()
    whole = len(_spelt(encoder, shown))
    found, at = [], 0
    for t in range(len(shown)):
        window = shown[max(0, t - WINDOW) : t]
        grown = at + len(_spelt(encoder, [*window, shown[t]])) - len(_spelt(encoder, window))
        end = min(whole, max(at, grown))
        found.append((at, end))
        at = end
    if at != whole:  # spelling that reaches further back than the window: each beginning is spelt as a whole
        ends = [min(whole, len(_spelt(encoder, shown[: t + 1]))) for t in range(len(shown))]
        found = list(zip([0, *ends[:-1]], ends, strict=True))
    found = [(end - 1, end) if start == end > 0 else (start, end) for start, end in found]
    return [*found, *[(whole, whole)] * (len(tokens) - len(shown))]


def places_of(encoder: Encoder, rollout: Rollout) -> list[list[tuple[int, int]]]:
    """The places of each row of a rollout in the text that its world keeps of it."""
    return [
        places(encoder, rollout.action[row, : int(rollout.length[row])].tolist(), bool(rollout.finished[row]))
        for row in range(len(rollout))
    ]


def _spelt(encoder: Encoder, tokens: Sequence[int]) -> str:
    """The text of tokens, none of them left out."""
    return encoder.text(tokens, False).messages[-1].content if len(tokens) else ""
