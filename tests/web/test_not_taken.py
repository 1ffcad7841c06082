"""What the server refuses for good stays in the browser until its person has done with it; so does a comment."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete

from accord.store import Store, schema
from tests.web.conftest import House, questions
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

HOSTILE = "<img src=x onerror=alert(1)> it was **this**"


def ready(page: Any) -> None:  # noqa: F811
    page.wait_for_selector("body[data-ready=yes]")
    page.wait_for_selector("#samples .answer")


def remark(page: Any, text: str) -> None:  # noqa: F811
    page.keyboard.press("c")
    page.keyboard.insert_text(text)


def forget(store: Store) -> None:
    """The store knows no claim any more, as after an older copy of it was put back."""
    with store.writing() as connection:
        assert connection.execute(delete(schema.claim)).rowcount > 0


def test_a_refused_answer_is_kept_with_question_and_reason_copied_and_cleared(
    page: Any,  # noqa: F811
    served: Served,  # noqa: F811
    store: Store,
) -> None:
    store.put(questions(6))
    come_in(page, served, "round1")
    ready(page)
    asked = page.inner_text("#prompt").strip()
    remark(page, HOSTILE)
    page.keyboard.press("Control+Enter")
    forget(store)
    press(page, "1")
    page.wait_for_selector("#open-refused", timeout=8000)
    assert "1 not taken" in page.inner_text("#unsent")
    page.reload()
    ready(page)
    page.click("#open-refused")
    seen = page.inner_text("#refused-list")
    assert asked in seen
    assert HOSTILE in seen, "as text, not as a picture"
    assert "Not taken (404): " in seen
    assert page.locator("#refused-list img").count() == 0
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#refused-copy")
    page.wait_for_function("() => document.getElementById('refused-told').textContent === 'Copied.'")
    copied = page.evaluate("() => navigator.clipboard.readText()")
    assert asked in copied
    assert '"strength":3' in copied, "the answer as it was sent"
    page.click("#refused .main")
    assert page.locator("#open-refused").count() == 1, "closing keeps it"
    page.click("#open-refused")
    page.click("#refused-clear")
    page.wait_for_selector("#unsent", state="hidden")
    page.reload()
    ready(page)
    page.wait_for_timeout(300)
    assert page.locator("#open-refused").count() == 0
    assert standing(store, "round1") == []


def test_without_a_clipboard_the_text_is_copied_by_the_selection(page: Any, served: Served, store: Store) -> None:  # noqa: F811
    store.put(questions(6))
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined });")
    come_in(page, served, "round1")
    ready(page)
    page.evaluate("() => addEventListener('copy', () => { window.taken = document.getSelection().toString(); }, true)")
    forget(store)
    press(page, "7")
    page.wait_for_selector("#open-refused", timeout=8000)
    page.click("#open-refused")
    page.click("#refused-copy")
    page.wait_for_function("() => document.getElementById('refused-told').textContent === 'Copied.'")
    assert '"strength":3' in page.evaluate("() => window.taken")


def test_a_comment_not_yet_sent_survives_a_reload_and_goes_with_its_answer(
    page: Any,  # noqa: F811
    served: Served,  # noqa: F811
    store: Store,
) -> None:
    store.put(questions(4))
    come_in(page, served, "round1")
    ready(page)
    remark(page, "I know this place")
    page.wait_for_timeout(400)  # the dialog is still open
    page.reload()
    ready(page)
    page.wait_for_selector("#comment.on")
    press(page, "1")
    assert page.locator("#comment.on").count() == 0, "another question has another comment"
    press(page, "2")
    until(lambda: len(standing(store, "round1")) == 2)
    assert sorted(one.note for one in standing(store, "round1")) == ["", "I know this place"]
    page.reload()
    ready(page)
    page.wait_for_timeout(300)
    assert page.locator("#comment.on").count() == 0


def test_what_is_held_comes_back_in_the_order_in_which_it_was_asked(house: House) -> None:
    house.store.put(questions(20, project="long"))
    client = house.client()
    ask = {"project": "long", "count": 20, "resume": True}
    first = [one["id"] for one in client.post("/api/claims", json=ask).json()["claims"]]
    assert len(first) == 20, "leased within a millisecond or two"
    again = [one["id"] for one in client.post("/api/claims", json=ask).json()["claims"]]
    assert again == first
