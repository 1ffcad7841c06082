"""Rows of several people about one answer come in, and their agreement is that of the labels themselves."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from accord.moved import import_
from accord.quality import agreement
from accord.quality.agreed import agreements
from accord.quality.believe import believe
from accord.records import Feedback, Question, Rating
from accord.store import Store, import_file
from accord.store.several import several

DATA = Path(__file__).parents[2] / "../shared/data/multi_annotator_ratings.jsonl.gz"


def row(i: int, who: str, label: object, **more: object) -> dict:
    return {"item_id": f"i{i}", "annotator_id": who, "prompt": f"p{i}", "response": f"r{i}", "label": label,
            "source": "seen", **more}  # fmt: skip


def kept(tmp_path: Path, rows: list[dict]) -> tuple[list[Question], list[Feedback], list[str]]:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    with Store.open(tmp_path / "store.db") as store:
        report = import_file(store, file)
        return list(store.all(Question)), list(store.feedback()), [one.reason for one in report.bad]


def test_values_of_several_people_agree_as_their_labels_do(tmp_path):
    g = np.random.default_rng(0)
    names = ["1_full_compliance", "2_full_refusal", "3_partial_refusal"]
    said = [(i, who, names[g.integers(3) if g.random() < 0.4 else i % 3]) for i in range(30) for who in "uvw"]
    asked, heard, bad = kept(tmp_path, [row(i, w, v, task="refusal", scale="nominal") for i, w, v in said])
    assert not bad
    assert {one.wanted for one in asked} == {3}
    assert {one.annotator for one in heard} == set("uvw")
    found = {one.what: one for one in agreements(asked, heard, np.random.default_rng(1), 20)}
    together = {one.name: one.interval.estimate for one in found["values: refusal"].figures}
    counts = agreement.count(*zip(*said, strict=True))
    plain = agreement.krippendorff(counts, "nominal", np.random.default_rng(1), 5).interval.estimate
    assert together["Krippendorff alpha (nominal)"] == pytest.approx(plain)
    assert "rating: refusal: 2_full_refusal" in found
    beliefs = believe(asked, heard)
    assert beliefs.preferences == []
    assert len(beliefs.left_out) == 90, "one answer at a time compares nothing, and each says so"


def test_marks_come_on_the_scale_of_the_task_or_of_the_row(tmp_path):
    rows = [
        row(0, "u", -3, task="user_abuse_severity", scale="ordinal"),
        row(0, "v", 1, task="user_abuse_severity", scale="ordinal"),
        row(1, "u", -3, task="other", scale="ordinal"),
        row(2, "u", 9, task="other", scale="ordinal", lowest=0, highest=10),
        {"prompt": "p", "response": "r", "rating": 4, "annotator_id": "w"},
        row(3, "u", "x", task="colour", scale="nominal"),
        row(4, "u", "red+blue", task="colour", scale="nominal", values=["red", "blue", "grey"]),
        row(5, "u", True, task="other", scale="ordinal"),
        row(6, "u", 1, scale="round"),
    ]
    _, heard, bad = kept(tmp_path, rows)
    answers = [one.answer for one in heard if isinstance(one.answer, Rating)]
    assert [one.scale for one in answers] == [(-3, 1), (-3, 1), (0, 10), (1, 5), (0, 1)]
    assert [next(iter(one.scores.values())) for one in answers][2:4] == [{"other": 9}, {"": 4}]
    assert next(iter(answers[4].scores.values())) == {"colour: red": 1, "colour: blue": 1, "colour: grey": 0}
    for words in ("outside 1..5", "list it in the row", "finite number", "nominal or ordinal"):
        assert sum(words in reason for reason in bad) == 1, (words, bad)
    assert len(bad) == 4


def test_one_row_may_hold_what_several_people_said(tmp_path):
    one = {"prompt": "p", "response": "r", "lowest": 1, "highest": 7, "criterion": "kind"}
    both = {**one, "ratings": [{"annotator_id": "u", "rating": 6}, {"annotator_id": "v", "rating": 7}]}
    named = {
        "prompt": "q",
        "response": "s",
        "ratings": [{"annotator_id": w, "ratings": {"a": 1, "b": 5}} for w in "uv"],
    }
    asked, heard, bad = kept(tmp_path, [both, named, {**one, "prompt": "z", "ratings": [{"rating": 6}]}])
    assert [(one.wanted, one.criteria) for one in asked] == [(2, ("kind",)), (2, ("a", "b"))]
    assert [one.annotator for one in heard] == ["u", "v", "u", "v"]
    assert "names its annotator_id" in bad[0]
    apart = [{**one, "annotator_id": w, "rating": r} for w, r in (("u", 6), ("v", 7))]
    (tmp_path / "other").mkdir()
    again, *_ = kept(tmp_path / "other", apart)
    assert [q.id for q in again] == [asked[0].id], "two rows or one: the same question"


def test_rows_of_other_forms_are_none_of_these():
    assert several({"prompt": "p", "response": "r", "label": True}) is None
    assert several({"prompt": "p", "chosen": "a", "rejected": "b", "rating": 3, "annotator_id": "u"}) is None
    assert several({"prompt": "p", "response": "r", "rating": 3}) is None, "an answer to imitate, as before"
    assert several({"prompt": "p", "response": "r", "ratings": {"a": 1}}) is None


def test_the_real_rows_come_in_by_command(tmp_path, capsys):
    if not DATA.exists():
        pytest.skip(f"the real ratings are not here: {DATA.name} is not in shared/data beside the repository")
    with gzip.open(DATA, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    few = [one for source in ("XSTest", "CrowS", "ConvAbuse") for one in rows if one["source"].startswith(source)][::7]
    (tmp_path / "few.jsonl").write_text("".join(json.dumps(one) + "\n" for one in few))
    assert import_((tmp_path / "few.jsonl",), project=tmp_path / "p") == 0
    assert f"{len(few)} of {len(few)} rows used" in capsys.readouterr().out
