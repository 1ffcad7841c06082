"""From answers in the store to questions in a queue: what could be asked, and what is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from accord.feedback import scout
from accord.feedback.coverage import Coverage, coverage, topic
from accord.feedback.select import Chosen, Floats, Pool
from accord.records import Content, Form, Preference, Prompt, Question, Sample, Text, named_id
from accord.store import Store
from accord.store.belongings import ERASED

Scorer = Callable[[Sequence[tuple[Prompt, Sample]]], Floats]
"""From answers to [M, A] scores by M models."""
PLACES = 9
"""Most answers that one question shows."""
BELIEFS = 5000
"""The scout learns from so many of the last beliefs."""


@dataclass(frozen=True)
class Open:
    """What could be asked."""

    prompts: list[Prompt]
    """N, one for each possible question."""
    samples: list[tuple[Sample, ...]]
    """N, what it would show."""
    pool: Pool
    """The same in numbers."""
    texts: list[str]
    """A, the answers; rows of the pool's features."""


def possible(
    prompts: Mapping[str, Prompt], answers: Iterable[Sample], form: Form, asked: Iterable[Question] = (), most: int = 2
) -> list[tuple[Prompt, tuple[Sample, ...]]]:
    """Every question of a form about these answers that was not asked yet. Answers with equal content count once.

    comparison: each two answers of a prompt; with `most` above 2 all of a prompt together, up to that many. rating,
    flags, ranking, combined: all of a prompt together, up to nine (the last two need two). correction, critique: each
    answer alone. demonstration: the prompt alone.
    """
    by_prompt: dict[str, list[Sample]] = {id: [] for id in prompts}
    for sample in answers:
        seen = by_prompt.get(sample.prompt)
        if seen is not None and sample.source != ERASED and all(sample.content != other.content for other in seen):
            seen.append(sample)
    before = {(one.form, one.prompt, frozenset(one.samples)) for one in asked}
    found = []
    for id, seen in by_prompt.items():
        sets: Iterable[tuple[Sample, ...]]
        if form == "demonstration":
            sets = [()]
        elif form in ("correction", "critique"):
            sets = [(sample,) for sample in seen]
        elif form == "comparison" and most == 2:
            sets = combinations(seen, 2)
        else:
            sets = [tuple(seen[: most if form == "comparison" else PLACES])]
        least = {"demonstration": 0, "correction": 1, "critique": 1, "rating": 1, "flags": 1}.get(form, 2)
        for shown in sets:
            if len(shown) >= least and (form, id, frozenset(one.id for one in shown)) not in before:
                found.append((prompts[id], shown))
    return found


def opened(
    store: Store,
    items: Sequence[tuple[Prompt, tuple[Sample, ...]]],
    generator: np.random.Generator,
    scores: Scorer | None = None,
) -> Open:
    """What could be asked in numbers; scored by `scores`, or by a scout that learns from the store's beliefs.

    A question that shows several answers is represented by the two that the models hold nearest to each other; one
    that shows one answer, or none, by that answer or the prompt.
    """
    rows: dict[str, int] = {}
    texts: list[str] = []
    pairs: list[tuple[Prompt, Sample]] = []
    for prompt, shown in items:
        for one in shown or (prompt,):
            if one.id not in rows:
                rows[one.id] = len(texts)
                texts.append(said(one.content))
                if isinstance(one, Sample):
                    pairs.append((prompt, one))
    features = scout.features(texts)
    scored = scores is not None and len(pairs) == len(texts)
    worth = scores(pairs) if scores is not None and scored else scouted(store, features, generator)
    ends = np.array([_nearest([rows[one.id] for one in shown or (prompt,)], worth) for prompt, shown in items])
    number = {id: at for at, id in enumerate(dict.fromkeys(prompt.id for prompt, _ in items))}
    topics = [topic(prompt.tags, said(prompt.content)) for prompt, _ in items]
    ends = ends.reshape(-1, 2).astype(np.int64)
    where = np.array([number[prompt.id] for prompt, _ in items], dtype=np.int64)
    pool = Pool(where, ends[:, 0], ends[:, 1], topics, features, worth)
    return Open([prompt for prompt, _ in items], [shown for _, shown in items], pool, texts)


def scouted(store: Store, features: Floats, generator: np.random.Generator) -> Floats:
    """[M, A] scores of rows of features by scouts that learned from the beliefs of the store; M is 0 without any."""
    beliefs = list(store.all(Preference, split="train"))[-BELIEFS:]
    if not beliefs:
        return np.zeros((0, len(features)))
    known, rows = read(store, beliefs)
    better, worse = (np.array([rows[getattr(one, end)] for one in beliefs]) for end in ("chosen", "rejected"))
    chance, weight = (np.array([getattr(one, name) for one in beliefs]) for name in ("probability", "weight"))
    every = np.vstack([known, features])
    return scout.fit(every, better, worse, chance, weight, generator)[:, len(known) :]


def read(store: Store, beliefs: Sequence[Preference]) -> tuple[Floats, dict[str, int]]:
    """Features of the samples that beliefs are about, and the row of each."""
    samples = store.get_many(Sample, (id for one in beliefs for id in (one.chosen, one.rejected)))
    return scout.features([said(one.content) for one in samples.values()]), {id: at for at, id in enumerate(samples)}


def questions(
    there: Open, chosen: Sequence[Chosen], form: Form, queue: str, wanted: int = 1, **more: Any
) -> list[Question]:
    """The chosen ones as records. Asking the same of the same answers in the same queue gives the same id.

    more: further fields of Question, as `criteria`, `scale`, `flags`, `safety`, `guideline`.
    """
    found = []
    for one in chosen:
        prompt, ids = there.prompts[one.index], tuple(sample.id for sample in there.samples[one.index])
        found.append(
            Question(
                id=named_id("question", queue, form, prompt.id, sorted(ids), more),
                prompt=prompt.id,
                samples=ids,
                form=form,
                wanted=wanted,
                project=queue,
                propensity=one.propensity,
                arm=one.arm,
                **more,
            )
        )
    return found


def covered(there: Open, chosen: Sequence[Chosen] | None = None) -> Coverage:
    """Figures of what was chosen, or of all that could be."""
    rows = range(len(there.prompts)) if chosen is None else [one.index for one in chosen]
    shown = {sample.id: said(sample.content) for row in rows for sample in there.samples[row]}
    asked = [said(there.prompts[row].content) for row in rows]
    return coverage(asked, list(shown.values()), [there.pool.topic[row] for row in rows])


def said(content: Content) -> str:
    """The words in a record; for other things than text, what it says of itself."""
    if isinstance(content, Text):
        return "\n".join(turn.content for turn in content.messages)
    return content.model_dump_json()


def _nearest(rows: Sequence[int], worth: Floats) -> tuple[int, int]:
    """Of some answers the two that the mean of the models holds nearest; the first two without a model."""
    if len(rows) < 3 or not len(worth):
        return rows[0], rows[min(1, len(rows) - 1)]
    order = sorted(rows, key=lambda row: float(worth[:, row].mean()))
    gaps = [float(worth[:, b].mean() - worth[:, a].mean()) for a, b in pairwise(order)]
    at = int(np.argmin(gaps))
    return order[at], order[at + 1]
