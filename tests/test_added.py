"""What a form added is the accuracy with it less that without it; and its name may be anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accord.added import outcome, what_each_added
from accord.algorithms.reward_heads import Config
from accord.judged import Judged, Kind
from accord.records import PLAIN_NAME, Version
from tests.algorithms.said import Taste, answers, judged, pairs, worth


def test_each_kind_is_left_out_once_and_hostile_names_stay_names() -> None:
    segment = answers(12, 2, seed=1)
    value = worth(segment)
    wild = Kind("flag", "../../etc/x \u202e")
    said = [*pairs(segment, value), *((wild, [(row, float(value[row] > 0))]) for row in range(24))]
    held = judged(answers(20, 2, seed=2), pairs(answers(20, 2, seed=2), worth(answers(20, 2, seed=2))))
    models: dict[str, Taste] = {}

    def fresh(run: str, told: Judged) -> Taste:
        models[run] = Taste(seed=len(models) + 1)
        return models[run]

    whole = Taste(seed=0)
    found = what_each_added(Config(), fresh, judged(segment, said), held, whole)  # type: ignore[arg-type]
    (name,) = models
    assert re.match(PLAIN_NAME, name)
    assert "/" not in name

    def right(model: Taste) -> float:
        score = model.score(held.segment)
        better, worse, _, _ = held.ordered()
        return float((score[better] > score[worse]).float().mean())

    form = next(key for key in found if key.count("/") == 1)
    assert form.startswith("added/flag.")
    assert found[form] == pytest.approx(right(whole) - right(models[name]), abs=1e-6)
    assert found[f"{form}/low"] <= found[form] <= found[f"{form}/high"]
    assert found[f"{form}/prompts"] == 20


def test_what_was_added_is_told_when_the_stage_is_over(tmp_path: Path) -> None:
    """Whoever taught heads by themselves has no report of a circle: there the terminal is where it stands."""
    said = {
        "added/flag.calm": 0.04,
        "added/flag.calm/low": -0.01,
        "added/flag.calm/high": 0.09,
        "added/flag.calm/prompts": 20.0,
    }
    made = Version(name="worth", role="reward", method="reward_heads", figures={"loss": 0.5, **said})

    class Place:
        version = staticmethod(lambda name: made if name == "worth" else None)
        path = staticmethod(lambda name: tmp_path / name)

    assert outcome(Place(), made).splitlines() == [  # type: ignore[arg-type]
        "worth: loss 0.5",
        "accuracy that flag.calm added to worth: 0.040 [-0.010, 0.090] (95 %, n=20)",
        str(tmp_path / "worth"),
    ]
