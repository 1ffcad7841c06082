"""Data sets in and out: every form, bad rows, hostile files, exact round trips, constant memory."""

import gzip
import json
import random
import sqlite3
import tracemalloc
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.records import (
    KINDS,
    Comparison,
    Critique,
    Demonstration,
    Feedback,
    Message,
    Preference,
    Prompt,
    Question,
    Ranking,
    Rating,
    Sample,
    Span,
    Text,
    Version,
)
from accord.store import Limits, Refused, Store, export, import_file, read, split_of, texts

from .conftest import pairs, text

DATA = Path(__file__).parents[2] / "../shared/data"
real = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data sets are not at {DATA}")
USER, REPLY = {"role": "user", "content": "问\u2028题?"}, {"role": "assistant", "content": "好的"}
OTHER = {"role": "assistant", "content": "no"}


def lines(path: Path, *rows) -> Path:
    path.write_bytes(
        b"".join(r if isinstance(r, bytes) else json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in rows)
    )
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": USER["content"], "chosen": "好的", "rejected": "no"},
        {"prompt": [USER], "chosen": [REPLY], "rejected": [OTHER]},
        {"prompt": [USER], "chosen": "好的", "rejected": "no"},
        {"chosen": [USER, REPLY], "rejected": [USER, OTHER]},
        {"prompt": [USER], "chosen": [USER, REPLY], "rejected": [USER, OTHER]},
        {"chosen": "\n\nHuman: 问\u2028题?\n\nAssistant: 好的", "rejected": "\n\nHuman: 问\u2028题?\n\nAssistant: no"},
    ],
)
def test_every_form_of_a_preference_says_the_same(store, tmp_path, row):
    report = import_file(store, lines(tmp_path / "set.jsonl", row))
    assert (report.good, report.bad) == (1, [])
    belief = next(store.all(Preference))
    said = [
        store.get(kind, id).content.messages
        for kind, id in ((Prompt, belief.prompt), (Sample, belief.chosen), (Sample, belief.rejected))
    ]
    assert said == [(Message(**USER),), (Message(**REPLY),), (Message(**OTHER),)]
    assert belief.feedback == ()


def test_shared_turns_of_two_conversations_are_the_prompt(tmp_path):
    more = {"role": "user", "content": "more"}
    row = {"chosen": [USER, REPLY, more, REPLY], "rejected": [USER, REPLY, more, OTHER]}
    prompt, chosen, rejected, _ = read(lines(tmp_path / "set.jsonl", row)).records
    assert [m.content for m in prompt.content.messages] == [USER["content"], "好的", "more"]
    assert [len(s.content.messages) for s in (chosen, rejected)] == [1, 1]
    plain = {"chosen": "The sky is blue", "rejected": "The sky is black"}
    prompt, chosen, rejected, _ = read(lines(tmp_path / "set.jsonl", plain)).records
    assert [r.content.messages[0].content for r in (prompt, chosen, rejected)] == ["The sky is", "blue", "black"]


def test_completions_thumbs_and_votes(store, tmp_path):
    rows = [
        {"prompt": "q", "completion": "a"},
        {"prompt": [USER], "completion": [REPLY]},
        {"prompt": "q", "response": "a"},
    ]
    import_file(store, lines(tmp_path / "sft.jsonl", *rows))
    assert store.count(Demonstration) == 2
    thumbs = [{"prompt": "q", "completion": "a", "label": True}, {"prompt": "q", "response": "b", "desirable": False}]
    import_file(store, lines(tmp_path / "kto.jsonl", *thumbs))
    scores = [(f.answer.scale, *f.answer.scores.values()) for f in store.feedback("kto")]
    assert scores == [((0, 1), {"": 1.0}), ((0, 1), {"": 0.0})]
    pair = {"prompt": "q", "response_a": "x", "response_b": "y"}
    votes = [{**pair, "label": label, "annotator_id": who} for who, label in zip("abc", ["a", "tie", "b"], strict=True)]
    assert import_file(store, lines(tmp_path / "votes.jsonl", *votes), project="arena").bad == []
    question = next(store.all(Question, project="arena"))
    assert question.wanted == 3
    better = [f.answer.better for f in store.feedback("arena")]
    assert better == [question.samples[0], None, question.samples[1]]


