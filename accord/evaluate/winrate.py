"""How often the new answer beats the old one, prompt by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from accord.evaluate.rates import share
from accord.records import Record
from accord.statistics import Interval

Winner = Literal["after", "before", "tie"]


class Tagged(Record):
    """The win rate on the prompts of one family or tag."""

    name: str
    """The tag."""
    prompts: int
    """How many prompts carry it."""
    rate: Interval
    """Win rate on them."""


class WinRate(Record):
    """How often `after` beats `before`; ties count half, every prompt counts the same."""

    rate: Interval
    """Over all prompts; .5 means no difference."""
    wins: float
    """Share won."""
    ties: float
    """Share tied."""
    losses: float
    """Share lost."""
    prompts: int
    """How many prompts it rests on."""
    by_tag: tuple[Tagged, ...] = ()
    """The same by family or tag."""


def win_rate(
    after: Mapping[str, Sequence[float]],
    before: Mapping[str, Sequence[float]],
    tags: Mapping[str, Sequence[str]] | None = None,
    tie: float = 0.0,
) -> WinRate:
    """From scores of answers: prompt id -> the score of each answer, one or more.

    Each answer of `after` meets each of `before` to the same prompt; scores that differ by at most `tie` are a tie.
    tags: prompt id -> its families or tags. Raises ValueError when the prompts differ or one has no answers.
    """
    both = {**before, **after}
    lacking = sorted(k for k in both if not len(after.get(k, ())) or not len(before.get(k, ())))
    if lacking or not after:
        raise ValueError(
            f"win rate of {len(after)} against {len(before)} prompts: {len(lacking)} have answers on one side only, "
            f"as {lacking[:3]}; give both sides the same prompts"
        )
    outcomes = {}
    for prompt in after:
        gap = np.subtract.outer(np.asarray(after[prompt], dtype=float), np.asarray(before[prompt], dtype=float))
        if not np.isfinite(gap).all():
            raise ValueError(f"prompt {prompt}: a score is not finite")
        outcomes[prompt] = (float((gap > tie).mean()), float((gap < -tie).mean()))
    return _table(outcomes, tags or {})


def win_rate_of_verdicts(
    verdicts: Sequence[Winner], prompts: Sequence[str], tags: Mapping[str, Sequence[str]] | None = None
) -> WinRate:
    """From verdicts of people or judges: who won, and on which prompt (several verdicts per prompt are allowed)."""
    if len(verdicts) != len(prompts) or not verdicts:
        raise ValueError(f"{len(verdicts)} verdicts for {len(prompts)} prompts: each verdict needs its prompt")
    said: dict[str, list[Winner]] = {}
    for verdict, prompt in zip(verdicts, prompts, strict=True):
        if verdict not in ("after", "before", "tie"):
            raise ValueError(f"verdict {verdict!r} on prompt {prompt}: expected 'after', 'before' or 'tie'")
        said.setdefault(prompt, []).append(verdict)
    outcomes = {p: (v.count("after") / len(v), v.count("before") / len(v)) for p, v in said.items()}
    return _table(outcomes, tags or {})


def _table(outcomes: Mapping[str, tuple[float, float]], tags: Mapping[str, Sequence[str]]) -> WinRate:
    """Win rate over prompts and by tag, from (share won, share lost) of each prompt."""
    value = {prompt: won + (1 - won - lost) / 2 for prompt, (won, lost) in outcomes.items()}
    by: dict[str, list[float]] = {}
    for prompt, v in value.items():
        for tag in dict.fromkeys(tags.get(prompt, ())):
            by.setdefault(tag, []).append(v)
    won, lost = np.array(list(outcomes.values())).mean(0)
    return WinRate(
        rate=share(list(value.values())),
        wins=float(won),
        ties=float(max(0.0, 1 - won - lost)),
        losses=float(lost),
        prompts=len(value),
        by_tag=tuple(Tagged(name=t, prompts=len(v), rate=share(v)) for t, v in sorted(by.items())),
    )
