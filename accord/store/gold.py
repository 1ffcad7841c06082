"""Whether an answer agrees with the known right one."""

from __future__ import annotations

from itertools import pairwise

from accord.records import Answer, Combined, Comparison, Flags, Ranking, Rating


def is_right(gold: Answer | None, said: Answer | None) -> bool | None:
    """Whether what was said agrees with the right answer; None where there is none or it cannot be told by itself.

    A comparison agrees when it names the same winner, or the same want of one; its strength is a matter of taste. A
    rating agrees when no score is more than a quarter of the scale away, a ranking when each pair that the right one
    orders is in that order, flags when all are the same. Texts are for people to judge.
    """
    if gold is None or said is None or gold.kind != said.kind:
        return None
    match gold, said:
        case Comparison(), Comparison():
            return (gold.better, gold.verdict) == (said.better, said.verdict)
        case Ranking(), Ranking():
            return _in_order(gold, said)
        case Rating(), Rating():
            return _near(gold, said)
        case Flags(), Flags():
            return gold.flags == said.flags
        case Combined(), Combined():
            return _in_order(gold.ranking, said.ranking) and _near(gold.rating, said.rating)
        case _:
            return None


def _in_order(gold: Ranking, said: Ranking) -> bool:
    place = {sample: at for at, tied in enumerate(said.order) for sample in tied}
    levels = [[place[sample] for sample in tied if sample in place] for tied in gold.order]
    return all(max(above) < min(below) for above, below in pairwise(levels) if above and below)


def _near(gold: Rating, said: Rating) -> bool:
    room = (gold.scale[1] - gold.scale[0]) / 4
    return all(
        abs(score - said.scores.get(sample, {}).get(name, float("inf"))) <= room
        for sample, by in gold.scores.items()
        for name, score in by.items()
    )
