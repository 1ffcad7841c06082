"""The whole command line on PostgreSQL: in, believed, listed, forgotten, out."""

import json
from pathlib import Path

import pytest

from accord.cli import main
from accord.records import Feedback, Preference
from accord.store import Store


def test_the_whole_way_by_commands_on_postgresql(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"p{i}", "response_a": "long", "response_b": "short", "label": "ab"[i % 3 == 0 and who == "w"],
         "annotator_id": who}
        for i in range(12) for who in "uvw"
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))

    def told(*words: str) -> str:
        capsys.readouterr()
        status = main([*words, "--store", postgresql])
        out = capsys.readouterr()
        assert status == 0, out
        return out.out

    assert "36 of 36 rows used" in told("import", "rows.jsonl", "--test-share", "0")
    assert "12 pairs" in told("believe")
    assert "comparison: 36 answers of 3 people" in told("agree", "--draws", "20")
    listed = told("people")
    assert all(name in listed for name in "uvw")
    told("erase", "w", "--withdraw")
    with Store.open(postgresql) as store:
        assert {one.annotator for one in store.feedback()} == {"u", "v"}
        assert store.count(Preference) == 0, "all rested on what was withdrawn"
    assert "12 pairs" in told("believe")
    told("export", "out.jsonl", "--form", "preference")
    told("export", "all.jsonl")
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(out) == 12
    whole = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    said = [one for one in whole if one["kind"] == "feedback"]
    assert {one["annotator"] for one in said} == {"u", "v", "erased"}
    assert all(one.get("answer") is None for one in said if one["annotator"] == "erased"), "a stone has no words"
    with Store.open(postgresql) as store:
        assert store.count(Feedback) >= 24
    assert not list(tmp_path.rglob("store.db")), "nothing was kept beside the server"
