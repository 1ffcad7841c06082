"""What each form of judgement added: the same model taught without it, on the same held-out pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from numpy.typing import ArrayLike

from accord.evaluate.rates import Clusters, share
from accord.judged import Judged
from accord.records import Record
from accord.statistics import Interval, paired_difference

ALL = "all"


class FormAdded(Record):
    """One form, and the model that had to do without it."""

    form: str
    """Name of the kind, as in `rating5.tone`."""
    judgements: int
    """How many of them there were."""
    without: Interval
    """Accuracy of the model that was taught everything else."""
    added: Interval
    """Accuracy of the model that was taught everything, less that; paired by pair, clustered by prompt."""


class FormsCard(Record):
    """What a reward model owes to each form of judgement."""

    accuracy: Interval
    """Of the model that was taught everything."""
    forms: tuple[FormAdded, ...]
    """The others, in the order of the kinds; a form without which there is nothing to learn from is not among them."""


def taught(judged: Judged, teach: Callable[[str, Judged], ArrayLike], main: str = "") -> dict[str, ArrayLike]:
    """What `teach` gives for everything (`all`) and for everything but each kind, by the kind's name.

    teach: (name, judgements) -> [N] whether each held-out pair is ordered right, by a fresh model in a run of that
    name. A kind is not left out when nothing else is said of the main criterion.
    """
    found = {ALL: teach(ALL, judged)}
    for kind in judged.kinds:
        rest = judged.without(kind)
        if len(rest) and any(other.criterion == main for other in rest.kinds):
            found[kind.name] = teach(f"without-{kind.name}", rest)
    return found


def forms_card(right: Mapping[str, ArrayLike], judged: Judged, clusters: Clusters) -> FormsCard:
    """The card from `taught`. right: name -> [N] 1 where a held-out pair is ordered right, 1/2 where its scores are
    equal, else 0; clusters: [N] prompt names.
    """
    counts = {kind.name: int((judged.kind == k).sum()) for k, kind in enumerate(judged.kinds)}
    return FormsCard(
        accuracy=share(right[ALL], clusters),
        forms=tuple(
            FormAdded(
                form=name,
                judgements=counts[name],
                without=share(values, clusters),
                added=paired_difference(right[ALL], values, clusters),
            )
            for name, values in right.items()
            if name != ALL
        ),
    )
