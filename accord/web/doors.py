"""Who is at the door and what they may do: a signature of a route says who may call it."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Annotated, Any

from fastapi import Depends, Form, HTTPException, Request
from jinja2 import Environment

from accord.records import Feedback
from accord.store import Claim, Store, together
from accord.store.office import Office
from accord.store.people import People, Person, PersonRole, SecretKind
from accord.store.repeats import Repeats
from accord.store.together import Given, Wanted
from accord.web.assets import Asset
from accord.web.gathering import Gathering
from accord.web.people import Throttle, csrf, digest
from accord.web.sent import Lease, lease
from accord.web.settings import WebSettings

COOKIE = "accord_session"
MAY: dict[str, frozenset[PersonRole]] = {
    "answer": frozenset({"owner", "manager", "annotator"}),
    "see": frozenset({"owner", "manager", "auditor"}),
    "lead": frozenset({"owner", "manager"}),
    "own": frozenset({"owner"}),
}
"""What each role may do: judge; see figures and take answers out; bring people in and write rules and guidelines;
let other servers listen."""


@dataclass(frozen=True)
class Room:
    """What every route stands in."""

    store: Store
    people: People
    office: Office
    repeats: Repeats
    settings: WebSettings
    throttle: Throttle
    pages: Environment
    assets: dict[str, Asset]
    kept: dict[Any, Any] = field(default_factory=dict)
    """Figures that are shown again within seconds."""
    speakers: tuple[Any, ...] = ()
    """Models to talk with (`chat.Speaker`): none, one that answers twice, or two."""
    teacher: Any = None
    """Who tells people what was learned from their answers (`lesson.Teacher`); None for nobody."""
    look: Any = None
    """Who says how far people may be relied on (`looking.look`); None for nobody."""

    @cached_property
    def holders(self) -> Gathering[tuple[SecretKind, str], Person | None]:
        """Who holds these secrets, asked for several at once."""
        return Gathering(self.people.holders)

    @cached_property
    def claims(self) -> Gathering[Wanted, list[Lease]]:
        """Claims of several people at once, as they are sent."""

        def dressed(claims: list[Claim], project: str) -> list[Lease] | Exception:
            try:
                return [lease(claim, project) for claim in claims]
            except Exception as error:  # one text that cannot be shown is no trouble of the others
                return error

        def take(wanted: Sequence[Wanted]) -> list[list[Lease] | Exception]:
            found = zip(wanted, together.lease(self.store, wanted), strict=True)
            return [dressed(claims, one.project) for one, claims in found]

        return Gathering(take)

    @cached_property
    def answers(self) -> Gathering[Given, tuple[Feedback, str] | None]:
        """Answers of several people at once."""
        return Gathering(partial(together.keep, self.store))

    def trouble(self, error: Exception) -> None:
        """What a person is not told, for whoever runs the service."""
        logging.getLogger("uvicorn.error").exception("it stumbled", exc_info=error)


@dataclass(frozen=True)
class Visitor:
    """Somebody who is in."""

    person: Person
    csrf: str
    """What their pages say with a write; empty for those who came with a token."""

    def may(self, act: str) -> bool:
        """Whether their role allows it."""
        return self.person.role in MAY[act]


async def the_room(request: Request) -> Room:
    """The room of this application."""
    room: Room = request.app.state.room
    return room


# What decides at once is `async`, for a trip to the thread pool costs more.
TheRoom = Annotated[Room, Depends(the_room)]


async def visitor(request: Request) -> Visitor | None:
    """Who comes with this request: by bearer token, else by session; None when nobody we know."""
    room: Room = request.app.state.room
    given = request.headers.get("authorization")
    if given is not None:
        kind, _, token = given.partition(" ")
        person = await _holder(room, "token", token.strip()) if kind.lower() == "bearer" else None
        return Visitor(person, "") if person is not None else None
    session = request.cookies.get(COOKIE)
    if not session:
        return None
    person = await _holder(room, "session", session)
    return Visitor(person, csrf(session)) if person is not None else None


async def _holder(room: Room, kind: SecretKind, secret: str) -> Person | None:
    """Whose secret this is. A look into a file takes less than a trip to the thread pool; one over a line may not."""
    if room.store.near:
        return room.people.holder(kind, digest(secret))
    return await room.holders((kind, digest(secret)))


def _in(found: Visitor | None) -> Visitor:
    if found is None:
        raise HTTPException(
            401, "sign in, or send a token as `Authorization: Bearer ...`", {"WWW-Authenticate": "Bearer"}
        )
    return found


async def known(found: Annotated[Visitor | None, Depends(visitor)]) -> Visitor:
    """Somebody who is in, or 401."""
    return _in(found)


Known = Annotated[Visitor, Depends(known)]


def _allowed(found: Visitor, act: str) -> Visitor:
    if not found.may(act):
        raise HTTPException(
            403, f"this needs one of the roles {', '.join(sorted(MAY[act]))}; yours is {found.person.role}"
        )
    return found


def _meant(found: Visitor, said: str) -> None:
    """A write with a session needs the word of its page. Raises 403."""
    if found.csrf and not hmac.compare_digest(found.csrf.encode(), said.encode("utf-8", "surrogatepass")):
        raise HTTPException(403, "this write does not carry the word of your page (X-CSRF-Token); load the page again")


async def answering(request: Request) -> Visitor:
    """Somebody who may judge; a write with a session needs the header `X-CSRF-Token`."""
    found = _in(await visitor(request))  # not as a dependency: each costs a part of what an answer does
    if request.method not in ("GET", "HEAD"):
        _meant(found, request.headers.get("x-csrf-token", ""))
    return _allowed(found, "answer")


async def seeing(found: Known) -> Visitor:
    """Somebody who may see figures and take answers out."""
    return _allowed(found, "see")


async def leading(found: Known, csrf: Annotated[str, Form()] = "") -> Visitor:
    """Somebody who may lead; the form carries the word of its page."""
    _allowed(found, "lead")
    _meant(found, csrf)
    return found


async def steering(request: Request, found: Known) -> Visitor:
    """Somebody who may lead, by REST: a write with a session needs the header `X-CSRF-Token`."""
    _allowed(found, "lead")
    if request.method not in ("GET", "HEAD"):
        _meant(found, request.headers.get("x-csrf-token", ""))
    return found


async def owning(request: Request, found: Known) -> Visitor:
    """An owner, by REST."""
    _allowed(found, "own")
    if request.method not in ("GET", "HEAD"):
        _meant(found, request.headers.get("x-csrf-token", ""))
    return found


async def leaving(found: Known, csrf: Annotated[str, Form()] = "") -> Visitor:
    """Anybody who is in and sends a form of ours."""
    _meant(found, csrf)
    return found


Answering = Annotated[Visitor, Depends(answering)]
Seeing = Annotated[Visitor, Depends(seeing)]
Leading = Annotated[Visitor, Depends(leading)]
Steering = Annotated[Visitor, Depends(steering)]
Owning = Annotated[Visitor, Depends(owning)]
Leaving = Annotated[Visitor, Depends(leaving)]
Someone = Annotated[Visitor | None, Depends(visitor)]
