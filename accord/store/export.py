"""Data sets out: everything in Accord's own form, or beliefs in the columns that TRL expects."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from accord.records import KINDS, Demonstration, Feedback, Preference, Prompt, Rating, Record, Sample, Split, Text
from accord.store import files
from accord.store.cleaning import Cleaner
from accord.store.errors import Refused
from accord.store.store import Store

ExportForm = Literal[
    "accord", "preference", "preference_plain", "completion", "completion_plain", "unpaired", "unpaired_plain"
]
"""`accord` is everything, exactly. The others are TRL's: conversations, or (`_plain`) strings."""

T = TypeVar("T")
R = TypeVar("R", bound=Record)
Clean = Callable[[Any], Any]
"""From a record to the record as it may leave."""


@dataclass
class Exported:
    """What was written."""

    rows: int = 0
    """Rows in the file."""
    left_out: int = 0
    """Beliefs that the form cannot say: ties, other content than text, and in a plain form longer conversations."""


def export(
    store: Store,
    path: str | Path,
    form: ExportForm = "accord",
    *,
    kinds: Sequence[str] = tuple(KINDS),
    split: Split | None = None,
    project: str | None = None,
    group: str | None = None,
    cleaner: Cleaner | None = None,
) -> Exported:
    """Write a JSONL, JSONL.gz or Parquet file by the end of its name; it appears whole or not at all.

    `kinds` chooses among records in Accord's own form. `split` and `project` choose among beliefs and feedback in the
    other forms, `group` preferences of one population of annotators: a preference with probability 0.5 is a tie and
    left out; an unpaired row comes from a standing rating of one answer, `label` being whether its mean score lies
    above the middle of the scale. `cleaner` takes out of every record what points at people. Streams.
    """
    if form not in get_args(ExportForm):
        raise Refused(f"form {form!r} is none of {', '.join(get_args(ExportForm))}")
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise Refused(f"kinds {sorted(unknown)} are none of {', '.join(KINDS)}")
    if group is not None and not form.startswith("preference"):
        raise Refused(f"form {form!r} with group {group!r}: only preferences are believed by group; form=preference")
    done, target = Exported(), Path(path)
    selected = {name: value for name, value in (("split", split), ("group", group)) if value is not None}
    plain, clean = form.endswith("_plain"), cleaner.clean if cleaner else _as_it_is
    match form.removesuffix("_plain"):
        case "accord":
            written = _accord(store, kinds, target.suffix == ".parquet", clean)
        case "preference":
            written = _preferences(store, selected, plain, done, clean)
        case "completion":
            written = _completions(store, selected, plain, done, clean)
        case _:
            written = _unpaired(store, selected, project, plain, done, clean)
    done.rows = files.write(target, written)
    return done


def _as_it_is(record: R) -> R:
    return record


def _accord(store: Store, kinds: Sequence[str], packed: bool, clean: Clean) -> Iterator[dict[str, Any]]:
    """All records; what is pointed at comes before what points at it. In Parquet the record is a string of JSON."""
    for name, kind in KINDS.items():
        if name not in kinds:
            continue
        for record in store.all(kind):
            text = clean(record).model_dump_json()
            yield {"kind": name, "record": text} if packed else {"kind": name, **json.loads(text)}


def _preferences(
    store: Store, selected: dict[str, str], plain: bool, done: Exported, clean: Clean
) -> Iterator[dict[str, Any]]:
    """Rows of prompt, chosen, rejected."""
    for page in _pages(store.all(Preference, **selected)):
        prompts = store.get_many(Prompt, (belief.prompt for belief in page))
        samples = store.get_many(Sample, (id for belief in page for id in (belief.chosen, belief.rejected)))
        for belief in page:
            said = [
                _said(clean(thing), plain)
                for thing in (prompts[belief.prompt], samples[belief.chosen], samples[belief.rejected])
            ]
            if belief.probability <= 0.5 or None in said:
                done.left_out += 1
            else:
                yield dict(zip(("prompt", "chosen", "rejected"), said, strict=True))


def _completions(
    store: Store, selected: dict[str, str], plain: bool, done: Exported, clean: Clean
) -> Iterator[dict[str, Any]]:
    """Rows of prompt, completion."""
    for page in _pages(store.all(Demonstration, **selected)):
        prompts = store.get_many(Prompt, (belief.prompt for belief in page))
        samples = store.get_many(Sample, (belief.sample for belief in page))
        for belief in page:
            prompt, completion = (
                _said(clean(prompts[belief.prompt]), plain),
                _said(clean(samples[belief.sample]), plain),
            )
            if prompt is None or completion is None:
                done.left_out += 1
            else:
                yield {"prompt": prompt, "completion": completion}


def _unpaired(
    store: Store, selected: dict[str, str], project: str | None, plain: bool, done: Exported, clean: Clean
) -> Iterator[dict[str, Any]]:
    """Rows of prompt, completion, label."""
    for page in _pages(store.feedback(project)):
        rated = [(id, label) for said in page for id, label in _labels(said)]
        samples = store.get_many(Sample, (id for id, _ in rated))
        prompts = store.get_many(Prompt, (sample.prompt for sample in samples.values()))
        for id, label in rated:
            of = prompts[samples[id].prompt]
            if selected and of.split != selected["split"]:
                continue
            prompt, completion = _said(clean(of), plain), _said(clean(samples[id]), plain)
            if label is None or prompt is None or completion is None:
                done.left_out += 1
            else:
                yield {"prompt": prompt, "completion": completion, "label": label}


def _labels(said: Feedback) -> Iterator[tuple[str, bool | None]]:
    """Thumbs in a rating; None for the middle of the scale."""
    if isinstance(said.answer, Rating):
        middle = sum(said.answer.scale) / 2
        for id, by in said.answer.scores.items():
            score = by[""] if "" in by else sum(by.values()) / max(len(by), 1)
            yield id, None if score == middle else score > middle


def _said(thing: Prompt | Sample, plain: bool) -> list[dict[str, str]] | str | None:
    """The text as TRL wants it; None when it cannot be said so."""
    if not isinstance(thing.content, Text):
        return None
    if not plain:
        return [message.model_dump() for message in thing.content.messages]
    role = "user" if isinstance(thing, Prompt) else "assistant"
    messages = thing.content.messages
    return messages[0].content if len(messages) == 1 and messages[0].role == role else None


def _pages(records: Iterable[T], size: int = 500) -> Iterator[list[T]]:
    """Lists of at most `size`."""
    stream = iter(records)
    while page := list(islice(stream, size)):
        yield page
