"""Requests that nobody would write, made from the description of the service and sent to it: none is answered with 5xx.

schemathesis makes them from /api/openapi.json, valid ones and broken ones; known ids are mixed in, so that they get
past the first door. The pages' forms are not in that description: hypothesis makes theirs.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.records import Comparison, Feedback
from accord.store import Store, desk
from accord.store.people import People
from accord.web import WebSettings
from accord.web.people import grant
from tests.web.conftest import House, questions

schemathesis = pytest.importorskip("schemathesis", reason="no schemathesis: it comes with the extra test")
EXAMPLES = 8
QUIET = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


class Room:
    """One service for all requests of this file; what they break, the later ones meet."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(folder / "store.db")
        self.store.put([*questions(6, wanted=3), *questions(3, "rating", 3, project="rated", criteria=("tone",))])
        self.house = House(self.store, WebSettings(body=200_000))
        self.app = self.house.app
        me = self.house.persons["owner"].pseudonym
        claims = self.store.claim(me, "round1", 3, seconds=86_400)
        shown = claims[0].asked.question.samples
        self.store.answer(
            claims[0].id,
            Feedback(id="kept-12345", question=claims[0].asked.question.id, annotator=me, shown=shown,
                     answer=Comparison(better=shown[0])),
        )  # fmt: skip
        hook = self.house.app.state.room.office.add_hook("https://example.org/x", "whsec_eA==")
        people = [one.id for one in self.house.persons.values()]
        ids = [*(one.id for one in claims), "kept-12345", "round1-0-q", "round1-1-q", hook.id, *people]
        self.known = {"id": ids, "name": ["round1", "rated"], "pseudonym": [me], "project": ["round1"]}

    def token(self) -> dict[str, str]:
        """The owner's; a new one each time, since some of the requests end them."""
        return {
            "Authorization": f"Bearer {grant(People(self.store), self.house.persons['owner'], 'token', WebSettings())}"
        }


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = Room(tmp_path_factory.mktemp("fuzz"))
    yield found
    found.store.close()


@pytest.fixture(scope="module")
def described(room: Room) -> Any:
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", room.app)
    draw = random.Random(0)

    @schema.hook
    def map_path_parameters(context: Any, path_parameters: Any) -> Any:
        if not path_parameters or draw.random() < 0.3:
            return path_parameters
        return {key: draw.choice(room.known.get(key, [value])) for key, value in path_parameters.items()}

    return schema


def test_no_request_made_from_the_description_breaks_the_service(described: Any, room: Room) -> None:
    """Every route, with good and with broken requests; and every reply is of a status that can be understood."""
    seen: dict[str, set[int]] = {}
    headers = room.token()

    def attempt(operation: Any) -> None:
        modes = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]

        @given(case=st.one_of(modes))
        @settings(max_examples=EXAMPLES, **QUIET)
        def one(case: Any) -> None:
            reply = case.call(headers=headers)
            seen.setdefault(operation.label, set()).add(reply.status_code)
            assert reply.status_code < 500, (operation.label, reply.status_code, reply.text[:300])

        one()

    for found in described.get_all_operations():
        attempt(found.ok())
    assert len(seen) >= 20, sorted(seen)
    got_through = [label for label, statuses in seen.items() if any(status < 300 for status in statuses)]
    assert len(got_through) >= len(seen) // 2, {label: sorted(statuses) for label, statuses in seen.items()}
    assert desk.progress(room.store, "round1").questions == 6, "and the queue stands"
    assert room.house.bare().get("/healthz").json() == {"status": "ok"}


FORMS = ("/sign-in", "/tokens", "/sign-out", "/manage/people", "/manage/guideline", "/in/" + "x" * 43, "/api/chat")
WORDS = st.one_of(
    st.text(max_size=40), st.sampled_from(["round1", "owner", "annotator", "\x00", "\ud800", "a" * 5000, "-1"])
)


@given(
    path=st.sampled_from(FORMS),
    fields=st.dictionaries(st.sampled_from(["name", "password", "csrf", "role", "project", "text", "x"]), WORDS),
    kind=st.sampled_from(["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""]),
    raw=st.one_of(st.none(), st.binary(max_size=300)),
)
@settings(max_examples=30, **QUIET)
def test_no_form_breaks_the_service(
    room: Room, path: str, fields: dict[str, str], kind: str, raw: bytes | None
) -> None:
    client = room.house.bare()
    if raw is None:
        safe = {key: value.encode("utf-8", "surrogatepass").decode("latin-1") for key, value in fields.items()}
        reply = client.post(path, data=safe, headers=room.token())
    else:
        reply = client.post(path, content=raw, headers={**room.token(), "content-type": kind})
    assert reply.status_code < 500, (path, reply.status_code, reply.text[:300])


@given(path=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="?#"), max_size=60))
@settings(max_examples=30, **QUIET)
def test_no_path_breaks_the_service(room: Room, path: str) -> None:
    client, headers = room.house.bare(), room.token()
    for start in ("/", "/judge/", "/manage/person/round1/", "/manage/disputes/", "/static/", "/in/", "/api/blobs/"):
        reply = client.get(start + quote(path, safe="/.\\%"), headers=headers)
        assert reply.status_code < 500, (start + path, reply.status_code)
        assert "Traceback" not in reply.text
