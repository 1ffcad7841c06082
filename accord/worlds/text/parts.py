"""Beliefs encoded part by part as they come out of a store, so that memory does not grow with how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice

from accord.batches import Comparisons
from accord.records import Preference, Prompt, Sample
from accord.worlds.text.encode import Encoder

Records = tuple[Mapping[str, Prompt], Mapping[str, Sample]]


def in_parts(
    encoder: Encoder,
    beliefs: Iterable[Preference],
    looked_up: Callable[[Sequence[Preference]], Records],
    size: int = 1024,
) -> Iterator[Comparisons]:
    """The comparisons of `size` beliefs at a time, in their order; a part of which nothing can be used is left out.

    beliefs: best an iterator, such as `Store.all(Preference)`. looked_up: the prompts and samples of some beliefs, as
    `Project.looked_up` gives them. A prompt is shared within a part and not between parts.
    """
    if size < 1:
        raise ValueError(f"parts of size={size} never end; take 1 or more")
    coming = iter(beliefs)
    while some := list(islice(coming, size)):
        part = encoder.comparisons(some, *looked_up(some))
        if len(part):
            yield part
