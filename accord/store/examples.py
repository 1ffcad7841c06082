"""What is said in a store, for those who learn words: answers of pairs as demonstrations, and texts to spell by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal

from accord.records import Demonstration, Preference, Prompt, Sample, Text, named_id
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


def spelt(texts: Callable[[], Iterable[str]], store: Store, spelling: str) -> Iterator[str]:
    """The texts, and with spelling=all every turn of prompts and answers on the training side; no model's answers."""
    yield from texts()
    if spelling != "all":
        return
    said = chain(
        (prompt.content for prompt in store.all(Prompt, split="train")),
        (sample.content for sample in store.all(Sample, split="train") if sample.version is None),
    )
    for content in said:
        if isinstance(content, Text):
            yield from (turn.content for turn in content.messages)
