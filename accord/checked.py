"""Versions judged by rules: how often an answer passes, at once and in several tries, and whether anything was learned.

pass@k is the chance that at least one of k answers passes. From n answers of which c pass it is 1 - C(n - c, k) / C(n,
k), unbiased for every k up to n (Chen et al. 2021), for each prompt; the intervals are over prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from accord.algorithms.best_of_n import curve
from accord.earned import CHECKED, judges, must
from accord.evaluate.findings import Finding, Level
from accord.evaluate.ledger import Ledger, Line, entry, ledger
from accord.evaluate.rates import share
from accord.evaluate.report import change as signed
from accord.evaluate.report import percent, shown
from accord.evaluate.story import Figure
from accord.evaluate.winrate import WinRate
from accord.judge import Pairs, answers
from accord.loop import Round
from accord.project import Project
from accord.records import Prompt, Sample, Version
from accord.rewards.rules import final_answer, said
from accord.statistics import Interval

HOPELESS = 0.05
"""Share of prompts with a passing answer in all tries of the start, below which nearly nothing can be learned from."""
PERFECT = 0.95
"""Share of passing answers of the start from which there is little left to learn."""
AT_ONCE = "pass@1"
NAMES = {
    "exact": "the right final answer",
    "follows": "all instructions followed",
    "length": "a length within bounds",
    "form": "the form that is wanted",
    "script": "the script that is wanted",
}
"""What a rule looks for, in words."""
Rule = Callable[[Prompt, Sample], float]


@dataclass(frozen=True)
class Rules:
    """The rules that judge a project's answers."""

    each: dict[str, Rule]
    """By name, in the order in which they are asked."""
    loose: bool
    """Whether a final answer may come without its mark."""

    @property
    def judge(self) -> str:
        """Who judges, in words."""
        return f"rules that can be checked ({', '.join(NAMES[name] for name in self.each)})"

    def keeps(self, name: str, prompt: Prompt, sample: Sample) -> float | None:
        """What one rule gives an answer, 0 to 1; None where the prompt does not bring what it looks for."""
        there = name not in CHECKED or CHECKED[name] in prompt.checks
        return self.each[name](prompt, sample) if there else None

    def passes(self, prompt: Prompt, sample: Sample) -> float:
        """1 where an answer keeps wholly every rule that its prompt brings, else 0."""
        found = [self.keeps(name, prompt, sample) for name in self.each]
        return float(all(value is None or value >= 1 for value in found))


def rules(project: Project, prompts: Sequence[Prompt]) -> Rules | None:
    """The rules that judge answers to these prompts; None where gold or a reward model does."""
    if project.recipe.judging.by != "rules":
        return None
    return Rules(dict(judges(project, prompts, must(project.recipe))), project.recipe.worth.loose)


def tries(most: int) -> list[int]:
    """1, 2, 4 and so on, and `most`."""
    return sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})


def pass_at(passed: Sequence[float], k: int, of: int) -> NDArray[np.float64]:
    """[P] the unbiased chance of each prompt that one of k answers passes. passed: `of` answers of each, in turn.

    It is the best of k where the rule itself chooses. Raises ValueError when k is not within 1 .. of.
    """
    table = torch.tensor(list(passed), dtype=torch.float64).reshape(-1, of)
    return curve(table, table, [k])[0].numpy()


def lines(found: Rules, old: Pairs, new: Pairs, of: int) -> list[Line]:
    """Before and after: pass@k for several k, each rule where there are several, final answers that could be read.

    old, new: `of` answers of each prompt, in the order of the prompts.
    """
    asked = [prompt.id for prompt, _ in old]

    def line(name: str, each: Callable[[Prompt, Sample], float | None]) -> Line | None:
        was, now = ([np.nan if (v := each(*pair)) is None else v for pair in side] for side in (old, new))
        return None if np.isnan(now).all() else entry(name, was, now, asked, "higher")

    was, now = ([found.passes(*pair) for pair in side] for side in (old, new))
    made = [line(AT_ONCE, found.passes)]
    for k in tries(of)[1:]:
        made.append(entry(f"pass@{k}", pass_at(was, k, of), pass_at(now, k, of), asked[::of], "higher"))
    for name in found.each if len(found.each) > 1 else ():
        made.append(line(NAMES[name], partial(found.keeps, name)))
    if "exact" in found.each:
        made.append(line("final answer given", lambda _, one: final_answer(said(one), loose=found.loose) is not None))
    return [one for one in made if one is not None]


