"""The public contract: claims, answers that are said once, undo, other people's things, and the pairs that come out."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from accord.records import Blob, Comparison, Feedback, Sample, new_id
from accord.store import Store
from accord.web import WebSettings
from accord.web.diff import differences
from accord.web.people import grant
from tests.web.conftest import House, questions

TEXT = {"kind": "text", "messages": [{"role": "assistant", "content": "better"}]}
SPAN = {"start": 0, "end": 2, "label": "bad"}
FLAGS, YES = ("false", "rude"), {"false": True, "rude": False}


def claimed(client: TestClient, count: int = 1, project: str = "round1", **more: Any) -> list[dict[str, Any]]:
    answer = client.post("/api/claims", json={"project": project, "count": count, **more})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["claims"]
    return found


def first(claim: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The first of those shown is better."""
    better = {"kind": "comparison", "better": claim["shown"][0], "strength": 2}
    return {"id": new_id(), "answer": better, "seconds": 3.5, **more}


def test_a_claim_shows_what_is_asked_and_not_who_made_it(house: House) -> None:
    claim = claimed(house.client())[0]
    assert claim["form"] == "comparison"
    assert [sample["id"] for sample in claim["samples"]] == claim["shown"]
    assert "<strong>" in claim["samples"][0]["html"]
    assert "**" in claim["samples"][0]["text"]
    assert claim["until"] > time.time() + 50
    assert "secret" not in json.dumps(claim)
    assert "gold" not in claim


def test_an_answer_is_kept_with_what_was_shown_and_sending_again_is_saying_it_once(house: House) -> None:
    client = house.client()
    claim = claimed(client)[0]
    given = first(claim)
    replies = [client.put(f"/api/claims/{claim['id']}/answer", json=given) for _ in range(3)]
    assert [(one.status_code, one.json()) for one in replies] == [
        (200, {"feedback": given["id"], "state": "standing"})
    ] * 3
    kept = house.store.get(Feedback, given["id"])
    assert kept.shown == tuple(claim["shown"])
    assert kept.annotator == house.persons["annotator"].pseudonym
    assert kept.answer == Comparison(better=claim["shown"][0], strength=2)
    assert kept.seconds == 3.5
    assert house.store.count(Feedback) == 1


def test_the_same_id_with_another_answer_is_a_conflict(house: House) -> None:
    client = house.client()
    claim = claimed(client)[0]
    given = first(claim)
    client.put(f"/api/claims/{claim['id']}/answer", json=given)
    other = {**given, "answer": {"kind": "comparison", "verdict": "tie"}}
    assert client.put(f"/api/claims/{claim['id']}/answer", json=other).status_code == 409


def test_many_retries_at_once_are_one_answer(house: House) -> None:
    client = house.client()
    claim = claimed(client)[0]
    given = first(claim, made=time.time())
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: client.put(f"/api/claims/{claim['id']}/answer", json=given), range(16)))
    assert {one.status_code for one in replies} == {200}
    assert house.store.count(Feedback) == 1


def test_a_lease_that_ended_goes_to_somebody_else_and_the_late_answer_is_kept_as_surplus(store: Store) -> None:
    store.put(questions(1))
    house = House(store, WebSettings(lease=0.05))
    slow, quick = house.client("annotator"), house.client("manager")
    late = claimed(slow)[0]
    time.sleep(0.1)
    soon = claimed(quick)[0]
    assert soon["question"] == late["question"]
    assert quick.put(f"/api/claims/{soon['id']}/answer", json=first(soon)).json()["state"] == "standing"
    assert slow.put(f"/api/claims/{late['id']}/answer", json=first(late)).json()["state"] == "surplus"


def test_no_two_people_hold_the_same_slot_and_one_who_starts_again_gets_the_same(house: House) -> None:
    one, other = house.client("annotator"), house.client("manager")
    mine = claimed(one, 2)
    assert not {c["question"] for c in mine} & {c["question"] for c in claimed(other, 5)}
    again = claimed(one, 2, resume=True)
    assert {c["id"] for c in again} == {c["id"] for c in mine}
    assert claimed(one, 2) == []


def test_a_claim_given_back_is_there_for_others(house: House) -> None:
    one, other = house.client("annotator"), house.client("manager")
    claim = claimed(one, 3)[0]
    assert claimed(other, 3) == []
    assert [one.delete(f"/api/claims/{claim['id']}").status_code for _ in range(2)] == [204, 204]
    assert [c["question"] for c in claimed(other, 3)] == [claim["question"]]


