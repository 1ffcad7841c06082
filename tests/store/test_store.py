"""Keeping: once, unchanged, in order, streamed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.records import Message, Preference, Prompt, Question, Sample, Text, Version
from accord.store import Conflict, Missing, Refused, Store, StoreError
from accord.store.store import PAGE

from .conftest import pairs, text


def test_the_same_again_is_ignored_and_other_content_is_a_conflict(store):
    prompt = Prompt(id="p", content=text("one"))
    assert store.put([prompt, prompt]) == 1
    assert store.put([prompt]) == 0
    with pytest.raises(Conflict, match="prompt p ") as caught:
        store.put([Prompt(id="new", content=text("x")), Prompt(id="p", content=text("two"))])
    assert (caught.value.kind, caught.value.id) == ("prompt", "p")
    assert store.get(Prompt, "p") == prompt
    assert store.count(Prompt) == 1, "a refused put keeps nothing"


def test_a_conflict_within_one_put_is_found(store):
    with pytest.raises(Conflict):
        store.put([Prompt(id="p", content=text("one")), Prompt(id="p", content=text("two"))])


def test_equal_content_in_another_order_of_names_is_the_same(store):
    store.put([Prompt(id="p", content=text("q"))])
    made = {"seed": 1, "temperature": 0.5}
    turned = dict(reversed(made.items()))
    samples = [Sample(id="s", prompt="p", content=text("a", "assistant"), sampling=how) for how in (made, turned)]
    assert [store.put([sample]) for sample in samples] == [1, 0]


def test_missing_says_which(store):
    with pytest.raises(Missing, match="no prompt nowhere in this store"):
        store.get(Prompt, "nowhere")
    with pytest.raises(KeyError):
        store.get_many(Prompt, ["nowhere"])


def test_a_question_needs_its_samples_but_not_before_it(store):
    prompt, a, b, question = pairs(1)
    with pytest.raises(Missing, match="no sample s0b"):
        store.put([question, prompt, a])
    assert store.count(Question) == 0
    assert store.put([question, prompt, a, b]) == 4


def test_all_streams_in_order_of_insertion_over_pages(store):
    count = 2 * PAGE + 7
    order = [f"{(i * 7919) % count}" for i in range(count)]
    prompts = [Prompt(id=id, content=text(id), split="test" if int(id) % 3 == 0 else "train") for id in order]
    store.put(iter(prompts))
    assert [prompt.id for prompt in store.all(Prompt)] == order
    tests = [id for id in order if int(id) % 3 == 0]
    assert [prompt.id for prompt in store.all(Prompt, split="test")] == tests
    assert store.count(Prompt, split="test") == len(tests)
    assert list(store.get_many(Prompt, order[::-1])) == order[::-1]


def test_beliefs_are_selected_by_the_side_of_their_prompt(store):
    store.put(pairs(2))
    held = Prompt(id="t", content=text("held back"), split="test", source="book")
    others = [Sample(id=f"t{side}", prompt="t", content=text(side, "assistant")) for side in "ab"]
    beliefs = [
        Preference(id=f"b{p}", prompt=p, chosen=a, rejected=b) for p, a, b in [("p0", "s0a", "s0b"), ("t", "ta", "tb")]
    ]
    store.put([held, *others, *beliefs])
    assert [b.id for b in store.all(Preference, split="train")] == ["bp0"]
    assert [b.id for b in store.all(Preference, split="test", source="book")] == ["bt"]
    with pytest.raises(Refused, match="group"):
        store.count(Preference, weight="1")


def test_versions_are_selected_by_name_role_and_parent(store):
    store.put([Version(id="1", name="a", role="policy"), Version(id="2", name="b", role="reward", parent="1")])
    assert [v.id for v in store.all(Version, role="reward")] == ["2"]
    assert [v.id for v in store.all(Version, parent=None)] == ["1"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.text(), tags=st.lists(st.text(), max_size=3), number=st.floats(allow_nan=False))
def test_any_text_comes_back_as_it_was(store, said, tags, number):
    prompt = Prompt(content=Text(messages=(Message(role="user", content=said),)), tags=tuple(tags))
    sample = Sample(prompt=prompt.id, content=text("a", "assistant"), sampling={"temperature": number, said: None})
    store.put([prompt, sample])
    assert store.get(Prompt, prompt.id) == prompt
    assert store.get(Sample, sample.id) == sample


def test_what_is_no_record_is_refused(store):
    with pytest.raises(Refused, match="Message is not kept"):
        store.put([Message(role="user", content="x")])
    with pytest.raises(StoreError, match="names no file"):
        Store.open("sqlite://")


def test_blobs_are_named_by_content_and_damage_is_seen(store, tmp_path):
    address = store.put_blob(b"\x00picture")
    assert store.put_blob(b"\x00picture") == address
    assert store.blob(address) == b"\x00picture"
    files = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert [path.name for path in files] == [address]
    files[0].write_bytes(b"other")
    with pytest.raises(StoreError, match="damaged"):
        store.blob(address)
    with pytest.raises(Missing):
        store.blob("0" * 64)
    with pytest.raises(Refused):
        store.blob("../../etc/passwd")


def test_a_store_of_another_schema_is_not_opened(tmp_path):
    path = tmp_path / "store.db"
    with Store.open(path) as store, store.writing() as connection:
        connection.exec_driver_sql("UPDATE meta SET value = 99 WHERE name = 'schema'")
    with pytest.raises(StoreError, match="version 99"):
        Store.open(path)


WRITER = """
import sys
from accord.records import Prompt, Text, Message
from accord.store import Store
with Store.open(sys.argv[1]) as store:
    for i in range(100000):
        said = Text(messages=(Message(role="user", content="x"),))
        store.put([Prompt(id=f"{i}-{k}", content=said) for k in range(3)])
        print(i, flush=True)
"""


@pytest.mark.parametrize("wait", [0.05, 0.3])
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, wait: float):
    path = tmp_path / "store.db"
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": root}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, env=env)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "0\n"
    time.sleep(wait)
    writer.send_signal(signal.SIGKILL)
    acknowledged = [0, *(int(line) for line in writer.stdout.read().splitlines(keepends=True) if line.endswith("\n"))]
    writer.wait()
    with Store.open(path) as store:
        kept = {prompt.id for prompt in store.all(Prompt)}
    assert {f"{i}-{k}" for i in acknowledged for k in range(3)} <= kept
    assert len(kept) % 3 == 0, "a transaction is kept whole"
    assert len(kept) // 3 - len(acknowledged) in (0, 1)
