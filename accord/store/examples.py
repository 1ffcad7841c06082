"""Answers of pairs as demonstrations: what was compared is imitated."""

from __future__ import annotations

from typing import Literal

from accord.records import Demonstration, Preference, named_id
from accord.store.store import Store


def examples(store: Store, which: Literal["chosen", "both"]) -> list[Demonstration]:
    """One demonstration of each better answer (or of both answers) that a preference in the store speaks of.

    It stands on its prompt's side of the fence and rests on the same feedback. The same answers give the same ids.
    """
    found: dict[str, Demonstration] = {}
    for belief in store.all(Preference):
        for sample in (belief.chosen, belief.rejected) if which == "both" else (belief.chosen,):
            found.setdefault(sample, Demonstration(id=named_id("example", sample), prompt=belief.prompt, sample=sample,
                                                   feedback=belief.feedback))  # fmt: skip
    return list(found.values())
