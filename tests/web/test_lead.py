"""Those who lead: rules, assignment, qualification, disagreements, withdrawing, the log, and servers that are told."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient

from accord.records import Combined, Comparison, Feedback, Flags, Question, Ranking, Rating, new_id
from accord.store import Store
from accord.store.gold import is_right
from accord.web.hooks import AT_ONCE, GAP, PATIENCE, Postman, signed
from tests.web.conftest import House, questions


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standing is looked up each time, so that no test waits for seconds."""
    monkeypatch.setattr("accord.web.api.KEPT_FOR", (0.0, 0.0))


def ask(client: TestClient, project: str = "round1", count: int = 1) -> list[dict[str, Any]]:
    reply = client.post("/api/claims", json={"project": project, "count": count})
    assert reply.status_code == 200, reply.text
    claims: list[dict[str, Any]] = reply.json()["claims"]
    return claims


def say(client: TestClient, claim: dict[str, Any], better: str | None = None) -> str:
    answer = {"kind": "comparison", "better": better or claim["shown"][0]}
    given = {"id": new_id(), "answer": answer}
    assert client.put(f"/api/claims/{claim['id']}/answer", json=given).status_code == 200
    return given["id"]


def rules(house: House, project: str = "round1", **more: Any) -> int:
    return house.client("manager").put(f"/api/projects/{project}/rules", json=more).status_code


def test_a_paused_queue_gives_nothing_and_takes_what_is_in_hand(house: House) -> None:
    client = house.client()
    claim = ask(client)[0]
    assert rules(house, paused=True) == 200
    assert ask(client) == []
    say(client, claim)
    assert "paused" in client.get("/api/projects/round1/desk").json()["why"]
    assert "paused" in house.browser()[0].get("/").text
    assert rules(house) == 200
    assert len(ask(client)) == 1


def test_a_queue_for_those_who_are_assigned(house: House) -> None:
    assert rules(house, only_assigned=True) == 200
    client, lead = house.client(), house.client("manager")
    assert ask(client) == []
    me = house.persons["annotator"].pseudonym
    assert [lead.put(f"/api/projects/round1/assigned/{me}").status_code for _ in range(2)] == [204, 204]
    assert lead.get("/api/projects/round1/assigned").json() == [me]
    assert len(ask(client)) == 1
    assert lead.delete(f"/api/projects/round1/assigned/{me}").status_code == 204
    assert ask(client) == []
    assert lead.put("/api/projects/round1/assigned/nobody").status_code == 404


def test_the_test_comes_first_and_those_who_fail_it_stay_out(store: Store) -> None:
    test = questions(4, project="test", wanted=50)
    for at, one in enumerate(test):
        if isinstance(one, Question):
            test[at] = one.model_copy(update={"gold": Comparison(better=one.samples[0])})
    store.put([*questions(2), *test])
    house = House(store)
    assert rules(house, qualify="test", least=4, share=0.75) == 200
    good, bad = house.client("annotator"), house.client("manager")
    assert ask(good) == []
    assert "first answer 4 test questions" in good.get("/api/projects/round1/desk").json()["why"]
    for client, right in ((good, 3), (bad, 2)):
        for at, claim in enumerate(ask(client, "test", 4)):
            best, other = sorted(claim["shown"])
            say(client, claim, best if at < right else other)
    assert len(ask(good)) == 1
    assert ask(bad) == []
    assert "2 of 4 test answers" in bad.get("/api/projects/round1/desk").json()["why"]
    assert rules(house, qualify="round1") == 422
    assert rules(house, qualify="nowhere") == 404


def test_whether_an_answer_is_right() -> None:
    a, b = Comparison(better="a", strength=3), Comparison(better="b")
    assert is_right(a, Comparison(better="a")) is True
    assert is_right(a, b) is False
    assert is_right(a, Comparison(verdict="tie")) is False
    assert is_right(None, a) is None
    assert is_right(a, None) is None
    assert is_right(a, Ranking(order=(("a",), ("b",)))) is None
    ordered = Ranking(order=(("a",), ("b", "c")))
    assert is_right(ordered, Ranking(order=(("a",), ("c",), ("b",)))) is True
    assert is_right(ordered, Ranking(order=(("b",), ("a",), ("c",)))) is False
    assert is_right(ordered, Ranking(order=(("a", "b", "c"),))) is False, "all tied knows nothing"
    rated = Rating(scores={"a": {"": 4}, "b": {"": 2}})
    assert is_right(rated, Rating(scores={"a": {"": 5}, "b": {"": 1}})) is True
    assert is_right(rated, Rating(scores={"a": {"": 5}, "b": {"": 4}})) is False
    assert is_right(rated, Rating(scores={"a": {"": 4}})) is False
    flags = Flags(flags={"a": {"rude": True}})
    assert is_right(flags, Flags(flags={"a": {"rude": True}})) is True
    assert is_right(flags, Flags(flags={"a": {"rude": False}})) is False
    both = Combined(rating=rated, ranking=Ranking(order=(("a",), ("b",))))
    assert is_right(both, both) is True
    assert is_right(both, Combined(rating=rated, ranking=Ranking(order=(("b",), ("a",))))) is False


