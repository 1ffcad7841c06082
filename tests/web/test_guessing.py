"""Ids that are guessed, secrets of one kind shown as another, paths that lead out, and bodies that are too much."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path

import pytest

from accord import people as verbs
from accord.records import new_id
from accord.web.doors import COOKIE
from accord.web.people import grant
from tests.web.conftest import House


def test_ids_cannot_be_counted_on_from_one_to_the_next() -> None:
    """The last 74 bits of an id are random: of ten thousand made at once none has a neighbour."""
    ids = sorted(int(new_id().replace("-", ""), 16) & (1 << 62) - 1 for _ in range(10_000))
    assert len(set(ids)) == 10_000
    gaps = [b - a for a, b in pairwise(ids)]
    assert min(gaps) > 1000, "two neighbours in ten thousand of 2^62 happen once in 90 billion runs"


def test_what_belongs_to_others_is_as_absent_as_what_was_never_there(house: House) -> None:
    """Every route that takes an id gives others the same reply for somebody's and for nobody's."""
    ann, eve = house.client("annotator"), house.client("manager")
    claim = ann.post("/api/claims", json={"project": "round1"}).json()["claims"][0]
    said = {"id": "said-by-ann", "answer": {"kind": "comparison", "better": claim["shown"][0]}}
    assert ann.put(f"/api/claims/{claim['id']}/answer", json=said).status_code == 200
    other = {**said, "id": "said-by-eve"}
    for method, path, body in (
        ("PUT", "/api/claims/{}/answer", other),
        ("DELETE", "/api/claims/{}", None),
        ("GET", "/api/claims/{}/diff", None),
    ):
        theirs = eve.request(method, path.format(claim["id"]), json=body)
        nobodys = eve.request(method, path.format(new_id()), json=body)
        assert theirs.status_code == nobodys.status_code == 404, (method, path)
        assert theirs.json()["detail"].split()[2] != "", "and says no more than that"
        assert "held by" not in theirs.text
    theirs = eve.post("/api/feedback/said-by-ann/undo")
    assert theirs.status_code == eve.post(f"/api/feedback/{new_id()}/undo").status_code == 404
    taken = eve.put(f"/api/claims/{claim['id']}/answer", json=said)
    assert taken.status_code == 404, "an id of feedback that is taken tells nothing either"
    assert house.store.feedback_state(["said-by-ann"]) == {"said-by-ann": "standing"}


def test_a_secret_of_one_kind_opens_no_other_door(house: House) -> None:
    person = house.persons["annotator"]
    secrets = {kind: grant(house.people, person, kind, house.settings) for kind in ("session", "token", "link")}  # type: ignore[arg-type]
    for kind, secret in secrets.items():
        bearer, cookie = house.bare(), house.bare()
        bearer.headers["authorization"] = f"Bearer {secret}"
        cookie.cookies.set(COOKIE, secret)
        assert (bearer.get("/me").status_code == 200) is (kind == "token"), kind
        assert (cookie.get("/me").status_code == 200) is (kind == "session"), kind
    assert house.bare().get(f"/in/{secrets['token']}").status_code == 404
    assert house.bare().get(f"/in/{secrets['session']}").status_code == 404


def test_coming_in_makes_a_new_session_and_ends_the_one_that_was_planted(house: House) -> None:
    planted = grant(house.people, house.persons["manager"], "session", house.settings)
    victim, thief = house.bare(), house.bare()
    victim.cookies.set(COOKIE, planted)
    link = grant(house.people, house.persons["annotator"], "link", house.settings)
    reply = victim.post(f"/in/{link}", data={})
    fresh = reply.cookies.get(COOKIE)
    assert fresh not in (None, planted)
    thief.cookies.set(COOKIE, planted)
    assert thief.get("/me").status_code in (303, 401), "what somebody planted opens nothing any more"


@pytest.mark.parametrize("name", ["../../aside", "..", "a/b", "/tmp/x", ""])
def test_a_version_that_came_with_a_file_moves_nothing_outside_of_the_project(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "aside"
    outside.mkdir()
    (outside / "keep").write_text("mine")
    project = tmp_path / "p"
    (project / "versions" / "a" / "b").mkdir(parents=True)
    verbs._move(project, name, f"{name}-tainted-123456")
    assert (outside / "keep").read_text() == "mine"
    assert (project / "versions" / "a" / "b").is_dir()


def test_a_body_that_is_packed_is_not_unpacked(house: House) -> None:
    """A megabyte in a kilobyte: the service reads what came, and that is no JSON."""
    packed = gzip.compress(json.dumps({"project": "round1", "count": 1, "x": "a" * 1_000_000}).encode())
    assert len(packed) < 5000
    reply = house.client().post(
        "/api/claims", content=packed, headers={"content-type": "application/json", "content-encoding": "gzip"}
    )
    assert reply.status_code in (400, 422)


def test_many_fields_and_many_parts_are_refused_or_read_but_break_nothing(house: House) -> None:
    client = house.client("manager")
    many = "&".join(f"a{n}=1" for n in range(2000))
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/manage/people", content=many, headers=form).status_code in (400, 422)
    parts = "".join(f'--x\r\nContent-Disposition: form-data; name="a{n}"\r\n\r\n1\r\n' for n in range(300)) + "--x--"
    multi = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/manage/people", content=parts[:19_000], headers=multi).status_code in (400, 422)
    deep = "[" * 9000 + "]" * 9000
    reply = client.post("/api/claims", content=deep, headers={"content-type": "application/json"})
    assert reply.status_code in (400, 422)
