"""Recipes and commands of strangers, or of a tired hand: a mistake ends in one sentence, and nothing is written."""

import json
from pathlib import Path

import pytest

from accord.build import differing
from accord.cli import main
from accord.config import SettingsError, read
from accord.recipe import recipe
from accord.records import Version

BOMB = "name: x\nencode: {template: {a: &a [x,x,x,x,x,x,x,x,x]" + "".join(
    f", {name}: &{name} [{','.join([f'*{below}'] * 9)}]" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES = {
    "not UTF-8": (b"\xff\xfe\x00name: x", "is not UTF-8 at byte 0"),
    "a number as a name": (b"1: 2\n", "1 is no name of a setting"),
    "a number as a name below": (b"ppo: {2: 3}\n", "2 is no name of a setting"),
    "nested": (b"name: " + b"[" * 3000 + b"]" * 3000, "nested too deeply"),
    "billions by reference": (BOMB.encode() + b"}}\n", "holds more than 100000 values"),
    "itself inside": (b"name: x\nencode: {template: &a {b: *a}}\n", "holds more than 100000 values"),
    "an act": (b"name: !!python/object/apply:os.system ['touch here']\n", "is not YAML"),
}


@pytest.mark.parametrize(("text", "said"), FILES.values(), ids=FILES)
def test_a_file_that_cannot_be_settings_is_refused_in_one_sentence(tmp_path: Path, text: bytes, said: str) -> None:
    (tmp_path / "r.yaml").write_bytes(text)
    with pytest.raises(SettingsError, match=said):
        read(tmp_path / "r.yaml")


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "", ".", "..", "a\\b", "a\0b", "x" * 300, "a/b"])
def test_a_recipe_cannot_name_a_folder_outside_of_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(json.dumps({"name": name}))
    assert main(["train", "sft", "r.yaml"]) == 2
    assert "cannot name a folder" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["r.yaml"]


def test_words_that_are_too_many_or_unknown_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["loop", "a.yaml", "b.yaml"]) == 2
    assert "what is b.yaml?" in capsys.readouterr().err
    assert main(["train", "pppo"]) == 2
    assert "no method 'pppo'" in capsys.readouterr().err
    assert main(["train", "sft", "--name", "tokenizer"]) == 2
    assert "the project's own tokenizer" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_the_same_when_a_newer_accord_knows_more_settings() -> None:
    config = recipe(None).reward_model
    wanted = config.model_dump(mode="json")
    older = json.loads(json.dumps(wanted))
    del older["normalise"]
    del older["optimiser"]["adam"]

    def made(settings: dict) -> Version:
        return Version(
            id="v",
            name="v",
            role="reward",
            method="reward_model",
            config=settings,
            weights="versions/v",
            data_digest="",
        )

    assert differing(made(older), wanted, config) == []
    assert differing(made({**older, "epochs": 77}), wanted, config) == ["epochs"]
    other = config.model_copy(update={"normalise": "none" if config.normalise == "start" else "start"})
    assert differing(made(older), other.model_dump(mode="json"), config) == ["normalise"]
    assert differing(made({**older, "order": "easy"}), wanted, config) == ["order"]
