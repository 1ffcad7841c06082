"""A data set of the hub becomes a file once, and what cannot be had is told in one sentence."""

from __future__ import annotations

import gzip
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
from tests.flow.circle import TINY

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
