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
    {"question": "How many?", "answer": "2*500=<<2*500=1000>>1,000\n#### 1,000"},
    {"problem": "What is 1+1?", "solution": "It is $2$.", "answer": "2", "level": 1},
    {"question": "Who?", "answer": "I."},
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
        {"prompt": "How many?", "completion": "2*500=<<2*500=1000>>1,000\n#### 1,000", "answer": "1,000"},
        {"prompt": "What is 1+1?", "completion": "It is $2$.", "answer": "2"},
        {"prompt": "Who?", "completion": "I."},
    ]
    theirs, ours = (read(lines(tmp_path / name / "x.jsonl", *rows)) for name, rows in (("a", HUB), ("b", said)))
    assert theirs.report.bad == []
    assert theirs.records == ours.records
    pair = {"prompt": "\n\nHuman: hi\n\nAssistant:", "chosen": " a", "rejected": " b"}
    plain = {"prompt": "hi", "chosen": "a", "rejected": "b"}
    of = [read(lines(tmp_path / name / "x.jsonl", row)).records for name, row in (("c", pair), ("d", plain))]
    assert of[0] == of[1]


PAIRS = [
    (
        {"system": "Be short.", "question": "Why?", "chosen": "So.", "rejected": "Because."},
        {"prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}],
         "chosen": "So.", "rejected": "Because."},
    ),
    (
        {"system": "", "instruction": "Sum up.", "input": "A text.", "chosen": "a", "rejected": "b"},
        {"prompt": "Sum up.\n\nA text.", "chosen": "a", "rejected": "b"},
    ),
    (
        {"conversations": [{"from": "human", "value": "hi"}], "chosen": {"from": "gpt", "value": "a"},
         "rejected": {"from": "gpt", "value": "b"}},
        {"prompt": "hi", "chosen": "a", "rejected": "b"},
    ),
    (
        {"prompt": "hi", "chosen": "a", "rejected": "b", "chosen-rating": 4.5, "rejected-rating": 2.0},
        {"prompt": "hi", "chosen": "a", "rejected": "b", "margin": 2.5},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("theirs", "ours"), PAIRS)
def test_pairs_with_their_prompt_under_another_name_are_known(tmp_path, theirs, ours):
    one, other = (read(lines(tmp_path / name / "x.jsonl", row)) for name, row in (("a", theirs), ("b", ours)))
    assert one.report.bad == other.report.bad == []
    assert one.records == other.records


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Which?", "choices": ["a", "b"], "answer": "B"},
        {"question": "Which?", "answer": {"value": "x"}},
        {"question": 3, "chosen": "a", "rejected": "b"},
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
