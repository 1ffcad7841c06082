"""Pairs out of what was said: one row for each two samples that a standing answer orders, in constant memory."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from accord.records import Combined, Comparison, Feedback, Prompt, Ranking, Rating, Sample
from accord.store import Store, desk

Row = dict[str, Any]


def rows(store: Store, project: str, key: bytes) -> Iterator[Row]:
    """Rows of a project in the order of the answers; `key` makes the names of people, another one in each export.

    Texts are those of the records as they stand. Ties are rows with probability 0.5; pairs of one answer share
    its weight. Corrections, critiques, flags and skips order nothing and give no row.
    """
    names: dict[str, str] = {}
    for said, prompt, samples in desk.pages(store, project, _named):
        pairs = ordering(said)
        asked = json.loads(prompt)
        turns, split = _plain(asked, prompt, Prompt), asked.get("split", "train")
        if said.annotator not in names:
            names[said.annotator] = hmac.new(key, said.annotator.encode(), hashlib.sha256).hexdigest()[:16]
        for better, worse, probability, strength, criterion in pairs:
            yield {
                "feedback": said.id,
                "question": said.question,
                "annotator": names[said.annotator],
                "prompt": turns,
                "chosen": _text(samples[better]),
                "rejected": _text(samples[worse]),
                "chosen_id": better,
                "rejected_id": worse,
                "probability": probability,
                "weight": 1 / len(pairs),
                "strength": strength,
                "criterion": criterion,
                "chosen_first": bool(said.shown) and said.shown.index(better) < said.shown.index(worse),
                "split": split,
                "seconds": said.seconds,
            }


def _named(said: Feedback) -> set[str]:
    """Samples of the pairs that an answer orders."""
    return {id for pair in ordering(said) for id in pair[:2]}


def ordering(said: Feedback) -> list[tuple[str, str, float, int, str]]:
    """(better, worse, probability, strength, criterion) of each pair that an answer orders."""
    match said.answer:
        case Comparison() as one:
            if one.better is not None:
                return [(one.better, o, 1.0, one.strength, one.criterion) for o in said.shown if o != one.better]
            return [(a, b, 0.5, 0, one.criterion) for a, b in combinations(said.shown, 2)]
        case Ranking() as one:
            place = {sample: at for at, tied in enumerate(one.order) for sample in tied}
            level = {sample: float(at) for sample, at in place.items()}
            return _by_level(level, one.criterion)
        case Combined() as one:  # overall from the ranking alone: the same reading must not count twice
            rated = [pair for pair in ordering(said.model_copy(update={"answer": one.rating})) if pair[4]]
            return ordering(said.model_copy(update={"answer": one.ranking})) + rated
        case Rating() as one:
            criteria = sorted({name for by in one.scores.values() for name in by})
            found = []
            for name in criteria:
                found += _by_level({sample: -by[name] for sample, by in one.scores.items() if name in by}, name)
            return found
        case _:
            return []


def _by_level(level: dict[str, float], criterion: str) -> list[tuple[str, str, float, int, str]]:
    """Pairs of samples, the lower level being the better one."""
    found = []
    for a, b in combinations(sorted(level, key=lambda sample: level[sample]), 2):
        found.append((a, b, 0.5 if level[a] == level[b] else 1.0, 0, criterion))
    return found


def _text(sample: str) -> Any:
    """What a sample says, out of its JSON."""
    return _plain(json.loads(sample), sample, Sample)


def _plain(record: Row, payload: str, kind: type[Prompt] | type[Sample]) -> Any:
    """A conversation as `[{role, content}]`, anything else as its record.

    Conversations are most of an export, and what was checked when it was put is not checked again.
    """
    content = record["content"]
    if content["kind"] == "text":
        return [{"role": turn["role"], "content": turn["content"]} for turn in content["messages"]]
    return kind.model_validate_json(payload).content.model_dump(mode="json")
