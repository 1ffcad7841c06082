"""Which stage is at fault, in plain words: every check has a number, a threshold and a way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from accord.evaluate.checks import CHECKS, Method
from accord.evaluate.findings import Figures, Finding, Rows, Thresholds

__all__ = ["Figures", "Finding", "Thresholds", "diagnose", "first_fault", "method_of"]


def diagnose(
    logs: Mapping[str, Rows], figures: Figures | None = None, thresholds: Thresholds | None = None
) -> list[Finding]:
    """Findings of all stages, in the order of the logs. logs: stage name -> rows of its log.jsonl.

    What kind of stage it is shows in the figures that it logged. Checks whose numbers are missing are left out.
    """
    known, limits = figures or Figures(), thresholds or Thresholds()
    found: list[Finding] = []
    for stage, rows in logs.items():
        method = method_of(stage, rows)
        for check in CHECKS.get(method, ()) if method else ():
            found.extend(check(stage, rows, known, limits))
    return found


def method_of(stage: str, rows: Rows) -> Method | None:
    """What a stage did, from what it logged; pretraining and fine-tuning differ in name alone."""
    names = {name for row in rows for name in row}
    if "clip_fraction" in names:
        return "ppo"
    if names & {"better", "better_change", "best_reward"}:
        return None  # a policy from pairs, from verdicts or from the best of n: no check of another kind fits it
    if "accuracy" in names:
        return "reward_model"
    if "loss" in names:
        return "pretrain" if "pretrain" in stage.lower() else "sft"
    return None


def first_fault(findings: Sequence[Finding]) -> Finding | None:
    """Where to begin: the earliest stage with a fault, for what comes after stands on it."""
    return next((f for f in findings if f.level == "fault"), None)
