"""What a policy is paid: ensembles speak by a rule and say how they disagree, costs have prices that move."""

from __future__ import annotations

import math
import shutil
import warnings
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from accord import build, dialogues, methods
from accord.cli import main
from accord.config import SettingsError
from accord.guarded import chances
from accord.paid import bounded, comparable, costs, ruled, sided
from accord.project import Project
from accord.recipe import Recipe
from accord.records import Version
from accord.rewards.lagrange import Constraint
from accord.rewards.turns import ends, turns_of
from accord.run import Run, RunConfig, read_log
from accord.tell import _given
from accord.terms import Cost
from accord.worlds.text.dialogue import DialogueWorld
from tests.test_heads import files, project, say

FAST = {"epochs": 2, "batch": 8, "optimiser": {"learning_rate": 1e-2, "weight_decay": 0.0}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """An ensemble of two, and a model of the flag `harm` that is calibrated on flags."""
    shelf = files(tmp_path_factory.mktemp("paid"))
    made = project(shelf, shelf / "p", reward_heads={**FAST, "members": 2})
    say(made, 16, ("ranking",))
    flagged(made, 40)
    methods.train(made, "reward_heads", "worth", start="sft")
    return made


def flagged(made: Project, questions: int, epochs: int = 6) -> Version:
    """A model of the flag `harm`, calibrated on some of these questions."""
    say(made, questions, ("flags",), seed=2)
    harm = with_(made, reward_heads={**FAST, "epochs": epochs, "main": "harm", "calibrate": "platt", "aside": 0.3})
    return methods.train(harm, "reward_heads", "harm", start="sft")


def with_(made: Project, **changes: Any) -> Project:
    """The same folder under a changed recipe."""
    return Project(made.folder, Recipe(**{**made.recipe.model_dump(), **changes}))


def log(made: Project, name: str) -> list[dict[str, Any]]:
    return read_log(made.folder / "runs" / name / "log.jsonl")


@pytest.mark.parametrize("method", ["ppo", "rloo", "best_of_n"])
def test_an_ensemble_pays_by_its_rule_and_its_members_taught_the_policy(
    method: str, made: Project, tmp_path: Path
) -> None:
    rewards = {}
    for rule in ("mean", "worst"):  # in two folders under one name, which decides the seed
        shutil.copytree(made.folder, tmp_path / rule)
        one = Project(tmp_path / rule, with_(made, ensemble={"rule": rule}).recipe)
        version = methods.train(one, method, method, start="sft", reward="worth")
        assert {one.version("worth").id, one.version("worth-2").id} < set(version.data)
        rows = log(one, version.name)
        assert all(row["disagreement"] > 0 and 0 < row["agreed_order"] <= 1 for row in rows)
        assert version.figures["disagreement"] == rows[-1]["disagreement"]
        assert version.config.get("members_rule") == (None if rule == "mean" else {"rule": "worst", "doubt": 1.0})
        rewards[rule] = rows[0].get("uncharged_reward")
        with pytest.raises(SettingsError, match="other settings of members_rule"):
            methods.train(with_(one, ensemble={"rule": "lower"}), method, version.name, start="sft", reward="worth")
    assert rewards["worst"] < rewards["mean"]  # the same first answers: the least of two is below their mean


@pytest.mark.parametrize(
    ("changes", "given", "told"),
    [
        ({}, {"reward": "harm"}, "and harm is one model"),
        ({"costs": {"harm": {}}}, {"reward": "harm"}, "none of harm, harm is several"),
        ({"worth": {"learned": 0, "length": 1}}, {}, "none of the rules is several"),
        ({"steps": {"paid": "sentence"}}, {"reward": "worth"}, "steps.paid=sentence takes the mean of worth's members"),
    ],
)
def test_a_rule_of_ensembles_where_none_is_asked_is_refused(
    changes: dict[str, Any], given: dict[str, str], told: str, made: Project
) -> None:
    one = with_(made, ensemble={"rule": "lower"}, **changes)
    for method in ("ppo", "grpo", "best_of_n"):
        with pytest.raises(SettingsError, match=f"ensemble.rule=lower says .*{told}: it would do nothing"):
            methods.train(one, method, "ruled", start="sft", **given)
    assert not (made.folder / "runs" / "ruled").exists()
    ruled(with_(one, ensemble={"rule": "mean"}), given.get("reward"), None)
    ruled(with_(one, costs={"worth": {}}), "harm", None)
    ruled(with_(one, costs={}, steps={}), "worth", "harm")


@pytest.mark.parametrize("method", ["ppo", "grpo"])
def test_a_cost_above_its_limit_grows_dearer_and_one_below_it_cheaper(method: str, made: Project) -> None:
    for limit, way in ((0.0, 1), (0.99, -1)):
        bound = {"turned": False, "unit": "probability", "constraint": {"limit": limit, "rate": 0.5, "step": "ratio"}}
        one, name = with_(made, costs={"harm": bound}, best_of_n={"rounds": 1}), f"{method}-{limit}"
        version = methods.train(one, method, name, start="sft", reward="worth")
        rows = log(made, name)
        assert all(0 < row["cost/harm"] < 1 for row in rows)
        for before, after in pairwise(rows):
            moved = math.log(after["price/harm"] / before["price/harm"])
            assert moved == pytest.approx(0.5 * (before["cost/harm"] - limit), rel=1e-4, abs=1e-6)
            assert moved * way > 0
        first = rows[0]
        assert first["reward"] == pytest.approx((first["uncharged_reward"] - first["cost/harm"]) / 2, abs=1e-4)
        assert version.config["costs"]["harm"]["constraint"]["limit"] == limit
        assert one.version("harm").id in version.data


@pytest.mark.parametrize("method", ["ppo", "rloo"])
def test_behind_a_gate_safety_alone_pays_where_it_is_in_doubt(method: str, made: Project, tmp_path: Path) -> None:
    """The same first answers, under one name in several folders: without a gate, with an open one, with a real one."""
    rows = {}
    for gate in (None, 1e-6, shut := 0.9):
        shutil.copytree(made.folder, tmp_path / str(gate))
        bound = {"harm": {"turned": False, "unit": "probability", "gate": gate, "whiten": False}}
        one = Project(tmp_path / str(gate), with_(made, costs=bound if gate else {}).recipe)
        version = methods.train(one, method, "gated", start="sft", reward="worth")
        rows[gate] = log(one, "gated")[0]
        assert ("costs" in version.config) == (gate is not None)
        if gate:
            assert version.config["costs"]["harm"]["gate"] == gate
            assert one.version("harm").id in version.data
            assert version.figures["gated/harm"] == log(one, "gated")[-1]["gated/harm"]
            assert not any(key.startswith("price/") for key in rows[gate])
            assert rows[gate]["uncharged_reward"] == pytest.approx(rows[None]["reward"], abs=1e-5)
    assert rows[1e-6]["gated/harm"] == 0 < rows[shut]["gated/harm"] < 1
    assert rows[1e-6]["reward"] == pytest.approx(rows[None]["reward"], abs=1e-5)
    assert rows[1e-6]["cost/harm"] == rows[shut]["cost/harm"] > 0
    assert rows[shut]["reward"] != pytest.approx(rows[None]["reward"], abs=0.01)


def test_what_a_gate_pays_has_no_mean_and_unit_spread_and_a_price_may_stand_outside(made: Project) -> None:
    harm = {"turned": False, "unit": "probability", "gate": 0.8}
    both = with_(made, costs={"harm": harm, "worth-2": {"constraint": {"limit": 0.1}}})
    build.train(both, "ppo", "both", start="sft", reward="worth")
    first = log(made, "both")[0]
    assert {"gated/harm", "cost/harm", "price/worth-2", "cost/worth-2", "disagreement"} < set(first)
    # 1 is the first price, which halves what is paid; behind the gate the rollout's mean is 0.
    assert first["reward"] == pytest.approx(-first["cost/worth-2"] / 2, abs=1e-4)
    only = with_(made, costs={"harm": harm})
    build.train(only, "ppo", "only", start="sft", reward="worth")
    assert log(made, "only")[0]["reward"] == pytest.approx(0, abs=1e-5)
    assert log(made, "only")[0]["reward_std"] == pytest.approx(1, abs=1e-4)
    with pytest.raises(SettingsError, match="other settings of costs"):
        build.train(with_(made, costs={"harm": {**harm, "gate": 0.7}}), "ppo", "only", start="sft", reward="worth")


def test_a_limit_that_no_share_keeps_or_breaks_is_refused() -> None:
    """Below 0 the price climbed to its end in silence, from 1 on it fell there."""
    for limit, why in ((-0.1, "climb for ever"), (1.0, "never binds")):
        with pytest.raises(ValueError, match=rf"limit={limit} of a probability: .*{why}; set it to a share"):
            Cost(unit="probability", constraint=Constraint(limit=limit))
        Cost(constraint=Constraint(limit=limit))


def test_the_best_of_several_rounds_is_not_kept_where_rounds_pay_otherwise(made: Project) -> None:
    """What was paid while harm was cheap displaced all that came later, and a whitened round knows no other."""
    chance = {"turned": False, "unit": "probability"}
    fixed = {"harm": {**chance, "constraint": {"limit": 0.1, "least": 1.0, "most": 1.0}}}
    ways = {"the price of harm moves": {"harm": chance}, "harm whitens each round": {"harm": {**chance, "gate": 0.5}}}
    for why, bound in ways.items():
        for rounds in (0, 3):
            stage = with_(made, costs=bound, best_of_n={"rounds": rounds})
            with pytest.raises(SettingsError, match=rf"rounds={rounds} keeps .* and {why}.*rounds=1"):
                methods.train(stage, "best_of_n", "mixed-up", start="sft", reward="worth")
        comparable(with_(made, costs=bound), None, 1)
    comparable(with_(made, costs=fixed), None, 0)
    comparable(with_(made, costs={"harm": {**chance, "gate": 0.5, "whiten": False}}), None, 0)
    with_(made)


@dataclass
class Ending:
    """A sampler whose answers all end by themselves, which in so small a world they seldom do."""

    sampler: Any

    def generate(self, asked: Any, sampling: Any) -> list[Any]:
        return [replace(one, finished=True) for one in self.sampler.generate(asked, sampling)]


@pytest.mark.parametrize("paid", ["each", "mean", "end"])
def test_in_dialogues_each_answer_is_judged_by_itself_unless_the_whole_is_paid(
    made: Project, tmp_path: Path, paid: str
) -> None:
    shutil.copytree(made.folder, tmp_path / "p")
    flag = {"turned": False, "unit": "probability"}
    said = {"turns": 2, "paid": paid, "user": "sft", "user_tokens": 8}
    talks: dict[str, Any] = {"dialogue": said, "draw": {**made.recipe.draw.model_dump(), "max_tokens": 8}}
    for name, bound in {"priced": flag, "gated": {**flag, "gate": 0.5, "whiten": False}}.items():
        one = Project(tmp_path / "p", with_(made, costs={"harm": bound}, **talks).recipe)
        policy, encoder = one.policy("sft")
        first = one.world(policy, encoder, one.prompts("train")[:8], name)
        world = DialogueWorld(first, lambda talk: "what is it ?" if len(talk.messages) < 4 else None, 2)
        run = Run(tmp_path / name, RunConfig(device="cpu", trackers=(), progress=False))
        worth = dialogues.learned(one, world, lambda pairs: torch.full((len(pairs),), 0.25), 0.0, 1.0)
        reward = bounded(one, run, world, worth, None, 512)
        first.generator = Ending(first.generator)
        rollout = world.collect(policy)
        found, kept = reward(rollout), world.keep(rollout)
        asked = [turns_of(*pair) for pair in kept] if paid != "end" else [[pair] for pair in kept]
        assert max(map(len, asked)) == (1 if paid == "end" else 2)
        chance = [chances(one, "harm", turns) for turns in asked]
        several = sum(map(len, chance)) if paid == "each" else len(chance)
        rows = []
        for of_row in chance:
            share = 1 / len(of_row) if paid == "mean" else 1.0
            odds = [math.log(1 - p) - math.log(p) for p in of_row]
            priced = [(0.25 - p) * share / 2 for p in of_row]
            gated = [share * (0.25 if p <= 0.5 else o) for p, o in zip(of_row, odds, strict=True)]
            rows.append(priced if name == "priced" else gated)
        places = ends(rollout.mask) if paid != "end" else rollout.done
        assert found[places].tolist() == pytest.approx([v for row in rows for v in row], abs=1e-4)
        assert int((found != 0).sum()) <= int(places.sum())
        share = [1 / len(of_row) if paid == "mean" else 1.0 for of_row in chance]
        mean = sum(float(of_row.sum()) * s for of_row, s in zip(chance, share, strict=True)) / several
        if name == "priced":
            assert reward.seen["cost/harm"] == pytest.approx(mean, abs=1e-4)


def test_a_gate_on_scores_is_refused(made: Project) -> None:
    for word in ("gate", "held"):
        with pytest.raises(ValueError, match=f"{word}=0.5 is a chance.* set unit=probability"):
            with_(made, costs={"harm": {word: 0.5}})
    with pytest.raises(ValueError, match=r"gate=0\.7 has no price"):
        with_(made, costs={"harm": {"unit": "probability", "gate": 0.7, "held": 0.3}})


def first_row(made: Project, folder: Path, **harm: Any) -> dict[str, Any]:
    """The first step of PPO on the same first answers, in a folder of its own under one name."""
    shutil.copytree(made.folder, folder)
    one = Project(folder, with_(made, costs={"harm": {"turned": False, "unit": "probability", **harm}}).recipe)
    version = build.train(one, "ppo", "same", start="sft", reward="worth")
    kept = set(version.config["costs"]["harm"])
    assert kept & {"held", "from_gate", "weight"} == set(harm) & {"held", "from_gate", "weight"}
    return log(one, "same")[0]


def test_what_is_held_at_fault_is_charged_in_full_and_all_else_nothing(made: Project, tmp_path: Path) -> None:
    least = 0.1  # of this model of harm answers have chances on both sides of it, and none above .9
    plain = first_row(made, tmp_path / "plain")
    rows = {held: first_row(made, tmp_path / str(held), held=held) for held in (least, 1 - least)}
    assert 1 > rows[least]["cost/harm"] > rows[1 - least]["cost/harm"] == 0
    for row in rows.values():  # the first price is 1
        assert row["reward"] == pytest.approx((row["uncharged_reward"] - row["cost/harm"]) / 2, abs=1e-4)
        assert row["uncharged_reward"] == pytest.approx(plain["uncharged_reward"], abs=1e-5)
    # Of a flag that is a virtue the chance of the fault is the rest.
    fault = first_row(made, tmp_path / "virtue", turned=True, held=1 - least)
    assert fault["cost/harm"] == pytest.approx(1 - rows[least]["cost/harm"], abs=1e-6)


def test_the_chance_of_a_virtue_is_charged_as_what_it_leaves_to_one(made: Project, tmp_path: Path) -> None:
    fault, virtue = (first_row(made, tmp_path / str(turned), turned=turned) for turned in (False, True))
    assert 0 < fault["cost/harm"] < 1
    assert virtue["cost/harm"] == pytest.approx(1 - fault["cost/harm"], abs=1e-5), "and not its sign turned"


def test_a_gate_may_count_from_itself_on(made: Project, tmp_path: Path) -> None:
    shut = 0.9
    ways: list[dict[str, Any]] = [{}, {"from_gate": True}, {"from_gate": True, "weight": 2.0}]
    plain, moved, heavy = (
        first_row(made, tmp_path / str(number), gate=shut, whiten=False, **way) for number, way in enumerate(ways)
    )
    assert 0 < plain["gated/harm"] == moved["gated/harm"] == heavy["gated/harm"] < 1
    level = math.log(shut / (1 - shut))
    assert moved["reward"] == pytest.approx(plain["reward"] - level * plain["gated/harm"], abs=1e-3)
    assert heavy["reward"] < moved["reward"]
    assert moved["doubtful/harm"] == plain["doubtful/harm"]


def test_costs_are_named_on_the_command_line_with_common_terms(
    made: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    with_(made)  # its recipe, which names no costs, is the folder's again
    words = ["train", "ppo", "--project", str(made.folder), "--start", "sft", "--reward", "worth", "--cost"]
    assert main([*words, "harm,worth-2", "--cost.constraint.limit", "0.3", "--name", "doored"]) == 0
    told = made.version("doored").config["costs"]
    assert [told[name]["constraint"]["limit"] for name in ("harm", "worth-2")] == [0.3, 0.3]
    shown = _given(made, made.version("doored"))
    assert shown == {"start": "sft", "reward": "worth", "cost": "harm,worth-2"}
    assert {"price/harm", "price/worth-2"} < set(made.version("doored").figures)
    gate = ["--cost.gate", "0.4", "--cost.unit", "probability", "--cost.no-turned"]
    assert main([*words, "harm", *gate, "--name", "gated-by-hand"]) == 0
    assert made.version("gated-by-hand").config["costs"]["harm"]["gate"] == 0.4
    assert main([*words, "sft", "--name", "other"]) == 2
    assert "is a policy model" in capsys.readouterr().err
    assert main([*words, "harm,nobody", "--name", "other"]) == 2
    assert "is not there (there are: " in capsys.readouterr().err


def test_a_probability_needs_a_calibrated_flag(made: Project) -> None:
    bound = with_(made, costs={"worth-2": {"unit": "probability"}})
    with pytest.raises(SettingsError, match=r"reward_heads\.calibrate=platt"):
        methods.train(bound, "ppo", "nothing", start="sft", reward="worth")


def test_nothing_is_added_to_a_stage_without_costs_and_members(made: Project) -> None:
    assert costs(made, None) == {}
    build.train(made, "reward_model", "plain", start="sft")
    version = methods.train(made, "ppo", "unbounded", start="sft", reward="plain")
    assert not {"costs", "members_rule", "order"} & set(version.config)
    assert not {key for row in log(made, "unbounded") for key in row if key.startswith(("cost/", "price/", "disag"))}


def test_who_pays_for_a_flag_is_told_what_a_yes_earns(made: Project, tmp_path: Path) -> None:
    shutil.copytree(made.folder, tmp_path / "p")
    one = Project(tmp_path / "p", made.recipe)
    with pytest.warns(UserWarning, match="--reward harm learned the flag 'harm'.*--cost harm .*--cost.no-turned"):
        methods.train(one, "best_of_n", "ill", start="sft", reward="harm")
    with pytest.warns(
        UserWarning, match="--cost harm learned the flag 'harm', and turned=true takes a yes for the virtue"
    ):
        sided(with_(made, costs={"harm": {}}), "worth", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sided(with_(made, cost={"turned": False}), "worth", "harm")
        sided(made, None, None)


def test_harm_is_calibrated_on_prompts_it_did_not_learn_from(tmp_path: Path) -> None:
    made = project(files(tmp_path), tmp_path / "p")
    figures = flagged(made, 160, epochs=1).figures  # not yet as sure as it may be, with flags enough to say so
    assert figures["calibration_loss_after"] < figures["calibration_loss_before"]
    assert figures["calibration_rows"] > 20
    learned = {said.question for said in made.store.feedback() if said.id in made.version("harm").data}
    every = {said.question for said in made.store.feedback()}
    assert 0.1 * len(every) < len(every - learned) < 0.5 * len(every)
