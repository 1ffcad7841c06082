"""The page of a proof: texts are escaped, charts are not, tables are tables."""

from xml.etree import ElementTree

import pytest

from accord.evaluate.charts import Band, bands
from accord.evaluate.page import Part, Table, render, shown
from accord.statistics import Interval

HOSTILE = "<script>alert(1)</script> & | more"


def test_texts_are_escaped_and_charts_are_drawn():
    lines = [Band(HOSTILE, [0, 1, 2], [1.0, 2.0, 1.5], [0, 1, 1], [2, 3, 2]), Band("b", [0, 2], [1, 1])]
    chart = bands("k", "t", lines, "d")
    part = Part(HOSTILE, HOSTILE, Table(("a", HOSTILE), [(HOSTILE, "1")]), [chart, ""])
    page = render(HOSTILE, HOSTILE, [part], HOSTILE)
    assert "<script" not in page
    assert page.count("<svg") == page.count("<figure>") == 1
    assert "default-src 'none'" in page
    tree = ElementTree.fromstring(chart.replace("xlink:href", "href"))
    assert tree.attrib["role"] == "img"


def test_bands_show_places_without_a_number_and_nothing_gives_nothing():
    svg = bands("k", "t", [Band("a", [0, 1], [0.5, 0.6], dashed=True)], "labels", ticks=("none", "ten"))
    assert ">none<" in svg
    assert ">ten<" in svg
    assert svg == bands("k", "t", [Band("a", [0, 1], [0.5, 0.6], dashed=True)], "labels", ticks=("none", "ten"))
    assert bands("k", "t", [Band("a", [], [])], "x") == ""


def test_a_bar_in_a_cell_does_not_end_it():
    lines = Table(("a", "b"), [("x | y", "z")]).markdown().splitlines()
    assert lines == ["| a | b |", "| --- | --- |", "| x \\| y | z |"]


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(0.5, 0.25, 0.75), "0.500 [0.250, 0.750]"),
        (Interval(0.5, float("nan"), float("nan")), "0.500"),
        (Interval(0.5, float("-inf"), float("inf")), "0.500"),
        (Interval(2.0, 1.0, float("inf")), "2.000 [1.000, none]"),
    ],
)
def test_an_interval_is_shown_as_it_is_known(interval, text):
    assert shown(interval) == text
