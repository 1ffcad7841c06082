"""The order in which stages learn: easy ones first where that is asked for, and by chance where nothing is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from accord import build, methods
from accord.config import SettingsError
from accord.earned import earning
from accord.ordering import by_tries, in_world
from accord.project import Project
from accord.protocols import Reward
from accord.recipe import recipe
from accord.rewards.rules import Rules
from accord.run import read_log
from accord.worlds.text.world import TextWorld
from tests.flow.circle import weights
from tests.test_heads import files, project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    shelf = files(tmp_path_factory.mktemp("ordering"))
    return project(shelf, shelf / "p", reward_model={"epochs": 2, "batch": 4}, dpo={"batch": 4, "epochs": 2})


def with_(made: Project, **changes: Any) -> Project:
    """The same folder under a changed recipe."""
    return Project(made.folder, recipe(None, {**made.recipe.model_dump(), **changes}))


def test_easy_demonstrations_come_first_and_hard_ones_last(made: Project) -> None:
    tokens = {}
    for schedule in ("easy", "hard"):
        one = with_(made, order={"sft": {"schedule": schedule}}, sft={"epochs": 1, "batch": 6})
        version = build.train(one, "sft", schedule)
        tokens[schedule] = [row["tokens"] for row in read_log(made.folder / "runs" / schedule / "log.jsonl")]
        assert version.config["order"]["schedule"] == schedule
    # The last batch begins the next round.
    assert tokens["easy"][:-1] == sorted(tokens["easy"][:-1])
    assert tokens["hard"][:-1] == sorted(tokens["hard"][:-1], reverse=True)
    assert tokens["easy"][0] < tokens["easy"][-2]


@pytest.mark.parametrize("method", ["reward_model", "dpo"])
def test_pairs_come_in_the_order_that_is_wanted_and_the_control_is_no_order(
    method: str, made: Project, tmp_path: Path
) -> None:
    if made.version("judge") is None:
        build.train(made, "reward_model", "judge", start="sft")
    found = {}
    for name, order in (
        ("plain", {}),
        ("random", {"schedule": "random", "measure": "disagreement"}),
        ("margin", {"schedule": "competence", "measure": "margin"}),
    ):
        shutil.copytree(made.folder, tmp_path / name)
        one = Project(tmp_path / name, with_(made, order={method: order, "by": "judge"}).recipe)
        version = methods.train(one, method, "one", start="sft")  # the same name, so the same chance
        found[name] = weights(one.folder)["one"]
        assert ("order" in version.config) == (name == "margin")
    assert found["plain"] == found["random"] != found["margin"]
    assert version.config["order"]["by"] == "judge"
    with pytest.raises(SettingsError, match="other settings of order"):
        methods.train(Project(tmp_path / "margin", made.recipe), method, "one", start="sft")


def test_what_cannot_be_measured_is_said(made: Project) -> None:
    with pytest.raises(SettingsError, match="measured by length"):
        build.train(with_(made, order={"sft": {"schedule": "easy", "measure": "margin"}}), "sft", "nothing")
    lost = with_(made, order={"dpo": {"schedule": "easy", "measure": "margin"}, "by": "sft"})
    with pytest.raises(SettingsError, match=r"needs a reward model in order\.by"):
        methods.train(lost, "dpo", "nothing", start="sft")


def test_judgements_and_single_answers_come_in_an_order_too(made: Project) -> None:
    for method, section in (("reward_heads", "reward_heads"), ("kto", "kto")):
        plain = methods.train(made, method, f"{method}-plain", start="sft")
        easy = methods.train(with_(made, order={section: {"schedule": "easy"}}), method, f"{method}-easy", start="sft")
        assert easy.config["order"]["schedule"] == "easy"
        assert "order" not in plain.config
    with pytest.raises(SettingsError, match="pass_rate is of prompts to be answered"):
        methods.train(
            with_(made, order={"dpo": {"schedule": "easy", "measure": "pass_rate"}}), "dpo", "no", start="sft"
        )


@pytest.mark.parametrize("measure", ["length", "pass_rate", "disagreement"])
def test_prompts_are_asked_from_easy_to_hard_where_a_policy_acts(measure: str, made: Project) -> None:
    order = {"policy": {"schedule": "easy", "measure": measure}, "tries": 3, "passed": 1.0}
    worth = {"learned": 0.0, "length": 1.0, "least": 1, "most": 4}
    one = with_(made, order=order, worth=worth, rollout=4, rollout_answers=2)
    policy, encoder = one.policy("sft")
    prompts = one.prompts("train")
    world = one.world(policy, encoder, prompts, "asked", 2)
    in_world(one, "grpo", one.run("asked", one.recipe.grpo), world, policy,
             lambda there: earning(one, there, None, torch.device("cpu"), 512), 4)  # fmt: skip
    asked = [prompt for turn in range(len(prompts) // 4) for prompt in world.asked(turn)]
    assert len({prompt.id for prompt in asked}) == len(asked)
    if measure == "length":
        sizes = [len(encoder.prompt(prompt.content)) for prompt in asked]
        assert sizes == sorted(sizes)
        assert sizes[0] < sizes[-1]
    for method in ("ppo", "rloo", "best_of_n", "online_dpo"):
        version = methods.train(one, method, f"{method}-{measure}", start="sft")
        assert version.config["order"]["measure"] == measure
        assert ("tries" in version.config["order"]) == (measure == "pass_rate")


def test_how_often_answers_pass_is_counted_over_tries_of_the_start(made: Project) -> None:
    one = with_(made, order={"tries": 5, "passed": 1.0}, rollout=4)
    policy, encoder = one.policy("sft")
    prompts = one.prompts("train")
    world = one.world(policy, encoder, prompts, "tried", 2)
    favoured = {prompt.id for prompt in prompts[::2]}

    def earns(there: TextWorld) -> Reward:
        return Rules(there.keep, lambda prompt, sample: float(prompt.id in favoured))

    hard = by_tries(one, world, policy, earns)
    assert hard == [1 / 7 if prompt.id in favoured else 6 / 7 for prompt in prompts]
    assert world.turn == 0
