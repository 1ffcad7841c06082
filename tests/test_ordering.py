"""The order in which stages learn: easy ones first where that is asked for, and by chance where nothing is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from accord import build, methods
from accord.config import SettingsError
from accord.project import Project
from accord.recipe import Recipe
from accord.run import read_log
from tests.flow.circle import weights
from tests.test_heads import files, project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    shelf = files(tmp_path_factory.mktemp("ordering"))
    return project(shelf, shelf / "p", reward_model={"epochs": 2, "batch": 4}, dpo={"batch": 4, "epochs": 2})


def with_(made: Project, **changes: Any) -> Project:
    """The same folder under a changed recipe."""
    return Project(made.folder, Recipe(**{**made.recipe.model_dump(), **changes}))


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
