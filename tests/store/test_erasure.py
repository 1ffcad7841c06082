"""After somebody withdrew no byte of theirs is left, the rest stands, and what was built on them is told."""

import random
import sqlite3

import pytest
from sqlalchemy import Column, MetaData, String, Table, insert, select

from accord.records import (
    Blob,
    Comparison,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    Preference,
    Prompt,
    Question,
    Sample,
    Span,
    Version,
    Written,
    named_id,
)
from accord.store import Refused, Store, desk, export, import_file
from accord.store.belongings import known
from accord.store.erasure import unlink, withdraw
from accord.store.people import People
from accord.store.traces import left
from bench.postgres import cluster, why_not

from .conftest import pairs, said, text

WORDS = (
    "Ada's own “better” answer,\nin two lines",
    "what ada thinks of it",
    "ada skips: too long",
    "a demonstration by ada",
)
MARK = "ada-9f2c"


def fill(store):
    """Ada and Bea answer; two beliefs rest on Ada, one on Bea alone; a family of versions learns."""
    store.put(pairs(6, wanted=2))
    picture = store.put_blob(b"a picture that ada drew")
    fixed, shared = text(WORDS[0], "assistant"), text("both say this", "assistant")

    def said(who, question, answer, **more):
        return Feedback(id=f"{who[:3]}-{question}", question=f"q{question}", annotator=who, answer=answer, **more)

    store.put(
        [
            said(MARK, 0, Comparison(better="s0a"), shown=("s0a", "s0b"), seconds=3),
            said(MARK, 1, Correction(sample="s1a", content=fixed)),
            said(MARK, 2, Critique(sample="s2a", text=WORDS[1], spans=(Span(start=0, end=1, label="bad"),))),
            said(MARK, 3, None, note=WORDS[2]),
            said(MARK, 4, Written(content=shared)),
            said("bea", 4, Written(content=shared)),
            said("bea", 0, Comparison(better="s0a")),
            said("bea", 1, Comparison(better="s1a")),
        ]
    )
    made = [
        Sample(id=named_id(n), prompt=p, content=c, source=s)
        for n, p, c, s in (("fixed", "p1", fixed, "correction"), ("shared", "p4", shared, "written"))
    ]
    store.put(
        [
            *made,
            Preference(id="both", prompt="p0", chosen="s0a", rejected="s0b", feedback=("ada-0", "bea-0")),
            Preference(id="bea", prompt="p1", chosen="s1a", rejected="s1b", feedback=("bea-1",)),
            Preference(id="about", prompt="p1", chosen=made[0].id, rejected="s1b", feedback=("bea-1",)),
            Demonstration(id="shown", prompt="p1", sample=made[0].id, feedback=("ada-1",)),
            Version(id="v0", name="sft", role="policy", weights="versions/sft"),
            Version(
                id="v1", name="reward", role="reward", parent="v0", data=("both", "bea"), weights="versions/reward"
            ),
            Version(id="v2", name="ppo", role="policy", parent="v0", data=("v1",), weights="versions/ppo"),
            Version(id="v3", name="other", role="reward", parent="v0", data=("bea",)),
        ]
    )
    fresh = Question(id="q-blob", prompt="p5", samples=("s5a", "s5b"))
    blob = Blob(media="image/png", sha256=picture)
    store.put([fresh, Feedback(id="ada-b", question="q-blob", annotator=MARK, answer=Written(content=blob))])
    person = People(store).add("Ada Lovelace", "annotator", MARK)
    People(store).grant(person.id, "token", "digest-of-a-token", 1000)
    store.claim(MARK)
    return made, picture


def traces(folder):
    """Every byte of hers in any file beside the store."""
    needles = [MARK, "Ada Lovelace", "digest-of-a-token", "a picture that ada drew", *WORDS, WORDS[0].split("\n")[1]]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted({n for n in needles for path in files if n.encode() in path.read_bytes()})


