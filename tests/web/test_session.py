"""A session that ends in the middle of work: what was said waits in the browser for its own person."""

from __future__ import annotations

from typing import Any

from accord.store import Store
from tests.web.conftest import questions
from tests.web.test_browser import (  # noqa: F401
    Served,
    chromium,
    come_in,
    page,
    press,
    served,
    standing,
    until,
)


def enter(tab: Any, served: Served, role: str) -> None:  # noqa: F811
    tab.goto(served.link(role))
    tab.get_by_role("button", name="Come in").click()
    tab.wait_for_url(f"{served.address}/*")


def test_answers_wait_for_a_new_session_of_the_same_person(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    store.put(questions(6))
    come_in(page, served, "round1")
    beside = page.context.new_page()
    beside.goto(f"{served.address}/me")
    beside.get_by_role("button", name="Sign out").click()
    press(page, "1")
    page.wait_for_selector("#unsent:not([hidden])")
    page.wait_for_function("() => document.getElementById('unsent').innerText.includes('sign in again')")
    enter(beside, served, "manager")
    page.wait_for_timeout(2500)  # two tries at least, with somebody else's session
    assert standing(store, "round1") == []
    enter(beside, served, "annotator")
    until(lambda: len(standing(store, "round1")) == 1, 20)
    assert standing(store, "round1")[0].annotator == served.house.persons["annotator"].pseudonym
    page.wait_for_selector("#unsent[hidden]", state="attached")
    press(page, "2")
    until(lambda: len(standing(store, "round1")) == 2)
