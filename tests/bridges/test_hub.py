"""A data set of the hub becomes a file once, and what cannot be had is told in one sentence."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from accord.bridges.hub import fetched
from accord.config import SettingsError
from accord.project import Project
from accord.recipe import recipe
from accord.records import Preference, Prompt
from accord.run import online
from accord.store import read
from accord.store.trees import choices
from tests.flow.circle import TINY
from tests.store.test_trees import PAIRS, TREE, said

USER = {"role": "user", "content": "Name a colour."}
ROWS = [
    {"prompt": "Name a colour.", "chosen": [USER, {"role": "assistant", "content": "Blue\u2028."}],
     "rejected": [USER, {"role": "assistant", "content": "No."}], "score_chosen": 8.0, "score_rejected": 3.5},
]  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A stand-in for the package `datasets`, which is not needed for anything else; what it was asked for."""
    calls: list[Any] = []

    def load_dataset(*given: Any, **named: Any) -> list[dict[str, Any]]:
        calls.append((*given, named["split"]))
        if given[0] == "nobody/nothing":
            raise ConnectionError("offline")
        return ROWS

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr(online, "answers", lambda endpoint: True)
    return calls


def test_rows_are_brought_once(asked: list[Any], tmp_path: Path) -> None:
    file = fetched("hub:them/pairs:test:small", tmp_path)
    assert asked == [("them/pairs", "small", "test")]
    with gzip.open(file, "rt", encoding="utf-8", newline="\n") as lines:
        assert [json.loads(line) for line in lines] == [{"source": "them/pairs", **ROWS[0]}]
    assert fetched("hub:them/pairs:test:small", tmp_path) == file
    assert len(asked) == 1
    assert fetched("hub:them/pairs", tmp_path).name != file.name
    assert asked[1] == ("them/pairs", None, "train")
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_cannot_be_had_is_told(asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="cannot be had: ConnectionError: offline"):
        fetched("hub:nobody/nothing", tmp_path)
    for bad in ("hub:", "hub:a:b:c:d"):
        with pytest.raises(SettingsError, match="names no data set"):
            fetched(bad, tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingsError, match=r"accord\[hub\]"):
        fetched("hub:them/other", tmp_path)


def test_a_recipe_may_name_a_data_set_of_the_hub(asked: list[Any], tmp_path: Path) -> None:
    data = {"kind": "files", "preferences": ["hub:them/pairs"]}
    project = Project(tmp_path / "p", recipe(None, {**TINY, "data": data}))
    project.prepare()
    project.prepare()
    (belief,) = project.store.all(Preference)
    assert belief.margin == 4.5
    assert project.store.get(Prompt, belief.prompt).source == "them/pairs"
    assert len(asked) == 1


class Tree(list[dict[str, Any]]):
    """Rows that know their columns, as those of the package do."""

    column_names = list(TREE[0])


def test_single_messages_become_trees(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=lambda *given, **named: Tree(TREE)))
    monkeypatch.setattr(online, "answers", lambda endpoint: True)
    with gzip.open(fetched("hub:them/talks", tmp_path), "rt", encoding="utf-8", newline="\n") as lines:
        (tree,) = [json.loads(line) for line in lines]
    assert tree["source"] == "them/talks"
    assert sorted(said(choices(tree["prompt"], {}))) == sorted(PAIRS)


def test_a_configuration_may_be_a_folder_of_the_data_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def load_dataset(where: str, config: str | None = None, **named: Any) -> list[dict[str, Any]]:
        asked.append((where, config, named))
        if config == "harmless-base":
            raise ValueError("BuilderConfig 'harmless-base' not found. Available: ['default']")
        if config:
            raise ValueError("something else")
        return ROWS

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    monkeypatch.setattr(online, "answers", lambda endpoint: True)
    assert read(fetched("hub:them/hh:test:harmless-base", tmp_path)).report.good == 1
    assert asked[1:] == [("them/hh", None, {"data_dir": "harmless-base", "split": "test"})]
    with pytest.raises(SettingsError, match="something else"):
        fetched("hub:them/hh:test:other", tmp_path)


def test_a_folder_that_looks_like_the_hub_is_read_by_the_package_itself(tmp_path: Path) -> None:
    """The package's own reading of folders and configurations, where it is installed."""
    if importlib.util.find_spec("datasets") is None:
        reason = "the package `datasets` is not installed (pip install 'accord[hub]')"
        print(reason)
        pytest.skip(reason)
    shelf = tmp_path / "shelf"
    talk = "\n\nHuman: {}\n\nAssistant: {}".format
    put = {
        "oasst/train.jsonl": TREE,
        "hh/harmless-base/train.jsonl": [{"chosen": talk("q", "a"), "rejected": talk("q", "b")}],
        "hh/helpful-base/train.jsonl": [{"chosen": talk("r", "a"), "rejected": talk("r", "b")}],
        "feedback/data/train_prefs-00000-of-00001.jsonl": ROWS,
    }
    for name, rows in put.items():
        (shelf / name).parent.mkdir(parents=True, exist_ok=True)
        (shelf / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    for name, pairs in (("oasst", 3), ("hh", 2), ("hh:train:harmless-base", 1), ("feedback:train_prefs", 1)):
        found = read(fetched(f"hub:{shelf}/{name}", tmp_path / "data"))
        assert found.report.bad == []
        assert sum(isinstance(record, Preference) for record in found.records) == pairs
        sources = {record.source for record in found.records if isinstance(record, Prompt)}
        assert sources == {name.split(":")[0]}
