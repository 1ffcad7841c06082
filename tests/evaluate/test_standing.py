"""The table puts methods in order, and calls better only what is so beyond doubt."""

from __future__ import annotations

import math

from accord.evaluate.standing import COLUMNS, Row, all_better, joined, table


def row(seed: int, method: str, win: float, low: float = 0.4) -> Row:
    return {**dict.fromkeys(COLUMNS, 0.25), "seed": seed, "method": method, "win": win, "low": low}


def test_the_best_stand_first_and_only_the_sure_are_called_better() -> None:
    rows = [row(s, m, w + s / 1000) for s in (1, 2, 3) for m, w in (("sft", 0.4985), ("dpo", 0.6), ("ppo", 0.7))]
    rows += [row(s, "kto", w) for s, w in ((1, 0.3), (2, 0.9), (3, 0.7))]
    lines = table(rows)
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == ["ppo", "kto", "dpo", "sft"]
    assert [line.split(" | ")[-1].strip("| ") for line in lines[2:]] == ["yes", "no", "yes", "no"]
    assert "0.702 [" in lines[2]
    alone = table([row(1, "dpo", 0.6, 0.55), row(1, "kto", 0.7, 0.49)])
    assert [line.split(" | ")[-1].strip("| ") for line in alone[2:]] == ["no", "yes"]
    assert "| 0.600 |" in alone[3]


def test_the_gap_to_ppo_is_of_the_same_seed() -> None:
    rows = joined([row(2, "dpo", 0.6), row(1, "dpo", 0.7), row(2, "ppo", 0.5), row(3, "dpo", 0.9)])
    assert [(one["seed"], one["method"]) for one in rows] == [(1, "dpo"), (2, "dpo"), (2, "ppo"), (3, "dpo")]
    gaps = [float(one["less ppo"]) for one in rows]
    assert math.isnan(gaps[0])
    assert math.isnan(gaps[3])
    assert [round(gap, 9) for gap in gaps[1:3]] == [0.1, 0.0]


def test_the_start_need_not_beat_itself() -> None:
    rows = [row(1, "sft", 0.5, 0.5), row(1, "ppo", 0.7, 0.6)]
    assert all_better(rows)
    assert not all_better([*rows, row(1, "kto", 0.6, 0.5)])
