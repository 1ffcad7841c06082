"""A row that says several things at once says what the plainer rows say together, id by id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from accord.records import Comparison, Critique, Feedback, Preference, Prompt, Question, Rating, Sample, Text
from accord.store import Refused, Store, import_file, read
from accord.store.exchange import Imported

SAFE_RLHF = {
    "prompt": "How?", "response_0": "So.", "response_1": "No.", "prompt_source": "Alpaca3-70B",
    "is_response_0_safe": False, "is_response_1_safe": True, "response_0_severity_level": 2,
    "response_0_harm_category": {"Animal Abuse": True}, "better_response_id": 0, "safer_response_id": 1,
}  # fmt: skip
MARKS = {"helpfulness": 3, "correctness": 4, "coherence": 4, "complexity": 2, "verbosity": 1}
CONVERSATION = "hi\n<extra_id_1>Assistant\nho\n<extra_id_1>User\nagain"
TURNS = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "ho"},
    {"role": "user", "content": "again"},
]
SAME = [
    (
        SAFE_RLHF,
        [
            {"prompt": "How?", "chosen": "So.", "rejected": "No."},
            {"prompt": "How?", "response_a": "So.", "response_b": "No.", "label": "b", "criterion": "harmless",
             "safe_a": False, "safe_b": True},
        ],
    ),
    (
        {"prompt": CONVERSATION, "response": "yes", **MARKS},
        [{"prompt": TURNS, "response": "yes", "ratings": MARKS, "lowest": 0, "highest": 4}],
    ),
    (
        {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": -2, "split": "train"},
        [{"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2, "split": "train"}],
    ),
    (
        {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 1},
        [{"prompt": "q", "chosen": "b", "rejected": "a", "margin": 1}],
    ),
    (
        {"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 0},
        [{"prompt": "q", "response_a": "a", "response_b": "b", "label": "tie"}],
    ),
    (
        {"context": TURNS, "response1": "a", "response2": "b", "overall_preference": 3, "domain": "code"},
        [{"prompt": TURNS, "chosen": "b", "rejected": "a", "margin": 3}],
    ),
]  # fmt: skip


def imported(path: Path, *rows: dict[str, Any]) -> Imported:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return read(path)


@pytest.mark.parametrize(("theirs", "ours"), SAME)
def test_what_a_row_says_is_what_the_plain_rows_say(tmp_path: Path, theirs: dict, ours: list[dict]) -> None:
    one, other = imported(tmp_path / "a" / "x.jsonl", theirs), imported(tmp_path / "b" / "x.jsonl", *ours)
    assert one.report.bad == other.report.bad == []
    assert (one.report.good, other.report.good) == (1, len(ours))
    assert {record.model_dump_json() for record in one.records} == {r.model_dump_json() for r in other.records}


def test_the_better_and_the_safer_answer_are_told_apart(tmp_path: Path) -> None:
    found = imported(tmp_path / "x.jsonl", SAFE_RLHF).records
    said = {sample.content.messages[0].content: sample.id for sample in found if isinstance(sample, Sample)}
    (belief,) = (one for one in found if isinstance(one, Preference))
    (vote,) = (one.answer for one in found if isinstance(one, Feedback))
    (question,) = (one for one in found if isinstance(one, Question))
    assert (belief.chosen, belief.criterion) == (said["So."], "")
    assert isinstance(vote, Comparison)
    assert (vote.better, vote.criterion, vote.safe) == (said["No."], "harmless", (said["No."],))
    assert question.safety
    assert question.criteria == ("harmless",)


def test_attributes_are_marks_on_their_own_scale(tmp_path: Path) -> None:
    found = imported(tmp_path / "x.jsonl", {"prompt": "c#", "response": "A language", **MARKS, "verbosity": None})
    (rating,) = (one.answer for one in found.records if isinstance(one, Feedback))
    (question,) = (one for one in found.records if isinstance(one, Question))
    assert isinstance(rating, Rating)
    ((marks,), scale) = (rating.scores.values(), rating.scale)
    assert (marks, scale) == ({k: float(v) for k, v in MARKS.items() if k != "verbosity"}, (0.0, 4.0))
    assert (question.scale, question.form) == ((0, 4), "rating")
    assert set(question.criteria) == set(marks)


def test_steps_are_places_in_the_answer(tmp_path: Path) -> None:
    row = {"prompt": "2+2*3?", "completions": ["先算 2*3=6", "2+6=9", "9"], "labels": [True, False, 0]}
    found = imported(tmp_path / "x.jsonl", row).records
    (sample,) = (one for one in found if isinstance(one, Sample))
    (answer,) = (one.answer for one in found if isinstance(one, Feedback))
    assert isinstance(answer, Critique)
    assert isinstance(sample.content, Text)
    text = sample.content.messages[0].content
    assert [(text[span.start : span.end], span.label) for span in answer.spans] == [
        ("先算 2*3=6", "good"), ("2+6=9", "bad"), ("9", "bad"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**SAFE_RLHF, "better_response_id": 2}, "better_response_id should be 0 or 1, not '2'"),
        ({**SAFE_RLHF, "safer_response_id": True}, "safer_response_id should be 0 or 1, not 'True'"),
        ({**SAFE_RLHF, "is_response_0_safe": "no"}, "safe_a should be true or false, not 'no'"),
        ({**SAFE_RLHF, "safer_response_id": 0}, "the better answer is unsafe and another is safe"),
        ({**SAFE_RLHF, "response_1": "So."}, "chosen and rejected are equal"),
        ({"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": "much"}, "should be a number"),
        ({"prompt": "q", "response": "a", **MARKS, "helpfulness": 7}, "scores [7.0] outside the scale 0.0..4.0"),
        ({"prompt": "q", "response": "a", "ratings": 3}, "ratings should be numbers by name"),
        ({"prompt": "q", "completions": ["a", ""], "labels": [True, True]}, "none of them empty"),
        ({"prompt": "q", "completions": ["a"], "labels": [True, True]}, "two lists of the same length"),
        ({"prompt": "q", "completions": ["a"], "labels": ["good"]}, "labels should be true or false, not 'good'"),
        ({"message_id": "m", "parent_id": None, "text": "t", "role": "prompter"}, "one message of a tree"),
        ({"text": "The sky is blue."}, "a plain text belongs into data.texts"),
    ],
)
def test_a_row_that_says_nothing_by_such_names_is_bad(tmp_path: Path, row: dict, reason: str) -> None:
    report = imported(tmp_path / "x.jsonl", row).report
    assert (report.good, report.bad_rows) == (0, 1)
    assert reason in report.bad[0].reason


def test_a_file_of_which_nothing_can_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    with Store.open(tmp_path / "s.db") as store:
        report = import_file(store, tmp_path / "x.jsonl")
    with pytest.raises(Refused, match=r"x: none of its 2 rows can be used \(line 1: .*data\.texts"):
        report.warn("x")


def test_what_is_kept_can_be_read_twice(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    imported(file, SAFE_RLHF, {"prompt": "q", "response": "a", **MARKS})
    with Store.open(tmp_path / "s.db") as store:
        first, again = (import_file(store, file) for _ in range(2))
        kinds = {kind: len(list(store.all(kind))) for kind in (Prompt, Sample, Preference, Question, Feedback)}
    assert (first.bad, first.new, again.new) == ([], 10, 0)
    assert list(kinds.values()) == [2, 3, 1, 2, 2]