def test_a_pair_is_as_sure_as_its_row_says(store, tmp_path):
    pair = {"chosen": "a", "rejected": "b"}
    rows = [{"prompt": "tie", **pair, "probability": 0.5}, {"prompt": "likely", **pair, "probability": 0.7}]
    rows += [{"prompt": "sure", **pair}, {"prompt": "none", **pair, "probability": None}]
    assert import_file(store, lines(tmp_path / "pairs.jsonl", *rows)).bad == []
    assert [belief.probability for belief in store.all(Preference)] == [0.5, 0.7, 1.0, 1.0]


def test_bad_rows_are_named_and_good_rows_kept_and_twice_is_once(store, tmp_path):
    good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    kept = {"kind": "preference", "id": "p", "prompt": "p", "chosen": "a", "rejected": "b"}
    bad = [
        (b"{broken\n", "not JSON"),
        (b'"a string"\n', "a mapping"),
        (b'{"prompt": "\xff"}\n', "not UTF-8 at byte 12"),
        (b'{"prompt": "\\ud800", "chosen": "a", "rejected": "b"}\n', ""),
        (b"[" * 100_000 + b"\n", "nested too deeply"),
        ({**good, "rejected": "a"}, "equal"),
        ({**good, "rejected": "  "}, "rejected is empty"),
        ({**good, "chosen": 7}, "chosen should be"),
        ({**good, "prompt": [USER, REPLY]}, "ends with the assistant"),
        ({**good, "prompt": [{"role": "king", "content": "x"}]}, "a message has a role"),
        ({**good, "score_chosen": float("nan"), "score_rejected": 1}, "finite number"),
        ({**good, "score_chosen": 1, "score_rejected": 2}, "lower than score_rejected"),
        ({**good, "probability": 0.3}, "probability=0.3 says how surely chosen is better, from .5"),
        ({**good, "probability": "likely"}, "probability should be a finite number"),
        ({"prompt": "q", "completion": "a", "label": "yes"}, "true or false"),
        ({"prompt": "q", "completion": "a", "rating": float("nan")}, "rating should be a finite number, not 'nan'"),
        ({"prompt": "q", "response": "a", "rating": float("-inf")}, "rating should be a finite number, not '-inf'"),
        ({"nothing": 1}, "no known form"),
        ({"kind": "prompt", "id": "p", "content": 1}, "content"),
        ({"kind": "preference", "id": "p", "prompt": "p", "chosen": "a", "rejected": "a"}, "preferred to itself"),
        ({**kept, "weight": float("inf")}, "weight: Input should be a finite number"),
        ({**kept, "margin": float("inf")}, "margin: Input should be a finite number"),
        ({"kind": "demonstration", "id": "d", "prompt": "p", "sample": "a", "weight": float("inf")}, "finite number"),
        (b'{"prompt": "' + b"x" * 3000 + b'"}\n', "longer than 2500"),
    ]
    # Deep nesting is also longer than a line may be, unless that is allowed.
    path = lines(tmp_path / "set.jsonl", good, *(row for row, _ in bad), b"\n", {**good, "prompt": "q2"})
    limits = Limits(line=2500)
    report = import_file(store, path, limits=limits)
    assert [b.line for b in report.bad] == list(range(2, 2 + len(bad)))
    for found, (_, why) in zip(report.bad, bad, strict=True):
        assert why in found.reason or "longer than" in found.reason, found
        assert found.reason
    assert (report.good, report.bad_rows, store.count(Preference)) == (2, len(bad), 2)
    assert import_file(store, path, limits=limits).new == 0
    deep = import_file(store, path)
    assert "nested too deeply" in deep.bad[4].reason
    few = import_file(store, path, limits=Limits(line=2500, bad=3))
    assert (len(few.bad), few.bad_rows) == (3, len(bad))


