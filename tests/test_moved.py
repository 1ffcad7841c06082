"""Records in and out through the door: what points at people is taken out before anybody can see it."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from accord.cli import main
from accord.records import Comparison, Feedback, Message, Preference, Prompt, Question, Record, Sample, Text
from accord.store import Store
from accord.store.people import People

MAIL, CARD, PHONE = "jane.roe@example.org", "4111 1111 1111 1111", "13800138000"


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def said(capsys: pytest.CaptureFixture[str], words: list[str], status: int = 0) -> str:
    capsys.readouterr()
    found = main(words)
    told = capsys.readouterr()
    assert found == status, told
    return told.out + told.err


def test_an_import_says_how_many_answers_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = Question(prompt="p", samples=("a", "b"), wanted=2)
    texts = {id: Text(messages=(Message(role="user" if id == "p" else "assistant", content=id),)) for id in "pab"}
    records: list[Record] = [Prompt(id="p", content=texts["p"])]
    records += [*(Sample(id=id, prompt="p", content=texts[id]) for id in "ab"), question]
    answers = [
        Feedback(question=question.id, annotator=who, answer=None if who == "skips" else Comparison(better="a"))
        for who in ("ann", "ann", "skips", "bob", "carl", "dora")
    ]
    rows = [{"kind": type(one).__name__.lower(), **one.model_dump(mode="json")} for one in [*records, *answers]]
    at = ["--project", str(tmp_path / "p")]
    told = said(capsys, ["import", str(lines(tmp_path / "some.jsonl", *rows[:-2])), *at])
    assert "  1 of the answers are surplus: kept, but not counted, for the question had all it wanted" in told
    told = said(capsys, ["import", str(lines(tmp_path / "all.jsonl", *rows)), *at])
    assert "2 records new\n  2 of the answers are surplus" in told
    assert "surplus" not in said(capsys, ["import", str(tmp_path / "all.jsonl"), "--again", *at]), "nothing came"
    with Store.open(tmp_path / "p" / "store.db") as store:
        assert [one.annotator for one in store.feedback()] == ["ann", "skips", "bob"]
        assert store.count(Feedback) == 6


def test_what_is_scrubbed_on_its_way_in_is_in_no_byte_of_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [{"role": "user", "content": f"My card is {CARD}, what now?"}]
    file = lines(
        tmp_path / "raw.jsonl",
        {"prompt": f"Write to {MAIL}", "chosen": "Dear Zaphod, hello", "rejected": f"call {PHONE}", "split": "train"},
        "",
        {"prompt": turns, "chosen": "Lock it.", "rejected": "Post it."},
        "{broken",
        {"prompt": "who ?", "response_a": "I", "response_b": "you", "label": "a", "annotator_id": MAIL},
        {"prompt": "who ?", "response_a": "I", "response_b": "you", "label": "b", "annotator_id": "w-7"},
    )
    names = lines(tmp_path / "names.txt", "Zaphod")
    at = ["--project", str(tmp_path / "p"), "--test-share", "0"]
    told = said(capsys, ["import", str(file), "--names", str(names), *at], 1)
    assert "4 of 5 rows used" in told
    assert "line 4: not JSON" in told
    assert "taken out: 1 CARD, 1 EMAIL, 1 NAME, 1 PHONE" in told
    assert "kept under pseudonyms (accord people): 1" in told
    with Store.open(tmp_path / "p" / "store.db") as store:
        first = next(iter(store.all(Prompt)))
        assert first.content.messages[0].content == "Write to [EMAIL]"  # type: ignore[union-attr]
        assert store.count(Preference) == 2
        [known] = People(store).all()
        assert (known.name, known.active) == (MAIL, False)
        assert {one.annotator for one in store.all(Feedback)} == {known.pseudonym, "w-7"}
    with sqlite3.connect(tmp_path / "p" / "store.db") as raw:
        raw.execute("DELETE FROM person")
        raw.commit()
        raw.execute("VACUUM")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = (tmp_path / "p" / "store.db").read_bytes()
    assert b"Dear [NAME], hello" in whole
    for word in (MAIL, CARD, PHONE, "Zaphod"):
        assert word.encode() not in whole, word


def test_scrubbing_twice_adds_nothing_and_an_exact_backup_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"prompt": f"of {MAIL}", "response_a": "I", "response_b": "you", "label": "a", "annotator_id": MAIL}
    file, at = lines(tmp_path / "raw.jsonl", row), ["--project", str(tmp_path / "p")]
    assert "5 records new" in said(capsys, ["import", str(file), "--scrub", *at])
    assert "0 records new" in said(capsys, ["import", str(file), "--scrub", *at])
    whole = tmp_path / "all.jsonl"
    said(capsys, ["export", str(whole), *at])
    assert MAIL not in whole.read_text()
    again = ["import", str(whole), "--scrub", "--project", str(tmp_path / "other")]
    assert "in Accord's own form comes in as it is" in said(capsys, again, 2)


def test_presidio_is_asked_from_the_door(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an engine that stands for presidio's: it finds every `Qfwfq`."""
    file = lines(tmp_path / "raw.jsonl", {"prompt": "who is Qfwfq", "chosen": "old", "rejected": "young"})
    words = ["import", str(file), "--presidio", "it", "--project", str(tmp_path / "p")]
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    assert "pip install 'accord[presidio]'" in said(capsys, words, 2)

    class Engine:
        def __init__(self, supported_languages: list[str]) -> None:
            assert supported_languages == ["it"]

        def analyze(self, text: str, language: str, score_threshold: float) -> list[SimpleNamespace]:
            at = text.find("Qfwfq")
            return [SimpleNamespace(start=at, end=at + 5, entity_type="PERSON")] if at >= 0 else []

    stands = ModuleType("presidio_analyzer")
    stands.AnalyzerEngine = Engine  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "presidio_analyzer", stands)
    assert "taken out: 1 NAME" in said(capsys, words)
    out = tmp_path / "out.jsonl"
    said(
        capsys, ["export", str(out), "--form", "preference_plain", "--presidio", "it", "--project", str(tmp_path / "p")]
    )
    assert json.loads(out.read_text())["prompt"] == "who is [NAME]"


def test_another_store_is_named_and_a_slip_makes_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = lines(tmp_path / "raw.jsonl", {"prompt": "q", "chosen": "a", "rejected": "b"})
    other = tmp_path / "other.db"
    assert "4 records new" in said(
        capsys, ["import", str(file), "--store", str(other), "--project", str(tmp_path / "p")]
    )
    assert not (tmp_path / "p").exists()
    assert "4 rows" in said(capsys, ["export", str(tmp_path / "o.jsonl"), "--store", str(other)])
    assert "no slip.db" in said(capsys, ["export", str(tmp_path / "o.jsonl"), "--store", str(tmp_path / "slip.db")], 2)
    assert not (tmp_path / "slip.db").exists()
