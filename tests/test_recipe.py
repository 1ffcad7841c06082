"""Recipes: what cannot work is refused at the door, and a project stays on the ground that it was begun on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accord.config import SettingsError
from accord.recipe import FileData, Recipe, follow, recipe


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"draw": {"max_tokens": 65}}, "max_tokens=65"),
        ({"rollout": 3, "ppo": {"minibatches": 4}}, "minibatches=4"),
        ({"model": {"context": 30}, "encode": {"answer_limit": 29}}, "answer_limit=29"),
        ({"dialogue": {"turns": 2, "user": "sft", "user_tokens": 65}}, "user_tokens=65 is more than the 64"),
        ({"worth": {"form": 1, "pattern": "(?<!a+)b"}}, "worth.pattern: .* look-behind"),
        ({"worth": {"length": 1, "least": 9, "most": 3}}, "at least 9 and at most 3 words"),
    ],
)
def test_what_would_fail_in_a_late_stage_is_refused_at_once(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        recipe(None, changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"collect": {"answers": 1}}, "answers=1 to a prompt leave nothing to compare; take 2 or more, or source=none"),
        ({"collect": {"wanted": 5, "people": 4}}, "wanted=5 .* people=4"),
        ({"method": "rloo", "rollout_answers": 1}, "method=rloo compares answers .* rollout_answers=1; take 4"),
        ({"method": "online_dpo", "rollout_answers": 1}, "method=online_dpo compares"),
        ({"order": {"kto": {"schedule": "hard", "measure": "margin"}}}, "kto.measure=margin .* measured by length"),
        ({"order": {"dpo": {"schedule": "easy", "measure": "pass_rate"}}}, "dpo.measure=pass_rate .*order.policy"),
        ({"order": {"policy": {"schedule": "easy", "measure": "margin"}}}, "policy.measure=margin .* in order.by"),
        ({"grpo": {"soft_length": 65}}, "soft_length=65 .* grpo.hard_length=64, which comes before"),
        ({"ppo": {"critic_warmup": 15}}, "critic_warmup=15 leaves none of ppo.iterations=15"),
        ({"ppo": {"kl": {"place": "loss"}}}, "ppo.kl: place=loss with estimator=k1 holds nothing"),
        ({"grpo": {"kl": {"coefficient": 0, "target": 2}}}, "grpo.kl: coefficient=0 cannot grow towards target=2"),
        ({"method": "dpo", "costs": {"safer": {}}}, "method=dpo is not paid .* safer in `costs` would bound nothing"),
        ({"judging": {"by": "rules"}, "worth": {"learned": 0, "length": 1}, "beside": {"b": {"model": {"name": "b"}}}},
         "none of `beside`"),
    ],
)  # fmt: skip
def test_what_would_come_to_nothing_is_refused_at_once(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as found:
        recipe(None, changes)
    assert len(str(found.value)) < 400, "the numbers are not buried under all other settings"


@pytest.mark.parametrize(
    "changes",
    [
        {"collect": {"answers": 1, "source": "none"}},
        {"collect": {"wanted": 30, "source": "people"}},
        {"method": "reinforce_pp", "rollout_answers": 1},
        {"method": "grpo", "grpo": {"baseline": "global"}, "rollout_answers": 1},
        {"method": "ppo", "rollout_answers": 1},
        {"method": "best_of_n", "rollout_answers": 1},
        {"grpo": {"soft_length": 64}},
        {"ppo": {"kl": {"place": "loss", "coefficient": 0}}},
        {"method": "rloo", "costs": {"safer": {}}},
        {"method": "grpo", "rollout": 2},
        {"method": "dpo", "rollout": 1},
    ],
)
def test_what_only_looks_like_it_is_not(changes: dict[str, Any]) -> None:
    assert recipe(None, changes) != recipe(None)


def test_no_text_is_read_beyond_the_context_of_a_new_model() -> None:
    assert recipe(None).reading.limit == recipe(None).model.context < recipe(None).encode.limit
    assert recipe(None, {"encode": {"limit": 90}}).reading.limit == 90
    assert recipe(None, {"model": {"name": "somebody's"}}).reading.limit == recipe(None).encode.limit


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"model": {"layers": 2, "context": 128}}, {"data": {"kind": "lab", "demonstrations": 7}}]
)
def test_versions_are_not_passed_off_as_those_of_another_seed_or_model(tmp_path: Path, other: dict[str, Any]) -> None:
    follow(recipe(None), tmp_path)
    follow(recipe(None, other), tmp_path)  # nothing was made yet
    follow(recipe(None), tmp_path)
    (tmp_path / "versions" / "sft").mkdir(parents=True)
    before = (tmp_path / "project.yaml").read_bytes()
    with pytest.raises(SettingsError, match="another recipe"):
        follow(recipe(None, other), tmp_path)
    assert (tmp_path / "project.yaml").read_bytes() == before


def test_a_project_may_go_on_with_other_settings_of_later_stages(tmp_path: Path) -> None:
    (tmp_path / "versions" / "sft").mkdir(parents=True)
    follow(recipe(None), tmp_path)
    follow(recipe(None, {"rounds": 2, "ppo": {"clip": 0.1}, "run": {"keep": 5}}), tmp_path)
    assert recipe(tmp_path / "project.yaml").rounds == 2


def test_a_section_that_names_one_setting_keeps_the_others_of_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text("reward_model: {epochs: 6}\nppo: {kl: {target: 4.0}}\ndata: {kind: lab, lab: {seed: 5}}\n")
    found, plain = recipe(file, {"ppo": {"iterations": 2}}), Recipe()
    assert found.reward_model == plain.reward_model.model_copy(update={"epochs": 6.0})
    assert found.ppo.kl == plain.ppo.kl.model_copy(update={"target": 4.0})
    assert found.ppo.missing_end_penalty == plain.ppo.missing_end_penalty
    assert found.ppo.iterations == 2
    assert found.data.kind == "lab"
    assert found.data.documents == plain.data.documents


def test_data_of_another_kind_take_nothing_from_the_lab() -> None:
    assert recipe(None, {"data": {"kind": "files", "root": "x"}}).data == FileData(kind="files", root="x")
    with pytest.raises(SettingsError, match="kind"):
        recipe(None, {"data": {"root": "x"}})
