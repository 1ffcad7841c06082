"""Every form of feedback as pairwise votes between samples of one prompt.

Nothing is judged here: each thing that was said becomes the votes that it implies, and what implies none is named
with the reason. A question counts once however many pairs it speaks of, so a ranking of nine does not outvote a
comparison: its 36 votes have the weight 1/36 each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from accord.records import (
    Combined,
    Comparison,
    Content,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    Question,
    Ranking,
    Rating,
    Sample,
    Written,
    named_id,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Pair = tuple[str, str, str, str]
"""Prompt, first sample, second sample, criterion."""

GOOD, FAULTS = frozenset({"good"}), frozenset({"bad", "unsafe", "unsupported"})


@dataclass(frozen=True)
class Vote:
    """That one person found one of two samples better, or neither."""

    prompt: str
    """Id of the prompt."""
    a: str
    """Id of the sample that was first seen first."""
    b: str
    """Id of the other."""
    outcome: Literal["a", "b", "tie"]
    """Which one is better."""
    annotator: str
    """Who said so."""
    feedback: str
    """Id of the feedback that says so."""
    criterion: str = ""
    """In what respect; empty for overall."""
    strength: int = 0
    """1 slightly to 3 much better; 0 for a tie."""
    weight: float = 1.0
    """Share of its question: the votes of one answer sum to 1 in each criterion."""
    left: Literal["a", "b", ""] = ""
    """Which one was shown first; empty when not known."""
    form: str = "comparison"
    """Kind of answer that it was taken from."""

    @property
    def pair(self) -> Pair:
        """What it is about."""
        return self.prompt, self.a, self.b, self.criterion


@dataclass(frozen=True)
class Heard:
    """What a set of feedback says."""

    votes: list[Vote] = field(default_factory=list)
    """All pairwise votes, in the order of the feedback."""
    samples: list[Sample] = field(default_factory=list)
    """Answers that people wrote or corrected."""
    demonstrations: list[Demonstration] = field(default_factory=list)
    """That these written answers are how it is done."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Feedback id -> why it gave no vote and no demonstration."""


def standing(feedback: Iterable[Feedback]) -> list[Feedback]:
    """Feedback that no other takes back, each id once, in order. Who may replace whose is the store's to say."""
    kept = {said.id: said for said in feedback}
    replaced = {said.replaces for said in kept.values() if said.replaces}
    return [said for said in kept.values() if said.id not in replaced]


def corrected_sample(question: Question, feedback: Feedback) -> Sample | None:
    """The sample that a correction or a written answer makes; None for other answers.

    Its id is named by prompt and content, so it is the same whenever, and by whomever, the same words are said.
    """
    answer = feedback.answer
    if not isinstance(answer, Correction | Written):
        return None
    return _sample(question.prompt, answer.content, answer.kind)


def hear(questions: Iterable[Question], feedback: Iterable[Feedback]) -> Heard:
    """Turn standing feedback into votes, samples and demonstrations.

    | answer | what it says |
    |---|---|
    | comparison | the better one against each other one; tie and both_bad are ties |
    | ranking | each sample against each lower one; those in one place tie |
    | rating | for each criterion, the higher score wins; equal scores tie |
    | correction | the corrected answer beats the original, clearly (strength 2), and is a demonstration |
    | written | a demonstration |
    | critique | with another critique of the same person on the same prompt: fewer net faults wins, slightly |
    | flags | nothing: a yes says nothing about better or worse (`judged.py` keeps them as they are) |

    Answers that name samples which the question did not show are left out with the reason, and so are skips and
    feedback to questions that are not there.
    """
    asked = {question.id: question for question in questions}
    rank: dict[str, int] = {}
    for question in asked.values():
        for sample in question.samples:
            rank.setdefault(sample, len(rank))
    votes: list[Vote] = []
    samples: dict[str, Sample] = {}
    shows: dict[tuple[str, str], list[str]] = {}
    left_out: dict[str, str] = {}
    critiques: dict[tuple[str, str], dict[str, tuple[Feedback, int]]] = {}
    for said in standing(feedback):
        found = asked.get(said.question)
        reason = _unusable(found, said)
        if found is None or reason:
            left_out[said.id] = reason
            continue
        made = corrected_sample(found, said)
        if made is not None:
            samples.setdefault(made.id, made)
            rank.setdefault(made.id, len(rank))
            shows.setdefault((found.prompt, made.id), []).append(said.id)
        if isinstance(said.answer, Critique):
            critiques.setdefault((found.prompt, said.annotator), {})[said.answer.sample] = (said, _net(said.answer))
        implied = _votes(found, said, made, rank)
        votes.extend(implied)
        if not implied and made is None and not isinstance(said.answer, Critique):
            left_out[said.id] = "compares no two answers in one respect; reward_heads learns from flags as they are"
    for (prompt, _), by_sample in critiques.items():
        said_of = [(sample, said, net) for sample, (said, net) in by_sample.items()]
        votes.extend(_from_critiques(prompt, said_of, rank))
        if len(said_of) < 2:
            left_out[said_of[0][1].id] = "a critique alone compares nothing; it waits for one of another answer"
    shown = [
        Demonstration(
            id=named_id("demonstration", prompt, sample, sorted(ids)), prompt=prompt, sample=sample, feedback=tuple(ids)
        )
        for (prompt, sample), ids in shows.items()
    ]
    return Heard(votes, list(samples.values()), shown, left_out)


