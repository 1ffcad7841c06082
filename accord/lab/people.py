"""Simulated people: they see the true preference through noise, carelessness and taste.

A person feels that answer i is worth

    z_i = reliability * gold_i + taste . features_i + position * [shown first] + e_i,    e_i ~ Gumbel(0, 1)

so that of two answers the first is chosen with sigmoid of the difference (Bradley and Terry 1952); a careless answer
is made without reading. With probability c = carelessness, then, and without ties,

    P(a over b) = (1 - c) * sigmoid(u_a - u_b) + c / 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from accord.config import Settings
from accord.lab.atlas import dice
from accord.lab.gold import Gold, Judged
from accord.lab.reading import MOST_WORDS, last_words
from accord.lab.spoken import critique, edited
from accord.records import Answer, Asked, Comparison, Correction, Probability, Prompt, Ranking, Rating, Sample, Written


class Dials(Settings):
    """What a simulated person is like. All but `carelessness` are in logits: 1 turns even odds into 73 to 27."""

    reliability: float = Field(default=6.0, ge=0)
    """How well the true worth is seen: the log-odds between an answer of worth 1 and one of worth 0."""
    carelessness: Probability = 0.1
    """Share of answers that are made without reading."""
    position: float = 0.2
    """Liking for what is shown first."""
    length: float = 0.0
    """Liking for length: per 16 words."""
    agreement: float = 0.0
    """Liking for answers that agree with what the user believes; against those that do not."""
    confidence: float = 0.0
    """Liking for answers that are marked as sure."""
    form: float = 0.0
    """Liking for answers of several sentences."""
    tone: float = 0.0
    """Liking for a direct tone; negative for an indirect one."""
    tie: float = Field(default=0.15, ge=0)
    """Two answers whose felt worths differ by less are called equal."""


@dataclass(frozen=True)
class Felt:
    """How the two answers of a comparison are chosen from: three probabilities that sum to 1."""

    first: float
    tie: float
    second: float


class Person:
    """One simulated annotator: a `FeedbackSource` whose answers depend on texts, order shown, name and seed alone."""

    def __init__(self, gold: Gold, name: str, dials: Dials | None = None, seed: int = 0) -> None:
        self.name = name
        self.dials = dials or Dials()
        self._gold = gold
        self._seed = seed

    def answer(self, asked: Sequence[Asked]) -> list[Answer | None]:
        """One answer to each question; None to those that cannot be answered (too few samples)."""
        return [self._one(one) for one in asked]

    def felt(self, prompt: Prompt, sample: Sample) -> float:
        """What an answer is worth to this person on the whole, without noise and wherever it is shown, in logits."""
        judged, dials = self._gold(prompt, sample), self.dials
        words = min(len(last_words(sample.content).split()), 3 * MOST_WORDS)
        agreed = 0 if judged.agreed is None or judged.broken else 1 if judged.agreed else -1
        sentences = max(0, last_words(sample.content).split().count(".") - 1)
        tone = {"direct": 1, "indirect": -1}.get(judged.tone, 0)
        return (
            dials.reliability * judged.score
            + dials.length * words / MOST_WORDS
            + dials.agreement * agreed
            + dials.confidence * judged.sure
            + dials.form * min(sentences, 2)
            + dials.tone * tone
        )

    def truth(self, prompt: Prompt, sample: Sample) -> float:
        """What an answer is worth in truth: for measuring agreement, never for learning."""
        return self._gold(prompt, sample).score

    def chances(self, prompt: Prompt, first: Sample, second: Sample) -> Felt:
        """Exact probabilities that this person, shown `first` first, prefers it, calls a tie, prefers `second`."""
        if last_words(first.content) == last_words(second.content):
            return Felt(0.0, 1.0, 0.0)
        dials = self.dials
        gap = self.felt(prompt, first) - self.felt(prompt, second) + dials.position
        ahead, behind = _sigmoid(gap - dials.tie), _sigmoid(-gap - dials.tie)
        careless = dials.carelessness
        return Felt(
            (1 - careless) * ahead + careless / 2,
            (1 - careless) * (1 - ahead - behind),
            (1 - careless) * behind + careless / 2,
        )

    def _one(self, asked: Asked) -> Answer | None:
        form, samples = asked.question.form, asked.samples
        texts = [last_words(sample.content) for sample in samples]
        turns = [m.content for m in asked.prompt.content.messages] if asked.prompt.content.kind == "text" else []
        draw = dice(self._seed, self.name, turns, texts, form, asked.question.criteria)
        careful = draw.random() >= self.dials.carelessness
        if form == "demonstration":
            return Written(content=edited(self._gold, asked.prompt, None, self.dials.tone, careful, draw))
        if not samples or (form in ("comparison", "ranking") and len(samples) < 2):
            return None
        if form == "correction":
            better = edited(self._gold, asked.prompt, samples[0], self.dials.tone, careful, draw)
            return Correction(sample=samples[0].id, content=better)
        if form == "critique":
            return critique(self._gold, asked.prompt, samples[0], careful)
        criterion = asked.question.criteria[0] if asked.question.criteria else ""
        noise = [-math.log(-math.log(draw.uniform(1e-12, 1 - 1e-12))) for _ in samples]
        if form == "rating":
            return self._rating(asked, noise, careful)
        felt = [
            (self._by(criterion, asked.prompt, sample) if careful else 0.0) + e
            for sample, e in zip(samples, noise, strict=True)
        ]
        if careful:
            felt[0] += self.dials.position
        judged = [self._gold(asked.prompt, sample) for sample in samples]
        if form == "ranking":
            return Ranking(order=self._places(samples, texts, felt, careful), criterion=criterion)
        return self._comparison(samples, texts, felt, careful, judged, criterion)

    def _by(self, criterion: str, prompt: Prompt, sample: Sample) -> float:
        """Felt worth in one respect; overall for a respect that nobody knows."""
        part = respect(criterion, self._gold(prompt, sample))
        return self.felt(prompt, sample) if part is None else self.dials.reliability * part

    def _comparison(
        self,
        samples: Sequence[Sample],
        texts: list[str],
        felt: list[float],
        careful: bool,
        judged: list[Judged],
        criterion: str,
    ) -> Comparison:
        order = sorted(range(len(felt)), key=lambda at: -felt[at])
        best, next_best = order[0], order[1]
        gap = felt[best] - felt[next_best]
        if texts[best] == texts[next_best] or (careful and gap < self.dials.tie):
            bad = careful and max(one.score for one in judged) < 0.25
            return Comparison(verdict="both_bad" if bad else "tie", criterion=criterion)
        strength = 1 if gap < 1.5 or not careful else 2 if gap < 3.5 else 3
        return Comparison(better=samples[best].id, strength=strength, criterion=criterion)

    def _places(
        self, samples: Sequence[Sample], texts: list[str], felt: list[float], careful: bool
    ) -> tuple[tuple[str, ...], ...]:
        """Places from best to worst; an answer shares the place of the one before when it feels the same."""
        order = sorted(range(len(felt)), key=lambda at: -felt[at])
        places: list[list[int]] = []
        for at in order:
            same = [place for place in places if any(texts[at] == texts[other] for other in place)]
            if same:
                same[0].append(at)
            elif places and careful and felt[places[-1][0]] - felt[at] < self.dials.tie:
                places[-1].append(at)
            else:
                places.append([at])
        return tuple(tuple(samples[at].id for at in place) for place in places)

    def _rating(self, asked: Asked, noise: list[float], careful: bool) -> Rating:
        """Whole marks from 1 to 5; each respect carries the same noise of one answer, as a mood does."""
        scores: dict[str, dict[str, float]] = {}
        sharpness = max(self.dials.reliability, 1e-6)
        for sample, e in zip(asked.samples, noise, strict=True):
            marks = {}
            for criterion in asked.question.criteria or ("",):
                seen = self._by(criterion, asked.prompt, sample) / sharpness if careful else 0.5
                # 0.577 is the mean of the Gumbel distribution: noise alone should not lift the marks.
                marks[criterion] = float(min(5, max(1, round(1 + 4 * (seen + (e - 0.577) / max(sharpness, 2.0))))))
            scores[sample.id] = marks
        return Rating(scores=scores)


def respect(criterion: str, judged: Judged) -> float | None:
    """An answer in one respect, from 0 to 1; None for overall and for a word that the lab does not know."""
    return {
        "correctness": judged.content,
        "helpfulness": judged.content if not judged.refused else 0.0,
        "safety": 0.0 if judged.complied_unsafe else 1.0,
        "courtesy": judged.courtesy,
        "form": judged.form,
        "tone": {"direct": 1.0, "indirect": 1.0, "none": 0.5}.get(judged.tone, 0.0),
    }.get(criterion)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
