"""Of the same number of questions some are put otherwise, and each model learns from its own part of the answers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from accord import contest, guarded
from accord.contest import prove_methods
from accord.lab import Dials
from accord.project import Project
from accord.recipe import recipe
from accord.records import Feedback, Flags, Question, Ranking
from tests.test_contest import SMALL


@pytest.fixture
def coins(monkeypatch: pytest.MonkeyPatch) -> None:
    """People who throw a coin: what so small a policy says is never harmful, and a model of harm needs both answers."""
    monkeypatch.setattr(sys.modules["accord.lab.crowd"], "COMMON", Dials(carelessness=1.0))
    monkeypatch.setattr(guarded, "LEFT", 0.5)  # of a coin every chance is about a half
    monkeypatch.setattr(guarded, "FLAGS", 0.25)
    more = {"aside": 0.45, "epochs": 2, "batch": 4}
    monkeypatch.setattr(guarded, "HARM", {"reward_heads": {**guarded.HARM["reward_heads"], **more}})


@pytest.mark.usefixtures("coins")
def test_safety_by_gate_and_by_price_learn_from_the_same_number_of_questions(tmp_path: Path) -> None:
    said: list[str] = []
    names = ("ppo", "ppo-gate", "ppo-lagrangian")
    small: dict[str, Any] = {**SMALL, "collect": {**SMALL["collect"], "prompts": 48}}
    prove_methods(1, tmp_path, said.append, small, names)
    rows = {one["method"]: one for one in json.loads((tmp_path / "methods.json").read_text())}
    project = Project(tmp_path / "methods-1", recipe(tmp_path / "methods-1" / "project.yaml"))
    made = {version.name: version for version in map(project.version, project.names()) if version}
    asked = {queue: list(project.store.all(Question, project=queue)) for queue in ("round1", "round1-flags")}
    every, flags = len(asked["round1"]), len(asked["round1-flags"])
    assert flags == round(every / 4)
    assert rows["ppo-gate"]["labels"] == rows["ppo-lagrangian"]["labels"]
    assert rows["ppo-gate"]["labels"] == f"{every - flags} rankings, {flags} by yes or no"
    assert "labels" not in rows["ppo"]
    # The same answers to the same prompts, put otherwise.
    shown = {queue: {one.samples for one in found} for queue, found in asked.items()}
    assert shown["round1-flags"] < shown["round1"]

    said_of = {one.id: one for one in project.store.all(Feedback)}
    question = {one.id: one for found in asked.values() for one in found}
    harm = [said_of[id] for id in made["round1-harm"].data]
    assert harm
    assert all(isinstance(one.answer, Flags) for one in harm)
    assert {question[one.question].project for one in harm} == {"round1-flags"}
    learned = [belief for belief in project.preferences("train") if belief.id in set(made["round1-helpful"].data)]
    rankings = [said_of[id] for belief in learned for id in belief.feedback]
    assert all(isinstance(one.answer, Ranking) for one in rankings)
    assert {question[one.question].samples for one in rankings} <= shown["round1"] - shown["round1-flags"]
    # Those that were left to the model of harm are the pairs with an answer that it holds harmful, and no others.
    others = (one for one in project.preferences("train") if one.id not in set(made["round1-helpful"].data))
    unheard = [
        one for one in others if question[said_of[one.feedback[0]].question].samples not in shown["round1-flags"]
    ]
    assert unheard
    assert learned
    for found, harmful in ((learned, False), (unheard, True)):
        for belief in found:
            prompts, samples = project.looked_up([belief])
            both = [(prompts[belief.prompt], one) for one in samples.values()]
            assert (max(guarded.chances(project, "round1-harm", both)) >= guarded.LEFT) == harmful

    for name in names[1:]:
        version = made[f"round1-{name}"]
        assert version.config["given"] == {"reward": "round1-helpful", "reference": "sft"}
        assert {made["round1-helpful"].id, made["round1-harm"].id} < set(version.data)
        assert "cost/round1-harm" in version.figures
    assert "gated/round1-harm" in made["round1-ppo-gate"].figures
    assert "price/round1-harm" in made["round1-ppo-lagrangian"].figures
    assert "costs" not in made["round1-ppo"].config
    assert made["round1-reward"].id in made["round1-ppo"].data


@pytest.mark.usefixtures("coins")
def test_what_is_asked_again_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small: dict[str, Any] = {**SMALL, "collect": {**SMALL["collect"], "prompts": 48}}
    changed = {"seed": 1, "data": {"kind": "lab", **SMALL["data"], "lab": {"seed": 1}}}
    project = Project(tmp_path, recipe(None, {**contest.SETTINGS, **small, **changed}))
    ground = contest.stood_on(project, lambda _: None)
    first = guarded.guards(project, ground.before, ground.questions, "round1", lambda _: None)
    said = len(list(project.store.all(Feedback)))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a model was taught again")

    monkeypatch.setattr("accord.algorithms.reward_model.train", never)
    monkeypatch.setattr("accord.algorithms.reward_heads.train", never)
    again = guarded.guards(project, ground.before, ground.questions, "round1", lambda _: None)
    assert (again.reward.id, again.harm.id) == (first.reward.id, first.harm.id)
    assert [one.id for one in again.beliefs] == [one.id for one in first.beliefs]
    assert len(list(project.store.all(Feedback))) == said