# --- one answer ------------------------------------------------------------------------------------------------


def _unusable(question: Question | None, said: Feedback) -> str:
    """Why an answer cannot be used; empty when it can."""
    if question is None:
        return f"question {said.question} is not among those given"
    answer = said.answer
    if answer is None:
        return "skipped" + (f": {said.note}" if said.note else "")
    if isinstance(answer, Comparison):
        named = {answer.better} - {None}
        if len(question.samples) < 2:
            return "a comparison of fewer than two samples"
    elif isinstance(answer, Ranking | Combined):
        order = answer.order if isinstance(answer, Ranking) else answer.ranking.order
        named = {sample for place in order for sample in place}
    elif isinstance(answer, Rating):
        named = set(answer.scores)
        if len(named) < 2:
            return "a rating of one sample compares nothing"
    elif isinstance(answer, Correction | Critique):
        named = {answer.sample}
    else:
        named = set()
    strange = sorted(str(sample) for sample in named - set(question.samples))
    return f"names {', '.join(strange)}, which the question did not show" if strange else ""


def _votes(question: Question, said: Feedback, made: Sample | None, rank: dict[str, int]) -> list[Vote]:
    """The votes in one usable answer."""
    answer = said.answer
    wins: list[tuple[str, str, int, str]] = []  # better, worse, strength (0: tie), criterion
    if isinstance(answer, Comparison) and answer.better is not None:
        others = [sample for sample in dict.fromkeys(question.samples) if sample != answer.better]
        wins = [(answer.better, other, answer.strength, answer.criterion) for other in others]
    elif isinstance(answer, Comparison):
        wins = [(x, y, 0, answer.criterion) for x, y in combinations(dict.fromkeys(question.samples), 2)]
    elif isinstance(answer, Ranking):
        wins = _from_places(answer)
    elif isinstance(answer, Combined):  # overall from the ranking alone: the same reading must not count twice
        wins = _from_places(answer.ranking) + [win for win in _from_scores(answer.rating) if win[3]]
    elif isinstance(answer, Rating):
        wins = _from_scores(answer)
    elif isinstance(answer, Correction) and made is not None:
        wins = [(made.id, answer.sample, 2, "")]
    size: dict[str, int] = {}
    for *_, criterion in wins:
        size[criterion] = size.get(criterion, 0) + 1
    shown = said.shown or ()
    return [
        _vote(question.prompt, better, worse, strength, criterion, said, 1 / size[criterion], rank, shown)
        for better, worse, strength, criterion in wins
    ]


def _from_places(answer: Ranking) -> list[tuple[str, str, int, str]]:
    """Wins by place, strength 1; those in one place are tied."""
    places = [(place, sample) for place, row in enumerate(answer.order) for sample in row]
    return [(x, y, int(p < q), answer.criterion) for (p, x), (q, y) in combinations(places, 2)]


