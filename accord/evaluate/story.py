"""What a report tells: frozen records of everything that it shows, and the plain summary of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, JsonValue

from accord.evaluate.findings import Finding
from accord.evaluate.ledger import Ledger
from accord.evaluate.reward import RewardCard
from accord.evaluate.winrate import WinRate
from accord.records import Record
from accord.statistics import Interval


class Stage(Record):
    """One thing that was done, with what it logged."""

    name: str
    """Unique within the story; findings name stages by it."""
    method: str = ""
    """pretrain, sft, collect, answer, reward_model, ppo, judge, or another word."""
    text: str = ""
    """What it did, in one sentence."""
    seconds: float = 0.0
    """How long it took."""
    log: tuple[dict[str, float | None], ...] = ()
    """Rows of its log.jsonl."""
    command: str = ""
    """What does it again."""


class Judged(Record):
    """A question that was asked, and what was answered."""

    prompt: str
    """The prompt, as text."""
    answers: tuple[str, ...]
    """What was shown, in the order shown."""
    said: str
    """What the annotator said of them."""
    who: str = ""
    """The annotator's pseudonym."""
    better: int | None = None
    """Which answer was found better, counted from 0."""


class Side(Record):
    """One prompt with the answer before and the answer after."""

    prompt: str
    """The prompt, as text."""
    before: str
    """Answer of the policy that we started from."""
    after: str
    """Answer of the policy that we ended with."""
    family: str = ""
    """Family or tag of the prompt."""
    before_score: float | None = None
    """Gold or judge's score, if there is one."""
    after_score: float | None = None
    """The same of the new answer."""
    note: str = ""
    """What else should be known, as `cut at 32 tokens`."""


class Figure(Record):
    """A number with its interval, and the command that makes it again."""

    name: str
    """What it is."""
    interval: Interval
    """The number and how sure we are."""
    kind: Literal["share", "mean"] = "share"
    """A share is shown in per cent."""
    reference: float | None = None
    """What to hold it against: chance, or the value before."""
    note: str = ""
    """On what it was measured."""
    command: str = ""
    """What makes it again."""


class Lineage(Record):
    """Who taught one version."""

    version: str
    """Name of the version."""
    role: str
    """policy, reward, ..."""
    method: str = ""
    """What made it."""
    parent: str = ""
    """Name of the version it started from."""
    people: int = 0
    """Annotators whose answers it learned from."""
    feedback: int = 0
    """Their answers."""
    beliefs: int = 0
    """Preferences and demonstrations made of them."""
    prompts: int = 0
    """Prompts that these are about."""


class Story(Record):
    """Everything that a report shows. All texts are untrusted and come out escaped."""

    title: str = "What the policy learned"
    """The headline."""
    text: str = ""
    """A paragraph below it."""
    seed: int = 0
    """What fixes the run."""
    seconds: float = 0.0
    """From beginning to end."""
    made: str = ""
    """Date, version, machine: whatever should stand in the last line. Empty keeps equal runs equal byte by byte."""
    command: str = ""
    """What makes all of it again."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """All settings, nested as they are."""
    stages: tuple[Stage, ...] = ()
    """What was done, in order."""
    questions: tuple[Judged, ...] = ()
    """Some of what was asked."""
    question_rule: str = ""
    """By which rule those were chosen."""
    sides: tuple[Side, ...] = ()
    """Answers before and after."""
    side_rule: str = ""
    """By which rule those prompts were chosen; without a rule they are not shown."""
    figures: tuple[Figure, ...] = ()
    """Main figures."""
    win_rate: WinRate | None = None
    """New policy against old, by gold or by fresh judges."""
    judge: str = "gold"
    """Who judged that: `gold` in the lab, else a judge's name."""
    kl: Interval | None = None
    """Nats per answer between new and old policy."""
    cards: dict[str, RewardCard] = Field(default_factory=dict)
    """Reward models by name; the last one is that of the policy."""
    ledger: Ledger | None = None
    """Before and after; the lines `unsafe compliance`, `over-refusal` and `correctness` go to the summary."""
    findings: tuple[Finding, ...] = ()
    """The diagnosis."""
    lineage: tuple[Lineage, ...] = ()
    """Who taught which version."""
    limits: tuple[str, ...] = ()
    """What this run cannot show."""
    next: tuple[str, ...] = ()
    """What to try next."""


def summary(story: Story) -> dict[str, Any]:
    """The story's numbers as plain JSON, for `summary.json`. What was not measured is None.

    `policy.gold_win_rate` is there only when gold judged; `policy.win_rate` is there whoever judged.
    """
    card = list(story.cards.values())[-1] if story.cards else None
    won = story.win_rate.rate if story.win_rate else None
    gold = won if story.judge == "gold" else None
    return {
        "seconds": round(story.seconds, 1),
        "seed": story.seed,
        "reward_model": {
            "accuracy": _number(card.accuracy.estimate) if card else None,
            "interval": _ends(card.accuracy) if card else None,
            "ceiling": _number(card.ceiling.estimate) if card and card.ceiling else None,
            "length_accuracy": _number(card.length_accuracy.estimate) if card else None,
            "pairs": card.pairs if card else None,
            "ece": _number(card.calibration.ece) if card else None,
        },
        "policy": {
            "gold_win_rate": _number(gold.estimate) if gold else None,
            "win_rate": _number(won.estimate) if won else None,
            "judge": story.judge,
            "interval": _ends(won) if won else None,
            "unsafe_compliance": _around(story.ledger, "unsafe compliance"),
            "over_refusal": _around(story.ledger, "over-refusal"),
            "correctness": _around(story.ledger, "correctness"),
            "kl": _number(story.kl.estimate) if story.kl else None,
        },
        **passed(story.ledger),
        "figures": {f.name: {"estimate": _number(f.interval.estimate), "interval": _ends(f.interval)}
                    for f in story.figures},
        "worse": [line.name for line in story.ledger.worse()] if story.ledger else [],
        "faults": [{"stage": f.stage, "text": f.text} for f in story.findings if f.level == "fault"],
        "stages": {stage.name: round(stage.seconds, 1) for stage in story.stages},
    }  # fmt: skip


def passed(ledger: Ledger | None) -> dict[str, Any]:
    """What rules say of answers before and after, with the interval of the change; nothing where no rules judged."""
    found = {
        line.name: {**_around(ledger, line.name), "change": _ends(line.change) if line.change else None}
        for line in (ledger.lines if ledger and ledger.line("pass@1") else ())
        if line.name.startswith("pass@") or line.name == "final answer given"
    }
    return {"rules": found} if found else {}


def _around(ledger: Ledger | None, name: str) -> dict[str, float | None]:
    """Before and after of one line."""
    line = ledger.line(name) if ledger else None
    before: Mapping[str, float | None] = {"before": _number(line.before.estimate) if line and line.before else None}
    return {**before, "after": _number(line.after.estimate) if line else None}


def _ends(interval: Interval) -> list[float | None]:
    """Both ends as JSON can take them."""
    return [_number(interval.low), _number(interval.high)]


def _number(value: float) -> float | None:
    """Rounded so that it can be read; None where it is no number."""
    return round(float(value), 6) if math.isfinite(value) else None
