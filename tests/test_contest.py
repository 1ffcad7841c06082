"""The contest judges every method by the same yardstick, and says who beat fine-tuning beyond doubt."""

from __future__ import annotations

import json
import math
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord import contest
from accord.algorithms import grpo, kto, online_dpo, reward_model, sft
from accord.config import SettingsError, laid
from accord.contest import BEST, DRAWN, Entrant, best_of, prove_methods, together
from accord.evaluate.standing import COLUMNS
from accord.judge import ANSWERS
from accord.methods import METHODS, settings
from accord.project import Project
from accord.recipe import recipe
from accord.whole import written
from tests.flow.circle import TINY

SMALL: dict[str, Any] = {
    **{key: value for key, value in TINY.items() if key != "name"},
    "data": {key: value for key, value in TINY["data"].items() if key != "lab"},  # type: ignore[attr-defined]
    "grpo": grpo.Config(iterations=2, minibatches=2).model_dump(mode="json"),
}


def test_a_small_contest_is_run_from_one_start_and_not_run_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    names = ("rloo", "online_dpo", "kto", BEST)
    online = {"online_dpo": {**contest.ONLINE["online_dpo"], "iterations": 2, "updates": 2}}
    monkeypatch.setattr(contest, "ENTRANTS", {**contest.ENTRANTS, "online_dpo": Entrant("online_dpo", online)})
    assert prove_methods(1, tmp_path, said.append, SMALL, names) == 1  # a model of noise beats nobody
    rows = json.loads((tmp_path / "methods.json").read_text())
    assert [one["method"] for one in rows] == ["sft", *names]
    assert all(set(COLUMNS) <= set(one) for one in rows)
    assert rows[0]["win"] == 0.5
    assert rows[-1]["kl"] == pytest.approx(math.log(16) - 15 / 16)
    assert rows[-1]["reward"] > max(one["reward"] for one in rows[:-1])
    assert (tmp_path / "methods.md").read_text().strip() in capsys.readouterr().out
    project = Project(tmp_path / "methods-1", recipe(tmp_path / "methods-1" / "project.yaml"))
    made = {version.name: version for version in map(project.version, project.names()) if version}
    assert {made[f"round1-{m}"].parent for m in ("rloo", "online_dpo", "kto")} == {made["sft"].id}
    asked = {
        key: made["round1-online_dpo"].config[key] for key in ("pairs", "labels", "updates", "missing_end_penalty")
    }
    assert asked == {"pairs": "all", "labels": "soft", "updates": 2, "missing_end_penalty": -2.0}
    assert set(made["round1-kto"].data) == set(made["round1-reward"].data)

    assert all(one["perplexity"] > 1 for one in rows)
    assert rows[-1]["perplexity"] == rows[0]["perplexity"] == made["sft"].figures["perplexity"]
    assert rows[3]["perplexity"] == made["round1-kto"].figures["perplexity"]

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a stage was made again")

    for one in (sft, kto, grpo, online_dpo, reward_model):
        monkeypatch.setattr(one, "train", never)
    # More entrants go on from the same start, one that is there is neither made nor judged again, and its row stays.
    assert prove_methods(1, tmp_path, said.append, SMALL, ("kto", "ppo-texts", "simpo")) == 1
    more = {one["method"]: one for one in json.loads((tmp_path / "methods.json").read_text())}
    assert [repr(more[one["method"]]) for one in rows] == [repr(one) for one in rows]
    kept = project.version("round1-ppo-texts")
    assert kept is not None
    assert kept.config["ptx"]["weight"] == 1.0  # type: ignore[index,call-overload]
    assert kept.parent == made["sft"].id
    assert "weight" not in str(made["round1-kto"].config.get("ptx"))
    related = project.version("round1-simpo")
    assert related is not None
    assert related.config["loss"] == "simpo"
    monkeypatch.setattr(contest, "stood_on", never)
    assert prove_methods(1, tmp_path, said.append, SMALL, ("ppo-texts",)) == 1


def test_every_method_that_makes_a_policy_better_can_take_part_and_the_tuned_ones_do_unasked() -> None:
    able = {
        name for name, one in METHODS.items() if one.section in ("ppo", "grpo", "dpo", "kto", "best_of_n", "online_dpo")
    }
    assert able <= set(contest.ENTRANTS)
    usual = {"ppo", "grpo", "rloo", "dpo", "kto", "best_of_n", "online_dpo"}
    paying = {"dr_grpo-kl", "dapo-kl", "gspo-kl", "cispo-kl"}
    assert set(contest.ENTRANTS) - set(contest.USUAL) == (able - usual) | paying
    assert signature(prove_methods).parameters["entrants"].default == tuple(contest.USUAL)


@pytest.mark.parametrize("name", ["dr_grpo", "dapo", "gspo", "cispo"])
def test_a_relative_that_pays_for_drift_differs_from_its_own_in_the_price_alone(name: str) -> None:
    plain = recipe(None, contest.SETTINGS).model_dump()
    found = [
        settings(recipe(None, laid(dict(contest.ENTRANTS[one].changes), plain)), name) for one in (name, f"{name}-kl")
    ]
    free, pays = (one.model_dump() for one in found)
    price = contest.SETTINGS["grpo"]["kl"]["coefficient"]
    assert free.pop("kl")["place"] == "none"
    assert (pays["kl"]["place"], pays["kl"]["estimator"], pays.pop("kl")["coefficient"]) == ("reward", "k1", price)
    assert pays == free


def test_one_that_nobody_knows_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such entrant: pppo; there are: ppo, grpo"):
        prove_methods(1, tmp_path, lambda _: None, SMALL, ("pppo", "dpo"))
    assert not list(tmp_path.iterdir())


def test_seeds_of_other_processes_are_joined_whenever_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(seed: int) -> None:
        rows = [{**dict.fromkeys(COLUMNS, 0.25), "seed": seed, "method": m, "win": w, "low": 0.4}
                for m, w in (("ppo", 0.75), ("dpo", 0.5 + seed / 8))]  # fmt: skip
        written(tmp_path / f"methods-{seed}" / "rows.json", json.dumps(rows))

    ended(2)
    write = contest.written

    def meanwhile(path: Path, text: str) -> None:
        if not (tmp_path / "methods-1").exists():
            ended(1)  # while this process was writing what it had read
        write(path, text)

    monkeypatch.setattr(contest, "written", write)
    calls = iter([meanwhile])
    monkeypatch.setattr(contest, "written", lambda path, text: next(calls, write)(path, text))
    rows = together(tmp_path)
    assert [(row["seed"], row["method"], row["less ppo"]) for row in rows] == [
        (1, "ppo", 0.0), (1, "dpo", -0.125), (2, "ppo", 0.0), (2, "dpo", 0.0)
    ]  # fmt: skip
    assert json.loads((tmp_path / "methods.json").read_text()) == rows
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


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
