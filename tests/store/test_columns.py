"""Rows of public data sets under their own column names say what ours say."""

import json
from pathlib import Path

import pytest

from accord.store import read

USER, REPLY = {"role": "user", "content": "问题?"}, {"role": "assistant", "content": "好的"}
OTHER = {"role": "assistant", "content": "no"}


def lines(path: Path, *rows) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


HUB = [
    {"messages": [{"role": "system", "content": "s"}, USER, REPLY, USER, OTHER]},
    {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]},
    {"instruction": "Sum up.", "context": "A long text.", "response": "Short.", "category": "summary"},
    {"instruction": "Sum up.", "input": "", "output": "Short."},
    {"prompt": "\n\nHuman: hi\n\nAssistant: ho\n\nHuman: and?\n\nAssistant:", "response": " so"},
]


def test_columns_of_public_data_sets_are_known(tmp_path):
    """Each row again in our own words: what comes of both is the same, id by id."""
    said = [
        {"prompt": [{"role": "system", "content": "s"}, USER], "completion": [REPLY, USER, OTHER]},
        {"prompt": "hi", "completion": "ho"},
        {"prompt": "Sum up.\n\nA long text.", "completion": "Short.", "category": "summary"},
        {"prompt": "Sum up.", "completion": "Short."},
        {
            "prompt": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": "ho"},
                {"role": "user", "content": "and?"},
            ],
            "completion": "so",
        },
    ]
    theirs, ours = (read(lines(tmp_path / name / "x.jsonl", *rows)) for name, rows in (("a", HUB), ("b", said)))
    assert theirs.report.bad == []
    assert theirs.records == ours.records
    pair = {"prompt": "\n\nHuman: hi\n\nAssistant:", "chosen": " a", "rejected": " b"}
    plain = {"prompt": "hi", "chosen": "a", "rejected": "b"}
    of = [read(lines(tmp_path / name / "x.jsonl", row)).records for name, row in (("c", pair), ("d", plain))]
    assert of[0] == of[1]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"messages": [USER]},
        {"messages": "hi"},
        {"messages": [3, 4]},
        {"messages": [{"role": ["assistant"]}, {"role": {}}]},
        {"conversations": [{"from": "human"}, {"from": "gpt", "value": None}]},
        {"conversations": [{"from": ["human"], "value": "x"}]},
        {"instruction": "x", "output": 3},
        {"prompt": "\n\nHuman:", "completion": ""},
    ],
)
def test_columns_that_say_nothing_are_bad_rows(tmp_path, row):
    report = read(lines(tmp_path / "x.jsonl", row)).report
    assert (report.good, report.bad_rows) == (0, 1)
