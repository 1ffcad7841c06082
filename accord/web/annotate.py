"""Pages for everybody: the way in and out, the list of queues, the judging screen, and one's own tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from accord.store import Refused, desk
from accord.store.people import Person
from accord.web.doors import COOKIE, Answering, Known, Leaving, Room, Someone, TheRoom
from accord.web.people import digest, encode, fits, grant

router = APIRouter(include_in_schema=False)
Secret = Annotated[str, Path(pattern=r"^[\w-]{20,100}$")]
Words = Annotated[str, Form(max_length=1000)]


def page(room: Room, template: str, status: int = 200, **values: object) -> HTMLResponse:
    """A page of our own."""
    return HTMLResponse(room.pages.get_template(template).render(**values), status)


@router.get("/")
def home(found: Someone, room: TheRoom) -> Response:
    """The queues, or the way in."""
    if found is None:
        return RedirectResponse("/sign-in", 303)
    if not found.may("answer"):
        return RedirectResponse("/manage", 303)
    me = found.person.pseudonym
    names = [
        (name, desk.open_questions(room.store, name, me), room.office.standing(name, me))
        for name in desk.projects(room.store)
    ]
    lesson = room.teacher is not None
    return page(
        room, "home.html", who=found, queues=names, talk=bool(room.speakers), lesson=lesson, token="", complaint=""
    )


@router.get("/judge/{project}")
def judge(project: Annotated[str, Path(min_length=1, max_length=128)], who: Answering, room: TheRoom) -> HTMLResponse:
    """The judging screen of one queue."""
    if project not in desk.projects(room.store):
        raise HTTPException(404, "there is no such queue")
    least = room.teacher.least if room.teacher is not None and room.teacher.queue == project else 0
    return page(
        room, "judge.html", who=who, project=project, ahead=room.settings.ahead, least=least, look=room.settings.look
    )


# --- in and out ------------------------------------------------------------------------------------------------


@router.get("/sign-in")
def sign_in_page(room: TheRoom) -> HTMLResponse:
    """The way in."""
    return page(room, "sign_in.html", complaint="", name="", who=None)


@router.post("/sign-in")
def sign_in(request: Request, room: TheRoom, name: Words, password: Words) -> Response:
    """By name and password; always a new session, whatever cookie came."""
    here = request.client.host if request.client else "nowhere"
    wait = waits(room, name, here)
    if wait > 0:
        said = f"Too many tries. Wait {int(wait / 60) + 1} minutes, or ask for a new link."
        answer: Response = page(room, "sign_in.html", 429, complaint=said, name=name, who=None)
        answer.headers["retry-after"] = str(int(wait) + 1)
        return answer
    person = room.people.named(name)
    if not fits(person, password) or person is None:
        room.throttle.failed(f"name {name}")
        room.throttle.failed(f"from {here}")
        refused(room, "sign in refused", person, now_waits=waits(room, name, here) > 0)
        said = "This name and password do not go together."
        return page(room, "sign_in.html", 401, complaint=said, name=name, who=None)
    return enter(request, room, person)


@router.get("/in/{secret}")
def link_page(secret: Secret, room: TheRoom) -> HTMLResponse:
    """What a one-time link shows. Looking spends nothing: mail programs look at links too."""
    person = room.people.holder("link", digest(secret))
    if person is None:
        said = "This link was used before or is too old. Ask for a new one."
        return page(room, "sign_in.html", 404, complaint=said, name="", who=None)
    return page(room, "link.html", person=person, secret=secret, complaint="", who=None)


@router.post("/in/{secret}")
def use_link(
    request: Request, secret: Secret, room: TheRoom, password: Annotated[str, Form(max_length=1000)] = ""
) -> Response:
    """Come in by a link, once, and choose a password if one likes."""
    person = room.people.holder("link", digest(secret))
    try:
        encoded = encode(password) if password else ""
    except Refused as error:
        return page(room, "link.html", 422, person=person, secret=secret, complaint=str(error), who=None)
    if person is None or not room.people.spend("link", digest(secret)):
        refused(room, "link refused", None)
        said = "This link was used before or is too old. Ask for a new one."
        return page(room, "sign_in.html", 404, complaint=said, name="", who=None)
    if encoded:
        room.people.set_password(person.id, encoded)
    return enter(request, room, person)


@router.post("/sign-out")
def sign_out(request: Request, who: Leaving, room: TheRoom) -> RedirectResponse:
    """The session ends here and in the store."""
    room.people.spend("session", digest(request.cookies.get(COOKIE, "")))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


@router.post("/tokens")
def token(who: Leaving, room: TheRoom) -> HTMLResponse:
    """A token for another client, shown once; the one before ends."""
    room.people.revoke(who.person.id, "token")
    made = grant(room.people, who.person, "token", room.settings)
    room.office.note(who.person.pseudonym, "token")
    return page(room, "home.html", 201, who=who, queues=[], talk=False, lesson=False, token=made, complaint="")


@router.get("/me")
def me(who: Known, room: TheRoom) -> HTMLResponse:
    """Oneself: for roles that have no list of queues."""
    return page(room, "home.html", who=who, queues=[], talk=False, lesson=False, token="", complaint="")


def waits(room: Room, name: str, here: str) -> float:
    """Seconds until another try by this name from this address is listened to."""
    return max(room.throttle.wait(f"name {name}"), room.throttle.wait(f"from {here}", 4))


def refused(room: Room, act: str, person: Person | None, now_waits: bool = False) -> None:
    """A line in the audit log that somebody could not come in, and as whom where that is a person we know.

    What was typed is not kept, since a password typed into the wrong field is one too, and neither is an address. Of
    those who guess come at most 20 times `tries` lines in five minutes from each worker; who has to wait leaves none.
    """
    if room.throttle.wait("noted", 20) > 0:
        return
    room.throttle.failed("noted")
    room.office.note(person.pseudonym if person is not None else "nobody known", act, now_waits=now_waits)


def enter(request: Request, room: Room, person: Person) -> RedirectResponse:
    """A new session in a cookie that scripts cannot read; the one that came with the request ends."""
    if old := request.cookies.get(COOKIE):
        room.people.spend("session", digest(old))
    secret = grant(room.people, person, "session", room.settings)
    room.office.note(person.pseudonym, "sign in")
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE,
        secret,
        max_age=int(room.settings.session_hours * 3600),
        httponly=True,
        secure=room.settings.secure,
        samesite="lax",
        path="/",
    )
    return answer
