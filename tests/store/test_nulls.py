"""A null is a value that is missing: it makes a row neither of another form nor, where nothing is needed, a bad one."""

import json
from pathlib import Path

import pytest

from accord.cli import main
from accord.records import KINDS, Feedback, Message, Prompt, Question, Sample, Text
from accord.store import Refused, Store, import_file, read

MISSING = [
    ({"prompt": "q", "chosen": "a", "rejected": None}, "a pair without rejected"),
    ({"prompt": "q", "chosen": None, "rejected": "b"}, "a pair without chosen"),
    ({"prompt": "q", "chosen": None, "rejected": None}, "a pair without chosen and rejected"),
    ({"prompt": "q", "completion": "a", "label": None}, "label is null"),
    ({"prompt": "q", "response": "a", "safe": None}, "safe is null"),
    ({"prompt": None, "completion": "a", "label": True}, "no known form"),
]
WHOLE = [
    ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": None, "source": None, "split": None}, "Preference"),
    ({"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": None, "score_rejected": None}, "Preference"),
    (
        {"prompt": None, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        "Demonst",
    ),
    ({"prompt": "q", "chosen": None, "completion": "a"}, "Demonst"),
    ({"instruction": "q", "context": None, "response": None, "output": "a"}, "Demonst"),
    ({"prompt": "q", "completion": None, "answer": "4"}, "Prompt"),
]


def written(tmp_path: Path, row: dict, end: str) -> Path:
    """A file of one row; Parquet has a column for every name, whether the row has a value or not."""
    path = tmp_path / f"rows.{end}"
    if end == "jsonl":
        path.write_text(json.dumps(row) + "\n", encoding="utf-8")
        return path
    import pyarrow
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    return path


@pytest.mark.parametrize("end", ["jsonl", "parquet"])
@pytest.mark.parametrize(("row", "reason"), MISSING)
def test_half_a_row_is_a_bad_row_and_no_row_of_another_form(tmp_path, row, reason, end):
    found = read(written(tmp_path, row, end))
    assert found.records == ()
    assert [bad.line for bad in found.report.bad] == [1]
    assert found.report.bad[0].reason.startswith(reason)


@pytest.mark.parametrize("end", ["jsonl", "parquet"])
@pytest.mark.parametrize(("row", "last"), WHOLE)
def test_a_null_where_nothing_is_needed_says_nothing(tmp_path, row, last, end):
    plain = {name: value for name, value in row.items() if value is not None}
    nulls, without = (read(written(tmp_path / name, one, end)) for name, one in made(tmp_path, row, plain))
    assert nulls.report.bad == []
    assert type(nulls.records[-1]).__name__.startswith(last)
    assert nulls.records == without.records


def made(tmp_path: Path, row: dict, plain: dict) -> list[tuple[str, dict]]:
    for name in ("nulls", "plain"):
        (tmp_path / name).mkdir()
    return [("nulls", row), ("plain", plain)]


def test_whose_verdict_is_missing_can_be_imitated_when_it_is_said(tmp_path):
    row = {"prompt": "q", "completion": "a", "label": None}
    assert [type(one).__name__ for one in read(written(tmp_path, row, "parquet"), "completion").records] == [
        "Prompt",
        "Sample",
        "Demonstration",
    ]


def test_our_own_records_as_columns_keep_a_skip(tmp_path):
    """A table of all kinds has a null in every column that a kind does not have; a skip is an answer of null."""
    import pyarrow
    import pyarrow.parquet as parquet

    text = [Text(messages=(Message(role=role, content=role),)) for role in ("user", "assistant")]
    kept = [
        Prompt(id="q", content=text[0]),
        Sample(id="s", prompt="q", content=text[1]),
        Question(id="w", prompt="q", samples=("s",), form="rating"),
        Feedback(id="f", question="w", annotator="anna", answer=None),
    ]
    kinds = {kind: name for name, kind in KINDS.items()}
    rows = [
        {"kind": kinds[type(one)], **{k: v for k, v in one.model_dump(mode="json").items() if v not in ({}, [], None)}}
        for one in kept
    ]
    every = {name for row in rows for name in row} | {"answer"}
    parquet.write_table(
        pyarrow.Table.from_pylist([{name: row.get(name) for name in every} for row in rows]), tmp_path / "own.parquet"
    )
    with Store.open(tmp_path / "s.db") as store:
        assert import_file(store, tmp_path / "own.parquet").bad == []
        assert store.get(Feedback, "f") == kept[-1]


def test_shares_that_cannot_be_are_one_fault_and_not_that_of_each_row(tmp_path):
    path = written(tmp_path, {"prompt": "q"}, "jsonl")
    with Store.open(tmp_path / "s.db") as store, pytest.raises(Refused, match=r"shares must lie in 0\.\.1"):
        import_file(store, path, test_share=2.0)


def test_a_list_in_place_of_lines_is_told_how_to_become_lines(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([{"prompt": "q", "completion": "a"}]))
    (bad,) = read(tmp_path / "rows.json").report.bad
    assert bad.reason == "a list of 1; write one row a line: jq -c '.[]' rows.json > rows.jsonl"


def test_all_bad_rows_can_be_named(tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_text("no\n" * 30)
    command = ["import", str(tmp_path / "rows.jsonl"), "--project", str(tmp_path / "p")]
    assert main(command) == 1
    said = capsys.readouterr().out
    assert said.count("not JSON") == 20
    assert "and 10 more bad rows; --bad 30 names them" in said
    assert main([*command, "--bad", "30"]) == 1
    said = capsys.readouterr().out
    assert said.count("not JSON") == 30
    assert "more bad rows" not in said
