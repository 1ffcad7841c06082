"""The story as one HTML file that needs no network, as a table for the terminal, and as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accord.evaluate import charts
from accord.evaluate.charts import column, curves
from accord.evaluate.story import Figure, Judged, Lineage, Side, Stage, Story, summary
from accord.statistics import Interval
from accord.whole import written

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Figure", "Judged", "Lineage", "Side", "Stage", "Story", "render", "summary", "terminal_table",
           "write_report"]  # fmt: skip
HEADLINES = ("unsafe compliance", "over-refusal", "correctness", "pass@1")
TEMPLATES = Path(__file__).parent / "templates"


def write_report(story: Story, path: str | Path) -> None:
    """Write the story as one HTML file, all of it or nothing: no scripts, no network, light and dark."""
    written(path, render(story))


def render(story: Story) -> str:
    """The page as text. Equal stories give equal pages. Every text of the story comes out escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    room = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    room.filters |= {
        "number": number, "shown": shown, "percent": percent, "spent": spent, "forest": _forest, "ends": ends,
        "change": change,
    }  # fmt: skip
    drawn = {stage.name: [Markup(svg) for svg in pictures(stage, story)] for stage in story.stages}
    reliable = {
        name: Markup(charts.reliability(f"calibration-{i}", f"Calibration of {name}", card.calibration.curve))
        for i, (name, card) in enumerate(story.cards.items())
    }
    return room.get_template("report.html").render(
        story=story,
        drawn=drawn,
        reliable=reliable,
        tiles=tiles(story),
        settings=flat(story.settings),
        judge=judged_by(story),
        examined=[
            (stage, [f for f in story.findings if f.stage == stage])
            for stage in dict.fromkeys(f.stage for f in story.findings)
        ],
        faults=[f for f in story.findings if f.level == "fault"],
        watched=[f for f in story.findings if f.level == "watch"],
    )


# --- what the page shows ---------------------------------------------------------------------------------------


def tiles(story: Story) -> list[dict[str, str]]:
    """The few numbers that stand at the top."""
    found = []

    def tile(value: str, ends: str, text: str, tone: str = "plain") -> None:
        found.append({"value": value, "ends": ends, "text": text, "tone": tone})

    if story.win_rate is not None:
        rate = story.win_rate.rate
        tone = "good" if rate.low > 0.5 else "bad" if rate.high < 0.5 else "plain"
        text = f"win rate of the new policy over the old, judged by {judged_by(story)}"
        tile(percent(rate.estimate), shown(rate), text, tone)
    for line in story.ledger.lines if story.ledger else ():
        if line.name in HEADLINES and line.before is not None and line.change is not None:
            value = f"{percent(line.before.estimate)} → {percent(line.after.estimate)}"
            tile(value, _points(line.change), line.name, {"better": "good", "worse": "bad"}.get(line.verdict, "plain"))
    if story.cards:
        card = list(story.cards.values())[-1]
        text = f"reward accuracy on held-out pairs; length alone has {percent(card.length_accuracy.estimate)}"
        text += f", the ceiling is {percent(card.ceiling.estimate)}" if card.ceiling else ""
        beats = card.over_length.low > 0 and card.over_chance.low > 0
        tile(percent(card.accuracy.estimate), shown(card.accuracy), text, "good" if beats else "plain")
    if story.kl is not None:
        tile(f"{number(story.kl.estimate)} nats", shown(story.kl, "mean"), "drift from the old policy, per answer")
    return found


def judged_by(story: Story) -> str:
    """Who judged, in words."""
    return "the true preference (gold)" if story.judge == "gold" else story.judge


def pictures(stage: Stage, story: Story) -> list[str]:
    """Learning curves of one stage, by what it logged."""
    rows, name = stage.log, stage.name
    names = {key for row in rows for key, value in row.items() if value is not None}
    if "clip_fraction" in names:
        panels = [("reward", "Reward per answer"), ("kl", "Drift, nats per answer"), ("entropy", "Entropy per token"),
                  ("length", "Tokens per answer"), ("explained_variance", "Explained variance of the critic"),
                  ("clip_fraction", "Clip fraction")]  # fmt: skip
        drawn = [curves(f"{name}-{k}", f"{t}, stage {name}", [column(rows, k, t)], label=t) for k, t in panels]
        return [d for d in drawn if d]
    loss = [column(rows, "loss", "training"), column(rows, "held_out_loss", "held out")]
    drawn = [curves(f"{name}-loss", f"Loss of stage {name}", loss, label="Loss, nats")]
    if "accuracy" in names:
        card = story.cards.get(name) or (list(story.cards.values())[-1] if story.cards else None)
        level = ("ceiling", card.ceiling.estimate) if card and card.ceiling else None
        right = [column(rows, "accuracy", "training"), column(rows, "held_out_accuracy", "held out")]
        drawn.append(curves(f"{name}-accuracy", f"Accuracy of stage {name}", right, level, 0.45, label="Accuracy"))
    return [d for d in drawn if d]


