"""Who may do what: every route by every role, writes from other sites, sessions that are not the guest's to choose."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from accord.store import Refused, Store
from accord.store.people import ROLES, People
from accord.web import WebSettings, make_app
from accord.web.doors import COOKIE
from accord.web.people import Throttle, digest, encode, first_link, fits, grant
from tests.web.conftest import House, questions

ANSWER = {"owner", "manager", "annotator"}
SEE = {"owner", "manager", "auditor"}
LEAD = {"owner", "manager"}
OWN = {"owner"}
ALL = set(ROLES)
WALK = {
    ("GET", "/api/projects"): SEE,
    ("GET", "/api/projects/{name}"): SEE,
    ("POST", "/api/projects/{name}/questions"): LEAD,
    ("PUT", "/api/projects/{name}/rules"): LEAD,
    ("PUT", "/api/projects/{name}/guideline"): LEAD,
    ("GET", "/api/projects/{name}/assigned"): SEE,
    ("PUT", "/api/projects/{name}/assigned/{pseudonym}"): LEAD,
    ("DELETE", "/api/projects/{name}/assigned/{pseudonym}"): LEAD,
    ("GET", "/api/projects/{name}/disagreements"): SEE,
    ("GET", "/api/projects/{name}/apart"): SEE,
    ("POST", "/api/questions/{id}/settle"): LEAD,
    ("POST", "/api/questions/{id}/withdraw"): LEAD,
    ("POST", "/api/questions/{id}/restore"): LEAD,
    ("GET", "/api/people"): SEE,
    ("POST", "/api/people"): LEAD,
    ("POST", "/api/people/{id}/link"): LEAD,
    ("PUT", "/api/people/{id}/active"): LEAD,
    ("GET", "/api/events"): SEE,
    ("GET", "/api/hooks"): OWN,
    ("POST", "/api/hooks"): OWN,
    ("DELETE", "/api/hooks/{id}"): OWN,
    ("GET", "/chat"): ANSWER,
    ("POST", "/api/chat"): ANSWER,
    ("GET", "/manage/log"): SEE,
    ("GET", "/manage/disputes/{project}"): SEE,
    ("POST", "/api/claims"): ANSWER,
    ("PUT", "/api/claims/{id}/answer"): ANSWER,
    ("DELETE", "/api/claims/{id}"): ANSWER,
    ("POST", "/api/feedback/{id}/undo"): ANSWER,
    ("GET", "/api/claims/{id}/diff"): ANSWER,
    ("GET", "/api/blobs/{sha256}"): ALL,
    ("GET", "/api/projects/{name}/preferences"): SEE,
    ("GET", "/api/projects/{name}/desk"): ANSWER,
    ("GET", "/judge/{project}"): ANSWER,
    ("GET", "/lesson"): ANSWER,
    ("GET", "/manage/person/{project}/{pseudonym}"): SEE,
    ("GET", "/api/projects/{name}/people"): SEE,
    ("GET", "/api/projects/{name}/figures"): SEE,
    ("GET", "/api/projects/{name}/guideline"): SEE,
    ("GET", "/manage"): SEE,
    ("POST", "/manage/people"): LEAD,
    ("POST", "/manage/people/{id}/link"): LEAD,
    ("POST", "/manage/people/{id}/pause"): LEAD,
    ("POST", "/manage/guideline"): LEAD,
    ("GET", "/me"): ALL,
    ("POST", "/tokens"): ALL,
    ("POST", "/sign-out"): ALL,
}
OPEN = {"/", "/sign-in", "/in/{secret}", "/static/{name}", "/healthz", "/contract"}
PAGES = ("/", "/me", "/manage", "/manage/log", "/manage/disputes/round1", "/contract", "/sign-in", "/judge/round1")


def routes(house: House) -> set[tuple[str, str]]:
    """Method and path of everything that can be called, as the application itself lists it."""
    found = set()
    waiting = list(house.app.routes)
    while waiting:
        one = waiting.pop()
        if isinstance(one, APIRoute):
            found |= {(method, one.path) for method in one.methods or ()}
        else:
            inner = getattr(one, "original_router", None)
            waiting += list(inner.routes) if inner is not None else list(getattr(one, "routes", None) or ())
    return found


def test_the_walk_knows_every_route(house: House) -> None:
    there = {(method, path) for method, path in routes(house) if path not in OPEN}
    assert len(there) >= 36
    assert there == set(WALK)


@pytest.mark.parametrize("role", [*ROLES, None])
def test_every_route_by_every_role(house: House, role: str | None) -> None:
    for (method, path), allowed in WALK.items():
        client = house.client(role) if role else house.bare()
        real = re.sub(r"\{(name|project)\}", "round1", path.replace("{id}", "some-unknown-id"))
        real = real.replace("{sha256}", "0" * 64 + "?media=image/png")
        status = client.request(method, real).status_code
        if role is None:
            assert status == 401, (method, path)
        elif role not in allowed:
            assert status == 403, (method, path)
        else:
            assert status in (200, 201, 204, 303, 404, 422), (method, path)


def test_a_role_that_may_not_is_refused_also_with_a_whole_request(house: House) -> None:
    auditor, annotator = house.client("auditor"), house.client("annotator")
    given = {"id": "12345678", "answer": None}
    assert auditor.post("/api/claims", json={"project": "round1"}).status_code == 403
    assert auditor.put("/api/claims/x/answer", json=given).status_code == 403
    for role in (auditor, annotator):
        assert role.post("/manage/people", data={"name": "x", "role": "annotator"}).status_code == 403
        assert role.post("/manage/guideline", data={"project": "round1", "text": "x"}).status_code == 403


def test_managers_make_annotators_and_no_managers(house: House) -> None:
    manager, owner = house.client("manager"), house.client("owner")
    assert manager.post("/manage/people", data={"name": "new", "role": "annotator"}).status_code == 201
    for role in ("owner", "manager"):
        assert manager.post("/manage/people", data={"name": f"x{role}", "role": role}).status_code == 403
        assert manager.post(f"/manage/people/{house.persons[role].id}/pause").status_code == 403
        assert manager.post(f"/manage/people/{house.persons[role].id}/link").status_code == 403
    assert owner.post("/manage/people", data={"name": "another", "role": "manager"}).status_code == 201
    assert owner.post("/manage/people", data={"name": "another", "role": "manager"}).status_code == 422
    assert owner.post("/manage/people", data={"name": "god", "role": "god"}).status_code == 403


def test_a_write_with_a_session_needs_the_word_of_its_page(house: House) -> None:
    browser, word = house.browser("owner")
    wanted = {"project": "round1"}
    assert browser.post("/api/claims", json=wanted).status_code == 403
    assert browser.post("/api/claims", json=wanted, headers={"x-csrf-token": "0" * 64}).status_code == 403
    assert browser.post("/api/claims", json=wanted, headers={"x-csrf-token": word}).status_code == 200
    person = {"name": "new", "role": "annotator"}
    assert browser.post("/manage/people", data=person).status_code == 403
    assert browser.post("/manage/people", data={**person, "csrf": "é"}).status_code == 403
    assert browser.post("/manage/people", data={**person, "csrf": word}).status_code == 201
    other, others = house.browser("manager")
    assert others != word
    assert other.post("/tokens", data={"csrf": word}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_write_from_another_site_is_refused_before_anything_is_read(house: House, headers: dict[str, str]) -> None:
    browser, word = house.browser("owner")
    answer = browser.post("/tokens", data={"csrf": word}, headers=headers)
    assert answer.status_code == 403
    link = grant(house.people, house.persons["owner"], "link", house.settings)
    assert house.bare().post(f"/in/{link}", headers=headers).status_code == 403


def test_a_session_that_was_planted_is_never_used(house: House) -> None:
    house.people.set_password(house.persons["annotator"].id, encode("a long password"))
    guest = house.bare()
    guest.cookies.set(COOKIE, "planted-by-somebody")
    entered = guest.post("/sign-in", data={"name": "annotator", "password": "a long password"})
    assert entered.status_code == 303
    fresh = entered.headers["set-cookie"]
    assert "planted" not in fresh
    assert "HttpOnly" in fresh
    assert "samesite=lax" in fresh.lower()
    thief = house.bare()
    thief.cookies.set(COOKIE, "planted-by-somebody")
    assert thief.get("/me").status_code == 401


def test_signing_out_ends_the_session_in_the_store_too(house: House) -> None:
    browser, word = house.browser()
    kept = browser.cookies[COOKIE]
    assert browser.get("/me").status_code == 200
    assert browser.post("/sign-out", data={"csrf": word}).status_code == 303
    thief = house.bare()
    thief.cookies.set(COOKIE, kept)
    assert thief.get("/me").status_code == 401


def test_a_link_works_once_and_looking_at_it_spends_nothing(house: House) -> None:
    link = grant(house.people, house.persons["annotator"], "link", house.settings)
    guest = house.bare()
    assert [guest.get(f"/in/{link}").status_code for _ in range(3)] == [200] * 3
    assert guest.post(f"/in/{link}", data={"password": "short"}).status_code == 422
    assert guest.post(f"/in/{link}", data={"password": "long enough now"}).status_code == 303
    assert house.bare().post(f"/in/{link}").status_code == 404
    assert house.bare().post("/sign-in", data={"name": "annotator", "password": "long enough now"}).status_code == 303


def test_secrets_are_kept_as_digests_only(store: Store, house: House) -> None:
    house.people.set_password(house.persons["owner"].id, encode("correct horse battery"))
    token = grant(house.people, house.persons["owner"], "token", house.settings)
    with store.reading() as connection:
        rows = connection.exec_driver_sql("SELECT digest FROM secret").fetchall()
        (password,) = connection.exec_driver_sql("SELECT password FROM person WHERE name = 'owner'").fetchone() or ("",)
    assert (digest(token),) in [tuple(row) for row in rows]
    assert token not in str(rows)
    assert password.startswith("$argon2id$")
    assert fits(house.people.named("owner"), "correct horse battery")
    assert not fits(house.people.named("owner"), "correct horse")
    assert not fits(house.people.named("annotator"), "")
    assert not fits(None, "anything at all")


def test_guessing_has_to_wait_and_the_right_one_too(house: House) -> None:
    house.people.set_password(house.persons["owner"].id, encode("the right password"))
    guest = house.bare()
    for _ in range(3):
        assert guest.post("/sign-in", data={"name": "owner", "password": "wrong"}).status_code == 401
    late = guest.post("/sign-in", data={"name": "owner", "password": "the right password"})
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) > 200
    throttle = Throttle(2)
    throttle.failed("a", now=0)
    throttle.failed("a", now=10)
    assert throttle.wait("a", now=11) == pytest.approx(289)
    assert throttle.wait("b", now=11) == 0
    assert throttle.wait("a", now=301) == 0


def test_headers_bind_the_browser_on_every_answer(house: House) -> None:
    for client, path in ((house.bare(), "/sign-in"), (house.client("owner"), "/manage"), (house.bare(), "/nowhere")):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_pages_hold_no_script_and_no_style_of_their_own_and_name_no_other_host(house: House) -> None:
    browser, _ = house.browser("owner")
    for path in PAGES:
        text = browser.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", text), path
        assert not re.search(r"\son\w+=|style=|<style|https?://", text), path
        for asset in re.findall(r'"(/static/[^"]+)"', text):
            found = browser.get(asset)
            assert found.status_code == 200
            assert "immutable" in found.headers["cache-control"]


def test_hostile_names_and_guidelines_are_shown_as_text(house: House) -> None:
    owner = house.client("owner")
    bad = "<img src=x onerror=alert(1)>"
    owner.post("/manage/people", data={"name": bad, "role": "annotator"})
    owner.post("/manage/guideline", data={"project": "round1", "text": bad})
    assert "<img" not in owner.get("/manage").text
    desk = owner.get("/api/projects/round1/desk").json()
    assert "<img" not in desk["html"]
    assert desk["guideline"] == 1


def test_the_first_start_makes_the_owner_and_later_ones_do_not(store: Store) -> None:
    link = first_link(store, WebSettings())
    assert link is not None
    assert first_link(store, WebSettings()) is None
    assert [p.role for p in People(store).all()] == ["owner"]
    assert first_link(store, WebSettings(), "owner") != link
    with pytest.raises(Refused, match="owner"):
        first_link(store, WebSettings(), "nobody")
    assert make_app(store).state.room.people.count() == 1


def test_the_managing_page_counts_what_was_said(store: Store) -> None:
    store.put(questions(4, wanted=2))
    house = House(store)
    for role, better in (("annotator", 0), ("manager", 0)):
        client = house.client(role)
        for claim in client.post("/api/claims", json={"project": "round1", "count": 4}).json()["claims"]:
            best = sorted(claim["shown"])[better]
            body = {"id": f"{role}-{claim['question']}", "answer": {"kind": "comparison", "better": best}, "seconds": 9}
            client.put(f"/api/claims/{claim['id']}/answer", json=body)
    text = house.client("auditor").get("/manage").text
    assert re.search(r"<strong>8</strong> <span class=\"soft\">of 8", text)
    assert text.count("<strong>100 %</strong>") >= 3
    assert "9.0" in text