def test_sides_of_the_fence_have_known_names(store, tmp_path):
    """A test row that calls its side by an unknown name must not be learned from."""
    names = ["train", "test", "validation", "val", "dev", None, "held-out", 7]
    rows = [{"prompt": f"what is {i} ?", "chosen": "a", "rejected": "b", "split": name} for i, name in enumerate(names)]
    report = import_file(store, lines(tmp_path / "sides.jsonl", *rows))
    assert [row.line for row in report.bad] == [7, 8]
    assert "'held-out', which is none of train, validation, test" in report.bad[0].reason
    found = {prompt.content.messages[0].content: prompt.split for prompt in store.all(Prompt)}
    sides = ["train", "test", "validation", "validation", "validation", "train"]
    assert found == {f"what is {i} ?": side for i, side in enumerate(sides)}
    assert import_file(store, lines(tmp_path / "more.jsonl", *rows[-2:]), split="test").bad == []


def test_a_conflicting_row_costs_only_itself(store, tmp_path):
    rows = [
        {"kind": "prompt", **Prompt(id=id, content=text(said)).model_dump(mode="json")}
        for id, said in ["a1", "b2", "a3", "c4"]
    ]
    report = import_file(store, lines(tmp_path / "own.jsonl", *rows))
    assert [(b.line, "already kept" in b.reason) for b in report.bad] == [(3, True)]
    assert [p.id for p in store.all(Prompt)] == ["a", "b", "c"]
    assert (report.rows, report.good, report.new) == (4, 3, 3)