def best_of(
    found: Rules, new: Pairs, of: int, score: Callable[[Pairs], torch.Tensor] | None, reward: str
) -> list[Figure]:
    """How often the best of k answers by a reward model passes, for several k; nothing where there is no such model."""
    if score is None:
        return []
    passed = torch.tensor([found.passes(*pair) for pair in new], dtype=torch.float64).reshape(-1, of)
    proxy = score(new).double().cpu().reshape(-1, of)
    values = curve(proxy, passed, tries(of))
    return [
        Figure(
            name=f"passes, best of {k} by {reward}",
            interval=share(value.clamp(0, 1).numpy()),
            reference=float(passed.mean()),
            note=f"of {of} answers to each prompt, any {k}; held against one answer taken blindly",
        )
        for k, value in zip(tries(of), values, strict=True)
    ]


def by_round(project: Project, found: Rules, rounds: Sequence[Round], prompts: Sequence[Prompt]) -> list[Figure]:
    """pass@1 after each round but the last, which the ledger has; nothing with one round."""
    of, figures = project.recipe.judging.answers, []
    for done in rounds[:-1]:
        pairs = answers(project, done.policy.name, prompts, of)
        asked = [prompt.id for prompt, _ in pairs]
        interval = share([found.passes(*pair) for pair in pairs], asked)
        figures.append(Figure(name=f"pass@1 after round {done.number}", interval=interval))
    return figures


class Moved(NamedTuple):
    """A line of the ledger that has both sides."""

    verdict: str
    before: Interval
    after: Interval
    change: Interval

    @property
    def points(self) -> str:
        """The change in points with its ends."""
        low, high = (100 * end for end in (self.change.low, self.change.high))
        return f"{signed(self.change)} points [{low:.1f}, {high:.1f}]".replace("-", "\N{MINUS SIGN}")


def moved(table: Ledger, k: int) -> Moved:
    """What became of pass@k. Raises ValueError when the ledger does not have it on both sides."""
    line = table.line(f"pass@{k}")
    if line is None or line.before is None or line.change is None:
        raise ValueError(f"the ledger has no pass@{k} before and after; it has {[one.name for one in table.lines]}")
    return Moved(line.verdict, line.before, line.after, line.change)


def paired(rate: WinRate, table: Ledger) -> WinRate:
    """The win rate with the interval of the change of pass@1, so that both say the same.

    Of answers that pass or do not, the win rate is 1/2 + change / 2 for each prompt, ties half. Its own interval knows
    only each prompt's win or loss, and is wider than what is known of the same figure.
    """
    found = moved(table, 1).change
    low, high = (min(1.0, max(0.0, (1 + end) / 2)) for end in (found.low, found.high))
    return rate.model_copy(update={"rate": Interval(rate.rate.estimate, low, high, found.level, found.n)})


