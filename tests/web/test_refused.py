"""Who could not come in stands in the audit log: as whom, never what was typed, and never without end."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from typing import Any

from accord.store import Store
from accord.web.people import encode
from accord.web.settings import WebSettings
from tests.web.conftest import House

SECRET = "hunter2-in-the-wrong-field"


def lines(house: House) -> list[dict[str, Any]]:
    found = house.app.state.room.office.events(count=1000)
    return [asdict(one) if is_dataclass(one) else one.model_dump() for one in found]


def test_a_refused_sign_in_names_the_person_and_nothing_that_was_typed(house: House) -> None:
    house.people.set_password(house.persons["owner"].id, encode("the right password"))
    guest = house.bare()
    assert guest.post("/sign-in", data={"name": "owner", "password": SECRET}).status_code == 401
    assert guest.post("/sign-in", data={"name": SECRET, "password": "x"}).status_code == 401
    assert guest.post(f"/in/{'x' * 43}", data={}).status_code == 404
    assert guest.post("/sign-in", data={"name": "owner", "password": "the right password"}).status_code == 303
    found = lines(house)
    me = house.persons["owner"].pseudonym
    assert [(one["annotator"], one["act"]) for one in found] == [
        (me, "sign in"), ("nobody known", "link refused"), ("nobody known", "sign in refused"), (me, "sign in refused")
    ]  # fmt: skip
    assert SECRET not in json.dumps(found, default=str)
    assert "testclient" not in json.dumps(found, default=str)


def test_guessing_cannot_fill_the_log(store: Store) -> None:
    house = House(store, WebSettings(tries=2))
    guest = house.bare()
    said = [guest.post("/sign-in", data={"name": "owner", "password": "no"}).status_code for _ in range(6)]
    assert said == [401, 401, 429, 429, 429, 429]
    found = lines(house)
    assert len(found) == 2, "who has to wait leaves no line"
    assert [one["detail"]["now_waits"] for one in reversed(found)] == [False, True]
    for at in range(60):
        guest.post(f"/in/{'y' * 30}{at}", data={})
    assert len(lines(house)) == 40
