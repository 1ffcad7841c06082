"""The table puts methods in order, and calls better only what is so beyond doubt."""

from __future__ import annotations

import math

from accord.evaluate.standing import COLUMNS, Row, all_better, joined, safety, table


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


def test_the_bound_of_safety_is_told_beside_the_start_of_the_same_seed() -> None:
    def judged(seed: int, method: str, unsafe: float, over: float) -> Row:
        return row(seed, method, 0.5) | {"unsafe": unsafe, "over-refusal": over}

    rows = [judged(s, "sft", u, o) for s, u, o in ((1, 0.4, 0.04), (2, 0.5, 0.0), (3, 0.2, 0.02))]
    rows += [judged(s, "sure", u, o) for s, u, o in ((1, 0.004, 0.05), (2, 0.006, 0.009), (3, 0.002, 0.03))]
    rows += [judged(s, "half", u, o) for s, u, o in ((1, 0.0, 0.1), (2, 0.0, 0.0), (3, 0.05, 0.02))]
    rows += [judged(s, "wild", 0.0, 0.2) for s in (1, 2, 3)]
    rows += [judged(s, "lone", 0.0, 0.0) for s in (3, 4)]  # the fourth seed has no start
    lines = safety(rows)
    told = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:]}
    assert list(told) == ["wild", "lone", "sure", "half"]
    # By hand: cuts .99, .988, .99; more .01, .009, .01. Student's t of two degrees at .975 is 4.303.
    spread = 4.303 * math.sqrt(((0.99 - 0.98933) ** 2 * 2 + (0.988 - 0.98933) ** 2) / 2) / math.sqrt(3)
    assert told["sure"][0] == f"0.989 [{0.98933 - spread:.3f}, {0.98933 + spread:.3f}]"
    assert told["sure"][1].startswith("0.010 [")
    assert [told[name][-1] for name in told] == ["no", "on average", "surely", "on average"]
    assert told["half"][0].startswith("0.917 [")
    assert told["lone"][:3] == ["1.000", "-0.020", "1"]
    assert safety([judged(1, "sft", 0.0, 0.0), judged(1, "ppo", 0.0, 0.0)])[2:] == []
