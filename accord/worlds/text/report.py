"""What the encoder had to leave out or cut, and why."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field

KEPT = 1000


@dataclass
class Report:
    """A running account; the encoder adds to it, the caller reads it and may `clear` it between batches."""

    rows: int = 0
    """Rows encoded, good and bad."""
    cut_prompts: int = 0
    """Prompts that lost their oldest part."""
    cut_answers: int = 0
    """Answers that lost their end, and with it their end-of-text."""
    bad: Counter[str] = field(default_factory=Counter)
    """How many rows were left out, by reason without names."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(row name, reason) of the first thousand."""

    def add(self, row: str, fault: str) -> str:
        """Take a row down as bad; return the line that says so."""
        self.bad[fault.split(":")[0] if fault.startswith("equal") else fault] += 1
        if len(self.problems) < KEPT:
            self.problems.append((row, fault))
        return f"{row}: {fault}"

    def clear(self) -> None:
        """Start a new account."""
        self.rows = self.cut_prompts = self.cut_answers = 0
        self.bad.clear()
        self.problems.clear()

    def figures(self) -> dict[str, float]:
        """What a version keeps of it: rows read, and how many lost their beginning, lost their end or were left out."""
        return {
            "rows_encoded": self.rows,
            "prompts_cut": self.cut_prompts,
            "answers_cut": self.cut_answers,
            "rows_left_out": sum(self.bad.values()),
        }

    def warn(self, stage: str) -> None:
        """Warn of rows that were left out; those that were only cut stand in the version's figures."""
        if self.bad:
            warnings.warn(f"{stage}: {self!s}", stacklevel=2)

    def __str__(self) -> str:
        """A few plain lines; empty when there is nothing to tell."""
        lines = []
        if self.cut_prompts:
            lines.append(f"{self.cut_prompts} prompts lost their oldest part")
        if self.cut_answers:
            lines.append(f"{self.cut_answers} answers lost their end")
        if self.bad:
            lines.append(f"{sum(self.bad.values())} rows were left out, as in:")
            lines += [f"  {row}: {fault}" for row, fault in self.problems[:5]]
        return "\n".join(lines)