def test_a_disagreement_is_shown_settled_once_and_stands(store: Store) -> None:
    store.put(questions(2, wanted=2))
    house = House(store)
    one, other = house.client("annotator"), house.client("owner")
    first = ask(one, count=2)
    second = {claim["question"]: claim for claim in ask(other, count=2)}
    for at, claim in enumerate(first):
        say(one, claim, claim["shown"][0])
        say(other, second[claim["question"]], claim["shown"][0 if at else 1])
    lead = house.client("manager")
    apart = first[0]["question"]
    assert lead.get("/api/projects/round1/disagreements").json() == [apart]
    page = lead.get("/manage/disputes/round1").text
    assert page.count("<article") == 1
    assert "data-answer" in page
    assert "data-answer" not in house.client("auditor").get("/manage/disputes/round1").text
    word = {"answer": {"kind": "comparison", "better": first[0]["shown"][1]}, "note": "it is true"}
    assert other.post(f"/api/questions/{apart}/settle", json=word).status_code == 422, "a party to it"
    kept = lead.post(f"/api/questions/{apart}/settle", json=word)
    assert (kept.status_code, kept.json()["state"]) == (200, "standing"), kept.text
    assert lead.post(f"/api/questions/{apart}/settle", json=word).status_code == 422
    assert lead.get("/api/projects/round1/disagreements").json() == []
    said = store.get(Feedback, kept.json()["feedback"])
    assert (said.annotator, said.note) == (house.persons["manager"].pseudonym, "settled: it is true")
    assert ask(house.client("annotator")) == [], "nobody is asked again"


def test_a_question_that_was_withdrawn_is_asked_nobody_and_can_come_back(house: House) -> None:
    lead, client = house.client("manager"), house.client()
    mine = ask(client)[0]
    for at in range(3):
        assert lead.post(f"/api/questions/round1-{at}-q/withdraw").status_code == 204
    assert ask(client) == []
    assert ask(house.client("owner")) == []
    say(client, mine)
    assert client.post(f"/api/feedback/{next(house.store.feedback()).id}/undo").status_code == 200
    assert ask(client) == [], "an undone answer does not ask it again"
    assert lead.post("/api/questions/round1-2-q/restore").status_code == 204
    assert [claim["question"] for claim in ask(client)] == ["round1-2-q"]
    assert lead.post("/api/questions/nothing/withdraw").status_code == 404


def test_people_by_rest_and_who_did_what(house: House) -> None:
    lead = house.client("owner")
    made = lead.post("/api/people", json={"name": "Ada <b>", "role": "annotator"})
    assert made.status_code == 201
    assert house.bare().post(made.json()["path"]).status_code == 303
    id = made.json()["person"]
    assert lead.put(f"/api/people/{id}/active", json={"active": False}).json()["active"] is False
    assert lead.post("/api/people", json={"name": "Ada <b>"}).status_code == 422
    assert house.client("manager").post("/api/people", json={"name": "x", "role": "owner"}).status_code == 403
    rules(house, paused=True)
    lead.get("/api/projects/round1/preferences")
    acts = [one["act"] for one in house.client("auditor").get("/api/events").json()]
    assert acts[:5] == ["export", "rules", "pause person", "sign in", "add person"]
    assert "Ada" not in json.dumps(house.client("auditor").get("/api/events").json()), "the log knows pseudonyms"
    page = house.client("auditor").get("/manage/log").text
    assert "pause person" in page
    assert "<b>" not in page
    older = lead.get("/api/events", params={"count": 2}).json()
    rest = lead.get("/api/events", params={"before": older[-1]["sequence"]}).json()
    assert rest[0]["act"] == acts[2]


def test_a_leading_write_with_a_session_needs_the_word_of_its_page(house: House) -> None:
    browser, word = house.browser("owner")
    assert browser.put("/api/projects/round1/rules", json={"paused": True}).status_code == 403
    headers = {"x-csrf-token": word}
    assert browser.put("/api/projects/round1/rules", json={"paused": True}, headers=headers).status_code == 200
    assert browser.get("/api/hooks").status_code == 200


# --- hooks -----------------------------------------------------------------------------------------------------


