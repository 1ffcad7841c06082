"""How cost grows: tokens are counted as by hand, and what was measured stands on the page as it is in the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import curves
from bench.page import PAGE


def test_tokens_are_counted_once_and_as_copies() -> None:
    one = curves.point(4, curves.segment(3, 10, 4, 5, 50), lambda: None)
    assert (one.tokens, one.copied) == (3 * (10 + 4 * 5), 12 * 15)


def test_how_far_time_is_from_tokens_is_the_worst_point() -> None:
    points = [curves.Point(n, 10 * n, 0, lambda: None, seconds) for n, seconds in ((1, 1.0), (2, 2.2), (4, 3.6))]
    assert curves.apart(points) == pytest.approx(0.1)


def test_every_point_is_measured_and_the_least_round_counts() -> None:
    calls: list[int] = []
    points = [curves.Point(1, 1, 1, lambda: calls.append(1)), curves.Point(2, 1, 1, lambda: calls.append(2))]
    curves.measured({"rows": points}, 3)
    assert calls == [1, 2] * 3
    assert all(0 <= point.seconds < 1 for point in points)


def test_the_page_tells_what_the_file_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = json.loads(curves.RESULTS.read_text())
    page = tmp_path / "speed.md"
    page.write_text(PAGE.read_text())
    monkeypatch.setattr(curves, "PAGE", page)
    monkeypatch.setattr(curves, "RESULTS", tmp_path / "curves.json")
    monkeypatch.setattr(curves, "PICTURES", tmp_path)
    curves.write(told)
    assert page.read_text() == PAGE.read_text()
    for picture in ("answers", "vocabulary"):
        drawn = (tmp_path / f"curve-{picture}.svg").read_text()
        assert drawn.startswith("<svg")
        assert f"pictures/curve-{picture}.svg" in page.read_text()
    page.write_text("no marks")
    with pytest.raises(ValueError, match="lost the marks"):
        curves.write(told)
