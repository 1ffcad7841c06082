"""Talking: two answers at each turn, kept like any other question; the chosen one goes on, and only one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient

from accord.protocols import Completion, Sampling
from accord.records import Message, Prompt, Question, Sample, Text, Version, new_id
from accord.serve import speaking
from accord.store import Store
from accord.web.chat import Piece, Speaker
from accord.web.people import grant
from tests.flow.circle import TINY
from tests.web.conftest import House


def echo(word: str, fails: bool = False) -> Speaker:
    """Says its word for each turn so far, in three pieces."""

    def speak(messages: Sequence[Message], seed: int) -> Iterator[Piece]:
        whole = f"{word} {len(messages)} {messages[-1].content} <b>"
        for part in (3, 6, len(whole)):
            if fails and part == 6:
                raise RuntimeError("no memory")
            yield Piece(whole[:part], part == len(whole))

    return Speaker(speak, version=f"version-{word}", sampling={"temperature": 1.0})


@pytest.fixture
def house(store: Store) -> House:
    return House(store, speakers=[echo("left"), echo("right")])


def talk(client: TestClient, said: str, **more: Any) -> list[dict[str, Any]]:
    reply = client.post("/api/chat", json={"said": said, **more})
    assert reply.status_code == 200, reply.text
    return [json.loads(line) for line in reply.text.splitlines()]


def test_a_turn_streams_both_answers_and_ends_with_a_claim_that_is_answered_like_any_other(house: House) -> None:
    client = house.client()
    lines = talk(client, "hello")
    claim = lines[-1]["claim"]
    for side in (0, 1):
        assert [one["html"] for one in lines[:-1] if one["side"] == side][-1] == claim["samples"][side]["html"]
    assert [one["side"] for one in lines[:4]] in ([0, 1, 0, 1], [1, 0, 1, 0])
    assert "version-" not in json.dumps(lines), "blind"
    assert claim["prompt"][0]["text"] == "hello"
    assert "&lt;b&gt;" in claim["samples"][0]["html"]
    given = {"id": new_id(), "answer": {"kind": "comparison", "better": claim["shown"][1]}}
    assert client.put(f"/api/claims/{claim['id']}/answer", json=given).json()["state"] == "standing"
    samples = {one.id: one for one in house.store.all(Sample)}
    assert {one.version for one in samples.values()} == {"version-left", "version-right"}
    assert all(one.finished for one in samples.values())
    assert house.client("owner").post("/api/claims", json={"project": "chat"}).json()["claims"] == []


def test_the_chosen_answer_goes_on_and_only_ones_own_conversation(house: House) -> None:
    client = house.client()
    first = talk(client, "one")[-1]["claim"]
    second = talk(client, "two", after=first["question"], chosen=first["shown"][0])[-1]["claim"]
    assert [turn["role"] for turn in second["prompt"]] == ["user", "assistant", "user"]
    assert second["prompt"][1]["text"] == first["samples"][0]["text"]
    assert " 3 two" in second["samples"][0]["text"]
    stranger = house.client("manager")
    for after, chosen in ((first["question"], first["shown"][0]), (first["question"], second["shown"][0])):
        who = stranger if chosen in first["shown"] else client
        body = {"said": "three", "after": after, "chosen": chosen}
        assert who.post("/api/chat", json=body).status_code == 422
    assert client.post("/api/chat", json={"said": "x", "after": "nowhere"}).status_code == 404
    assert client.post("/api/chat", json={"said": ""}).status_code == 422


def test_a_model_that_stumbles_keeps_nothing(store: Store) -> None:
    house = House(store, speakers=[echo("one", fails=True)])
    lines = talk(house.client(), "hello")
    assert "nothing was kept" in lines[-1]["error"]
    assert "memory" not in json.dumps(lines)
    assert store.count(Prompt) == store.count(Question) == 0


def test_without_a_model_there_is_nobody_to_talk_with_and_rules_hold_here_too(store: Store, house: House) -> None:
    assert House(Store.open(store._database.path.parent / "other.db")).client().get("/chat").status_code == 404  # type: ignore[union-attr]
    client = house.client()
    assert "Talk with the model" in house.browser()[0].get("/").text
    talk(client, "hello")
    assert house.client("manager").put("/api/projects/chat/rules", json={"paused": True}).status_code == 200
    assert client.post("/api/chat", json={"said": "more"}).status_code == 422


class Letters:
    """A generator that says the alphabet after its prompt, and stops at 13."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        start = prompts[0][-1] + 1
        tokens = [t for t in range(start, start + sampling.max_tokens) if t <= 13]
        return [Completion(0, 0, tuple(tokens), (0.0,) * len(tokens), tokens[-1] == 13)]


class Letterer:
    """An encoder of letters."""

    def prompt(self, content: Text) -> list[int]:
        return [len(content.messages)]

    def spell(self, tokens: Sequence[int]) -> str:
        return "".join(chr(96 + t) for t in tokens)

    def text(self, tokens: Sequence[int], finished: bool) -> Text:
        said = "".join(chr(96 + t) for t in (tokens[:-1] if finished else tokens))
        return Text(messages=(Message(role="assistant", content=said),))


@pytest.mark.parametrize(("most", "said", "ended"), [(50, "bcdefghijkl", True), (6, "bcdefg", False)])
def test_any_generator_speaks_piece_by_piece(most: int, said: str, ended: bool) -> None:
    speak = speaking(Letters(), Letterer(), Sampling(max_tokens=most), few=4)  # type: ignore[arg-type]
    pieces = list(speak([Message(role="user", content="x")], 1))
    assert [piece.text for piece in pieces[:1]] == ["bcde"]
    assert (pieces[-1].text, pieces[-1].finished) == (said, ended)


class Ender(Letterer):
    """An encoder whose answers end without a token of their own."""

    def text(self, tokens: Sequence[int], finished: bool) -> Text:
        return Text(messages=(Message(role="assistant", content=self.spell(tokens)),))


@pytest.mark.parametrize(("stop", "said"), [("c", "bc"), ("ef", "bcdef"), ("fgh", "bcdefgh")])
def test_a_text_that_ends_answers_ends_talk_too_wherever_its_pieces_are_cut(stop: str, said: str) -> None:
    speak = speaking(Letters(), Ender(), Sampling(max_tokens=9, stop_text=("xyz", stop)), few=4)  # type: ignore[arg-type]
    last = list(speak([Message(role="user", content="x")], 1))[-1]
    assert (last.text, last.finished) == (said, True)


def test_a_tiny_model_of_a_project_talks(tmp_path: Any) -> None:
    """From a folder on disk to a claim, as `accord serve --chat NAME` does it."""
    from accord.build import train
    from accord.config import SettingsError
    from accord.project import Project
    from accord.recipe import Recipe
    from accord.serve import speakers

    project = Project(tmp_path / "project", Recipe.model_validate(TINY))
    project.prepare()
    train(project, "pretrain", "base")
    with pytest.raises(SettingsError, match="base"):
        speakers(tmp_path / "project", ["nobody"])
    (speaker,) = speakers(tmp_path / "project", ["base"])
    base = project.version("base")
    assert isinstance(base, Version)
    assert speaker.version == base.id
    house = House(project.store, speakers=[speaker])
    link = grant(house.people, house.persons["annotator"], "token", house.settings)
    client = house.bare()
    client.headers["authorization"] = f"Bearer {link}"
    claim = talk(client, "Where is it?")[-1]["claim"]
    assert [one.version for one in project.store.all(Sample) if one.id in claim["shown"]] == [base.id] * 2
