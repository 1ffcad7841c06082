"""The folder of a project: what is made in it stays in it."""

from __future__ import annotations

import contextlib
import errno
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from accord.algorithms.sft import Config
from accord.cli import VERBS, main
from accord.config import SettingsError
from accord.project import Project
from accord.recipe import Recipe
from accord.records import Prompt
from accord.run import RunConfig
from accord.store import Store, database
from accord.worlds.text.models import ModelSettings, language_model, located, save, whole
from accord.worlds.text.tokenizer import train_bpe


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


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda made: setattr(made, "chat_template", "{{ bos_token }}" + made.chat_template), "two '<bos>'"),
        (lambda made: setattr(made, "chat_template", "{% for m in messages %}{{"), "the chat template refuses"),
        (lambda made: setattr(made, "eos_token", None), "no end-of-text"),
    ],
)
def test_a_model_that_cannot_be_talked_with_ends_in_one_message(
    spoil: Callable[[Any], None], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the command line a guard says what it says, and nothing of where in the code it said so."""
    made = train_bpe(["where is the fox ?", "in the wood"], 300)
    model = language_model(ModelSettings(width=16, layers=1, heads=2, context=32), made)
    spoil(made)
    save(model, made, tmp_path / "m")
    (tmp_path / "shown.jsonl").write_text('{"prompt": "where is the fox ?", "completion": "in the wood"}\n' * 3)
    settings = {
        "model": {"name": str(tmp_path / "m")},
        "encode": {"limit": 32, "answer_limit": 8},
        "draw": {"max_tokens": 8},
        "data": {"kind": "files", "root": str(tmp_path), "demonstrations": ["shown.jsonl"]},
        "run": {"device": "cpu", "trackers": [], "progress": False},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(settings))
    assert main(["train", "sft", str(tmp_path / "r.yaml"), "--project", str(tmp_path / "p")]) == 2
    begun, told = capsys.readouterr().err.split("\n", 1)
    assert begun == f"a new project begins in {tmp_path / 'p'}"
    assert told.startswith("accord: ")
    assert said in told


@pytest.mark.parametrize("device", ["banana", "cuda:77"])
def test_a_device_that_is_not_there_is_told(device: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"run.device={device} is not to be had here"):
        Project(tmp_path, Recipe(run=RunConfig(device=device))).run("sft", Config())


def test_a_file_that_is_no_store_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store.db").write_text("not a data base, but long enough to be looked at " * 50)
    (tmp_path / "x.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    assert main(["import", str(tmp_path / "x.jsonl"), "--project", str(tmp_path)]) == 2
    assert "the store cannot do its work (file is not a database)" in capsys.readouterr().err


def test_a_full_disk_is_told_and_the_same_command_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite may take a full transaction back by itself, and then complains of what is not there any more."""
    rows = "".join(f'{{"prompt": "{n}", "chosen": "{"a" * 3000}", "rejected": "b"}}\n' for n in range(600))
    (tmp_path / "x.jsonl").write_text(rows)
    words = ["import", str(tmp_path / "x.jsonl"), "--project", str(tmp_path / "p")]
    Store.open(tmp_path / "p" / "store.db").close()

    def little(raw: Any, _: object) -> None:
        raw.execute("PRAGMA max_page_count = 120").close()

    with monkeypatch.context() as tight:
        settle = database._settle
        tight.setattr(database, "_settle", lambda raw, other: (settle(raw, other), little(raw, other)))
        assert main(words) == 2
    told = capsys.readouterr().err
    assert "database or disk is full" in told
    assert "free some space" in told
    with Store.open(tmp_path / "p" / "store.db") as store:
        assert store.count(Prompt) == 0
    assert main(words) == 0
    with Store.open(tmp_path / "p" / "store.db") as store:
        assert store.count(Prompt) == 600


def test_a_model_folder_that_is_not_there_is_told_at_once() -> None:
    for name in ("./no/such/folder", "/no/such/folder", "~/no/such/folder"):
        with pytest.raises(SettingsError, match="there is no such folder"):
            located(name)
    assert located("somebody/some-model") == "somebody/some-model"


def test_a_full_disk_while_learning_is_told_with_the_way_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: list[str]) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "log.jsonl")

    monkeypatch.setitem(VERBS, "train", full)
    assert main(["train"]) == 2
    assert "the same command goes on" in capsys.readouterr().err


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """A limit of the size of files, as a quota that is used up."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_weights_that_find_no_room_are_told_with_the_version_s_name(tmp_path: Path) -> None:
    """Safetensors says so in an error that is no OSError: it went through the door as a traceback."""
    version = tmp_path / "versions" / "new"
    with (
        pytest.raises(OSError, match=r"File too large: '.*/versions/new'$"),
        files_of_at_most(4096),
        whole(version) as draft,
    ):
        save_file({"x": torch.zeros(9999)}, draft / "x.safetensors")
    assert list(version.parent.iterdir()) == []


def test_a_store_that_may_not_grow_says_what_to_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    with files_of_at_most(40960):
        assert main(["import", str(tmp_path / "x.jsonl"), "--project", str(tmp_path / "p")]) == 2
    told = capsys.readouterr().err
    assert "the store cannot do its work (disk I/O error). Nothing of this act was kept: look whether a quota" in told
