"""A service over a store in a temporary folder, people of every role, and small questions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from accord.looking import look
from accord.records import Form, Message, Prompt, Question, Sample, Text
from accord.store import Store
from accord.store.people import ROLES, People, Person
from accord.web import WebSettings, make_app
from accord.web.chat import Speaker
from accord.web.people import grant

HOST = "http://testserver"
SETTINGS = WebSettings(lease=60, tries=3, body=20_000)


def text(said: str, role: str = "user") -> Text:
    return Text(messages=(Message(role=role, content=said),))  # type: ignore[arg-type]


def questions(
    count: int, form: Form = "comparison", samples: int = 2, wanted: int = 1, project: str = "round1", **more: object
) -> list[Prompt | Sample | Question]:
    """Prompts, samples and questions named after project and number."""
    found: list[Prompt | Sample | Question] = []
    for i in range(count):
        name = f"{project}-{i}"
        ids = tuple(f"{name}-s{n}" for n in range(samples))
        found.append(Prompt(id=f"{name}-p", content=text(f"What is {i} + {i}?")))
        found += [
            Sample(
                id=id, prompt=f"{name}-p", content=text(f"It is **{2 * i + n}**.", "assistant"), source="secret-model"
            )
            for n, id in enumerate(ids)
        ]
        fields = {"prompt": f"{name}-p", "samples": ids, "form": form, "wanted": wanted, "project": project, **more}
        found.append(Question(id=f"{name}-q", **fields))  # type: ignore[arg-type]
    return found


class House:
    """A service, and ways to come in."""

    def __init__(self, store: Store, settings: WebSettings = SETTINGS, speakers: Sequence[Speaker] = ()) -> None:
        self.store, self.settings = store, settings
        self.app = make_app(store, settings, speakers, look=look)
        self.people = People(store)
        self.persons: dict[str, Person] = {}
        for role in ROLES:
            self.persons[role] = self.people.add(role, role)

    def bare(self) -> TestClient:
        """Somebody whom nobody knows."""
        return TestClient(self.app, base_url=HOST, follow_redirects=False, raise_server_exceptions=False)

    def client(self, role: str = "annotator") -> TestClient:
        """Another program, with a token."""
        found = self.bare()
        token = grant(self.people, self.persons[role], "token", self.settings)
        found.headers["authorization"] = f"Bearer {token}"
        return found

    def browser(self, role: str = "annotator") -> tuple[TestClient, str]:
        """A browser that has come in by a link, and the word of its pages."""
        found = self.bare()
        link = grant(self.people, self.persons[role], "link", self.settings)
        assert found.post(f"/in/{link}", data={}).status_code == 303
        word = re.search(r'name="csrf" value="(\w+)"', found.get("/me").text)
        assert word is not None
        return found, word[1]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture
def house(store: Store) -> House:
    store.put(questions(3))
    return House(store)
