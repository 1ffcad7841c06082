"""The page: whole, quiet, escaped, stable; the terminal's table and the summary beside it."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import BaseModel
from rich.console import Console

from accord import whole
from accord.evaluate import report
from accord.evaluate.report import clean, number, render, spent, summary, terminal_table, write_report
from accord.evaluate.story import Story

from .sample import story

HOSTILE = "<script>alert('x')</script>\"'><img src=https://evil.test/x onerror=alert(1)>{{7*7}}[red]&amp;\x1b[2J"


class Page(HTMLParser):
    """Tags and attributes as a browser would see them, and whether tags close in order."""

    VOID = frozenset({"meta", "br", "img", "input", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, k, v) for k, v in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def poisoned(thing, word=HOSTILE):
    """The same record with a word in every text, also in the names in mappings."""
    if isinstance(thing, BaseModel):
        fixed = {"kind", "wanted", "verdict", "level"}
        return thing.model_copy(
            update={k: poisoned(v, word) for k, v in thing if not (k in fixed and isinstance(v, str))}
        )
    if isinstance(thing, tuple):
        return tuple(poisoned(one, word) for one in thing)
    if isinstance(thing, dict):
        if all(v is None or isinstance(v, int | float) for v in thing.values()):
            return thing
        return {word + k: poisoned(v, word) for k, v in thing.items()}
    return word + thing if isinstance(thing, str) else thing


@pytest.fixture(scope="module")
def told() -> Story:
    return story()


@pytest.fixture(scope="module")
def page(told) -> str:
    return render(told)


def test_hostile_texts_come_out_as_text_everywhere(told):
    bad = render(poisoned(told))
    kind_page, bad_page = Page(render(poisoned(told, "kind "))), Page(bad)
    # Not one tag or attribute more than with a kind word: nothing that was said became structure.
    assert bad_page.tags == kind_page.tags
    assert [(t, k) for t, k, _ in bad_page.attributes] == [(t, k) for t, k, _ in kind_page.attributes]
    assert "script" not in bad_page.tags
    assert "img" not in bad_page.tags
    assert "".join(bad_page.text).count("alert('x')") > 80
    assert "{{7*7}}" in "".join(bad_page.text)


def test_the_page_loads_nothing_and_runs_nothing(page):
    tags, attributes = Page(page).tags, Page(page).attributes
    assert not {"script", "link", "iframe", "object", "embed", "img", "form", "base"} & set(tags)
    policy = next(v for t, k, v in attributes if k == "content" and "default-src" in v)
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert not [k for _, k, _ in attributes if k.startswith("on")]
    assert [v for _, k, v in attributes if k in ("href", "src", "xlink:href") and not v.startswith("#")] == []
    assert not re.search(r"@import|url\((?!#)", page)


def test_the_page_is_well_formed_and_its_links_lead_somewhere(page):
    seen = Page(page)
    assert seen.open == []
    ids = [v for _, k, v in seen.attributes if k == "id"]
    assert len(ids) == len(set(ids))
    assert {v[1:] for _, k, v in seen.attributes if k == "href"} <= set(ids)
    assert ("html", "lang", "en") in seen.attributes
    assert seen.tags.count("h1") == 1
    assert seen.tags.count("svg") == seen.tags.count("title") - 1
    headers = [dict_of for dict_of in re.findall(r"<th\b[^>]*>", page) if "scope=" not in dict_of]
    assert headers == []


def test_everything_that_the_story_says_is_on_the_page(told, page):
    text = "".join(Page(page).text)
    for said in (
        told.title, told.text, told.sides[1].after, told.side_rule, told.questions[0].said, told.limits[0],
        told.figures[0].command, "80.6 %", "ppo.kl.coefficient", told.findings[3].text, told.made,
    ):  # fmt: skip
        assert said in text


def test_equal_stories_give_equal_bytes(page):
    assert render(story()) == page


def test_answers_without_a_rule_of_choice_are_not_shown(told):
    assert told.sides[0].after not in render(told.model_copy(update={"side_rule": ""}))


def test_an_empty_story_is_a_page_too(tmp_path):
    write_report(Story(), tmp_path / "deep" / "report.html")
    assert Page((tmp_path / "deep" / "report.html").read_text(encoding="utf-8")).open == []
    json.dumps(summary(Story()), allow_nan=False)


def test_writing_is_all_or_nothing(told, tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    target.write_text("old")

    def fails(_):
        raise OSError("disk full")

    monkeypatch.setattr(whole.os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        write_report(told, target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def _luminance(code: str) -> float:
    parts = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4)
               for w, c in zip((0.2126, 0.7152, 0.0722), parts, strict=True))  # fmt: skip


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(scheme):
    sheet = (Path(report.__file__).parent / "templates" / "report.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", sheet, re.S)
    colour = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[scheme]))
    inks, grounds = ("ink", "muted", "a", "good", "bad", "watch"), ("paper", "card", "soft")
    pairs = [(ink, ground) for ink in inks for ground in grounds]
    pairs += [(tone, f"{tone}-soft") for tone in ("good", "bad", "watch")]
    pairs += [(tone, "a-soft") for tone in ("ink", "good", "bad", "muted")]
    for ink, ground in pairs:
        high, low = sorted((_luminance(colour[ink]), _luminance(colour[ground])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_the_summary_has_what_was_promised(told):
    got = json.loads(json.dumps(summary(told), allow_nan=False))
    assert got["seed"] == 3
    assert got["seconds"] == 161.4
    assert set(got["reward_model"]) >= {"accuracy", "interval", "ceiling"}
    policy = got["policy"]
    assert policy["interval"][0] < policy["gold_win_rate"] < policy["interval"][1]
    assert policy["unsafe_compliance"]["after"] < policy["unsafe_compliance"]["before"]
    assert set(policy["over_refusal"]) == set(policy["correctness"]) == {"before", "after"}
    assert policy["kl"] == pytest.approx(told.kl.estimate, abs=1e-5)
    assert got["worse"] == [line.name for line in told.ledger.worse()]
    other = summary(told.model_copy(update={"judge": "reward model of another seed"}))["policy"]
    assert other["gold_win_rate"] is None
    assert other["win_rate"] == policy["win_rate"]


def test_the_terminal_shows_the_figures_and_no_foreign_markup(told):
    file = io.StringIO()
    Console(file=file, width=140, force_terminal=False).print(terminal_table(told))
    said = file.getvalue()
    assert "win rate (gold)" in said
    assert "unsafe compliance" in said
    assert "checks of the stages are in order" in said
    file = io.StringIO()
    Console(file=file, width=300, force_terminal=False).print(terminal_table(poisoned(told)))
    assert "[red]" in file.getvalue()
    assert "\x1b" not in file.getvalue()
    assert clean("a\x1b[2J\nb\u202e") == "a [2J b "


def test_numbers_are_short_and_durations_are_words():
    assert [number(v) for v in (0.12345, 1234567.0, None, float("inf"), -2.0)] == ["0.123", "1,234,567", "–", "–", "−2"]
    assert [spent(v) for v in (3.21, 59.7, 161.4, 3720)] == ["3.2 s", "1 min 0 s", "2 min 41 s", "1 h 2 min"]