def test_withdrawn_words_leave_no_byte(tmp_path):
    with Store.open(tmp_path / "s" / "store.db") as store:
        made, _ = fill(store)
        extra = MetaData()
        notes = Table("note", extra, Column("id", String), Column("who", String), Column("words", String))
        with store.writing() as connection:
            extra.create_all(connection)
            connection.execute(
                insert(notes), [{"id": "1", "who": MARK, "words": WORDS[1]}, {"id": "2", "who": "bea", "words": ""}]
            )
        export(store, tmp_path / "old.jsonl")
        assert len(traces(tmp_path / "s")) > 6
        who = known(store, "Ada Lovelace")
        assert known(store, MARK) == who
        assert {*who.preferences} == {"both", "about"}
        assert who.demonstrations == ("shown",)
        assert who.versions == {"v1": "reward", "v2": "ppo"}
        assert who.samples == (made[0].id,)
        assert left(store, who)
        assert withdraw(store, who) == {"reward": "reward-tainted-v1", "ppo": "ppo-tainted-v2"}

        assert traces(tmp_path / "s") == []  # the file, its log, and the blobs
        assert left(store, who) == []
        assert sorted(one.id for one in store.feedback()) == ["bea-0", "bea-1", "bea-4"]
        assert [one.id for one in store.all(Preference)] == ["bea"]
        assert list(store.all(Demonstration)) == []
        assert store.get(Sample, made[1].id) == made[1]
        assert store.get(Sample, made[0].id).source == "erased"
        assert {one.name for one in store.all(Version)} == {"sft", "reward-tainted-v1", "ppo-tainted-v2", "other"}
        assert store.get(Version, "v1").weights == "versions/reward-tainted-v1"
        found = store.trace_version("v2")
        assert set(found.tainted) == {"both", "v1", "v2"}
        assert found.annotators == ("bea", "erased")
        assert store.trace_version("v3").tainted == ()
        with store.reading() as connection:
            assert connection.scalars(select(notes.c.id)).all() == ["2"]
        with pytest.raises(Refused, match="nobody"):
            known(store, MARK)
        with pytest.raises(Refused, match="erased"):
            store.put([Preference(id="both", prompt="p0", chosen="s0b", rejected="s0a")])

        before = sorted(one.model_dump_json() for kind in (Feedback, Sample, Preference) for one in store.all(kind))
        report = import_file(store, tmp_path / "old.jsonl")  # an old copy does not bring her back
        assert report.bad_rows >= 9
        assert before == sorted(
            one.model_dump_json() for kind in (Feedback, Sample, Preference) for one in store.all(kind)
        )


def test_their_places_are_open_for_others_again(store):
    fill(store)
    before = desk.progress(store, "default")
    answered = sum(one.answer is not None for one in store.feedback(annotator=MARK))
    withdraw(store, known(store, MARK))
    after = desk.progress(store, "default")
    assert (after.answered, after.leased) == (before.answered - answered, 0)
    asked = {claim.asked.question.id for claim in store.claim("cleo", count=20)}
    assert "q0" in asked


def test_unlinked_words_stay_under_a_name_that_nothing_leads_to(store, tmp_path):
    fill(store)
    who = known(store, MARK)
    before = {one.id: one for one in store.feedback(standing=False)}
    fresh = unlink(store, who)
    assert fresh != MARK
    assert MARK.encode() not in (tmp_path / "store.db").read_bytes()
    assert left(store, known(store, fresh))  # their texts
    after = {one.id: one for one in store.feedback(standing=False)}
    assert after == {
        id: one.model_copy(update={"annotator": fresh}) if one.annotator == MARK else one for id, one in before.items()
    }
    assert store.trace_person(fresh).versions == ("v1",)
    assert not any(claim.asked.question.id == "q0" for claim in store.claim(fresh, count=20))
    assert People(store).all() == []


