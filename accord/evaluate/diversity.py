"""Whether answers still differ from each other: distinct n-grams, repetition, duplicates, length."""

from __future__ import annotations

from collections.abc import Sequence

from accord.records import Record


class Diversity(Record):
    """How varied a set of answers is. Distinct-n falls as a set grows: compare sets of equal size only."""

    answers: int
    """How many."""
    distinct_1: float
    """Different words per word (Li et al. 2016)."""
    distinct_2: float
    """Different pairs of neighbouring words per pair."""
    distinct_3: float
    """Different triples per triple."""
    repetition: float
    """Mean share of an answer's word pairs that it has said before."""
    duplicates: float
    """Share of answers that equal an earlier one of the set."""
    length: float
    """Mean length in words."""


def diversity(answers: Sequence[str]) -> Diversity:
    """How varied the answers are; words are what whitespace separates. Raises ValueError when there are none."""
    if not answers:
        raise ValueError("no answers: their diversity is undefined")
    split = [answer.split() for answer in answers]
    return Diversity(
        answers=len(answers),
        distinct_1=distinct(answers, 1),
        distinct_2=distinct(answers, 2),
        distinct_3=distinct(answers, 3),
        repetition=sum(map(repetition, answers)) / len(answers),
        duplicates=1 - len({tuple(words) for words in split}) / len(answers),
        length=sum(map(len, split)) / len(answers),
    )


def distinct(answers: Sequence[str], n: int) -> float:
    """Different n-grams over all n-grams of the set; 0 when no answer is n words long."""
    seen: set[tuple[str, ...]] = set()
    total = 0
    for answer in answers:
        grams = _grams(answer.split(), n)
        seen.update(grams)
        total += len(grams)
    return len(seen) / total if total else 0.0


def repetition(answer: str, n: int = 2) -> float:
    """Share of an answer's n-grams that stood in it before; 0 for an answer shorter than n words."""
    grams = _grams(answer.split(), n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Runs of n words."""
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