def test_undo_takes_back_once_and_the_claim_can_be_answered_again(house: House) -> None:
    client = house.client()
    claim = claimed(client)[0]
    given = first(claim)
    client.put(f"/api/claims/{claim['id']}/answer", json=given)
    back = [client.post(f"/api/feedback/{given['id']}/undo") for _ in range(2)]
    assert [one.status_code for one in back] == [200, 200]
    assert back[0].json() == back[1].json()
    assert back[0].json()["state"] == "withdrawal"
    assert list(house.store.feedback(project="round1")) == []
    other = first(claim)
    assert client.put(f"/api/claims/{claim['id']}/answer", json=other).json()["state"] == "standing"
    assert [one.id for one in house.store.feedback(project="round1")] == [other["id"]]


def test_what_is_somebody_elses_is_as_if_it_were_not_there(house: House) -> None:
    mine, theirs = house.client("annotator"), house.client("manager")
    claim = claimed(mine)[0]
    given = first(claim)
    assert theirs.put(f"/api/claims/{claim['id']}/answer", json=given).status_code == 404
    assert theirs.delete(f"/api/claims/{claim['id']}").status_code == 404
    mine.put(f"/api/claims/{claim['id']}/answer", json=given)
    stranger = theirs.post(f"/api/feedback/{given['id']}/undo")
    assert stranger.status_code == 404
    assert house.persons["annotator"].pseudonym not in stranger.text
    assert house.store.feedback_state([given["id"]]) == {given["id"]: "standing"}


