"""`accord serve`: open the room where people answer, on this machine and for as long as it runs."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

ASKED = "ACCORD_SERVE"


def serve(
    project: Path = Path("quickstart"),
    store: str = "",
    host: str = "127.0.0.1",
    port: int = 8765,
    workers: int = 1,
    link: str = "",
    certificate: str = "",
    key: str = "",
) -> int:
    """Serve the judging and managing pages and the public contract of docs/people.md over one store.

    The first start makes the owner and prints a link by which to come in, once.

    Args:
        project: Folder of the project whose store is served; made when it is not there.
        store: Another store: a path, or `postgresql+psycopg://...`.
        host: Address to listen on; 0.0.0.0 for every address of this machine (then use a certificate).
        port: Port to listen on.
        workers: Processes that share the store.
        link: Name of a person for whom to print a new one-time link.
        certificate: File with the certificate, in PEM; people then come by https.
        key: File with its private key, in PEM.
    """
    import uvicorn

    from accord.config import SettingsError
    from accord.store import Store
    from accord.web.people import first_link
    from accord.web.settings import WebSettings

    if bool(certificate) != bool(key):
        raise SettingsError("--certificate and --key go together: give both or neither")
    place = _place(project, store)
    settings = WebSettings(secure=bool(certificate))
    shown = "localhost" if host in ("127.0.0.1", "0.0.0.0", "::") else host
    address = f"{'https' if certificate else 'http'}://{shown}:{port}"
    with Store.open(place) as opened:
        way_in = first_link(opened, settings, link or None)
    print(f"accord: people can answer at {address}", file=sys.stderr)
    if way_in is not None:
        print(f"accord: come in as {link or 'owner'} (works once): {address}{way_in}", file=sys.stderr)
    os.environ[ASKED] = json.dumps({"store": place, "settings": settings.model_dump(mode="json")})
    uvicorn.run(
        "accord.serve:app",
        factory=True,
        host=host,
        port=port,
        workers=workers,
        log_level="warning",
        access_log=False,
        server_header=False,
        ssl_certfile=certificate or None,
        ssl_keyfile=key or None,
    )
    return 0


def app() -> FastAPI:
    """The application of one worker, as `serve` asked for it in the environment."""
    from accord.store import Store
    from accord.web import WebSettings, make_app
    from accord.web.hooks import Postman

    asked = json.loads(os.environ[ASKED])
    made = make_app(Store.open(asked["store"]), WebSettings(**asked["settings"]))
    postman = Postman(made.state.room.office)
    threading.Thread(target=postman.walk, args=(threading.Event(),), name="postman", daemon=True).start()
    return made


def _place(project: Path, store: str) -> str:
    """Where the store is; the folder of a project is made when it is not there."""
    if store:
        return store
    project.mkdir(parents=True, exist_ok=True)
    return str((project / "store.db").resolve())
