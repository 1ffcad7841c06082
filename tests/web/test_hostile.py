"""Two hundred texts that want to run a script, on every page, in real Chromium without our Content-Security-Policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import pytest

from accord.records import Comparison, Feedback, Message, Prompt, Question, Sample
from accord.store import Store
from accord.store.rules import Rules
from accord.web.chat import Piece, Speaker
from tests.web.conftest import text
from tests.web.payloads import PAYLOADS
from tests.web.test_browser import Served, chromium, come_in, until  # noqa: F401

WATCH = """(() => {
  window.ran = [];
  for (const name of ["alert", "confirm", "prompt"]) window[name] = () => window.ran.push(`${name} on ${location}`);
})();"""
STRANGE = """() => [...document.querySelectorAll("*")].flatMap((node) => {
  const leads = /^(href|src|action|formaction|data|srcdoc|xlink:href)$/i;
  const well = /^(\\/|#|https?:|mailto:|data:,$|$)/i;
  const bad = [...node.attributes]
    .filter((one) => /^on/i.test(one.name) || (leads.test(one.name) && !well.test(one.value)))
    .map((one) => `${node.tagName} ${one.name}=${one.value.slice(0, 60)}`);
  const ours = node.tagName === "SCRIPT" && node.src.startsWith(location.origin + "/static/");
  const never = /^(script|iframe|object|embed|base|marquee|audio|img)$/i.test(node.tagName) && !ours;
  return never ? [...bad, node.outerHTML.slice(0, 80)] : bad;
})"""
"""Attributes that run or lead somewhere strange, and elements that no page of ours has."""


def parrot(said: Sequence[str]) -> Speaker:
    """A model that says nothing else."""

    def speak(messages: Sequence[Message], seed: int) -> Iterator[Piece]:
        yield Piece("\n\n".join(said)[:50])
        yield Piece("\n\n".join(said), True)

    return Speaker(speak)


@pytest.fixture
def bare(chromium: Any) -> Iterator[Any]:  # noqa: F811
    """A page without the protection of our headers: what is left must be harmless by itself."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, bypass_csp=True)
    context.add_init_script(WATCH)
    context.set_default_timeout(120_000)
    found = context.new_page()
    found.wrong = []
    found.on("dialog", lambda one: found.wrong.append(one.message))
    found.on("request", lambda one: found.wrong.append(one.url) if not one.url.startswith("http://127.0.0.1") else None)
    yield found
    context.close()


def harmless(page: Any) -> None:
    """Nothing ran, nothing strange stands in the page, nothing was asked of another machine."""
    assert page.evaluate("window.ran") == []
    assert page.evaluate(STRANGE) == []
    assert page.wrong == []


def nines() -> list[Any]:
    """Ranking questions of nine samples and a prompt: ten payloads on each screen."""
    made: list[Any] = []
    for at in range(0, len(PAYLOADS), 10):
        part = [*PAYLOADS[at : at + 10], "filler one", "filler two"]
        made.append(Prompt(id=f"p{at}", content=text(part[0]), tags=(part[0],), source=part[0]))
        ids = [f"s{at}-{n}" for n in range(1, min(10, len(part)))]
        made += [
            Sample(id=id, prompt=f"p{at}", content=text(said, "assistant"), source=said)
            for id, said in zip(ids, part[1:], strict=False)
        ]
        made.append(Question(id=f"q{at}", prompt=f"p{at}", samples=tuple(ids), form="ranking", project="hostile"))
    return made


def test_there_are_two_hundred_different_ones() -> None:
    assert len(set(PAYLOADS)) >= 200


def test_none_runs_as_prompt_or_answer_rendered_or_as_written(bare: Any, store: Store) -> None:
    store.put(nines())
    served = Served(store)
    served.house.people.write_guideline("hostile", "\n\n".join(PAYLOADS))
    come_in(bare, served, "hostile")
    seen = 0
    while bare.locator("#samples .answer").count():
        harmless(bare)
        bare.keyboard.press("m")
        harmless(bare)
        bare.keyboard.press("m")
        bare.hover("#samples .answer >> nth=0")
        count, before = bare.locator("#samples .answer").count(), bare.inner_text("#prompt")
        for key in [*"123456789"[:count], "Enter"]:
            bare.keyboard.press(key)
        seen += 1
        until(lambda before=before: bare.inner_text("#prompt") != before or not bare.locator(".answer").count(), 20)
    assert seen == len(range(0, len(PAYLOADS), 10))
    harmless(bare)
    served.stop()


def test_none_runs_as_name_note_queue_criterion_or_guideline_nor_when_a_model_says_it(bare: Any, store: Store) -> None:
    queues = [one for one in PAYLOADS if one.isprintable() and len(one) <= 100 and "/" not in one][::20]
    named = [one for one in PAYLOADS if one.isprintable() and 1 <= len(one.strip()) <= 80][::4]
    made: list[Any] = [Prompt(id="p", content=text("\n\n".join(PAYLOADS[:60])))]
    made += [Sample(id=id, prompt="p", content=text("\n\n".join(PAYLOADS[60:]), "assistant")) for id in "ab"]
    asked = {"prompt": "p", "samples": ("a", "b"), "wanted": 2}
    made += [Question(id=f"q{n}", project=name, criteria=(name,), **asked) for n, name in enumerate(queues)]
    store.put(made)
    served = Served(store, [parrot(PAYLOADS[::3]), parrot(PAYLOADS[1::3])])
    for one in named:
        served.house.people.add(one, "annotator")
    for n, name in enumerate(queues):
        served.house.people.write_guideline(name, "\n\n".join(PAYLOADS[n::9]))
        said = [Comparison(better=better, criterion=name) for better in "ab"]
        people = [served.house.persons[role].pseudonym for role in ("annotator", "manager")]
        votes = [
            Feedback(question=f"q{n}", annotator=who, answer=answer, shown=("a", "b"), note=PAYLOADS[n])
            for who, answer in zip(people, said, strict=True)
        ]
        store.put(votes)
        served.house.app.state.room.office.note(people[0], PAYLOADS[n], PAYLOADS[n + 1], detail=PAYLOADS[n + 2])
    served.house.app.state.room.office.set_rules(queues[0], Rules(rate=1.0, currency="<b id=x>"))
    bare.goto(served.link("owner"))
    harmless(bare)
    bare.get_by_role("button", name="Come in").click()
    paths = ["/", "/me", "/manage", "/manage/log", "/contract"]
    paths += [f"/manage/disputes/{quote(queues[0], safe='')}", f"/judge/{quote(queues[1], safe='')}"]
    paths.append(f"/manage/person/{quote(queues[0], safe='')}/{people[0]}")
    for path in paths:
        assert bare.goto(f"{served.address}{path}").status == 200, path
        bare.wait_for_timeout(150)
        assert len(bare.content()) > 500
        harmless(bare)
    bare.goto(f"{served.address}/chat")
    bare.wait_for_selector("body[data-ready=yes]")
    bare.fill("#said", "\n\n".join(PAYLOADS)[:7900])
    bare.keyboard.press("Enter")
    bare.wait_for_selector(".cells")
    harmless(bare)
    bare.keyboard.press("1")
    bare.wait_for_selector("#said:focus")
    harmless(bare)
    served.stop()
