"""The folder of a project: what is made in it stays in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.algorithms.sft import Config
from accord.cli import main
from accord.config import SettingsError
from accord.project import Project
from accord.recipe import Recipe


@pytest.mark.parametrize("name", ["../../elsewhere", "/elsewhere", "..", ".hidden", "", "a/b"])
def test_a_name_that_leads_elsewhere_is_refused_before_any_work(name: str, tmp_path: Path) -> None:
    project = Project(tmp_path / "in" / "p", Recipe())
    for act in (lambda: project.path(name), lambda: project.run(name, Config())):
        with pytest.raises(SettingsError, match="cannot name a version"):
            act()
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["in", "p"]
    assert project.path("round1-ppo 二").parent == project.folder / "versions"


def test_importing_nothing_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "--project", str(tmp_path / "p")]) == 2
    assert "name at least one file" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