FORMS = {
    "ranking": (3, {}, lambda s: {"kind": "ranking", "order": [[s[1]], [s[0], s[2]]]}),
    "rating": (2, {}, lambda s: {"kind": "rating", "scores": {one: {"": 4} for one in s}}),
    "flags": (2, {"flags": FLAGS}, lambda s: {"kind": "flags", "flags": dict.fromkeys(s, YES)}),
    "combined": (
        2,
        {"flags": FLAGS, "scale": (1, 7)},
        lambda s: {
            "kind": "combined",
            "rating": {"scores": {one: {"": 7} for one in s}, "scale": [1, 7]},
            "ranking": {"order": [[s[1]], [s[0]]]},
            "flags": dict.fromkeys(s, YES),
        },
    ),
    "correction": (1, {}, lambda s: {"kind": "correction", "sample": s[0], "content": TEXT}),
    "demonstration": (0, {}, lambda s: {"kind": "written", "content": TEXT}),
    "critique": (1, {}, lambda s: {"kind": "critique", "sample": s[0], "text": "no", "spans": [SPAN]}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_kept_and_another_forms_answer_is_refused(store: Store, form: Any) -> None:
    samples, more, say = FORMS[form]
    store.put(questions(1, form, samples, **more))
    client = House(store).client()
    claim = claimed(client)[0]
    wrong = {"id": new_id(), "answer": {"kind": "comparison", "verdict": "tie"}}
    assert client.put(f"/api/claims/{claim['id']}/answer", json=wrong).status_code == 422
    given = {"id": new_id(), "answer": say(claim["shown"])}
    reply = client.put(f"/api/claims/{claim['id']}/answer", json=given)
    assert (reply.status_code, reply.json().get("state")) == (200, "standing"), reply.text


@pytest.mark.parametrize("spoil", ["a flag too few", "a sample too few", "another scale", "not all are placed"])
def test_a_combined_answer_that_leaves_something_out_is_refused(store: Store, spoil: str) -> None:
    samples, more, say = FORMS["combined"]
    store.put(questions(1, "combined", samples, **more))
    client = House(store).client()
    claim = claimed(client)[0]
    said = json.loads(json.dumps(say(claim["shown"])))
    if spoil == "a flag too few":
        del said["flags"][claim["shown"][0]]["rude"]
    elif spoil == "a sample too few":
        del said["flags"][claim["shown"][0]]
    elif spoil == "another scale":
        said["rating"]["scale"] = [1, 9]
    else:
        said["ranking"]["order"] = [[claim["shown"][0], "other"]]
    reply = client.put(f"/api/claims/{claim['id']}/answer", json={"id": new_id(), "answer": said})
    assert reply.status_code == 422, reply.text


def test_llama_2s_safety_question_is_asked_and_the_bin_that_it_leaves_out_is_refused(store: Store) -> None:
    store.put(questions(3, safety=True))
    house = House(store)
    client = house.client()
    for claim, safe, status in zip(claimed(client, 3), [[0, 1], [1], None], [200, 422, 422], strict=True):
        assert claim["safety"] is True
        given = first(claim)
        if safe is not None:
            given["answer"]["safe"] = [claim["shown"][i] for i in safe]
        assert client.put(f"/api/claims/{claim['id']}/answer", json=given).status_code == status
    store.put(questions(1, project="calm"))
    claim = claimed(client, project="calm")[0]
    given = first(claim)
    given["answer"]["safe"] = claim["shown"]
    assert client.put(f"/api/claims/{claim['id']}/answer", json=given).status_code == 422, "nobody asked"


def test_the_guideline_that_stood_beside_it_is_kept_with_the_answer(store: Store) -> None:
    store.put(questions(2, guideline="5"))
    house = House(store)
    client = house.client()
    one, other = claimed(client, 2)
    client.put(f"/api/claims/{one['id']}/answer", json=first(one, guideline="7"))
    client.put(f"/api/claims/{other['id']}/answer", json=first(other))
    assert {said.question: said.guideline for said in store.feedback()} == {
        one["question"]: "7",
        other["question"]: "5",
    }


def test_differences_are_marked_for_answers_that_are_alike_and_only_for_ones_own_claim(store: Store) -> None:
    store.put(questions(1))
    house = House(store)
    client = house.client()
    claim = claimed(client)[0]
    found = client.get(f"/api/claims/{claim['id']}/diff").json()
    assert found["alike"] > 0.6
    marks = [re.findall(r"<(?:ins|del)>(.*?)</", one) for one in found["html"]]
    assert sorted(map(tuple, marks)) == [("0",), ("1",)]
    assert house.client("manager").get(f"/api/claims/{claim['id']}/diff").status_code == 404
    hostile = differences("<img src=x> one two three four", "<img src=y> one two three four")[1]
    assert "<img" not in "".join(hostile)
    assert "<del>x</del>" in hostile[0]
    assert differences("all is well", "nothing of that")[1] == []
    assert differences("a " * 5000, "a " * 5000)[1] == [], "too long to compare in a request"


def test_a_clip_is_sent_by_address_to_those_who_are_in(store: Store) -> None:
    episode = json.dumps({"env": "control", "start": 1, "observation": [[0, 0, 1]], "action": [[1]]}).encode()
    sha = store.put_blob(episode)
    made = questions(1)
    clip = {"content": Blob(media="application/json", sha256=sha)}
    store.put([one.model_copy(update=clip) if isinstance(one, Sample) else one for one in made])
    house = House(store)
    claim = claimed(house.client())[0]
    sample = claim["samples"][0]
    assert sample["media"] == "application/json"
    reply = house.client().get(sample["blob"])
    assert reply.content == episode
    assert reply.headers["content-type"] == "application/json"
    assert house.bare().get(sample["blob"]).status_code == 401
    for media in ("text/html", "image/svg+xml", "application/javascript"):
        assert house.client().get(f"/api/blobs/{sha}", params={"media": media}).status_code == 404
    assert house.client().get(f"/api/blobs/{'0' * 64}", params={"media": "image/png"}).status_code == 404


def test_a_ranking_or_rating_that_leaves_something_out_is_refused(store: Store) -> None:
    store.put(questions(1, "ranking", 3, project="a"))
    store.put(questions(1, "rating", 2, project="b", criteria=("correct", "kind")))
    client = House(store).client()
    ranked, rated = claimed(client, project="a")[0], claimed(client, project="b")[0]
    order = [[one] for one in ranked["shown"][:2]]
    given = {"id": new_id(), "answer": {"kind": "ranking", "order": order}}
    assert client.put(f"/api/claims/{ranked['id']}/answer", json=given).status_code == 422
    scores = {one: {"correct": 3} for one in rated["shown"]}
    given = {"id": new_id(), "answer": {"kind": "rating", "scores": scores}}
    assert client.put(f"/api/claims/{rated['id']}/answer", json=given).status_code == 422


def test_a_skip_with_a_reason_leaves_the_slot_to_somebody_else(house: House) -> None:
    one, other = house.client("annotator"), house.client("manager")
    for claim in claimed(one, 3):
        given = {"id": new_id(), "answer": None, "note": "skip: too long"}
        assert one.put(f"/api/claims/{claim['id']}/answer", json=given).status_code == 200
    assert claimed(one, 3) == []
    assert len(claimed(other, 3)) == 3


def test_pairs_come_out_as_lines_with_texts_and_without_names(store: Store) -> None:
    store.put(questions(2, wanted=2))
    store.put(questions(1, "ranking", 3, project="ranked"))
    house = House(store)
    for role in ("annotator", "manager"):
        client = house.client(role)
        for claim in claimed(client, 2):
            client.put(f"/api/claims/{claim['id']}/answer", json=first(claim))
    out = house.client("auditor").get("/api/projects/round1/preferences")
    lines = [json.loads(line) for line in out.text.splitlines()]
    assert len(lines) == 4
    assert {line["chosen_first"] for line in lines} == {True}
    assert lines[0]["prompt"][0]["content"].startswith("What is")
    assert lines[0]["chosen"] != lines[0]["rejected"]
    assert len({line["annotator"] for line in lines}) == 2
    assert not {p.pseudonym for p in house.persons.values()} & {line["annotator"] for line in lines}
    again = house.client("auditor").get("/api/projects/round1/preferences").text
    assert json.loads(again.splitlines()[0])["annotator"] != lines[0]["annotator"]
    client = house.client("annotator")
    claim = claimed(client, project="ranked")[0]
    order = [[claim["shown"][2]], claim["shown"][:2]]
    client.put(
        f"/api/claims/{claim['id']}/answer", json={"id": new_id(), "answer": {"kind": "ranking", "order": order}}
    )
    ranked = [json.loads(x) for x in house.client("owner").get("/api/projects/ranked/preferences").text.splitlines()]
    assert sorted(line["probability"] for line in ranked) == [0.5, 1.0, 1.0]
    assert sum(line["weight"] for line in ranked) == pytest.approx(1)


BAD = [
    b"",
    b"{",
    b"[]",
    b"\xff\xfe",
    b'{"project": "round1", "count": 1e999}',
    b'{"project": "round1", "count": NaN}',
    b'{"project": "\\ud800", "count": 1}',
    b'{"project": "a\\u0000b"}',
    b'{"project": "round1", "count": -1}',
    b'{"project": "round1", "more": 1}',
    b'{"project": ["round1"]}',
    b"[" * 5000,
]


@pytest.mark.parametrize("body", BAD, ids=range(len(BAD)))
def test_malformed_bodies_are_refused_and_never_break_the_service(house: House, body: bytes) -> None:
    client = house.client()
    headers = {"content-type": "application/json"}
    assert 400 <= client.post("/api/claims", content=body, headers=headers).status_code < 500
    claim = claimed(client)[0]
    assert 400 <= client.put(f"/api/claims/{claim['id']}/answer", content=body, headers=headers).status_code < 500


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", '"x"', "1e400", "null", "true"])
def test_numbers_that_are_none_are_refused(house: House, value: str) -> None:
    client = house.client()
    claim = claimed(client)[0]
    body = f'{{"id": "{new_id()}", "answer": null, "seconds": {value}}}'.encode()
    answer = client.put(f"/api/claims/{claim['id']}/answer", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422 or value == "true"


def test_bodies_over_the_limit_are_refused_also_when_they_do_not_say_how_long_they_are(house: House) -> None:
    client = house.client()
    assert client.post("/api/claims", content=b"x" * 20_001).status_code == 413

    def parts() -> Any:
        for _ in range(50):
            yield b" " * 1000

    assert client.post("/api/claims", content=parts(), headers={"content-type": "application/json"}).status_code == 413


def test_strange_paths_and_ids_are_refused(house: House) -> None:
    client = house.client("owner")
    for path in ("/static/../app.py", "/static/%2e%2e%2fapp.py", "/api/claims/%00/answer", "/in/x", "/judge/none"):
        assert 400 <= client.get(path).status_code < 500, path
    assert client.delete("/api/claims/" + "x" * 129).status_code == 422
    assert client.delete("/api/claims/unknown").status_code == 404
    assert client.get("/api/projects/none/preferences").status_code == 404


def test_a_token_that_was_replaced_or_a_person_who_was_paused_is_out(house: House) -> None:
    client = house.client()
    assert client.post("/api/claims", json={"project": "round1"}).status_code == 200
    house.people.set_active(house.persons["annotator"].id, False)
    assert client.post("/api/claims", json={"project": "round1"}).status_code == 401
    house.people.set_active(house.persons["annotator"].id, True)
    assert client.post("/api/claims", json={"project": "round1"}).status_code == 401
    fresh = house.bare()
    token = grant(house.people, house.persons["annotator"], "token", house.settings)
    fresh.headers["authorization"] = f"Bearer {token}"
    assert fresh.post("/api/claims", json={"project": "round1"}).status_code == 200


def test_the_description_of_the_contract_names_its_routes_and_loads_nothing(house: House) -> None:
    found = house.bare().get("/api/openapi.json").json()["paths"]
    assert {path for path, methods in found.items() if not any("tags" in one for one in methods.values())} == {
        "/api/claims",
        "/api/claims/{id}/answer",
        "/api/claims/{id}",
        "/api/feedback/{id}/undo",
        "/api/projects/{name}/preferences",
    }
    assert house.bare().get("/docs").status_code == 404
    assert house.bare().get("/redoc").status_code == 404