class Ear:
    """Another server, that checks the signature as the specification says."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.status, self.secret = 200, ""
        ear = self

        class Door(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                id, moment = self.headers["webhook-id"], self.headers["webhook-timestamp"]
                key = base64.b64decode(ear.secret.removeprefix("whsec_"))
                proof = hmac.new(key, f"{id}.{moment}.".encode() + body, hashlib.sha256).digest()
                right = "v1," + base64.b64encode(proof).decode() == self.headers["webhook-signature"]
                status = ear.status if right else 401
                if status == 200:
                    ear.heard.append((id, json.loads(body)))
                self.send_response(status)
                if status == 302:
                    self.send_header("location", f"http://127.0.0.1:{ear.port}/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Door)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_the_signature_is_that_of_the_specification() -> None:
    """The worked example that the specification's own libraries test with."""
    secret, id, moment = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    found = signed(secret, id, moment, b'{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_is_said_is_told_once_in_order_and_again_after_a_fall(house: House, ear: Ear) -> None:
    owner, client = house.client("owner"), house.client()
    say(client, ask(client)[0])
    made = owner.post("/api/hooks", json={"url": f"http://127.0.0.1:{ear.port}/hear", "project": "round1"}).json()
    ear.secret = made["secret"]
    assert owner.get("/api/hooks").json()[0]["secret"] == ""
    ids = [say(client, claim) for claim in ask(client, count=2)]
    back = client.post(f"/api/feedback/{ids[0]}/undo").json()["feedback"]
    house.store.put(questions(1, project="other"))
    say(client, ask(client, "other")[0])
    postman, now = Postman(house.app.state.room.office), 1e9 + 1e9
    ear.status = 500
    assert postman.round(now) == 0
    assert postman.round(now + 1) == 0, "not before its time"
    assert owner.get("/api/hooks").json()[0]["failures"] == 1
    ear.status = 200
    assert postman.round(now + PATIENCE[0]) == 3
    assert [id for id, _ in ear.heard] == [f"msg_{one}" for one in [*ids, back]]
    assert [one["type"] for _, one in ear.heard] == ["feedback.kept", "feedback.kept", "feedback.undone"]
    assert ear.heard[0][1]["data"]["project"] == "round1"
    assert postman.round(now + 100) == 0, "said once"
    assert owner.get("/api/hooks").json()[0]["failures"] == 0


def test_a_redirect_is_not_followed_and_who_is_gone_is_given_up(house: House, ear: Ear) -> None:
    owner, client = house.client("owner"), house.client()
    made = owner.post("/api/hooks", json={"url": f"http://127.0.0.1:{ear.port}/hear"}).json()
    ear.secret = made["secret"]
    say(client, ask(client)[0])
    postman, now = Postman(house.app.state.room.office), 2e9
    ear.status = 302
    assert postman.round(now) == 0
    assert owner.get("/api/hooks").json()[0]["said"] == "status 302"
    ear.status = 410
    assert postman.round(now + PATIENCE[0]) == 0
    assert owner.get("/api/hooks").json()[0]["active"] is False
    assert postman.round(now + 1e6) == 0
    assert ear.heard == []


def test_a_hole_in_the_numbers_is_waited_for_since_it_may_be_just_being_written(house: House) -> None:
    heard: list[bytes] = []
    office = house.app.state.room.office
    office.add_hook("http://localhost/hear", "whsec_" + base64.b64encode(b"k" * 24).decode())
    client = house.client()
    ids = [say(client, claim) for claim in ask(client, count=3)]
    with house.store.writing() as connection:
        connection.exec_driver_sql("UPDATE feedback SET sequence = sequence + 100 WHERE id = ?", (ids[2],))
    postman = Postman(office, lambda url, body, headers: heard.append(body) or 200)  # type: ignore[func-returns-value]
    assert postman.round(2e9) == 2
    assert postman.round(2e9 + 5) == 0
    assert postman.round(2e9 + 5 + GAP) == 1
    assert len(heard) == 3
    assert AT_ONCE > 3


@pytest.mark.parametrize(
    "url", ["ftp://a.example/x", "http://a.example/x", "https://name:word@a.example", "https://", "x", "https://[", ""]
)
def test_addresses_that_are_none_or_would_send_in_the_open_are_refused(house: House, url: str) -> None:
    assert house.client("owner").post("/api/hooks", json={"url": url}).status_code == 422


def test_the_contract_can_be_read_without_a_script_and_without_signing_in(house: House) -> None:
    text = house.bare().get("/contract").text
    for path in ("/api/claims", "/api/feedback/{id}/undo", "/api/projects/{name}/rules", "/api/hooks"):
        assert path in text
    assert "A question that is yours for a while" in text
    assert "may be left out" in text
    assert text.count("<details>") >= 24
