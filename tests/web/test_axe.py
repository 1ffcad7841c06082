"""axe-core over every page, light and dark: no breach of WCAG 2.2 A and AA that a program can find."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest

from accord.records import Comparison, Feedback
from accord.store import Store
from tests.web.conftest import questions
from tests.web.test_browser import Served, chromium  # noqa: F401
from tests.web.test_chat import echo

VERSION = "4.14.1"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
FORMS = ("comparison", "ranking", "rating", "flags", "combined", "correction", "demonstration", "critique")


@pytest.fixture(scope="module")
def axe() -> str:
    """The text of axe-core, from npm, kept for the next time; a tool of this test and no part of Accord."""
    kept = Path(tempfile.gettempdir()) / f"accord-axe-core-{VERSION}.js"
    if not kept.exists():
        if shutil.which("npm") is None:
            pytest.skip("no axe-core: npm is absent")
        with tempfile.TemporaryDirectory() as folder:
            run = ["npm", "pack", "--silent", f"axe-core@{VERSION}"]
            done = subprocess.run(run, cwd=folder, capture_output=True, timeout=120, text=True, check=False)
            if done.returncode:
                pytest.skip(f"no axe-core: npm did not bring it ({done.stderr.strip()[-200:]})")
            with tarfile.open(next(Path(folder).glob("*.tgz"))) as packed:
                inside = packed.extractfile("package/axe.min.js")
                assert inside is not None
                kept.write_bytes(inside.read())
    return kept.read_text(encoding="utf-8")


def breaches(page: Any, axe: str) -> list[str]:
    """What axe finds, one line each."""
    page.evaluate(axe + ";0")
    found = page.evaluate("tags => axe.run({ runOnly: { type: 'tag', values: tags } })", WCAG)
    assert len(found["passes"]) > 3, "axe has looked"
    return [f"{one['id']}: {node['html'][:120]}" for one in found["violations"] for node in one["nodes"]]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_axe_finds_nothing_on_any_page(chromium: Any, axe: str, store: Store, scheme: str, width: int) -> None:  # noqa: F811
    for form in FORMS:
        count = (
            0 if form == "demonstration" else 1 if form in ("correction", "critique") else 3 if form == "ranking" else 2
        )
        store.put(questions(1, form, count, project=form, flags=("false", "rude"), criteria=("help",)))  # type: ignore[arg-type]
    store.put(questions(1, wanted=2, project="apart"))
    served = Served(store, [echo("left"), echo("right")])
    served.house.people.write_guideline("comparison", "# Be fair\n\nRead *both*.")
    ids = ("apart-0-s0", "apart-0-s1")
    people = [served.house.persons[role].pseudonym for role in ("annotator", "manager")]
    store.put(
        Feedback(question="apart-0-q", annotator=who, answer=Comparison(better=id, criterion=""), shown=ids)
        for who, id in zip(people, ids, strict=True)
    )
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
    context.set_default_timeout(120_000)
    page = context.new_page()
    found: dict[str, list[str]] = {}
    page.goto(f"{served.address}/sign-in")
    found["/sign-in"] = breaches(page, axe)
    page.goto(served.link("owner"))
    found["/in"] = breaches(page, axe)
    page.get_by_role("button", name="Come in").click()
    person = f"/manage/person/apart/{people[0]}"
    for path in ("/", "/me", "/manage", "/manage/log", "/manage/disputes/apart", "/contract", person):
        page.goto(f"{served.address}{path}")
        found[path] = breaches(page, axe)
    for form in FORMS:
        page.goto(f"{served.address}/judge/{form}")
        page.wait_for_selector("#samples .answer")
        page.wait_for_selector("body[data-ready=yes]")
        found[form] = breaches(page, axe)
    page.goto(f"{served.address}/chat")
    page.wait_for_selector("body[data-ready=yes]")
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    page.wait_for_selector(".cells")
    found["/chat"] = breaches(page, axe)
    context.close()
    served.stop()
    wrong = [f"{path}: {line}" for path, lines in found.items() for line in lines]
    assert wrong == [], "\n".join(wrong)
    assert len(found) == 18
