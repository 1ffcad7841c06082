"""How long an answer takes a person: reading, deciding and writing, from figures that others have published.

Simulated people answer at once; this clock says what a person would have needed, so that forms of feedback can be
compared at equal seconds. It is a model and not a measurement: its settings are there to be doubted.

    seconds = words read / reading + decisions * deciding + words written / writing
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import SequenceMatcher

from pydantic import Field

from accord.config import Settings
from accord.lab.reading import last_words
from accord.records import Answer, Asked, Combined, Comparison, Correction, Critique, Flags, Ranking, Rating, Text


class Pace(Settings):
    """How fast somebody works."""

    reading: float = Field(default=238.0, gt=0)
    """Words read in a minute (adults, English non-fiction: Brysbaert 2019)."""
    deciding: float = Field(default=1.63, ge=0)
    """Seconds of one decision with its key: an act of the mind 1.35 and a key .28 (Card, Moran and Newell 1980)."""
    writing: float = Field(default=19.0, gt=0)
    """Words composed in a minute (Karat et al. 1999; copying is faster, 32.5)."""
    rereading: float = Field(default=1.0, ge=0)
    """Answers read again for each decision of a ranking but its first: nobody keeps nine answers in mind."""


def seconds(asked: Asked, answer: Answer | None, pace: Pace | None = None) -> float:
    """What a person would have needed for this answer to this question.

    Every turn of the prompt and every answer is read once. Decisions: one of a comparison, a correction and a critique;
    log2(k!) of a ranking of k (what sorting by comparing needs at least), and all but the first read an answer again;
    one for each answer and criterion of a rating, and for each flag. Written words: those that a correction does not
    take from its original in order, and those of a critique or a demonstration. A skip is read and decided.
    """
    pace = pace or Pace()
    prompt = asked.prompt.content
    turns = [turn.content for turn in prompt.messages] if isinstance(prompt, Text) else []
    texts = [last_words(sample.content) for sample in asked.samples]
    words = [len(text.split()) for text in texts]
    choices, again = decisions(answer)
    read = sum(len(turn.split()) for turn in turns) + sum(words)
    read += round(again * pace.rereading * sum(words) / max(1, len(words)))
    return read * 60 / pace.reading + choices * pace.deciding + written(answer, asked, texts) * 60 / pace.writing


def decisions(answer: Answer | None) -> tuple[float, float]:
    """(decisions in an answer, how many of them look at an answer again)."""
    if isinstance(answer, Combined):
        (ranked, again), (rated, _) = decisions(answer.ranking), decisions(answer.rating)
        return ranked + rated + _yes_or_no(answer.flags), again
    if isinstance(answer, Ranking):
        sorting = math.log2(math.factorial(sum(len(place) for place in answer.order)))
        return sorting, max(0.0, sorting - 1)
    if isinstance(answer, Rating):
        return sum(len(by) for by in answer.scores.values()), 0.0
    if isinstance(answer, Flags):
        return _yes_or_no(answer.flags), 0.0
    if isinstance(answer, Comparison):
        return 1.0 + (answer.safe is not None), 0.0
    return 1.0, 0.0


def written(answer: Answer | None, asked: Asked, texts: Sequence[str]) -> int:
    """Words that the person wrote."""
    if isinstance(answer, Correction):
        old = dict(zip((sample.id for sample in asked.samples), texts, strict=True)).get(answer.sample, "").split()
        new = last_words(answer.content).split()
        return len(new) - sum(part.size for part in SequenceMatcher(None, old, new, False).get_matching_blocks())
    if isinstance(answer, Critique):
        return len(answer.text.split())
    return len(last_words(answer.content).split()) if answer is not None and answer.kind == "written" else 0


def _yes_or_no(flags: dict[str, dict[str, bool]]) -> float:
    return float(sum(len(by) for by in flags.values()))
