"""The contest judges every method by the same yardstick, and says who beat fine-tuning beyond doubt."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.algorithms import grpo, kto, reward_model, sft
from accord.contest import COLUMNS, DRAWN, best_of, prove_methods, table
from accord.judge import ANSWERS
from accord.project import Project
from accord.recipe import recipe
from tests.flow.circle import TINY

SMALL: dict[str, Any] = {
    **{key: value for key, value in TINY.items() if key != "name"},
    "data": {key: value for key, value in TINY["data"].items() if key != "lab"},  # type: ignore[attr-defined]
    "grpo": grpo.Config(iterations=2, minibatches=2).model_dump(mode="json"),
}


def row(seed: int, method: str, win: float, low: float = 0.4) -> dict[str, float | str]:
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


def test_a_small_contest_is_run_from_one_start_and_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    assert prove_methods(1, tmp_path, said.append, SMALL, ("rloo", "kto")) == 1  # a model of noise beats nobody
    rows = json.loads((tmp_path / "methods.json").read_text())
    assert [one["method"] for one in rows] == ["sft", "rloo", "kto", f"best of {DRAWN}"]
    assert all(set(COLUMNS) <= set(one) for one in rows)
    assert rows[0]["win"] == 0.5
    assert rows[-1]["kl"] == pytest.approx(math.log(16) - 15 / 16)
    assert rows[-1]["reward"] > max(one["reward"] for one in rows[:-1])
    assert (tmp_path / "methods.md").read_text().strip() in capsys.readouterr().out
    project = Project(tmp_path / "methods-1", recipe(tmp_path / "methods-1" / "project.yaml"))
    made = {version.name: version for version in map(project.version, project.names()) if version}
    assert {made[f"round1-{m}"].parent for m in ("rloo", "kto")} == {made["sft"].id}
    assert set(made["round1-kto"].data) == set(made["round1-reward"].data)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a stage was made again")

    for one in (sft, kto, grpo, reward_model):
        monkeypatch.setattr(one, "train", never)
    assert prove_methods(1, tmp_path, said.append, SMALL, ("rloo", "kto")) == 1
    again = json.loads((tmp_path / "methods.json").read_text())
    assert [one | {"seconds": 0} for one in again] == [one | {"seconds": 0} for one in rows]


def test_the_best_of_the_drawn_is_the_finished_one_with_the_highest_score(tmp_path: Path) -> None:
    class Drawn:
        finished = True

        def __init__(self, worth: float, finished: bool = True) -> None:
            self.worth, self.finished = worth, finished

    class Fake:
        def sample(self, version: str, prompts: Any, count: int, name: str) -> list[tuple[str, Drawn]]:
            assert count == ANSWERS * DRAWN
            draw = np.random.default_rng(3)
            return [(p, Drawn(float(draw.normal()), bool(draw.random() < 0.5))) for p in prompts for _ in range(count)]

    found = best_of(Fake(), "v", ["p", "q", "r"], lambda pairs: torch.tensor([s.worth for _, s in pairs]))  # type: ignore[arg-type]
    everything = Fake().sample("v", ["p", "q", "r"], ANSWERS * DRAWN, "")
    assert [p for p, _ in found] == ["p", "p", "q", "q", "r", "r"]
    for place, (_, chosen) in enumerate(found):
        rivals = [s.worth for _, s in everything[place * DRAWN : (place + 1) * DRAWN] if s.finished]
        assert chosen.finished  # type: ignore[attr-defined]
        assert chosen.worth == max(rivals)  # type: ignore[attr-defined]
