"""Questions by REST: all of a request or none, the same twice is once, and everything that does not fit is refused."""

from __future__ import annotations

from typing import Any

import pytest

from accord.records import Prompt, Question, Sample
from accord.store import Store
from tests.web.conftest import House

ONE = {
    "id": "mine-0001",
    "prompt": "What is two and two?",
    "answers": [{"id": "mine-0001-a", "text": "Four."}, {"id": "mine-0001-b", "text": "五。", "source": "m2"}],
    "wanted": 2,
}
PATH = "/api/projects/new queue/questions"


def changed(**more: Any) -> dict[str, Any]:
    return {**ONE, **more}


def test_a_question_is_put_judged_and_exported(house: House) -> None:
    lead, person = house.client("manager"), house.client()
    reply = lead.post(PATH, json={"questions": [ONE]})
    assert (reply.status_code, reply.json()) == (201, {"questions": ["mine-0001"], "new": 4})
    claim = person.post("/api/claims", json={"project": "new queue"}).json()["claims"][0]
    assert {one["text"] for one in claim["samples"]} == {"Four.", "五。"}
    assert "m2" not in str(claim)
    answer = {"id": "answer-0001", "answer": {"kind": "comparison", "better": "mine-0001-a"}}
    assert person.put(f"/api/claims/{claim['id']}/answer", json=answer).status_code == 200
    assert "五。" in lead.get("/api/projects/new queue/preferences").text
    assert [one["act"] for one in lead.get("/api/events").json()].count("questions") == 1


def test_the_same_twice_is_once_and_something_else_is_refused(house: House, store: Store) -> None:
    lead = house.client("manager")
    assert lead.post(PATH, json={"questions": [ONE]}).json()["new"] == 4
    assert lead.post(PATH, json={"questions": [ONE]}).json()["new"] == 0
    again = lead.post(PATH, json={"questions": [ONE, changed(id="mine-0002", answers=[], form="demonstration")]})
    assert (again.status_code, again.json()["new"]) == (201, 2)
    before = [store.count(kind) for kind in (Prompt, Sample, Question)]
    other = changed(prompt="What is three and three?")
    fresh = changed(id="mine-0003", answers=[{"text": "a"}, {"text": "b"}])
    refused = lead.post(PATH, json={"questions": [fresh, other]})
    assert refused.status_code == 409
    assert [store.count(kind) for kind in (Prompt, Sample, Question)] == before


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"answers": ONE["answers"][:1]}, "shows 2 answers, this one has 1"),  # type: ignore[index]
        ({"form": "correction"}, "shows 1 answers, this one has 2"),
        ({"form": "flags"}, "`flags`"),
        ({"form": "rating", "scale": [5, 1]}, "a scale goes from"),
        ({"prompt": "  "}, "a prompt ends with a turn"),
        ({"prompt": [{"role": "assistant", "content": "hello"}]}, "a prompt ends with a turn"),
        ({"answers": [{"id": "same-0001", "text": "a"}, {"id": "same-0001", "text": "b"}]}, "one id"),
        ({"gold": {"kind": "comparison", "better": "mine-0001-z"}}, "are not among them"),
        ({"gold": {"kind": "written", "content": {"kind": "slate", "items": ["x"]}}}, "asks for a comparison"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(
    house: House, store: Store, wrong: dict[str, Any], says: str
) -> None:
    before = store.count(Question)
    reply = house.client("owner").post(PATH, json={"questions": [changed(id="mine-0009"), changed(**wrong)]})
    assert reply.status_code == 422
    assert says in reply.text
    assert store.count(Question) == before


def test_every_form_can_be_put(house: House) -> None:
    answers = [{"text": f"answer {n}"} for n in range(4)]
    given: list[dict[str, Any]] = [
        {"prompt": "p", "answers": answers, "form": "ranking"},
        {"prompt": "p", "answers": answers, "form": "rating", "criteria": ["clear", "true"], "scale": [1, 7]},
        {"prompt": "p", "answers": answers, "form": "flags", "flags": ["harmful"]},
        {"prompt": "p", "answers": answers, "form": "combined", "flags": ["harmful"]},
        {"prompt": "p", "answers": answers[:1], "form": "correction"},
        {"prompt": "p", "answers": answers[:1], "form": "critique"},
        {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "form": "demonstration"},
        {"prompt": "p", "answers": answers[:2], "safety": True},
    ]
    reply = house.client("manager").post(PATH, json={"questions": given})
    assert reply.status_code == 201, reply.text
    found = house.client().post("/api/claims", json={"project": "new queue", "count": 8}).json()["claims"]
    assert [one["form"] for one in found] == [one.get("form", "comparison") for one in given]
