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
        ({"worth": {"form": 1, "pattern": "(?<!a+)b"}}, "worth.pattern: .* look-behind"),
        ({"worth": {"length": 1, "least": 9, "most": 3}}, "at least 9 and at most 3 words"),
    ],
)
def test_what_would_fail_in_a_late_stage_is_refused_at_once(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        recipe(None, changes)


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
