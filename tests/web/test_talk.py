"""A conversation at the screen: every step is taken back, it outlives the page, and it can be skipped and flagged."""

from __future__ import annotations

from typing import Any

from accord.records import Comparison
from accord.store import Store
from tests.web.conftest import questions
from tests.web.test_browser import (  # noqa: F401
    Served,
    chromium,
    come_in,
    page,
    press,
    prompt,
    served,
    standing,
    until,
)


def begin(page: Any, served: Served) -> None:  # noqa: F811
    page.goto(served.link())
    page.get_by_role("button", name="Come in").click()
    page.goto(f"{served.address}/chat")
    page.wait_for_selector("body[data-ready=yes]")


def speak(page: Any, said: str) -> None:  # noqa: F811
    page.wait_for_selector("#said:focus")
    page.fill("#said", said)
    page.keyboard.press("Enter")
    page.wait_for_selector(".cells")


def turns(page: Any) -> list[str]:  # noqa: F811
    return [str(one) for one in page.locator("#prompt .turn").all_inner_texts()]


def test_every_step_of_a_conversation_is_taken_back(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    begin(page, served)
    speak(page, "one")
    page.keyboard.press("1")
    until(lambda: len(standing(store, "chat")) == 1)
    speak(page, "two")
    assert len(turns(page)) == 3
    page.keyboard.press("z")  # what was said and not judged
    assert page.input_value("#said") == "two"
    assert len(turns(page)) == 2
    page.fill("#said", "")
    page.keyboard.press("Control+z")  # the choice before
    page.wait_for_selector(".cell.before")
    until(lambda: standing(store, "chat") == [])
    page.keyboard.press("7")
    until(lambda: len(standing(store, "chat")) == 1)
    (said,) = standing(store, "chat")
    assert isinstance(said.answer, Comparison)
    assert said.answer.better == said.shown[1]
    speak(page, "two again")
    page.keyboard.press("2")
    until(lambda: len(standing(store, "chat")) == 2)
    assert len(turns(page)) == 4
    assert page.wrong == []


def test_a_conversation_outlives_the_page(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    begin(page, served)
    speak(page, "one")
    page.keyboard.press("1")
    speak(page, "two")
    before = page.inner_text("#samples")
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    page.wait_for_selector(".cells")
    assert page.inner_text("#samples") == before
    assert len(turns(page)) == 3
    page.keyboard.press("4")
    page.wait_for_selector("#said:focus")
    page.keyboard.type("half a sen")
    page.wait_for_timeout(500)
    page.reload()
    page.wait_for_selector("body[data-ready=yes]")
    assert page.input_value("#said") == "half a sen"
    assert len(turns(page)) == 4
    until(lambda: len(standing(store, "chat")) == 2)
    page.get_by_role("button", name="Begin another").click()
    assert turns(page) == []
    assert page.wrong == []


def test_a_turn_is_flagged_and_the_guideline_is_there(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    served.house.people.write_guideline("chat", "Be kind to it.")
    begin(page, served)
    assert page.inner_text("#rule") == "Be kind to it."
    speak(page, "one")
    page.keyboard.press("f")
    page.keyboard.press("1")
    until(lambda: len(standing(store, "chat")) == 1)
    (said,) = standing(store, "chat")
    assert (said.answer, said.note, said.guideline) == (None, "flag: Harmful or illegal", "1")
    assert page.input_value("#said") == "one"
    assert turns(page) == []
    assert page.wrong == []


def test_a_new_guideline_opens_between_two_questions(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    store.put(questions(6))
    page.add_init_script("const plain = setInterval; setInterval = (f, t) => plain(f, t === 60000 ? 200 : t);")
    come_in(page, served, "round1")
    press(page, "1")
    assert not page.is_visible("#guideline")
    served.house.people.write_guideline("round1", "From now on: be brief.")
    page.wait_for_timeout(1200)
    assert not page.is_visible("#guideline"), "the text that is being read stays where it is"
    press(page, "1")
    page.wait_for_selector("#guideline:not([hidden])")
    assert page.inner_text("#rule") == "From now on: be brief."
    press(page, "1")
    until(lambda: len(standing(store, "round1")) == 3)
    assert [one.guideline for one in standing(store, "round1")] == ["", "", "1"]
    assert page.wrong == []
