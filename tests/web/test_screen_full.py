"""The disk of the store fills up under somebody who judges: it stands on the screen, and nothing they said is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accord.records import Comparison, Feedback
from accord.store import Store
from accord.store.people import People
from accord.web import WebSettings
from accord.web.app import FULL
from accord.web.people import grant
from bench import crowd
from tests.web.conftest import questions
from tests.web.test_browser import chromium, page, press, served, standing, until  # noqa: F401
from tests.web.test_full import disk, fill


@pytest.fixture
def small() -> Iterator[Path]:
    with disk(16 << 20) as made:
        yield made


def test_a_full_disk_stands_on_the_screen_and_answers_wait_until_there_is_room(page: Any, small: Path) -> None:  # noqa: F811
    where, filler = small / "store.db", small / "filler"
    with Store.open(where) as store:
        store.put(questions(8))
        people = People(store)
        link = grant(people, people.add("ann", "annotator"), "link", WebSettings())
        server = crowd.Server(str(where))
        try:
            page.goto(f"http://127.0.0.1:{server.port}/in/{link}")
            page.get_by_role("button", name="Come in").click()
            page.goto(f"http://127.0.0.1:{server.port}/judge/round1")
            page.wait_for_selector("body[data-ready=yes]", timeout=60_000)
            press(page, "1")
            until(lambda: len(standing(store, "round1")) == 1, 60)
            fill(filler)
            press(page, "1")
            press(page, "7")
            page.wait_for_function(
                "words => document.getElementById('unsent').innerText.includes(words)", arg=FULL, timeout=90_000
            )
            assert page.inner_text("#unsent").startswith("2 unsent")
            assert len(standing(store, "round1")) == 1
            press(page, "2")
            filler.unlink()
            until(lambda: len(standing(store, "round1")) == 4, 90)
            page.wait_for_selector("#unsent", state="hidden", timeout=60_000)
        finally:
            server.stop(kill=True)
        said: list[Feedback] = sorted(standing(store, "round1"), key=lambda one: one.made)
        answers = [one.answer for one in said]
        assert [(one.verdict, one.strength) for one in answers if isinstance(one, Comparison)] == [
            ("better", 3),
            ("better", 3),
            ("better", 3),
            ("better", 2),
        ]
        assert len({one.question for one in said}) == 4