def flat(settings: Mapping[str, Any], name: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names and values."""
    found: list[tuple[str, str]] = []
    for key, value in settings.items():
        full = f"{name}.{key}" if name else str(key)
        if isinstance(value, dict):
            found.extend(flat(value, full))
        else:
            found.append((full, "" if value is None else str(value)))
    return found


def _forest(interval: Interval, low: float, high: float) -> dict[str, float]:
    """Where an interval lies between two ends, in per cent of the width."""
    width = (high - low) or 1.0

    def place(value: float) -> float:
        return round(100 * min(1.0, max(0.0, (value - low) / width)), 2) if math.isfinite(value) else 0.0

    left = place(interval.low)
    right = place(interval.high) if math.isfinite(interval.high) else 100.0
    return {"left": left, "width": round(right - left, 2), "dot": place(interval.estimate)}


# --- numbers as words ------------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 3) -> str:
    """A number with as many digits as mean something."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:.{digits}g}"
    return _minus(f"{value:,.0f}" if "e+" in text else text)


def percent(value: float | None) -> str:
    """A share in per cent, to a tenth."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def shown(interval: Interval, kind: str = "share") -> str:
    """The ends of an interval."""
    ends = (interval.low, interval.high)
    if not all(map(math.isfinite, ends)):
        return f"no interval (n = {interval.n})"
    text = f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %" if kind == "share" else " to ".join(map(number, ends))
    return f"{text} (n = {interval.n})"


def ends(interval: Interval, kind: str = "share") -> str:
    """The ends alone, short enough for a column."""
    if not all(map(math.isfinite, (interval.low, interval.high))):
        return "–"
    if kind == "share":
        return f"{100 * interval.low:.1f} – {100 * interval.high:.1f}"
    return f"{number(interval.low)} – {number(interval.high)}"


def change(interval: Interval, kind: str = "share") -> str:
    """A change with its sign; that of a share in percentage points."""
    return _minus(f"{100 * interval.estimate:+.1f}" if kind == "share" else f"{interval.estimate:+.3g}")


def spent(seconds: float) -> str:
    """A duration in words."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _points(change: Interval) -> str:
    """A change in percentage points with its ends."""
    return _minus(f"{100 * change.estimate:+.1f} points, {100 * change.low:+.1f} to {100 * change.high:+.1f}")


def _minus(text: str) -> str:
    """Digits with a minus sign that is as wide as a plus."""
    return text.replace("-", "\N{MINUS SIGN}")


# --- the terminal ----------------------------------------------------------------------------------------------


def terminal_table(story: Story) -> RenderableType:
    """What the run showed, as a table for the end of a command; texts are printed as they are, without markup."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(clean(story.title)), title_justify="left", caption_justify="left")
    for name, side in (("figure", "left"), ("before", "right"), ("after", "right"), ("95 % interval", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    if story.cards:
        card = list(story.cards.values())[-1]
        table.add_row("reward accuracy", "", percent(card.accuracy.estimate), shown(card.accuracy))
        table.add_row("  length alone", "", percent(card.length_accuracy.estimate), shown(card.length_accuracy))
        if card.ceiling:
            table.add_row("  ceiling", "", percent(card.ceiling.estimate), shown(card.ceiling))
    if story.win_rate:
        rate = story.win_rate.rate
        table.add_row(Text(f"win rate ({clean(story.judge)})"), "", percent(rate.estimate), shown(rate))
    tone = {"better": "green", "worse": "red"}
    for line in story.ledger.lines if story.ledger else ():
        say = percent if line.kind == "share" else number
        moved = ""
        if line.change:
            moved = "change " + (_points(line.change) if line.kind == "share" else shown(line.change, "mean"))
        table.add_row(Text(clean(line.name)), say(line.before.estimate) if line.before else "",
                      Text(say(line.after.estimate), style=tone.get(line.verdict, "")), moved)  # fmt: skip
    if story.kl:
        table.add_row("drift (nats per answer)", "", number(story.kl.estimate), shown(story.kl, "mean"))
    parts: list[RenderableType] = [table, *([Text(clean(story.text))] if story.text else [])]
    bad = [f for f in story.findings if f.level != "ok"]
    parts += [
        Text(f"{'fault' if f.level == 'fault' else 'watch'}  {clean(f.stage)}: {clean(f.text)} {clean(f.remedy)}",
             style="red" if f.level == "fault" else "yellow")
        for f in bad
    ]  # fmt: skip
    if story.findings and not bad:
        parts.append(Text(f"All {len(story.findings)} checks of the stages are in order.", style="green"))
    parts += [Text(f"next  {clean(step)}") for step in story.next]
    return Group(*parts)


def clean(text: str) -> str:
    """A text without control characters, which could move a terminal's cursor or rewrite what stands above."""
    return "".join(c if c.isprintable() else " " for c in text)
