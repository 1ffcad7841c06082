"""Answers as people may see them: without what points at anybody, whoever wrote it, a model too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from accord.records import Prompt, Sample, named_id
from accord.store.cleaning import Cleaner
from accord.store.scrub import Finder
from accord.store.store import Store


@dataclass(frozen=True)
class Shown:
    """What may be asked about."""

    prompts: dict[str, Prompt]
    """Those that point at nobody."""
    samples: list[Sample]
    """Answers to them, clean."""
    left_out: int
    """Prompts that point at somebody."""
    counts: Counter[str]
    """Kind -> how many were taken out of answers."""


def shown(
    store: Store,
    prompts: Mapping[str, Prompt],
    samples: Iterable[Sample],
    names: Sequence[str] = (),
    finders: Sequence[Finder] = (),
) -> Shown:
    """Prompts and answers as people may see them.

    An answer that points at somebody is replaced by a record of its own: the clean words, the same version, and
    `sampling["scrubbed"]`, since they are no longer just what the version drew. Its id is named by the answer and
    the clean words, so the same call again gives the same record. A prompt that points at somebody is left out: its
    answers would be answers to other words.
    """
    reader, cleaner = Cleaner(store, names, finders), Cleaner(store, names, finders)
    kept = {id: one for id, one in prompts.items() if reader.clean(one).content == one.content}
    found: dict[str, Sample] = {}
    for one in samples:
        if one.prompt not in kept:
            continue
        clean = cleaner.clean(one)
        if clean.content != one.content:
            id = named_id("scrubbed", one.id, clean.content.model_dump())
            clean = clean.model_copy(update={"id": id, "sampling": {**one.sampling, "scrubbed": True}})
        found[clean.id] = clean
    return Shown(kept, list(found.values()), len(prompts) - len(kept), cleaner.counts)
