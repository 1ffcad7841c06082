"""What people said, each thing in its own form: rankings stay rankings, ratings ratings, flags flags.

`votes.py` turns everything into pairs; a score can be learnt from more than that. Nothing is weighed here but that a
question counts once. Beliefs can be given beside it: what several people said of one pair is then one judgement.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Literal

from accord.quality.votes import corrected_sample, standing
from accord.records import (
    Combined,
    Comparison,
    Correction,
    Critique,
    Feedback,
    Flags,
    Preference,
    Question,
    Ranking,
    Rating,
    Sample,
)

Form = Literal["pair", "ranking", "rating", "score", "flag"]
MOST_LEVELS = 11
"""A scale with more levels than this, or with scores between them, is read as a score without levels."""
SAFE = "safe"
"""Criterion of the flag by which a comparison says which samples are safe."""
CORRECTED = 2.0
"""Steps of strength by which a corrected answer beats its original, as in `votes.py`."""


@dataclass(frozen=True)
class Judgement:
    """One thing that was said about answers to one prompt."""

    prompt: str
    """Id of the prompt."""
    form: Form
    """What kind of thing."""
    samples: tuple[str, ...]
    """Ids of the answers that it speaks of."""
    values: tuple[float, ...]
    """What it says of each: pair: 1 0 the first is better, 1 1 a tie, 0 0 both bad; ranking: place from 0; rating:
    level from 0; score: share of the scale; flag: 1 or 0."""
    criterion: str = ""
    """In what respect; empty for overall."""
    levels: int = 0
    """How many levels a rating can have; 0 for other forms."""
    probability: float = 1.0
    """Of a pair: how sure that the first one is better."""
    margin: float = 0.0
    """Of a pair: by how much, in steps of strength."""
    weight: float = 1.0
    """How much it counts."""
    name: str = ""
    """Id of the feedback or preference."""


@dataclass(frozen=True)
class Said:
    """What a set of feedback says, in its own forms."""

    judgements: list[Judgement] = field(default_factory=list)
    """In the order of the feedback."""
    samples: list[Sample] = field(default_factory=list)
    """Answers that people corrected; judgements name them."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Feedback id -> why it judges nothing."""


def in_their_forms(questions: Iterable[Question], feedback: Iterable[Feedback]) -> Said:
    """Standing feedback as judgements.

    | answer | judgement |
    |---|---|
    | comparison | pairs of the better one with each other one, with its strength; a tie; both bad |
    | which are safe | a flag `safe` of all samples, beside the comparison |
    | ranking | a ranking, with ties |
    | rating | for each criterion: a rating in whole levels; yes or no on a scale of 0 to 1; else a score |
    | flags | for each flag: yes or no of the samples that it was asked of |
    | combined | its ranking, its rating and its flags; what both say in one respect counts once |
    | correction | the corrected answer beats the original clearly |
    | critique | a flag of the sample for each label that is marked in it (the criterion), 1; see `flags` |

    Whether a criterion's scale has levels is decided by all ratings of it. Critiques of a set of questions say nothing
    of the labels that they do not use, unless `flags` is told. Answers that name samples which the question did not
    show are left out with the reason, and so are skips and what judges nothing.
    """
    asked = {question.id: question for question in questions}
    heard = standing(feedback)
    free = scales_without_levels(rating for said in heard if (rating := _rating(said)) is not None)
    judgements: list[Judgement] = []
    samples: dict[str, Sample] = {}
    left_out: dict[str, str] = {}
    for said in heard:
        question = asked.get(said.question)
        if question is None:
            left_out[said.id] = f"question {said.question} is not among those given"
            continue
        made = corrected_sample(question, said)
        found = _said(question, said, made, free)
        strange = sorted({sample for one in found for sample in one.samples} - {*question.samples, made and made.id})
        if strange:
            left_out[said.id] = f"names {', '.join(strange)}, which the question did not show"
        elif not found:
            left_out[said.id] = _nothing(said)
        else:
            judgements.extend(found)
            if made is not None:
                samples.setdefault(made.id, made)
    return Said(judgements, list(samples.values()), left_out)


def believed(preferences: Iterable[Preference]) -> list[Judgement]:
    """Beliefs about pairs, with their probability, weight and margin."""
    return [
        Judgement(
            prompt=one.prompt,
            form="pair",
            samples=(one.chosen, one.rejected),
            values=(1.0, 0.0),
            criterion=one.criterion,
            probability=one.probability,
            margin=one.margin,
            weight=one.weight,
            name=one.id,
        )
        for one in preferences
    ]


def by_source(samples: Iterable[Sample], strength: Mapping[str, float], weight: float = 0.1) -> list[Judgement]:
    """What is known of where answers came from, as a prior: light pairs of answers to one prompt.

    strength: source (a sample's version, else its `source`) -> log-odds, as of Bradley and Terry; Elo's points times
    log(10) / 400. P(first better) = s(strength - strength). weight: of all pairs of one prompt together. Answers of
    unknown or of equal source say nothing.
    """
    known: dict[str, list[tuple[str, str]]] = {}
    for sample in samples:
        source = sample.version or sample.source
        if source in strength:
            known.setdefault(sample.prompt, []).append((sample.id, source))
    found = []
    for prompt, answers in known.items():
        pairs = [(x, y) for x, y in combinations(answers, 2) if x[1] != y[1]]
        for (x, of_x), (y, of_y) in pairs:
            gap = strength[of_x] - strength[of_y]
            first, second = (x, y) if gap >= 0 else (y, x)
            sure = 1 / (1 + math.exp(-abs(gap)))
            found.append(
                Judgement(
                    prompt=prompt,
                    form="pair",
                    samples=(first, second),
                    values=(1.0, 0.0),
                    probability=sure,
                    weight=weight / len(pairs),
                    name=f"source {first} {second}",
                )
            )
    return found