def findings(table: Ledger, before: str, after: str, of: int) -> list[Finding]:
    """Whether anything was learned; if not, whether the start is why; and what the gain in single answers cost."""
    once, tried, found = moved(table, 1), moved(table, of), list[Finding]()
    better, hopeless = once.verdict == "better", tried.before.estimate < HOPELESS
    if hopeless:
        found.append(
            Finding(
                stage=before, check="something to learn from", level="watch" if better else "fault",
                text=f"In {of} tries the start passes {percent(tried.before.estimate)} of the unseen prompts: where no "
                "answer passes, all earn the same, and nothing can be learned.",
                value=tried.before.estimate, threshold=HOPELESS,
                remedy="A stronger start (a pretrained model.name, longer fine-tuning), easier prompts, or a rule that "
                "pays for a part of the way.",
            )
        )  # fmt: skip
    full = once.verdict == "same" and once.before.estimate >= PERFECT
    level, said_of, remedy = {
        "better": ("ok", "it learned", ""),
        "worse": ("fault", "it got worse", "A smaller learning rate, a higher price of drift; see what answers earn."),
    }.get(once.verdict, ("fault", "nothing was learned that can be seen", "More iterations, a larger learning rate, or "
                         "more test prompts."))  # fmt: skip
    if full:
        level, said_of, remedy = "watch", "there was little left to learn", "Harder prompts."
    elif hopeless and remedy:
        remedy = "Mend the start first."
    text = f"Answers to unseen prompts that pass went from {percent(once.before.estimate)} to "
    text += f"{percent(once.after.estimate)} ({once.points}): {said_of}."
    value = once.change.estimate
    found.append(
        Finding(stage=after, check="passing answers", level=cast(Level, level), text=text, value=value, threshold=0.0,
                remedy=remedy)
    )  # fmt: skip
    if of > 1 and tried.verdict == "worse":
        found.append(
            Finding(
                stage=after, check="passes in several tries", level="watch",
                text=f"In {of} tries it passes fewer prompts than the start ({tried.points}): its answers became more "
                "alike.", value=abs(tried.change.estimate), threshold=0.0,
                remedy="A higher price of drift or an entropy bonus, or stop earlier.",
            )
        )  # fmt: skip
    return found


def verdict(found: Rules, table: Ledger, before: str, of: int) -> str:
    """What to believe, in a sentence or two for the head of the report."""
    once, tried = moved(table, 1), moved(table, of)
    begun = {
        "better": "The policy learned",
        "worse": "The policy got worse",
    }.get(once.verdict, "Nothing was learned that can be told from chance")
    text = f"{begun}: judged by {found.judge}, {percent(once.after.estimate)} of its answers to unseen prompts pass "
    text += f"({shown(once.after)}), {percent(once.before.estimate)} ({shown(once.before)}) of those of {before}; "
    text += f"change {once.points}."
    if of > 1:
        text += f" In {of} tries {percent(tried.after.estimate)} of the prompts are passed, "
        text += f"{percent(tried.before.estimate)} before."
    return text


class Told(NamedTuple):
    """What rules add to a report; nothing but the ledger where they do not judge."""

    table: Ledger
    figures: tuple[Figure, ...] = ()
    findings: tuple[Finding, ...] = ()
    text: str = ""


def told(
    project: Project,
    found: Rules | None,
    before: Version,
    rounds: Sequence[Round],
    sides: tuple[Pairs, Pairs],
    score: Callable[[Pairs], torch.Tensor] | None,
    table: Ledger,
) -> Told:
    """The ledger with what the rules say above it, their figures, findings and verdict.

    sides: `judging.answers` answers to each prompt of the policy before all rounds, and of the one after them.
    """
    if found is None:
        return Told(table)
    of, last = project.recipe.judging.answers, rounds[-1]
    table = ledger([*lines(found, *sides, of), *table.lines])
    prompts = list({prompt.id: prompt for prompt, _ in sides[0]}.values())
    figures = by_round(project, found, rounds, prompts)
    figures += best_of(found, sides[1], of, score, last.reward.name if last.reward else "")
    said_of = findings(table, before.name, last.policy.name, of)
    return Told(table, tuple(figures), tuple(said_of), verdict(found, table, before.name, of))


LIMITS = (
    "Only what the rules look at is judged: a right final answer may stand behind a wrong way, and what reads badly "
    "may pass.",
    "Answers are drawn as the recipe's `draw` says; the likeliest answer alone would give another pass@1.",
    "One seed and one split by prompt. The intervals cover the choice of prompts, not of seeds.",
)
"""What a circle that is judged by rules cannot show."""
