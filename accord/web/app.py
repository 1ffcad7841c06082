"""The application: made from a store and settings, so that a test can make its own."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy.exc import DBAPIError

from accord.store import Store, StoreError
from accord.store.errors import is_full
from accord.store.office import Office
from accord.store.people import People
from accord.store.repeats import Repeats
from accord.web import annotate, api, asked, chat, contract, lead, lesson, manage, person, workers
from accord.web.assets import load
from accord.web.chat import Speaker
from accord.web.doors import Room
from accord.web.lesson import Teacher
from accord.web.people import Throttle
from accord.web.seen import Seen
from accord.web.settings import WebSettings
from accord.web.shield import Shield

AWAY = "the store cannot be reached; send the same again"
FULL = "the disk of the store is full: nothing of this was kept; send the same again when there is room"


def make_app(
    store: Store,
    settings: WebSettings | None = None,
    speakers: Sequence[Speaker] = (),
    teacher: Teacher | None = None,
    look: Callable[..., Mapping[str, Seen]] | None = None,
) -> FastAPI:
    """The service over one store. No page of it asks another machine for anything.

    speakers: models to talk with; one answers twice, of two each answers once. teacher: who tells people what was
    learned from their first answers. look: who says how far people may be relied on (`accord.looking.look`).
    """
    chosen = settings or WebSettings()
    assets = load()
    pages = Environment(
        loader=PackageLoader("accord.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pages.globals.update(asset=lambda name: f"/static/{assets[name].name}", title=chosen.title, moment=moment)
    app = FastAPI(title="Accord", version="1", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    desks = (store, People(store), Office(store), Repeats(store))
    app.state.room = Room(
        *desks, chosen, Throttle(chosen.tries), pages, assets, speakers=tuple(speakers), teacher=teacher, look=look
    )
    app.add_middleware(Shield, longest=chosen.body, secure=chosen.secure)
    for part in (api, lead, asked, manage, annotate, contract, chat, lesson, person, workers):
        app.include_router(part.router)
    by_name = {asset.name: asset for asset in assets.values()}

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        asset = by_name.get(name)
        if asset is None:
            raise HTTPException(404, "no such file")
        headers = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(asset.content, media_type=asset.kind, headers=headers)

    @app.get("/healthz", include_in_schema=False)
    def healthy() -> dict[str, str]:
        return {"status": "ok"}

    app.add_exception_handler(StoreError, _refused)
    app.add_exception_handler(DBAPIError, _away)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _stopped)
    return app


def moment(seconds: float) -> str:
    """A moment as people write it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def _refused(request: Request, error: Exception) -> Response:
    """What the store will not do, said to a client."""
    found = api.refused(error)
    return JSONResponse({"detail": found.detail}, found.status_code)


def _away(request: Request, error: Exception) -> Response:
    """The data base does not answer, or its disk is full: nothing was kept, and the same request is welcome later."""
    logging.getLogger("uvicorn.error").error("the store failed: %s", error)
    return JSONResponse({"detail": FULL if is_full(error) else AWAY}, 503, {"retry-after": "2"})


def _malformed(request: Request, error: Exception) -> Response:
    """What is wrong with a request, without sending back what came: it may be long, secret or no JSON at all."""
    assert isinstance(error, RequestValidationError)
    problems: list[dict[str, Any]] = [
        {"where": [_word(part) for part in one["loc"]], "what": _word(one["msg"])} for one in error.errors()[:20]
    ]
    return JSONResponse({"detail": problems}, 422)


def _word(text: object) -> str:
    """Something that can always be written as JSON."""
    return re.sub(r"[\ud800-\udfff]", "?", str(text))[:300]


def _stopped(request: Request, error: Exception) -> Response:
    """Browsers that are not signed in are led to the way in; clients get the status."""
    assert isinstance(error, HTTPException)
    wants_page = "text/html" in request.headers.get("accept", "")
    if error.status_code == 401 and wants_page and request.method == "GET":
        return RedirectResponse("/sign-in", 303)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
