"""Stores of a thousand to a million questions, and stores with answers: filled in bulk, as `Store.put` would.

`Store.put` checks every record and asks whether it is there; a million questions would take it an hour. Here the rows
go in as rows. A test holds both ways to be the same, row by row.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cache
from typing import Any

from sqlalchemy import Table

from accord.records import Comparison, Feedback, Message, Prompt, Question, Record, Sample, Text
from accord.store import Store, schema
from accord.store.people import People
from accord.store.writing import kind_of, row

PROJECT = "bench"
SENTENCE = "a model learns from what people say of it and every lesson can be traced to the one who taught it so"
WORDS = re.findall(r"\w+", SENTENCE)
PEOPLE = 50
"""Who gave the answers of a store that has them."""
_SHORTEST = 20_000
"""Answers that a store should have room for, so that sixteen people without pause find work for a minute."""


def wanted(count: int) -> int:
    """Answers to each of so many questions: one, or more where there are few questions, so that work does not end."""
    return -(-_SHORTEST // count) if count < _SHORTEST else 1


@cache
def _said(words: int) -> tuple[str, ...]:
    draw = random.Random(words)
    return tuple(" ".join(draw.choices(WORDS, k=words)) for _ in range(997))


def _text(i: int, mark: str, words: int) -> str:
    """The words of a number; no two are equal, so nothing that keeps what it rendered gains by it."""
    return f"{mark} {i} " + _said(words)[(i * 7 + len(mark)) % 997]


def _of(number: str, wanted: int, asked: str, first: str, second: str) -> tuple[Prompt, Sample, Sample, Question]:
    """An item under a number and with these words."""

    def text(role: str, said: str) -> Text:
        return Text(messages=(Message(role=role, content=said),))  # type: ignore[arg-type]

    prompt, names = f"p{number}", (f"s{number}a", f"s{number}b")
    return (
        Prompt(id=prompt, content=text("user", asked)),
        Sample(id=names[0], prompt=prompt, content=text("assistant", first)),
        Sample(id=names[1], prompt=prompt, content=text("assistant", second)),
        Question(id=f"q{number}", prompt=prompt, samples=names, project=PROJECT, wanted=wanted),
    )


def _words(i: int, words: int) -> tuple[str, str, str]:
    return _text(i, "Item", words // 5), _text(i, "One", words), _text(i, "Another", words)


def items(count: int, words: int = 150, wanted: int = 1) -> Iterator[Record]:
    """Prompts of 30 words with two answers of 150, as Label Studio and Potato were given, all in one queue."""
    for i in range(count):
        yield from _of(f"{i:07}", wanted, *_words(i, words))


def answer(i: int) -> Feedback:
    """What one of `PEOPLE` said to a question."""
    return _answer(f"{i:07}", f"w{i % PEOPLE}", i)


def _answer(number: str, who: str, kind: int) -> Feedback:
    """Winner, side and strength come again after six."""
    shown = (f"s{number}a", f"s{number}b") if kind % 3 else (f"s{number}b", f"s{number}a")
    better = Comparison(better=shown[kind % 2], strength=1 + kind % 3)
    said = {"question": f"q{number}", "annotator": who, "answer": better, "shown": shown, "seconds": 10.0}
    return Feedback(id=f"f{number}", made=1.7e9, **said)  # type: ignore[arg-type]


# --- rows ------------------------------------------------------------------------------------------------------


def _form(kind: str, record: Record, **more: str) -> list[Any]:
    """The row of a record as forms of `%`, in the order of the columns; what is put in needs no escape in JSON."""
    of = {**row(kind, record), **more}
    return [_marked(of[name]) for name in _names(schema.RECORDS[kind])]


def _marked(value: Any) -> Any:
    """`@n@` is where the number goes, as in `@first@` for the words of the first answer."""
    return re.sub("@([a-z]+)@", r"%(\1)s", value.replace("%", "%%")) if isinstance(value, str) else value


def _filled(form: list[Any], words: dict[str, str]) -> tuple[Any, ...]:
    return tuple(value % words if isinstance(value, str) else value for value in form)


def _rows(kind: str, count: int, words: int, wanted: int) -> Iterator[tuple[Any, ...]]:
    """Rows of a table of records."""
    records = _of("@n@", wanted, "@asked@", "@first@", "@second@")
    forms = [_form(kind, record) for record in records if kind_of(type(record)) == kind]
    for i in range(count):
        said = dict(zip(("n", "asked", "first", "second"), (f"{i:07}", *_words(i, words)), strict=True))
        for form in forms:
            yield _filled(form, said)


def _feedback(count: int) -> Iterator[tuple[Any, ...]]:
    more = {"project": PROJECT, "state": "standing"}
    forms = [_form("feedback", _answer("@n@", "@who@", kind), **more) for kind in range(6)]
    for i in range(count):
        yield _filled(forms[i % 6], {"n": f"{i:07}", "who": f"w{i % PEOPLE}"})


def tables(count: int, words: int, wanted: int, answered: bool) -> Iterator[tuple[Table, Iterable[tuple[Any, ...]]]]:
    """Every table with its rows, in the order of its columns (without the number that the store gives)."""
    done = int(answered)
    for kind in ("prompt", "sample", "question"):
        yield schema.RECORDS[kind], _rows(kind, count, words, wanted)
    queue = ((f"q{i:07}", PROJECT, i + 1, wanted, done, 0, wanted - done) for i in range(count))
    yield schema.queue, queue
    tally = [(PROJECT, "", count, count * wanted, 0, 0, 0, 0, 0.0)]
    if answered:
        yield schema.feedback, _feedback(count)
        shares = ((w, len(range(w, count, PEOPLE))) for w in range(PEOPLE))
        tally += [(PROJECT, f"w{w}", 0, 0, n, n, 0, n, 10.0 * n) for w, n in shares if n]
    yield schema.tally, tally


def fill(where: str, count: int, words: int = 150, wanted: int = 1, answered: bool = False) -> None:
    """Make a store with so many items, each answered once if asked for."""
    with Store.open(where) as store:
        People(store)
    rows = tables(count, words, wanted, answered)
    place = f"UPDATE meta SET value = {count} WHERE name = 'place'"
    if where.startswith("postgresql"):
        _fill_postgresql(where, rows, place)
    else:
        _fill_sqlite(where, rows, place)


def _names(table: Table) -> list[str]:
    return [column.name for column in table.columns if column.name != "sequence"]


def _fill_sqlite(where: str, rows: Iterable[tuple[Table, Iterable[tuple[Any, ...]]]], place: str) -> None:
    with closing(sqlite3.connect(where, isolation_level=None)) as raw:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000"):
            raw.execute(f"PRAGMA {pragma}")
        raw.execute("BEGIN EXCLUSIVE")
        for table, values in rows:
            names = _names(table)
            marks = ", ".join("?" * len(names))
            quoted = ", ".join(f'"{name}"' for name in names)
            raw.executemany(f'INSERT INTO "{table.name}" ({quoted}) VALUES ({marks})', values)
        raw.execute(place)
        raw.execute("COMMIT")
        raw.execute("PRAGMA journal_mode = WAL")


def _fill_postgresql(where: str, rows: Iterable[tuple[Table, Iterable[tuple[Any, ...]]]], place: str) -> None:
    import psycopg

    with psycopg.connect(where.replace("+psycopg", ""), autocommit=True) as raw:
        for table, values in rows:
            quoted = ", ".join(f'"{name}"' for name in _names(table))
            with raw.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({quoted}) FROM STDIN') as copy:
                for one in values:
                    copy.write_row(one)
        raw.execute(place.encode())
        raw.execute("VACUUM ANALYZE")