def _from_scores(answer: Rating) -> list[tuple[str, str, int, str]]:
    """Wins by score in each criterion; strength 1, 2, 3 for a gap up to 1/4, up to 1/2, over 1/2 of the scale."""
    low, high = answer.scale
    wins = []
    for criterion in dict.fromkeys(name for by in answer.scores.values() for name in by):
        scored = [(sample, by[criterion]) for sample, by in answer.scores.items() if criterion in by]
        for (x, score_x), (y, score_y) in combinations(scored, 2):
            gap = abs(score_x - score_y) / (high - low)
            strength = 0 if gap == 0 else 1 if gap <= 0.25 else 2 if gap <= 0.5 else 3
            wins.append((x, y, strength, criterion) if score_x >= score_y else (y, x, strength, criterion))
    return wins


def _from_critiques(prompt: str, said_of: Sequence[tuple[str, Feedback, int]], rank: dict[str, int]) -> list[Vote]:
    """Votes between samples that one person criticised: fewer net faults wins."""
    pairs = list(combinations(said_of, 2))
    votes = []
    for first, second in pairs:
        (x, _, net_x), (y, said, net_y) = first, second
        better, worse = (x, y) if net_x <= net_y else (y, x)
        votes.append(_vote(prompt, better, worse, int(net_x != net_y), "", said, 1 / len(pairs), rank, ()))
    return votes


def _net(answer: Critique) -> int:
    """Marked faults less marked merits; the words themselves are not read."""
    return sum((span.label in FAULTS) - (span.label in GOOD) for span in answer.spans)


def _vote(
    prompt: str,
    better: str,
    worse: str,
    strength: int,
    criterion: str,
    said: Feedback,
    weight: float,
    rank: dict[str, int],
    shown: Sequence[str],
) -> Vote:
    """One vote, turned so that the sample seen first stands first."""
    a, b = sorted((better, worse), key=lambda sample: rank[sample])
    outcome: Literal["a", "b", "tie"] = "tie" if strength == 0 else "a" if a == better else "b"
    left: Literal["a", "b", ""] = ""
    if a in shown and b in shown:
        left = "a" if shown.index(a) < shown.index(b) else "b"
    form = said.answer.kind if said.answer is not None else ""
    return Vote(prompt, a, b, outcome, said.annotator, said.id, criterion, strength, weight, left, form)


def _sample(prompt: str, content: Content, source: str) -> Sample:
    return Sample(id=named_id(source, prompt, content.model_dump()), prompt=prompt, content=content, source=source)


# --- votes as columns ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """Votes as columns; row n is vote n."""

    pairs: list[Pair]
    """What was judged, in order of first vote."""
    people: list[str]
    """Who judged, in order of first vote."""
    pair: Indices
    """[N] index into `pairs`."""
    person: Indices
    """[N] index into `people`."""
    outcome: Floats
    """[N] 1 when a won, 0 when b did, .5 for a tie."""
    side: Floats
    """[N] 1 when a was shown left, -1 when b was, 0 when not known."""
    evidence: Floats
    """[N] a person's votes on one pair sum to 1, so that nobody counts twice by answering twice."""

    @property
    def decided(self) -> NDArray[np.bool_]:
        """[N] whether a vote is no tie."""
        return self.outcome != 0.5


def tabulate(votes: Sequence[Vote]) -> Table:
    """Votes as columns."""
    pairs: dict[Pair, int] = {}
    people: dict[str, int] = {}
    pair = np.array([pairs.setdefault(vote.pair, len(pairs)) for vote in votes], dtype=np.int64)
    person = np.array([people.setdefault(vote.annotator, len(people)) for vote in votes], dtype=np.int64)
    value = {"a": 1.0, "b": 0.0, "tie": 0.5}
    outcome = np.array([value[vote.outcome] for vote in votes], dtype=float)
    side = np.array([{"a": 1.0, "b": -1.0, "": 0.0}[vote.left] for vote in votes], dtype=float)
    if not votes:
        return Table([], [], pair, person, outcome, side, outcome)
    _, same, times = np.unique(pair * len(people) + person, return_inverse=True, return_counts=True)
    return Table(list(pairs), list(people), pair, person, outcome, side, 1.0 / times[same])