def flags(judgements: Sequence[Judgement], labels: Sequence[str], shown: Iterable[tuple[str, str]]) -> list[Judgement]:
    """The judgements, with a 0 for each label that a critic could have marked in a sample and did not.

    shown: (prompt, sample) of every answer that somebody was asked to criticise. A label is 1 once for each critic
    who marked it; an answer that nobody marked has one 0.
    """
    marked = {(one.criterion, one.samples[0]) for one in judgements if one.form == "flag"}
    clean = [
        Judgement(prompt, "flag", (sample,), (0.0,), label, name=f"unmarked {label} {sample}")
        for prompt, sample in dict.fromkeys(shown)
        for label in labels
        if (label, sample) not in marked
    ]
    return [*judgements, *clean]


def scales_without_levels(ratings: Iterable[Rating]) -> set[tuple[str, tuple[float, float]]]:
    """(criterion, scale) of ratings that are not all whole steps from the lowest, or that have too many of them."""
    return {
        (criterion, rating.scale)
        for rating in ratings
        for by in rating.scores.values()
        for criterion, score in by.items()
        if not float(score - rating.scale[0]).is_integer() or not 1 <= rating.scale[1] - rating.scale[0] < MOST_LEVELS
    }


def _said(
    question: Question, said: Feedback, made: Sample | None, free: set[tuple[str, tuple[float, float]]]
) -> list[Judgement]:
    """The judgements in one answer."""
    answer, prompt = said.answer, question.prompt
    shown = tuple(dict.fromkeys(question.samples))
    if isinstance(answer, Combined):
        return _combined(question, said, answer, free)
    if isinstance(answer, Flags):
        return _flagged(prompt, answer.flags, said.id)
    if isinstance(answer, Comparison) and len(shown) > 1:
        safe = {} if answer.safe is None else {sample: {SAFE: sample in answer.safe} for sample in shown}
        first = answer.better or shown[0]
        value = {"better": (1.0, 0.0), "tie": (1.0, 1.0), "both_bad": (0.0, 0.0)}[answer.verdict]
        step = float(answer.strength) if answer.better else 0.0
        plain = Judgement(prompt, "pair", (), value, answer.criterion, margin=step, name=said.id)
        others = [sample for sample in shown if sample != first]
        pairs = [replace(plain, samples=(first, other), weight=1 / len(others)) for other in others]
        return [*pairs, *_flagged(prompt, safe, said.id)]
    if isinstance(answer, Ranking):
        order = [(sample, float(place)) for place, row in enumerate(answer.order) for sample in row]
        names, places = zip(*order, strict=True)
        return [Judgement(prompt, "ranking", names, places, answer.criterion, name=said.id)]
    if isinstance(answer, Rating):
        return _rated(prompt, answer, free, said.id)
    if isinstance(answer, Correction) and made is not None:
        return [Judgement(prompt, "pair", (made.id, answer.sample), (1.0, 0.0), margin=CORRECTED, name=said.id)]
    if isinstance(answer, Critique):
        labels = dict.fromkeys(span.label for span in answer.spans)
        return [Judgement(prompt, "flag", (answer.sample,), (1.0,), label, name=said.id) for label in labels]
    return []


def _rated(prompt: str, answer: Rating, free: set[tuple[str, tuple[float, float]]], name: str) -> list[Judgement]:
    """One judgement for each criterion that somebody rated."""
    low, high = answer.scale
    found = []
    for criterion in dict.fromkeys(c for by in answer.scores.values() for c in by):
        scored = {sample: by[criterion] for sample, by in answer.scores.items() if criterion in by}
        form: Form = "score" if (criterion, answer.scale) in free else "flag" if high - low == 1 else "rating"
        unit = high - low if form == "score" else 1.0
        values = tuple((score - low) / unit for score in scored.values())
        levels = int(high - low) + 1 if form == "rating" else 0
        found.append(Judgement(prompt, form, tuple(scored), values, criterion, levels, name=name))
    return found


def _rating(said: Feedback) -> Rating | None:
    """The rating in an answer, when there is one."""
    answer = said.answer.rating if isinstance(said.answer, Combined) else said.answer
    return answer if isinstance(answer, Rating) else None


def _combined(
    question: Question, said: Feedback, answer: Combined, free: set[tuple[str, tuple[float, float]]]
) -> list[Judgement]:
    """Both looks and the flags; two judgements in one respect share the weight of one, for it was one reading."""
    parts = [said.model_copy(update={"answer": part}) for part in (answer.ranking, answer.rating)]
    looks = [one for part in parts for one in _said(question, part, None, free)]
    times = Counter(one.criterion for one in looks)
    return [
        *(replace(one, weight=1 / times[one.criterion]) for one in looks),
        *_flagged(question.prompt, answer.flags, said.id),
    ]


def _flagged(prompt: str, told: Mapping[str, Mapping[str, bool]], name: str) -> list[Judgement]:
    """One judgement for each flag. told: sample -> flag -> yes."""
    found = []
    for flag in dict.fromkeys(flag for by in told.values() for flag in by):
        of = {sample: float(by[flag]) for sample, by in told.items() if flag in by}
        found.append(Judgement(prompt, "flag", tuple(of), tuple(of.values()), flag, name=name))
    return found


def _nothing(said: Feedback) -> str:
    """Why an answer judges nothing."""
    if said.answer is None:
        return "skipped" + (f": {said.note}" if said.note else "")
    if isinstance(said.answer, Comparison):
        return "a comparison of fewer than two samples"
    if isinstance(said.answer, Critique):
        return "a critique without a marked place; its words are not read"
    return "a demonstration, which judges nothing"
