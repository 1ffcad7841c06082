"""An export that names nobody: searched for every word that should be gone, and still read back whole."""

import json

from accord.records import (
    Comparison,
    Correction,
    Critique,
    Feedback,
    Message,
    Preference,
    Prompt,
    Question,
    Sample,
    Span,
    Text,
    Written,
)
from accord.store import Store, export, import_file
from accord.store.cleaning import Cleaner

from .conftest import text

SECRET = ("ada@example.org", "4111 1111 1111 1111", "Zaphod", "13812345678", "person-ada", "said-by-ada", "1700000123")


def fill(store):
    answer = "Ask Zaphod (ada@example.org): it is bad, I think."
    at = answer.index("bad")
    store.put(
        [
            Prompt(
                id="p",
                content=text("My card is 4111 1111 1111 1111, and now?"),
                checks={"answer": ["4111 1111 1111 1111"]},
            ),
            Sample(id="s", prompt="p", content=text(answer, "assistant")),
            Sample(id="t", prompt="p", content=text("No.", "assistant")),
            *(
                Question(id=f"q{i}", prompt="p", samples=("s", "t"), gold=Written(content=text("打13812345678")))
                for i in range(3)
            ),
        ]
    )
    span, whole = Span(start=at, end=at + 3, label="bad"), Span(start=12, end=20, label="unsafe")
    said = {
        "q0": Comparison(better="t"),
        "q1": Correction(sample="s", content=text("Ask Zaphod.", "assistant")),
        "q2": Critique(sample="s", text="names Zaphod", spans=(span, whole)),
    }
    store.put(
        Feedback(
            id=f"said-by-ada-{q}", question=q, annotator="person-ada", answer=a, note="13812345678", made=1700000123.5
        )
        for q, a in said.items()
    )
    store.put([Preference(prompt="p", chosen="t", rejected="s", feedback=("said-by-ada-q0",))])


def test_nothing_that_points_at_a_person_is_left_and_all_else_is(store, tmp_path):
    fill(store)
    cleaner = Cleaner(store, names=["Zaphod"])
    whole, clean = tmp_path / "whole.jsonl", tmp_path / "clean.jsonl"
    assert export(store, whole).rows == export(store, clean, cleaner=cleaner).rows
    assert [word for word in SECRET if word not in whole.read_text()] == []
    assert [word for word in SECRET if word in clean.read_text()] == []
    assert cleaner.counts == {"CARD": 2, "EMAIL": 1, "NAME": 3, "PHONE": 6}
    with Store.open(tmp_path / "again.db") as other:
        report = import_file(other, clean)
        assert (report.bad_rows, report.good) == (0, 10)
        [belief], said = list(other.all(Preference)), {one.question: one for one in other.feedback()}
        assert belief.feedback == (said["q0"].id,)
        assert len({one.annotator for one in said.values()}) == 1
        critique = said["q2"].answer
        [span] = [one for one in critique.spans if one.label == "bad"]
        assert other.get(Sample, "s").content.messages[-1].content[span.start : span.end] == "bad"


def test_forms_of_others_are_clean_and_two_exports_do_not_join(store, tmp_path):
    fill(store)
    export(store, tmp_path / "pairs.jsonl", "preference", cleaner=Cleaner(store, names=["Zaphod"]))
    [row] = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert row["prompt"] == [{"role": "user", "content": "My card is [CARD], and now?"}]
    assert row["rejected"][0]["content"] == "Ask [NAME] ([EMAIL]): it is bad, I think."
    said = next(store.feedback())
    ours, theirs, again = Cleaner(store, key=b"1"), Cleaner(store), Cleaner(store, key=b"1")
    assert ours.clean(said) == again.clean(said)
    assert ours.clean(said).annotator != theirs.clean(said).annotator
    assert ours.clean(said).id != theirs.clean(said).id
    turns = Text(messages=(Message(role="user", content="hello"),))
    assert ours.clean(Prompt(id="x", content=turns)) == Prompt(id="x", content=turns)
