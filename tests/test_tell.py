"""The story: how long it took, also when it was killed on the way."""

from __future__ import annotations

import pytest

from accord.evaluate.findings import Finding
from accord.loop import Round
from accord.records import Version
from accord.tell import _length, _spending, _spent, by_stage, proxy


def test_the_first_fault_is_that_of_the_first_stage() -> None:
    said = [("ppo", "clip"), ("worth", "chance"), ("elsewhere", "x"), ("sft", "spelling"), ("ppo", "z")]
    found = [Finding(stage=stage, check=check, level="fault", text="t", value=0, threshold=0) for stage, check in said]
    told = [(one.stage, one.check) for one in by_stage(found, ["pretrained", "sft", "worth", "ppo"])]
    assert told == [("sft", "spelling"), ("worth", "chance"), ("ppo", "clip"), ("ppo", "z"), ("elsewhere", "x")]


def test_a_judge_that_was_no_reward_is_not_called_one() -> None:
    def made(name: str, *data: str) -> Version:
        role = "reward" if name == "worth" else "policy"
        return Version(id=name, name=name, role=role, method="m", data=data, weights=f"versions/{name}")

    worth = made("worth", "belief")
    said = [proxy(Round(1, made("better", *data), worth, [], [], [])) for data in (("prompt", "worth"), ("belief",))]
    assert "worth (the proxy that was optimised, not people)" in said[0]
    assert "worth (which learned from the same pairs as the policy, not people)" in said[1]


def test_a_night_between_two_lines_is_not_work() -> None:
    rows = [
        {"step": 0.0, "time": 100.0, "seconds/update": 2.0, "seconds/wait": 0.5, "loss": 7.0},
        {"step": 1.0, "time": 40000.0, "seconds/update": 3.0, "seconds/generate": None},
    ]
    assert _length(rows) == pytest.approx(5.5)
    whole = {"step": 2.0, "time": 40010.0, "seconds/update": 3.0, "seconds/other": 1.5, "seconds/step": 4.5}
    assert _length([*rows, whole]) == pytest.approx(10.0)


def test_work_before_this_process_counts_once() -> None:
    first = tuple({"time": 10.0 * i, "seconds/update": 4.0} for i in range(5))
    second = ({"time": 90.0, "seconds/update": 6.0},)
    logs = {"sft": first, "ppo": second}
    assert _spent(logs) == pytest.approx(26.0)
    assert _spent(logs, until=25.0) == pytest.approx(12.0)
    assert _spent(logs, until=0.0) == 0.0


def test_a_stage_tells_where_its_time_went_and_how_well_the_machine_was_used() -> None:
    row = {"seconds/update": 6.0, "seconds/generate": 3.98, "seconds/save": 0.02, "seconds/step": 10.0, "time": 1.0}
    used = {
        "speed/gflops": 50.0,
        "speed/machine_share": 0.4,
        "speed/tokens_per_second": 1234.0,
        "memory/peak_mb": 870.0,
    }
    told = _spending([row | used, row | used | {"memory/peak_mb": 900.0, "speed/machine_share": 0.6}])
    assert told == (
        "Time: update 60%, generate 40%. 1,234 tokens a second; 50% of the machine's rate of matrix products; "
        "900 MB at most."
    )
    assert _spending([{"time": 1.0, "loss": 2.0}]) == ""
