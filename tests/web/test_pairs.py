"""Pairs that are taken out say what the records say, page by page as all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from sqlalchemy import delete

from accord.records import Comparison, Feedback, Message, Prompt, Question, Ranking, Rating, Sample, Slate, Text
from accord.store import Missing, Store, desk, schema
from accord.web import pairs
from tests.web.test_load import postgresql, where  # noqa: F401

HARD = 'a "quoted"\n\\ line, 你好, \u202eאבג, \U0001f600 and \x00'


@pytest.fixture
def store(where: str) -> Iterator[Store]:  # noqa: F811
    with Store.open(where) as made:
        for number in range(9):
            content = [Text(messages=(Message(role="user", content=f"{HARD} {number}"),)), Slate(items=("a", HARD))]
            ids = tuple(f"s{number}{side}" for side in "abc")
            made.put([Prompt(id=f"p{number}", content=content[number % 2], split="test" if number % 3 else "train")])
            made.put([Sample(id=id, prompt=f"p{number}", content=content[number % 2]) for id in ids])
            made.put([Question(id=f"q{number}", prompt=f"p{number}", samples=ids, project="round1", wanted=5)])
            for who in ("ann", "bob"):
                made.put([said(number, who, ids)])
        yield made


def said(number: int, who: str, ids: tuple[str, ...]) -> Feedback:
    kinds = [
        Comparison(better=ids[1], strength=2),
        Comparison(better=None, verdict="tie"),
        Ranking(order=((ids[2],), (ids[0], ids[1]))),
        Rating(scores={id: {"true": at + 1, "kind": 3.0} for at, id in enumerate(ids)}),
        None,
    ]
    shown = ids if who == "ann" else ids[::-1]
    given = {"id": f"f{number}{who}", "question": f"q{number}", "annotator": who, "shown": shown}
    return Feedback(**given, answer=kinds[(number + (who == "bob")) % 5], seconds=1.5 * number)  # type: ignore[arg-type]


def plain(store: Store) -> Iterator[dict[str, object]]:
    """The same from whole records, one look for each."""

    def content(record: Prompt | Sample) -> object:
        if isinstance(record.content, Text):
            return [{"role": turn.role, "content": turn.content} for turn in record.content.messages]
        return json.loads(record.content.model_dump_json())

    for one in store.feedback(project="round1"):
        prompt = store.get(Prompt, store.get(Question, one.question).prompt)
        found = pairs.ordering(one)
        for better, worse, probability, strength, criterion in found:
            yield {
                "feedback": one.id,
                "question": one.question,
                "prompt": content(prompt),
                "chosen": content(store.get(Sample, better)),
                "rejected": content(store.get(Sample, worse)),
                "chosen_id": better,
                "rejected_id": worse,
                "probability": probability,
                "weight": 1 / len(found),
                "strength": strength,
                "criterion": criterion,
                "chosen_first": one.shown.index(better) < one.shown.index(worse),
                "split": prompt.split,
                "seconds": one.seconds,
            }


def test_rows_say_what_the_records_say(store: Store) -> None:
    rows = list(pairs.rows(store, "round1", b"key"))
    names = {row.pop("annotator") for row in rows}
    assert rows == list(plain(store))
    assert len(rows) > 40
    assert len(names) == 2
    assert not names & {"ann", "bob"}


def test_pages_of_any_size_are_the_same_and_what_was_taken_back_is_not_there(store: Store) -> None:
    store.undo("f0ann")

    def all(size: int) -> list[str]:
        return [one.feedback.id for one in desk.pages(store, "round1", pairs._named, size)]

    whole = all(500)
    assert "f0ann" not in whole
    assert len(whole) == 14, "eighteen, less three skips and the one that was taken back"
    assert [all(size) for size in (1, 3, len(whole))] == [whole] * 3


def test_a_text_that_is_gone_is_told(store: Store) -> None:
    with store.writing() as connection:
        connection.execute(delete(schema.RECORDS["sample"]).where(schema.RECORDS["sample"].c.id == "s0b"))
    with pytest.raises(Missing, match="s0b"):
        list(pairs.rows(store, "round1", b"key"))
