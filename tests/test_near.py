"""A folder that is no project: which verbs begin one there, which refuse, and what both say is near."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from accord.cli import main
from accord.loop import Waiting
from accord.store.near import hint, near
from tests.flow.circle import write_recipe


def begun(folder: Path, mark: str = "project.yaml") -> Path:
    """A folder that looks like a project."""
    folder.mkdir(parents=True)
    (folder / mark).touch()
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with projects and with things that are none."""
    monkeypatch.chdir(tmp_path)
    begun(Path("projects/medicine"))
    begun(Path("kitchen"), "store.db")
    Path("kitchens").mkdir()
    Path("kitchen.txt").touch()
    return tmp_path


def test_what_is_near_has_a_like_name_and_holds_a_project(here: Path) -> None:
    assert near(Path("kichen")) == [Path("kitchen")]
    assert near(Path("projects/kitchen")) == [Path("kitchen")], "the right name in another place"
    assert near(Path("projects/medecine")) == near(Path("medicine")) == [Path("projects/medicine")]
    assert near(here / "projects" / "medecine") == [here / "projects" / "medicine"], "once, though two ways lead there"
    assert near(Path("no/such/place/kitchens")) == [Path("kitchen")]
    assert near(Path("bicycle")) == []
    begun(Path("kitchen2"))
    assert hint(Path("kitchen1")) in (
        " (did you mean kitchen2 or kitchen?)", " (did you mean kitchen or kitchen2?)"
    )  # fmt: skip
    assert hint(Path("bicycle")) == ""


def test_a_place_that_cannot_be_looked_into_is_passed_over(here: Path) -> None:
    shutil.rmtree("projects")
    Path("projects").touch()
    assert near(Path("kitchn")) == [Path("kitchen")]


@pytest.mark.parametrize(
    "words",
    [
        ["train", "dpo", "--start", "sft"],
        ["train", "ppo"],
        ["train", "reward_model"],
        ["train", "sft", "--start", "pretrained"],
        ["sample", "sft", "--prompt", "hello"],
        ["evaluate", "overoptimisation"],
        ["ask", "sft"],
        ["agree"],
        ["rank"],
        ["believe"],
        ["people"],
        ["erase", "ann"],
        ["trace", "ann"],
        ["export", "out.jsonl"],
    ],
    ids=" ".join,
)
def test_a_verb_that_needs_a_project_begins_none_and_names_what_is_near(
    words: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--project", "projects/medecine"]) == 2
    told = capsys.readouterr().err
    assert "projects/medecine" in told
    assert "(did you mean projects/medicine?)" in told
    assert not Path("projects/medecine").exists()


def test_a_report_of_no_project_names_what_is_near(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "kichen"]) == 2
    assert "kichen is no project (did you mean kitchen?)" in capsys.readouterr().err


def test_a_stage_says_what_cannot_be_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ppo", "--project", "x", "--start", "a", "--reward", "b"]) == 2
    assert "there is no project in x, so nothing of --start a, --reward b" in capsys.readouterr().err
    assert main(["train", "kto", "--project", "x"]) == 2
    assert "there is no project in x, and kto needs a version that is there" in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["kitchen", "kitchen.txt", "kitchens", "projects"]


def test_what_may_begin_a_project_says_so(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = str(write_recipe(here / "tiny.yaml"))
    Path("pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')

    def wait(*_: object) -> None:
        raise Waiting("nobody has answered")

    monkeypatch.setattr("accord.loop.loop", wait)
    told = "a new project begins in kitchin (did you mean kitchen?)\n"
    for words, status in (
        (["train", "pretrain", recipe], 0),
        (["loop", recipe], 1),
        (["import", "pairs.jsonl"], 0),
        (["people", "add", "ann"], 0),
    ):
        assert main([*words, "--project", "kitchin"]) == status
        assert told in capsys.readouterr().err
        again = [word.replace("ann", "ben") for word in words]
        assert main([*again, "--project", "kitchin"]) == status
        assert "a new project" not in capsys.readouterr().err, "the second time it is there"
        shutil.rmtree("kitchin")
