"""A proof as one small HTML page: what was asked, tables with intervals, charts, and the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accord.statistics import Interval


@dataclass(frozen=True)
class Table:
    """Columns and rows of plain text."""

    columns: Sequence[str]
    """Names."""
    rows: Sequence[Sequence[str]]
    """Cells, as many as columns."""

    def markdown(self) -> str:
        """The same in Markdown; a bar inside a cell would end it."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


@dataclass(frozen=True)
class Part:
    """One section of a page."""

    heading: str
    """What it is about."""
    text: str = ""
    """What to look at."""
    table: Table | None = None
    """Its figures."""
    charts: Sequence[str] = ()
    """SVG elements from `charts`, taken as they are."""


def render(title: str, lead: str, parts: Sequence[Part], command: str) -> str:
    """The page as text, with the report's style; every text but the charts comes out escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    room = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    drawn = [[Markup(svg) for svg in part.charts if svg] for part in parts]
    return room.get_template("page.html").render(
        title=title, lead=lead, parts=list(zip(parts, drawn, strict=True)), command=command
    )


def shown(found: Interval, digits: int = 3) -> str:
    """`estimate [low, high]`; a figure without an interval stands alone, and what is infinite is called none."""

    def number(value: float) -> str:
        return "none" if value == float("inf") else f"{value:.{digits}f}"

    if found.low != found.low or (found.low == -float("inf") and found.high == float("inf")):
        return number(found.estimate)
    return f"{number(found.estimate)} [{number(found.low)}, {number(found.high)}]"
