"""A relative changes what nobody chose; what somebody wrote is heard wherever he wrote it, and said aloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from accord import methods
from accord.cli import main
from accord.config import SettingsError
from accord.methods import METHODS, settings
from accord.project import Project
from accord.recipe import RELATED, Recipe, recipe
from accord.verbs import with_changes


def test_relatives_are_of_the_sections_whose_choices_are_kept() -> None:
    assert set(RELATED) == {one.section for one in METHODS.values() if one.changes}


@pytest.mark.parametrize(
    ("method", "way", "default", "own"),
    [
        ("simpo", "dpo.beta", "0.1", "2.0"),
        ("robust", "dpo.label_smoothing", "0.0", "0.1"),
        ("dapo", "grpo.kl.place", "loss", "none"),
        ("dapo", "grpo.filter", "False", "True"),
        ("dr_grpo", "grpo.constant", "1", "28"),
    ],
)
def test_what_somebody_wrote_is_heard_wherever_he_wrote_it_though_it_is_the_default(
    method: str, way: str, default: str, own: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section, *inside = way.split(".")

    def taken(told: Recipe) -> str:
        found: Any = settings(told, method)
        for name in inside:
            found = getattr(found, name)
        return str(found)

    assert taken(recipe(None, {section: {"iterations" if section == "grpo" else "epochs": 1}})) == own
    (tmp_path / "chosen.yaml").write_text(f"method: {method}\n{section}: {nested(inside, default)}\n")
    assert taken(recipe(tmp_path / "chosen.yaml")) == default
    assert taken(recipe(None, {section: literal(inside, default)})) == default
    said = f"{method} takes {way}={default} (not {own}), as the recipe says"
    for start in (Recipe(), Recipe(method=method)):
        options = [f"--{way}", default] if default != "False" else ["--grpo.no-filter"]
        changed = with_changes(start, options, f"train {method}" if start.method != method else "loop")
        assert (taken(changed), changed.written) == (default, (way,))
        assert said in capsys.readouterr().err
    Project(tmp_path / "p", changed)
    again = with_changes(recipe(tmp_path / "p" / "project.yaml"), ["--seed", "0"], f"train {method}")
    assert again == changed, "a project keeps what was chosen in it"
    assert said in capsys.readouterr().err


def nested(inside: list[str], value: str) -> str:
    """A value under its names, as YAML."""
    return value.lower() if not inside else f"{{{inside[0]}: {nested(inside[1:], value)}}}"


def literal(inside: list[str], value: str) -> Any:
    """The same as plain values."""
    return yaml.safe_load(nested(inside, value))


def test_a_method_of_which_nothing_is_left_is_refused_and_a_loss_is_as_its_name_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole.yaml"
    section = {"iterations": 3, "baseline": "group", "average": "token", "kl": {"place": "loss", "estimator": "k2"}}
    whole.write_text(yaml.safe_dump({"grpo": section}))
    assert main(["loop", str(whole), "--method", "rloo", "--project", str(tmp_path / "new")]) == 2
    told = capsys.readouterr().err
    assert "rloo would be grpo: nothing is left of what makes it another method" in told
    assert "grpo.baseline=group (not leave_one_out), grpo.average=token (not constant), grpo.kl.place=loss" in told
    assert main(["train", "simpo", "--project", str(tmp_path / "new"), "--dpo.loss=ipo"]) == 2
    assert "--dpo.loss ipo: simpo takes dpo.loss=simpo, for that is what its name says" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    (tmp_path / "ipo.yaml").write_text("dpo: {loss: ipo}\n")
    assert methods.heard(recipe(tmp_path / "ipo.yaml"), "simpo") == [
        "simpo takes dpo.loss=simpo, as its name says (the recipe: ipo)"
    ]
    with pytest.raises(SettingsError, match=r"written: dpo.bta is no setting of dpo or grpo"):
        recipe(None, {"written": ["dpo.bta"]})


def test_a_file_of_all_settings_chooses_none_where_it_says_so(tmp_path: Path) -> None:
    old = tmp_path / "project.yaml"
    old.write_text(yaml.safe_dump(Recipe().model_dump(mode="json", exclude={"written"})))
    everything = (old, Path(__file__).parents[1] / "recipes" / "lab.yaml")
    for file in everything:
        assert all(settings(recipe(file), name) == settings(Recipe(), name) for name in ("dapo", "simpo", "rloo")), file
    assert settings(recipe(old, {"dpo": {"beta": 0.1}}), "simpo").beta == 0.1


def test_what_a_relative_leaves_alone_is_not_spoken_of(capsys: pytest.CaptureFixture[str]) -> None:
    for method, options in (("dpo", ["--dpo.beta", "0.1"]), ("rloo", ["--grpo.kl.coefficient", "0.3", "--seed", "0"])):
        with_changes(Recipe(), options, f"train {method}")
    assert capsys.readouterr().err == ""
