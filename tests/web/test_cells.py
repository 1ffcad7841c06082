"""The bench of the service: bulk stores are what `put` makes, cells have stores of their own, rows are joined."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import select

from accord.records import Feedback
from accord.store import Store, schema
from bench import filled, service
from bench.service import Cell
from tests.web.test_load import postgresql, where  # noqa: F401


def rows(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table of the store, in the order of the primary keys."""
    with store.reading() as connection:
        return {
            table.name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in schema.metadata.sorted_tables
        }


@pytest.mark.parametrize("answered", [False, True])
def test_a_store_that_was_filled_in_bulk_is_the_one_that_put_makes(where: str, tmp_path: Path, answered: bool) -> None:  # noqa: F811
    count, wanted = 120, 1 if answered else 3
    filled.fill(where, count, 20, wanted, answered)
    with Store.open(where) as bulk, Store.open(tmp_path / "plain.db") as plain:
        plain.put(filled.items(count, 20, wanted))
        if answered:
            plain.put(map(filled.answer, range(count)))
        assert rows(bulk) == rows(plain)
        assert [c.asked.question.id for c in bulk.claim("ann", filled.PROJECT, 2)] == (
            [] if answered else ["q0000000", "q0000001"]
        )


def test_no_two_texts_are_equal() -> None:
    texts = [text for i in range(2000) for text in filled._words(i, 30)]
    assert len(set(texts)) == len(texts) == 6000


def test_there_is_work_for_a_minute_at_every_size() -> None:
    assert [filled.wanted(count) for count in (1000, 19_999, 100_000, 1_000_000)] == [20, 2, 1, 1]


def test_every_cell_has_a_name_and_a_key_of_its_own() -> None:
    cells = service.grid()
    assert len(cells) == 2 * (3 * 2 * 2 + 1)
    assert len({cell.name for cell in cells}) == len({(cell.kind, cell.key) for cell in cells}) == len(cells)
    assert {"sqlite-100000-16-1", "postgresql-1000000-200-4-paced", "export-sqlite"} < {cell.name for cell in cells}


def test_a_row_takes_the_place_of_its_cell_alone_and_old_rows_stay(tmp_path: Path) -> None:
    path = tmp_path / "results" / "service.json"
    path.parent.mkdir()
    old = {"store": "sqlite", "items": 1000, "clients": 16, "workers": 1, "pace_s": 0.0, "answers_per_s": 9}
    path.write_text(json.dumps({"machine": "mine", "rows": [old]}))
    fresh = {**old, "paced": False, "answers_per_s": 200}
    other = {**fresh, "store": "postgresql", "answers_per_s": 90}
    service.join(path, "rows", other)
    service.join(path, "rows", fresh)
    service.join(path, "exports", {"store": "sqlite", "pairs": 10})
    kept = json.loads(path.read_text())
    assert kept == {"machine": "mine", "rows": [other, fresh], "exports": [{"store": "sqlite", "pairs": 10}]}
    assert [one.name for one in path.parent.iterdir()] == ["service.json"]


def test_each_cell_has_its_own_store_and_its_row_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells that stumble keep the rows before them; the same command goes on after them."""
    out, measured, falls = tmp_path / "service.json", list[str](), [2]

    def measure(place: str, cell: Cell, *_: object) -> service.Row:
        if len(measured) == falls[0]:
            raise RuntimeError("fell over")
        measured.append(cell.name)
        with Store.open(place) as store:
            assert store.count(Feedback) == 0
            for claim in store.claim("ann", filled.PROJECT, 5):
                asked = claim.asked.question
                store.answer(claim.id, Feedback(question=asked.id, annotator="ann", answer=None))
        return dict(zip(service.KEYS["rows"], cell.key, strict=True))

    monkeypatch.setattr(service, "measure", measure)
    words = f"--stores sqlite --items 50 60 --workers 1 4 --clients 2 --paced 0 --pairs 0 --out {out}".split()
    with pytest.raises(RuntimeError, match="fell over"):
        service.main(words)
    assert [(row["items"], row["workers"]) for row in service.read(out)["rows"]] == [(50, 1), (50, 4)]
    falls[0] = 9
    service.main([*words, "--go-on"])
    assert measured == ["sqlite-50-2-1", "sqlite-50-2-4", "sqlite-60-2-1", "sqlite-60-2-4"]
    service.main([*words, "--only", "sqlite-60-*"])
    assert measured[4:] == ["sqlite-60-2-1", "sqlite-60-2-4"]
    assert len(service.read(out)["rows"]) == 4


def test_a_whole_cell_and_an_export_find_nothing_wrong(tmp_path: Path) -> None:
    out = tmp_path / "service.json"
    words = "--stores sqlite --items 300 --workers 1 --clients 4 --paced 4 --pace 0.2 --seconds 1.5 --pairs 400"
    found = service.main([*words.split(), "--out", str(out), "--folder", str(tmp_path)])
    kept = service.read(out)
    assert [*kept["rows"], *kept["exports"]] == found
    assert list(islice(tmp_path.iterdir(), 2)) == [out], "prepared stores and copies are gone"
    for row, paced in zip(kept["rows"], (False, True), strict=True):
        assert row["paced"] is paced
        assert (row["errors"], row["surplus"], row["lost"], row["doubled"]) == (0, 0, 0, 0), row
        assert row["answers"] >= 4, "each of the four; how many more a second and a half holds is the machine's matter"
        assert 0 < row["claim_p50_ms"] <= row["claim_p95_ms"] <= row["claim_p99_ms"]
        assert row["start_s"] > 0
        assert row["memory_mb"] > 20
    (export,) = kept["exports"]
    assert export["pairs"] == 400
    assert export["memory_peak_mb"] >= export["memory_before_mb"] > 20
    assert export["megabytes"] > 0.4
