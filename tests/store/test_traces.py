"""What is left of somebody is found wherever it is packed, and what only looks like it is not."""

import bz2
import gzip
import io
import json
import lzma
import random
import shutil
import tarfile
import zipfile

import pytest

from accord.records import Comparison, Correction, Feedback, Question, Sample
from accord.store import export
from accord.store.belongings import known
from accord.store.erasure import unlink, withdraw
from accord.store.pieces import PIECE, pieces
from accord.store.traces import in_files, left

from .conftest import pairs, text

ADA = "ada-9f2c"
OLD = "The model said a good many things about the sea and its creatures. " * 8
OWN = "But ada says that whales sing because they like it."


@pytest.fixture
def hers(store):
    """Ada put one sentence at the end of a long answer of a model's, and chose with a note that others make too."""
    store.put(pairs(2, wanted=2))
    asked = Question(id="fix", prompt="p0", samples=("long",), form="correction")
    store.put([Sample(id="long", prompt="p0", content=text(OLD, "assistant")), asked])
    better = Correction(sample="long", content=text(OLD + OWN, "assistant"))
    store.put([Feedback(id="c", question="fix", annotator=ADA, answer=better)])
    for who in (ADA, "bea"):
        choice = Comparison(better="s1a")
        store.put([Feedback(question="q1", annotator=who, answer=choice, note="both are fine", shown=("s1a", "s1b"))])
    return known(store, ADA)


def slow(text_: str, others: list[str]) -> set[str]:
    return {
        text_[at : at + PIECE]
        for at in range(len(text_) - PIECE + 1)
        if all(text_[at : at + PIECE] not in other for other in others)
    }


def test_pieces_are_parts_that_no_other_text_has():
    draw = random.Random(0)
    for _ in range(30):
        before = "".join(draw.choice("ab \n") for _ in range(300))
        at = draw.randrange(300)
        after = before[:at] + "".join(draw.choice("abc") for _ in range(draw.randrange(60))) + before[at + 5 :]
        found = pieces(after, [before])
        assert set(found) <= slow(after, [before])
        assert bool(found) == bool(slow(after, [before]))
    assert pieces("short one") == ["short one"]
    assert pieces("short one", ["a short one too"]) == []
    assert pieces("tiny") == []


def test_a_correction_is_known_by_what_was_changed(store, hers, tmp_path):
    assert hers.pieces
    assert all(piece not in OLD and piece in OLD + OWN for piece in hers.pieces)
    assert "both are fine" not in hers.pieces
    assert left(store, hers)
    withdraw(store, hers)
    assert left(store, hers) == []
    assert in_files(tmp_path, hers) == []
    (tmp_path / "report.html").write_text(f"<p>{OLD}</p>")
    assert in_files(tmp_path, hers) == []
    (tmp_path / "cut.log").write_text(f"... creatures. {OWN[:45]}...")
    assert [one.path.name for one in in_files(tmp_path, hers)] == ["cut.log"]


def test_every_packing_is_opened(store, hers, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export(store, out / "all.parquet")
    export(store, out / "all.jsonl.gz")
    shutil.copy(tmp_path / "store.db", out / "store.db.bak")  # without its log, which may hold all of it
    shutil.copy(tmp_path / "store.db-wal", out / "old-log")
    said = OWN.encode()
    (out / "a.bz2").write_bytes(bz2.compress(said))
    (out / "a.xz").write_bytes(lzma.compress(said))
    (out / "gz-without-its-name").write_bytes(gzip.compress(said))
    with zipfile.ZipFile(out / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("inner.gz", gzip.compress(json.dumps({"note": OWN}).encode()))
    with tarfile.open(out / "a.tar.gz", "w:gz") as tar:
        inner = tarfile.TarInfo("a.gz")
        inner.size = len(gzip.compress(said))
        tar.addfile(inner, io.BytesIO(gzip.compress(said)))
    (out / "clean.gz").write_bytes(gzip.compress(OLD.encode()))
    (out / "broken.gz").write_bytes(gzip.compress(said * 99)[:-20])
    (out / "empty").touch()
    (out / "checkpoint.safetensors").write_bytes(random.Random(0).randbytes(3 << 20) + said)
    found = {one.path.name: bool(one.why) for one in in_files(out, hers)}
    whole = ("all.parquet", "all.jsonl.gz", "old-log", "a.bz2", "a.xz", "gz-without-its-name", "a.zip", "a.tar.gz")
    assert found.pop("store.db.bak", False) is False
    assert found == {**dict.fromkeys(whole, False), "checkpoint.safetensors": False, "broken.gz": True}
    [unread] = [one for one in in_files(out, hers) if one.why]
    assert unread.path.name == "broken.gz"
    assert "EOFError" in unread.why


def test_who_was_unlinked_is_looked_for_by_name_alone(store, hers, tmp_path):
    export(store, tmp_path / "before.jsonl")
    unlink(store, hers)
    export(store, tmp_path / "after.jsonl")
    assert [one.path.name for one in in_files(tmp_path, hers, texts=False)] == ["before.jsonl"]