def test_a_crash_in_the_middle_keeps_nothing(store, tmp_path):
    path = tmp_path / "cut.jsonl.gz"
    rows = ({"prompt": random.randbytes(400).hex(), "chosen": "a", "rejected": "b"} for _ in range(3000))
    packed = gzip.compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    path.write_bytes(packed[: len(packed) * 2 // 3])
    with pytest.raises(Refused, match="cannot be read after"):
        import_file(store, path)
    assert store.count(Prompt) == 0
    path.write_bytes(b"not gzip")
    with pytest.raises(Refused):
        read(path)
    with pytest.raises(Refused, match="no file"):
        read(tmp_path / "nothing*.jsonl")


def test_a_decompression_bomb_is_refused_in_little_memory(store, tmp_path):
    path = tmp_path / "bomb.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b"\0" * (1 << 20))
    tracemalloc.start()
    with pytest.raises(Refused, match="raise the setting `bytes`"):
        import_file(store, path, limits=Limits(bytes=32 << 20, line=1 << 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 12 << 20, peak


def test_a_small_parquet_file_that_is_large_when_read_is_refused_in_little_memory(store, tmp_path):
    """A text of 8 MB that 4,000 rows name by number: a kilobyte on the disk, 32 GB when read."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is absent: Parquet is an extra")
    from pyarrow import parquet

    path, numbers = tmp_path / "bomb.parquet", pyarrow.array([0] * 4000, pyarrow.int32())
    table = pyarrow.table({"text": pyarrow.DictionaryArray.from_arrays(numbers, pyarrow.array(["x" * (8 << 20)]))})
    parquet.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 10_000
    before = pyarrow.total_allocated_bytes()
    pyarrow.default_memory_pool().release_unused()
    with pytest.raises(Refused, match="setting `bytes`"):
        import_file(store, path, limits=Limits(bytes=200 << 20))
    assert pyarrow.default_memory_pool().max_memory() - before < 300 << 20
    short = tmp_path / "short.parquet"
    rows = {"prompt": ["a", "b" * 5000], "chosen": ["c", "d"], "rejected": ["e", "f"]}
    parquet.write_table(pyarrow.table(rows), short)
    found = import_file(store, short, limits=Limits(line=1000))
    assert [bad.line for bad in found.bad] == [2]
    assert "longer than 1000 bytes" in found.bad[0].reason


def everything() -> list:
    """Every kind of record, with awkward contents."""
    odd = 'line\u2028sep\u2029 "quote" \\ \x00 \x1f 汉字 🙂 \r\n'
    own = [
        Prompt(id="odd", content=text(odd), tags=(odd,), source=odd, split="test"),
        Sample(
            id="so",
            prompt="odd",
            content=text(odd, "assistant"),
            sampling={"t": 1e-300, odd: [1, {"x": None}]},
            finished=False,
        ),
        Version(id="v", name="v", role="policy", data=("pr", "v0"), figures={"inf": float("inf"), "x": 0.1 + 0.2}),
        Preference(id="pr", prompt="p0", chosen="s0a", rejected="s0b", probability=2 / 3, feedback=("f0", "f1")),
        Demonstration(id="d", prompt="p0", sample="s0a", feedback=("f0",)),
    ]
    answers = [
        Comparison(better="s0a", strength=3),
        Rating(scores={"s0a": {"": 4.5, odd: 1}}),
        Ranking(order=(("s0a",), ("s0b",))),
        Critique(sample="s0b", text=odd, spans=(Span(start=0, end=2, label="bad"),)),
        None,
    ]
    said = [Feedback(id=f"f{i}", question="q0", annotator=f"who{i}", answer=a, made=1.5) for i, a in enumerate(answers)]
    return [*own[:2], *pairs(2, wanted=9), *said, *own[2:]]


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz", "all.parquet"])
def test_our_own_form_comes_back_exactly(store, tmp_path, name):
    store.put(everything())
    assert export(store, tmp_path / name).rows == len(everything())
    with Store.open(tmp_path / "other.db") as other:
        report = import_file(other, tmp_path / name)
        assert (report.bad, report.new) == ([], len(everything()))
        for kind in KINDS.values():
            assert list(other.all(kind)) == list(store.all(kind))
        assert other.trace_person("who0") == store.trace_person("who0")
        assert export(other, tmp_path / f"again.{name}").rows == len(everything())
    assert (tmp_path / f"again.{name}").read_bytes() == (tmp_path / name).read_bytes()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    turns=st.lists(
        st.tuples(st.sampled_from(["system", "user", "assistant", "tool"]), st.text()), min_size=1, max_size=3
    ),
    weight=st.floats(min_value=0, allow_infinity=False),
    margin=st.floats(min_value=0, allow_infinity=False),
    probability=st.floats(0.5, 1),
)
def test_any_record_comes_back_exactly(tmp_path, turns, weight, margin, probability):
    prompt = Prompt(content=Text(messages=tuple(Message(role=role, content=said) for role, said in turns)))
    belief = Preference(
        prompt=prompt.id, chosen="a", rejected="b", weight=weight, margin=margin, probability=probability
    )
    path = lines(
        tmp_path / "own.jsonl",
        *({"kind": k, **json.loads(r.model_dump_json())} for k, r in (("prompt", prompt), ("preference", belief))),
    )
    assert read(path).records == (prompt, belief)


def test_forms_of_trl_hold_its_columns_and_come_back(store, tmp_path):
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    turn = {"prompt": [USER, REPLY, USER], "chosen": [REPLY], "rejected": [OTHER]}
    import_file(store, lines(tmp_path / "set.jsonl", row, turn))
    belief = next(store.all(Preference))
    store.put([belief.model_copy(update={"id": "tie", "probability": 0.5})])
    done = export(store, tmp_path / "plain.jsonl", "preference_plain")
    assert (done.rows, done.left_out) == (1, 2)
    assert json.loads((tmp_path / "plain.jsonl").read_text()) == row
    for name in ("talk.jsonl", "talk.parquet"):
        assert export(store, tmp_path / name, "preference").rows == 2
        with Store.open(tmp_path / f"{name}.db") as other:
            assert import_file(other, tmp_path / name).good == 2
            assert [b.chosen for b in other.all(Preference)] == [b.chosen for b in store.all(Preference)][:2]
    assert json.loads((tmp_path / "talk.jsonl").read_bytes().split(b"\n")[1]) == turn
    import_file(store, lines(tmp_path / "kto.jsonl", {"prompt": "q", "completion": "a", "label": True}))
    export(store, tmp_path / "out.jsonl", "unpaired_plain")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {"prompt": "q", "completion": "a", "label": True}
    import_file(store, lines(tmp_path / "sft.jsonl", {"prompt": "q", "completion": "a"}))
    export(store, tmp_path / "out.jsonl", "completion_plain")
    assert json.loads((tmp_path / "out.jsonl").read_text()) == {"prompt": "q", "completion": "a"}
    with pytest.raises(Refused, match="should end in"):
        export(store, tmp_path / "out.csv")
    with pytest.raises(Refused, match="none of accord"):
        export(store, tmp_path / "out.jsonl", "csv")


def test_an_export_that_fails_leaves_the_old_file(store, tmp_path, monkeypatch):
    path = lines(tmp_path / "out.jsonl", {"old": 1})
    monkeypatch.setattr(Store, "all", lambda *_, **__: iter([None]))
    with pytest.raises(AttributeError):
        export(store, path)
    assert json.loads(path.read_text()) == {"old": 1}
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".out")] == []


def test_prompts_fall_on_one_side_and_keep_it(store, tmp_path):
    sides = [split_of(f"prompt {i}", 0.2, 0.1) for i in range(4000)]
    assert 700 < sides.count("test") < 900
    assert 320 < sides.count("validation") < 480
    for i in range(500):
        assert split_of(f"prompt {i}", 0.2) != "test" or split_of(f"prompt {i}", 0.4) == "test"
    with pytest.raises(ValueError, match="shares"):
        split_of("x", 0.9, 0.2)
    rows = [
        {"prompt": [{"role": "user", "content": f"{i}"}, REPLY, USER], "chosen": "a", "rejected": "b"}
        for i in range(60)
    ]
    rows += [{"prompt": f"{i}", "chosen": "a", "rejected": "b", "lang": "en"} for i in range(60)]
    path = lines(tmp_path / "set.jsonl", *rows)
    import_file(store, path, test_share=0.5)
    kept = {p.id: p for p in store.all(Prompt)}
    by_opening: dict = {}
    for prompt in kept.values():
        by_opening.setdefault(prompt.content.messages[0].content, set()).add(prompt.split)
    assert {len(sides) for sides in by_opening.values()} == {1}
    assert {side for sides in by_opening.values() for side in sides} == {"train", "test"}
    import_file(store, path, test_share=0.0, source="another")
    assert {p.id: p for p in store.all(Prompt)} == kept, "the first word stands"


def test_a_large_export_needs_little_memory(store, tmp_path):
    count, long = 200_000, "x" * 200
    path = tmp_path / "store.db"
    payload = Prompt(id="ID", content=text(long)).model_dump_json()
    with sqlite3.connect(path) as direct:
        rows = ((f"{i}", "train", "", payload.replace("ID", str(i))) for i in range(count))
        direct.executemany("INSERT INTO prompt (id, split, source, payload) VALUES (?, ?, ?, ?)", rows)
    direct.close()
    # Tracing slows everything down, so the first part of the stream stands for the rest.
    stream = store.all(Prompt)
    tracemalloc.start()
    for _ in range(20_000):
        next(stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 << 20, peak
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert export(store, tmp_path / "all.jsonl").rows == count
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (tmp_path / "all.jsonl").stat().st_size > 50 << 20
    assert grown < 25, f"{grown} MiB for a file of more than 50 MiB"


@real
@pytest.mark.parametrize(
    ("name", "kind", "count"),
    [
        ("hh_harmless", Preference, 1964),
        ("ultrafeedback", Preference, 899),
        ("dpo_demo", Preference, 516),
        ("kto_demo", Feedback, 253),
        ("demonstrations_dolly", Demonstration, 443),
        ("cvalues_prompts_zh", Prompt, 558),
    ],
)
def test_real_files_come_in_whole(store, name, kind, count):
    report = import_file(store, DATA / f"{name}.jsonl.gz")
    assert (report.rows, report.good, report.bad) == (count, count, [])
    assert count * 0.98 <= store.count(kind) <= count
    if name == "ultrafeedback":
        assert max(b.margin for b in store.all(Preference)) > 0


@real
def test_real_rows_that_say_nothing_known_are_refused():
    report = read(DATA / "bbq.jsonl.gz").report
    assert report.good == 0
    assert "no known form" in report.bad[0].reason


@real
def test_real_text_for_pretraining():
    (whole,) = texts(DATA / "corpus.txt.gz")
    assert len(whole) > 4_000_000


def test_long_documents_come_in_pieces_that_end_with_a_paragraph(tmp_path):
    paragraphs = [("word " * count).strip() for count in (5, 9, 3, 200, 1, 30)]
    (tmp_path / "book.txt").write_bytes("\r\n\r\n".join(paragraphs).encode())
    (whole,) = texts(tmp_path / "book.txt")
    pieces = list(texts(tmp_path / "book.txt", longest=100))
    assert max(map(len, pieces)) <= 100
    assert "".join(pieces).replace("\n", "") == "".join(paragraphs)
    assert pieces[0] == "\n\n".join(paragraphs[:3])
    assert list(texts(tmp_path / "book.txt", longest=10_000)) == [whole.replace("\r\n", "\n")]
    (tmp_path / "blank.txt").write_text("\n\n\n\n")
    assert list(texts(tmp_path / "blank.txt", longest=100)) == []


def test_rows_that_are_left_out_are_not_left_out_silently(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\nnot json\n{"prompt": 3}\n', encoding="utf-8")
    with pytest.warns(UserWarning, match=r"some\.jsonl: 2 of 3 rows cannot be used \(line 2: "):
        read(file).report.warn(file.name)
    file.write_text('{"prompt": "a", "completion": "b"}\n', encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(file).report.warn(file.name)


def test_a_row_that_points_at_nothing_is_refused(store, tmp_path):
    prompt = Prompt(id="q", content=text("q"))
    sample = Sample(id="s", prompt="q", content=text("a", role="assistant"))
    rows = [
        prompt,
        sample.model_copy(update={"prompt": "nowhere"}),
        Demonstration(id="d", prompt="q", sample="s"),
        sample,
        Demonstration(id="e", prompt="q", sample="s"),
        Preference(id="p", prompt="q", chosen="s", rejected="none"),
    ]
    kinds = {kind: name for name, kind in KINDS.items()}
    path = lines(tmp_path / "own.jsonl", *({"kind": kinds[type(row)], **row.model_dump(mode="json")} for row in rows))
    report = import_file(store, path)
    assert [(bad.line, bad.reason.split(" in this")[0]) for bad in report.bad] == [
        (2, "no prompt nowhere"),
        (3, "no sample s"),
        (6, "no sample none"),
    ]
    assert [one.id for one in store.all(Demonstration)] == ["e"]


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_row(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a", "completion": "b"}\r\n{"prompt": "c", "completion": "d"}\r\n')
    assert read(path).report.good == 2


def test_half_a_character_is_named(tmp_path):
    bad = read(lines(tmp_path / "x.jsonl", b'{"prompt": "\\ud800", "completion": "b"}\n')).report.bad
    assert "unpaired surrogate" in bad[0].reason


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/x", ".hidden", "a\\b", "", "a\nb"])
def test_a_version_whose_name_leads_elsewhere_is_a_bad_row(tmp_path, name):
    """Weights lie in a folder of that name, and erasing renames it."""
    row = {"kind": "version", "id": "v", "name": name, "role": "policy"}
    assert read(lines(tmp_path / "x.jsonl", row)).report.bad[0].reason.startswith("name: ")
    assert read(lines(tmp_path / "y.jsonl", {**row, "name": "round1-ppo 二"})).report.bad == []
