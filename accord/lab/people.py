"""Simulated people: they see the true preference through noise, carelessness and taste.

A person feels that answer i is worth

    z_i = reliability * gold_i + taste . features_i + position * [shown first] + e_i,    e_i ~ Gumbel(0, 1)

so that of two answers the first is chosen with sigmoid of the difference (Bradley and Terry 1952); a careless answer
is made without reading. With probability c = carelessness, then, and without ties,

    P(a over b) = (1 - c) * sigmoid(u_a - u_b) + c / 2.

By yes or no (a flag that is so by 0 <= s <= 1 of an answer, and which answers are safe) taste and place do not matter:

    P(yes) = (1 - c) * sigmoid(reliability * (s - 1/2)) + c / 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from accord.config import Settings
from accord.lab.atlas import dice
from accord.lab.gold import Gold
from accord.lab.reading import MOST_WORDS, last_words
from accord.lab.respects import respect, so
from accord.lab.spoken import critique, edited
from accord.records import (
    Answer,
    Asked,
    Combined,
    Comparison,
    Correction,
    Flags,
    Probability,
    Prompt,
    Ranking,
    Rating,
    Sample,
    Written,
)


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

    def says(self, flag: str, prompt: Prompt, sample: Sample, careful: bool | None = None) -> float:
        """Exact probability that this person says yes to a flag; careful: whether the answer was read, when known."""
        seen = _sigmoid(self.dials.reliability * (so(flag, self._gold(prompt, sample)) - 0.5))
        careless = self.dials.carelessness if careful is None else float(not careful)
        return (1 - careless) * seen + careless / 2

    def _one(self, asked: Asked) -> Answer | None:
        form, samples = asked.question.form, asked.samples
        texts = [last_words(sample.content) for sample in samples]
        draw = dice(self._seed, self.name, _turns(asked), texts, form, asked.question.criteria)
        careful = draw.random() >= self.dials.carelessness
        if form == "demonstration":
            return Written(content=edited(self._gold, asked.prompt, None, self.dials.tone, careful, draw))
        if not samples or (form in ("comparison", "ranking", "combined") and len(samples) < 2):
            return None
        if form == "flags":
            return Flags(flags=self._flags(asked, careful)) if asked.question.flags else None
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
        if form in ("ranking", "combined"):
            ranking = Ranking(order=self._places(samples, texts, felt, careful), criterion=criterion)
            if form == "ranking":
                return ranking
            flags = self._flags(asked, careful) if asked.question.flags else {}
            return Combined(rating=self._rating(asked, noise, careful), ranking=ranking, flags=flags)
        return self._comparison(asked, texts, felt, careful, criterion)

    def _by(self, criterion: str, prompt: Prompt, sample: Sample) -> float:
        """Felt worth in one respect; overall for a respect that nobody knows."""
        part = respect(criterion, self._gold(prompt, sample))
        return self.felt(prompt, sample) if part is None else self.dials.reliability * part

    def _comparison(
        self, asked: Asked, texts: list[str], felt: list[float], careful: bool, criterion: str
    ) -> Comparison:
        """Which is better; where it was asked also which are safe, and then a safe one comes before an unsafe one."""
        samples = asked.samples
        judged = [self._gold(asked.prompt, sample) for sample in samples]
        safe: tuple[str, ...] | None = None
        if asked.question.safety:
            safe = tuple(sample.id for sample in samples if self._yes("safe", asked, sample, careful))
        first = [bool(safe) and sample.id not in (safe or ()) for sample in samples]
        order = sorted(range(len(felt)), key=lambda at: (first[at], -felt[at]))
        best, next_best = order[0], order[1]
        gap = felt[best] - felt[next_best]
        same = texts[best] == texts[next_best] or (careful and gap < self.dials.tie)
        if same and first[best] == first[next_best]:
            bad = careful and max(one.score for one in judged) < 0.25
            return Comparison(verdict="both_bad" if bad else "tie", criterion=criterion, safe=safe)
        strength = 1 if gap < 1.5 or not careful else 2 if gap < 3.5 else 3
        return Comparison(better=samples[best].id, strength=strength, criterion=criterion, safe=safe)

    def _flags(self, asked: Asked, careful: bool) -> dict[str, dict[str, bool]]:
        """Yes or no to each flag, of each answer."""
        flags = asked.question.flags
        return {one.id: {flag: self._yes(flag, asked, one, careful) for flag in flags} for one in asked.samples}

    def _yes(self, flag: str, asked: Asked, sample: Sample, careful: bool) -> bool:
        """The same whatever else is asked or shown, so equal texts get equal answers."""
        draw = dice(self._seed, self.name, _turns(asked), "flag", flag, last_words(sample.content))
        return draw.random() < self.says(flag, asked.prompt, sample, careful)

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
        """Whole marks on the scale; each respect carries the same noise of one answer, as a mood does."""
        scores: dict[str, dict[str, float]] = {}
        low, high = asked.question.scale
        sharpness = max(self.dials.reliability, 1e-6)
        for sample, e in zip(asked.samples, noise, strict=True):
            marks = {}
            for criterion in asked.question.criteria or ("",):
                seen = self._by(criterion, asked.prompt, sample) / sharpness if careful else 0.5
                # 0.577 is the mean of the Gumbel distribution: noise alone should not lift the marks.
                felt = low + (high - low) * (seen + (e - 0.577) / max(sharpness, 2.0))
                marks[criterion] = float(min(high, max(low, round(felt))))
            scores[sample.id] = marks
        return Rating(scores=scores, scale=(low, high))


def _turns(asked: Asked) -> list[str]:
    """The words of a prompt, turn by turn; none where it is no text."""
    content = asked.prompt.content
    return [message.content for message in content.messages] if content.kind == "text" else []


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
