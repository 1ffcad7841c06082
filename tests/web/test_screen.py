"""The screen in the hand: nothing out of reach at any size, other keyboards, keys of the Tab order, clips by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accord.records import Blob, Feedback, Sample
from accord.store import Store
from tests.web.conftest import questions
from tests.web.test_browser import (  # noqa: F401
    Served,
    chromium,
    come_in,
    page,
    served,
    standing,
    until,
)

REACHED = """() => [...document.querySelectorAll('#form button')].filter((one) => {
  if (one.closest('[hidden], .later')) return false;
  one.scrollIntoView({ block: 'nearest', inline: 'nearest' });
  const box = one.getBoundingClientRect();
  return !one.contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
}).length"""


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (720, 450), (390, 844), (320, 640)])
def test_every_score_can_be_reached_and_nothing_is_wider_than_the_window(
    page: Any,  # noqa: F811
    served: Served,  # noqa: F811
    store: Store,
    width: int,
    height: int,
) -> None:
    """720 x 450 is 1440 x 900 at 200 %; 320 is what WCAG asks of reflow."""
    asked = {"criteria": ("correct", "kind", "clear"), "scale": (1, 7)}
    store.put(questions(1, "rating", 4, project="rates", **asked))  # type: ignore[arg-type]
    store.put(questions(1, "combined", 4, project="both", flags=("false",), **asked))  # type: ignore[arg-type]
    store.put(questions(2))
    page.set_viewport_size({"width": width, "height": height})
    for queue in ("round1", "rates", "both"):
        come_in(page, served, queue)
        page.wait_for_selector("#samples .answer")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, queue
        assert page.evaluate(REACHED) == 0, f"{queue}: buttons that cannot be reached"
        assert page.locator("#leave").is_visible()
        assert page.evaluate("document.getElementById('samples').getBoundingClientRect().height") > 60
    for path in ("/", "/me", "/contract"):
        page.goto(f"{served.address}{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_other_keyboards_mean_the_same_keys(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    store.put(questions(4))
    come_in(page, served, "round1")
    page.wait_for_selector("#samples .answer")
    tell = "given => document.dispatchEvent(new KeyboardEvent('keydown', { ...given, bubbles: true }))"
    for given in ({"key": "&", "code": "Digit1"}, {"key": "è", "code": "Digit7"}):  # French, without shift
        page.evaluate(tell, given)
    until(lambda: len(standing(store, "round1")) == 2)
    assert [one.answer.better == one.shown[at] for at, one in enumerate(standing(store, "round1"))] == [True, True]  # type: ignore[union-attr]
    page.evaluate(tell, {"key": "я", "code": "KeyZ"})  # Russian
    until(lambda: len(standing(store, "round1")) == 1)
    page.evaluate(tell, {"key": "!", "code": "Digit1", "shiftKey": True})
    page.wait_for_timeout(1000)
    assert len(standing(store, "round1")) == 1, "with shift it is no digit"


def test_a_button_reached_by_tab_is_pressed_by_enter(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    store.put(questions(1, "ranking", 3, project="ranks"))
    come_in(page, served, "ranks")
    for key in "123":
        page.keyboard.press(key)
    page.keyboard.press("Shift+Tab")
    page.evaluate("document.getElementById('skip').focus()")
    page.keyboard.press("Enter")
    page.wait_for_selector("#reasons[open]")
    page.keyboard.press("Escape")
    assert standing(store, "ranks") == [], "the skip was pressed, the ranking was not sent"


def test_clips_stop_by_a_button_and_wait_for_those_who_want_less_motion(
    page: Any,  # noqa: F811
    served: Served,  # noqa: F811
    store: Store,
) -> None:
    made = questions(1)
    for at, one in enumerate(made):
        if isinstance(one, Sample):
            states = [[n / 20 * at, 0.1, 1.0] for n in range(20)]
            episode = {"env": "control", "start": 0, "observation": states, "action": [[0.5]] * 20, "finished": False}
            blob = Blob(media="application/json", sha256=store.put_blob(json.dumps(episode).encode()))
            made[at] = one.model_copy(update={"content": blob})
    store.put(made)
    page.emulate_media(reduced_motion="reduce")
    come_in(page, served, "round1")
    words = page.locator(".episode .figures").first
    until(lambda: page.locator("canvas").count() == 2)
    page.wait_for_timeout(400)
    assert words.inner_text().startswith("step 1 ")
    page.get_by_role("button", name="Play or stop").click()
    until(lambda: not words.inner_text().startswith("step 1 "))
    page.get_by_role("button", name="Play or stop").click()
    page.get_by_role("button", name="One step on").click()
    before = words.inner_text()
    page.wait_for_timeout(300)
    assert words.inner_text() == before


def test_a_prompt_begins_where_its_last_turn_begins_and_p_shows_all_of_it(
    page: Any,  # noqa: F811
    served: Served,  # noqa: F811
    store: Store,
) -> None:
    made = questions(1)
    long = "first words\n\n" + "\n\n".join(f"line {n}" for n in range(60))
    content = made[0].content  # type: ignore[union-attr]
    turn = content.messages[0].model_copy(update={"content": long})
    made[0] = made[0].model_copy(update={"content": content.model_copy(update={"messages": (turn,)})})
    store.put(made)
    come_in(page, served, "round1")
    assert page.evaluate("document.getElementById('prompt').scrollTop") == 0
    before = page.evaluate("document.getElementById('prompt').clientHeight")
    page.keyboard.press("p")
    assert page.evaluate("document.getElementById('prompt').clientHeight") > 1.8 * before
    page.keyboard.press("p")
    assert page.evaluate("document.getElementById('prompt').clientHeight") == before


def test_nothing_moves_when_an_answer_is_chosen_or_cannot_be_sent(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    store.put(questions(6))
    store.put(questions(1, safety=True, project="safe"))
    store.put(questions(1, "combined", 4, project="both", criteria=("kind",), flags=("false",)))
    store.put(questions(1, "ranking", 4, project="ranks"))
    where = """() => ['#prompt', '#samples', '#bar', '#counts', '#undo', '#skip', '.side-1 .body'].map((one) => {
      const box = document.querySelector(one).getBoundingClientRect();
      return [one, Math.round(box.x), Math.round(box.y)];
    })"""
    for queue in ("safe", "both", "ranks", "round1"):
        come_in(page, served, queue)
        page.wait_for_selector("#samples .answer")
        before = page.evaluate(where)
        if queue == "round1":
            page.context.set_offline(True)
        page.keyboard.press("1")
        if queue == "round1":
            page.wait_for_selector("#unsent:not([hidden])", timeout=8000)
        assert page.evaluate(where) == before, queue
    page.context.set_offline(False)


def test_two_tabs_do_not_ask_the_same(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    store.put(questions(6))
    come_in(page, served, "round1")
    second = page.context.new_page()
    second.goto(f"{served.address}/judge/round1")
    second.wait_for_selector("body[data-ready=yes]")
    for tab in (page, second, page, second, page, second):
        tab.wait_for_selector("#samples .answer")
        tab.keyboard.press("1")
        tab.wait_for_timeout(300)
    for tab in (page, second):
        tab.wait_for_function("() => document.getElementById('quiet').innerText.startsWith('Nothing')", timeout=20_000)
    until(lambda: len(standing(store, "round1")) == 6)
    page.wait_for_timeout(1000)
    assert len(list(store.all(Feedback))) == 6, "nothing was said twice"
