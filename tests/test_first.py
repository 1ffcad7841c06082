"""The first project of a person: pairs without a model, a lesson after thirty answers, and a room that opens."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from accord.config import SettingsError
from accord.first import COUNT, LEAST, QUEUE, prepare, teacher
from accord.lab import Gold, Lab
from accord.records import Asked, Comparison, Feedback, Question, Sample, Version
from accord.serve import _has_a_window
from accord.store import Store
from accord.web import make_app
from tests.web.conftest import House, WebSettings

Taste = Callable[[Asked], str]


def longest(asked: Asked) -> str:
    return max(asked.samples, key=lambda one: len(one.content.messages[-1].content.split())).id  # type: ignore[union-attr]


def left(asked: Asked) -> str:
    return asked.samples[0].id


def judge(store: Store, count: int, taste: Taste, who: str = "me") -> None:
    for claim in store.claim(who, QUEUE, count):
        shown = tuple(sample.id for sample in claim.asked.samples)
        answer = Comparison(better=taste(claim.asked))
        said = {"question": claim.asked.question.id, "annotator": who, "answer": answer, "shown": shown, "seconds": 2.5}
        store.answer(claim.id, Feedback(**said))


def test_the_pairs_differ_and_the_same_command_adds_nothing(tmp_path: Path) -> None:
    first = prepare(tmp_path / "p", tmp_path / "none")
    assert prepare(tmp_path / "p").told == first.told
    with Store.open(tmp_path / "p" / "store.db") as store:
        questions = list(store.all(Question))
        samples = store.get_many(Sample, [id for one in questions for id in one.samples])
        assert len(questions) == COUNT
        for one in questions:
            a, b = (samples[id].content for id in one.samples)
            assert a != b
        prepare(tmp_path / "p", tmp_path / "none")
        assert len(list(store.all(Question))) == COUNT
    assert "without a model" in first.told


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path / "store.db").close()
    with pytest.raises(SettingsError, match="another project"):
        prepare(tmp_path)


def test_answers_of_the_quickstarts_model_are_judged_where_there_are_some(tmp_path: Path) -> None:
    lab = Lab()
    circle = tmp_path / "quickstart"
    circle.mkdir()
    (circle / "project.yaml").write_text("data: {kind: lab, lab: {seed: 0}}\n")
    with Store.open(circle / "store.db") as store:
        store.put([Version(id="v-sft", name="sft", role="policy")])
        for prompt in lab.prompts(40, "train"):
            made = [lab.example(prompt, number) for number in range(4)]
            store.put([prompt, *(one.model_copy(update={"version": "v-sft"}) for one in made)])
    first = prepare(tmp_path / "p", circle)
    assert "fine-tuned" in first.told
    with Store.open(tmp_path / "p" / "store.db") as store:
        assert LEAST <= len(list(store.all(Question))) <= 40
        assert {one.version for one in store.all(Sample)} == {None}


def test_a_taste_for_length_and_a_habit_of_side_are_told(tmp_path: Path) -> None:
    names = ("You chose the longer answer", "You chose the answer shown first")
    for taste, name, other in ((longest, *names), (left, *names[::-1])):
        first = prepare(tmp_path / name[14:20], tmp_path / "none")
        with Store.open(first.folder / "store.db") as store:
            judge(store, 40, taste)
            lesson = teacher(store, first).learn("me")
        figures = {one.name: one for one in lesson.findings}
        caught, free = figures[name], figures[other]
        assert caught.figure.estimate == 1
        assert "More often than a coin" in caught.says
        assert "More often" not in free.says
        assert lesson.answers == 40
        assert lesson.seconds == 2.5


def test_who_judges_as_the_rules_do_is_told_so(tmp_path: Path) -> None:
    first = prepare(tmp_path / "p", tmp_path / "none")
    gold = Gold(first.lab)

    def best(asked: Asked) -> str:
        return max(asked.samples, key=lambda one: gold(asked.prompt, one).score).id

    with Store.open(first.folder / "store.db") as store:
        judge(store, 40, best)
        found = {one.name: one.figure for one in teacher(store, first).learn("me").findings}
    assert found["The lab's own rules choose the same"].estimate == 1
    assert found["One of 11 simulated people says the same"].low > 0.5


def test_the_page_waits_for_thirty_answers_and_then_leads_there(tmp_path: Path) -> None:
    first = prepare(tmp_path / "p", tmp_path / "none")
    with Store.open(first.folder / "store.db") as store:
        house = House(store)
        assert house.client().get("/lesson").status_code == 404
        house.app = make_app(store, WebSettings(), teacher=teacher(store, first))
        browser, _ = house.browser()
        me = house.persons["annotator"].pseudonym
        assert f"After {LEAST} answers" in browser.get("/lesson").text
        judge(store, LEAST - 1, longest, me)
        assert browser.get(f"/api/projects/{QUEUE}/desk").json()["lesson"] == ""
        judge(store, 1, longest, me)
        assert browser.get(f"/api/projects/{QUEUE}/desk").json()["lesson"] == "/lesson"
        page = browser.get("/lesson").text
        assert f"What was learned from your {LEAST} answers" in page
        assert "A small reward model foretells you" in page
        assert "What was learned" in browser.get("/").text
        assert isinstance(browser, TestClient)


def test_without_a_window_the_link_is_printed_and_works(tmp_path: Path) -> None:
    words = ["quickstart", "--people", "--project", str(tmp_path / "p"), "--circle", str(tmp_path), "--port", "0"]
    bare = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    hears = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a shell's job in the background is born deaf
    run = subprocess.Popen(
        [sys.executable, "-m", "accord", *words], stderr=subprocess.PIPE, text=True, env=bare, preexec_fn=hears
    )
    try:
        assert run.stderr is not None
        said = "".join(run.stderr.readline() for _ in range(3))
        link = re.search(r"http://localhost:\d+/in/[\w-]+", said)
        assert link is not None, said
        assert "no browser to open" in said
        end, page = time.monotonic() + 30, ""
        while not page and time.monotonic() < end:
            try:
                with urllib.request.urlopen(link[0], timeout=5) as reply:
                    page = reply.read().decode()
            except OSError:
                time.sleep(0.1)
        assert "Come in" in page
    finally:
        run.send_signal(signal.SIGINT)
        assert run.wait(15) == 130, "as of every other verb that Ctrl+C ends"
        run.stderr.close()


def test_a_window_is_one_that_does_not_take_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not _has_a_window()
    monkeypatch.setenv("DISPLAY", ":0")
    assert _has_a_window()
