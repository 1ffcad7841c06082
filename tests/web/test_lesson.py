"""Thirty answers by keyboard in real Chromium, and the page on what they taught opens by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from accord.first import LEAST, QUEUE, prepare, teacher
from accord.store import Store
from tests.web.test_browser import Served, chromium, come_in, press, until  # noqa: F401


def test_thirty_keys_and_the_lesson_opens(chromium: Any, tmp_path: Path) -> None:  # noqa: F811
    first = prepare(tmp_path / "p", tmp_path / "none")
    with Store.open(first.folder / "store.db") as store:
        served = Served(store)
        room = served.house.app.state.room
        served.house.app.state.room = replace(room, teacher=teacher(store, first))
        context = chromium.new_context(viewport={"width": 1440, "height": 900})
        page = context.new_page()
        try:
            come_in(page, served, QUEUE)
            assert "small invented world" in page.inner_text("#rule")
            for number in range(LEAST):
                press(page, "26435"[number % 5])
            page.wait_for_url("**/lesson", timeout=20_000)
            assert f"What was learned from your {LEAST} answers" in page.inner_text("h1")
            assert len(list(store.feedback(project=QUEUE))) == LEAST
            page.get_by_role("link", name="Go on judging").click()
            page.wait_for_selector("#samples .answer", timeout=20_000)
            press(page, "2")
            until(lambda: len(list(store.feedback(project=QUEUE))) == LEAST + 1)
            assert page.url.endswith(f"/judge/{QUEUE}"), "the page opens by itself once"
            assert page.get_by_role("link", name="What was learned").is_visible()
        finally:
            context.close()
            served.stop()
