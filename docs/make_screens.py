"""Takes the pictures of the pages on which people judge: `python docs/make_screens.py` (needs chromium and playwright).

The texts are the lab's, the people are simulated, and everything happens in a temporary folder.
"""

from __future__ import annotations

import io
import random
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from accord.first import QUEUE, First, prepare, teacher
from accord.lab import crowd
from accord.looking import look
from accord.records import Comparison, Feedback, Question
from accord.store import Store
from accord.store.office import Office, Rules
from accord.store.people import People
from accord.store.repeats import Repeats
from accord.web import WebSettings, make_app
from accord.web.people import grant

TARGET = Path(__file__).parent / "pictures"
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
PEOPLE = ("Ada", "Bo", "Chen", "Dina")


def furnish(store: Store, first: First) -> None:
    """Four simulated people who have worked for an afternoon, two of them on each question, with some repeats."""
    people, repeats, draw = People(store), Repeats(store), random.Random(0)
    voices = dict(zip(PEOPLE, crowd(first.lab, len(PEOPLE)), strict=True))
    pseudonyms = {name: people.add(name, "annotator").pseudonym for name in PEOPLE}
    store.put(one.model_copy(update={"id": f"again-{one.id}", "wanted": 3, "project": "round1"})
              for one in list(store.all(Question, project=QUEUE)))  # fmt: skip
    Office(store).set_rules("round1", Rules(repeats=0.25, rate=18.0, currency="EUR"))
    people.write_guideline("round1", people.guideline(QUEUE).text)
    begun = time.time() - 4 * 3600
    for number in range(60):
        for at, (name, who) in enumerate(pseudonyms.items()):
            due = repeats.due("round1", who, 0.25)
            one = repeats.ask("round1", who, 600) if due else next(iter(store.claim(who, "round1")), None)
            if one is None or (name == "Dina" and number > 30):
                continue
            (answer,) = voices[name].answer([one.asked])
            if number > 35 and name == "Chen" and isinstance(answer, Comparison):
                answer = Comparison(better=one.asked.samples[0].id)
            shown = tuple(sample.id for sample in one.asked.samples)
            seconds = draw.lognormvariate(2.2 - (0.6 if name == "Chen" and number > 35 else 0), 0.5)
            said = {"question": one.asked.question.id, "annotator": who, "answer": answer, "shown": shown}
            store.answer(one.id, Feedback(**said, seconds=seconds, made=begun + 200 * number + 40 * at))


@contextmanager
def served(store: Store, first: First) -> Iterator[str]:
    """The address of a service over the store."""
    app = make_app(store, WebSettings(), teacher=teacher(store, first), look=look)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


def keep(page: Any, name: str) -> None:
    """A picture of what the window shows, as a small WebP."""
    path = TARGET / f"{name}.webp"
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").save(path, "WEBP", quality=82, method=6)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def judging(page: Any, address: str, name: str, guideline: bool) -> None:
    """The judging screen with a question on it."""
    page.goto(f"{address}/judge/{QUEUE}")
    page.wait_for_selector("#samples .answer")
    page.wait_for_selector("body[data-ready=yes]")
    if page.is_visible("#guideline") != guideline:
        page.keyboard.press("g")
    page.wait_for_timeout(300)
    keep(page, name)


def main() -> None:
    """All pictures."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("no chromium on the path")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        first = prepare(Path(folder) / "p", Path(folder) / "none")
        with Store.open(first.folder / "store.db") as store:
            furnish(store, first)
            owner = People(store).add("Olga", "owner")
            chromium = driver.chromium.launch(executable_path=browser, args=FLAGS)
            with served(store, first) as address:
                for name, window, scheme in (
                    ("light", DESK, "light"),
                    ("dark", DESK, "dark"),
                    ("phone", PHONE, "light"),
                    ("phone-dark", PHONE, "dark"),
                ):
                    context = chromium.new_context(viewport=window, color_scheme=scheme)
                    page = context.new_page()
                    page.goto(f"{address}/in/{grant(People(store), owner, 'link', WebSettings())}")
                    page.get_by_role("button", name="Come in").click()
                    judging(page, address, f"judging-{name}", guideline=window is DESK)
                    if window is DESK:
                        page.goto(f"{address}/manage")
                        page.get_by_role("heading", name="round1").first.scroll_into_view_if_needed()
                        page.evaluate("document.getElementById('figures').lastElementChild.scrollIntoView()")
                        keep(page, f"managing-{name}")
                    context.close()
            chromium.close()


if __name__ == "__main__":
    main()