def test_an_erasure_that_crashed_before_the_file_was_written_anew_is_finished_later(store, tmp_path, monkeypatch):
    from accord.store import erasure

    fill(store)
    who = known(store, MARK)
    with monkeypatch.context() as crash:
        crash.setattr(Store, "rewrite", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            withdraw(store, who)
    assert left(store, who) == []
    assert traces(tmp_path) != []
    assert erasure.finish(store)
    assert traces(tmp_path) == []
    assert not erasure.finish(store)


def test_talks_with_a_model_are_forgotten_with_their_beliefs_and_models(store, tmp_path):
    mine, hers = "my secret holiday plans", "her public question"
    for who, words in ((MARK, mine), ("bea", hers)):
        key = who[:3]
        store.put(
            [
                Prompt(id=f"p-{key}", content=text(words), source="chat"),
                *(Sample(id=f"{key}{i}", prompt=f"p-{key}", content=text(f"{words}? {i}", "assistant")) for i in "xy"),
                Question(id=f"q-{key}", prompt=f"p-{key}", samples=(f"{key}x", f"{key}y"), project="chat"),
                Preference(id=f"b-{key}", prompt=f"p-{key}", chosen=f"{key}x", rejected=f"{key}y"),
                Version(id=f"v-{key}", name=f"ppo-{key}", role="policy", data=(f"p-{key}",)),
            ]
        )
        [claim] = store.claim(who, "chat", count=1, seconds=1, now=100.0 if who == MARK else 200.0)
        if who == MARK:
            assert claim.asked.prompt.id == "p-ada"
            store.answer(claim.id, said(claim), now=100.0)
    who = known(store, MARK)
    assert (who.prompts, who.samples) == (("p-ada",), ("adax", "aday"))
    assert (who.versions, who.preferences) == ({"v-ada": "ppo-ada"}, ("b-ada",))
    withdraw(store, who)
    assert mine.encode() not in (tmp_path / "store.db").read_bytes()
    assert store.get(Prompt, "p-ada").source == "erased"
    assert [one.id for one in store.all(Preference)] == ["b-bea"]
    assert store.get(Prompt, "p-bea").content == text(hers)
    assert known(store, "bea").prompts == ("p-bea",)


def test_two_at_once_read_while_it_is_written_anew(store, tmp_path):
    """A reader in another connection holds nothing up for good, and reads a whole file afterwards."""
    fill(store)
    other = sqlite3.connect(tmp_path / "store.db")
    assert other.execute("SELECT count(*) FROM feedback").fetchone()[0] == 9
    withdraw(store, known(store, MARK))
    assert other.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    assert traces(tmp_path) == []


@pytest.mark.parametrize("seed", range(4))
def test_the_rest_is_as_if_they_had_never_been_there(tmp_path, seed):
    """What stands after an erasure is what stands in a store that never heard them, ids and texts alike."""
    draw = random.Random(seed)
    said = []
    for i in range(30):
        for who in draw.sample(["x", "y", "z"], 2):
            better = draw.choice([f"s{i}a", f"s{i}b"])
            said.append(Feedback(id=f"{who}{i}", question=f"q{i}", annotator=who, answer=Comparison(better=better)))
    with Store.open(tmp_path / "a.db") as one, Store.open(tmp_path / "b.db") as two:
        one.put([*pairs(30, wanted=2), *said])
        two.put([*pairs(30, wanted=2), *(word for word in said if word.annotator != "x")])
        withdraw(one, known(one, "x"))
        assert list(one.feedback()) == list(two.feedback())
        assert desk.progress(one, "default") == desk.progress(two, "default")


def test_postgresql_forgets_too(tmp_path):
    """The tables are written anew, so the server's files hold no byte of theirs (its own log is the server's)."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with cluster() as server, Store.open(server.base("forget"), tmp_path / "blobs") as store:
        fill(store)
        extra = MetaData()
        notes = Table("note", extra, Column("id", String, primary_key=True), Column("who", String))
        with store.writing() as connection:
            extra.create_all(connection)
            connection.execute(insert(notes), [{"id": "1", "who": MARK}, {"id": "2", "who": "bea"}])
        who = known(store, MARK)
        assert left(store, who)
        assert withdraw(store, who) == {"reward": "reward-tainted-v1", "ppo": "ppo-tainted-v2"}
        assert left(store, who) == []
        assert sorted(one.id for one in store.feedback()) == ["bea-0", "bea-1", "bea-4"]
        assert set(store.trace_version("v2").tainted) == {"both", "v1", "v2"}
        with store.reading() as connection:
            assert connection.scalars(select(notes.c.id)).all() == ["2"]
        server.stop()  # all pages are on disk after it
        tables = [path for path in (server.data / "base").rglob("*") if path.is_file()]
        assert len(tables) > 100
        assert [path for path in tables if MARK.encode() in path.read_bytes()] == []
        server.start()
