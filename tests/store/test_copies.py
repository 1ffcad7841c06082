"""Rows that come under two names are believed once, whichever way they come."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path

import pytest

from accord.cli import main
from accord.project import Project
from accord.recipe import recipe
from accord.records import Demonstration, Preference
from accord.store import Refused, Store
from accord.store.copies import bring

ROWS = [{"prompt": f"question {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(6)]
SHOWN = [{"prompt": f"please {n}", "response": f"answer {n}"} for n in range(3)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """One file of pairs under three names, one of them packed, another of pairs, and one of demonstrations."""
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    (tmp_path / "first.jsonl").write_text(text)
    (tmp_path / "second.jsonl").write_text(text.rstrip("\n"))
    (tmp_path / "third.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "other.jsonl").write_text(json.dumps({"prompt": "what?", "chosen": "this", "rejected": "that"}))
    (tmp_path / "shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in SHOWN))
    return tmp_path


def project(data: Path, *names: str) -> Project:
    given = {"kind": "files", "root": str(data), "preferences": names, "demonstrations": ["shown.jsonl"], "texts": []}
    return Project(data / "p", recipe(None, {"name": "two", "data": given}))


def test_a_recipe_that_names_one_file_under_several_names_believes_it_once(data: Path) -> None:
    made = project(data, "first.jsonl", "other.jsonl", "second.jsonl", "third.jsonl.gz")
    with pytest.warns(UserWarning, match="its rows came as 'first' already") as said:
        made.prepare()
    assert [str(one.message).split(":")[0] for one in said] == ["second.jsonl", "third.jsonl.gz"]
    beliefs = list(made.store.all(Preference))
    assert len(beliefs) == len(ROWS) + 1
    assert made.store.count(Demonstration) == len(SHOWN)
    with warnings.catch_warnings(action="error", category=UserWarning):
        project(data, "first.jsonl", "other.jsonl").prepare()  # again, and nothing to warn of
    assert list(made.store.all(Preference)) == beliefs


def test_what_was_imported_is_known_to_a_recipe_and_the_other_way_round(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", str(data / "first.jsonl"), "--project", str(data / "p"), "--test-share", "0"]) == 0
    made = project(data, "second.jsonl", "other.jsonl")
    with pytest.warns(UserWarning, match="'first' already"):
        made.prepare()
    assert made.store.count(Preference) == len(ROWS) + 1
    (data / "copy.jsonl").write_bytes((data / "other.jsonl").read_bytes())
    assert main(["import", str(data / "copy.jsonl"), "--project", str(data / "p")]) == 0
    assert "its rows came as 'other' before" in capsys.readouterr().out


def test_a_pattern_brings_each_of_its_files_and_counts_them_together(data: Path) -> None:
    (data / "broken.jsonl").write_text("{no\n")
    with Store.open(data / "s.db") as store, pytest.warns(UserWarning, match="'first' already"):
        report = bring(store, data / "*.jsonl", 0.0)
    assert (report.rows, report.good, report.bad_rows) == (
        len(ROWS) + 1 + len(SHOWN) + 1,
        len(ROWS) + 1 + len(SHOWN),
        1,
    )
    with pytest.warns(UserWarning, match=r"1 of 11 rows cannot be used"):
        report.warn("*.jsonl")
    with Store.open(data / "t.db") as store, pytest.raises(Refused, match="none of its 1 rows"):
        bring(store, data / "broken.jsonl", 0.0).warn("broken.jsonl")
