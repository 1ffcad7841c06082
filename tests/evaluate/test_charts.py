"""Charts: valid, stable, in the page's colours, with ids of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from xml.etree import ElementTree

from accord.evaluate.charts import INK, Curve, column, curves, reliability

from .sample import card


def test_equal_input_gives_equal_bytes_and_well_formed_svg():
    one = [Curve("a < b & c", [0, 1, 2], [3.0, 2.0, 1.0])]
    first = curves("k", 'Loss <of> "a"', one, ("ceiling", 2.5))
    assert first == curves("k", 'Loss <of> "a"', one, ("ceiling", 2.5))
    tree = ElementTree.fromstring(first.replace("xlink:href", "href"))
    assert tree.find("title").text == 'Loss <of> "a"'
    assert tree.attrib["role"] == "img"


def test_colours_are_the_pages_and_no_sheet_or_comment_leaks_out():
    svg = reliability("k", "Calibration", card().calibration.curve) + curves("j", "x", [Curve("y", [0, 1], [1, 2])])
    assert "var(--a)" in svg
    assert "var(--muted)" in svg
    assert not [code for code in INK if code in svg]
    assert set(re.findall(r"#[0-9a-fA-F]{6}\b", svg)) == set()
    assert "<style" not in svg
    assert "<!--" not in svg
    assert "http" not in svg.replace("http://www.w3.org/", "")


def test_ids_of_two_charts_do_not_meet_and_every_reference_has_its_target():
    pages = [curves(k, "x", [Curve("y", [0, 1, 2], [1, 2, 0])]) for k in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', page)) for page in pages]
    assert not ids[0] & ids[1]
    for page, known in zip(pages, ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', page)) <= known


def test_hostile_labels_are_text():
    svg = curves("k", "t", [Curve("<script>alert(1)</script> $\\frac$", [0, 1], [1, 2]), Curve("b", [0, 1], [1, 2])])
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


def test_nothing_to_draw_gives_nothing():
    assert curves("k", "t", [column([{"step": 1, "loss": None}, {"step": 2}], "loss")]) == ""
    assert reliability("k", "t", ()) == ""


def test_a_column_takes_the_steps_that_have_a_number():
    got = column(
        [{"step": 0, "x": 1.0}, {"step": 5, "x": None}, {"step": 7, "x": 2}, {"step": 8, "x": float("nan")}], "x"
    )
    assert (got.x, got.y) == ([0, 7], [1.0, 2.0])


def test_matplotlib_and_torch_come_in_only_when_needed():
    code = (
        "import sys, accord.evaluate.report, accord.evaluate.diagnosis; "
        "print([m for m in ('matplotlib', 'torch', 'jinja2', 'rich') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
