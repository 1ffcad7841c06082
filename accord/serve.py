"""`accord serve`: open the room where people answer, on this machine and for as long as it runs."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastapi import FastAPI

    from accord.protocols import Generator, Sampling
    from accord.records import Message
    from accord.web.chat import Piece, Speaker
    from accord.worlds.text.encode import Encoder

    Speak = Callable[[Sequence[Message], int], Iterator[Piece]]

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
    chat: str = "",
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
        chat: Version of the project to talk with, or two with a comma between; two answers come at each turn.
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
    asked = {"store": place, "settings": settings.model_dump(mode="json"), "chat": chat}
    os.environ[ASKED] = json.dumps({**asked, "project": str(project)})
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
    talking = speakers(Path(asked["project"]), asked["chat"].split(",")) if asked["chat"] else []
    made = make_app(Store.open(asked["store"]), WebSettings(**asked["settings"]), talking)
    postman = Postman(made.state.room.office)
    threading.Thread(target=postman.walk, args=(threading.Event(),), name="postman", daemon=True).start()
    return made


def speakers(folder: Path, names: Sequence[str]) -> list[Speaker]:
    """Versions of a project as somebody to talk with, drawing as the recipe says."""
    from accord.config import SettingsError
    from accord.project import Project
    from accord.protocols import Sampling
    from accord.recipe import recipe
    from accord.web.chat import Speaker
    from accord.worlds.text.generate import Sampler

    if not (folder / "project.yaml").exists():
        raise SettingsError(f"{folder} is no project with versions to talk with (it has no project.yaml)")
    project = Project(folder, recipe(folder / "project.yaml"))
    found = []
    for name in (one.strip() for one in names):
        version = project.version(name)
        if version is None or version.role != "policy":
            raise SettingsError(
                f"{folder} has no policy {name!r} to talk with; there are: {', '.join(project.names())}"
            )
        policy, encoder = project.policy(name)
        draw = project.recipe.draw
        said = {"temperature": draw.temperature, "top_k": draw.top_k, "top_p": draw.top_p}
        sampling = Sampling(draw.temperature, draw.top_k, draw.top_p, 0.0, draw.max_tokens, 1, encoder.stop)
        speak = speaking(Sampler(policy.model), encoder, sampling)
        found.append(Speaker(speak, version.id, said))
    return found


def speaking(generator: Generator, encoder: Encoder, sampling: Sampling, few: int = 8) -> Speak:
    """Any generator as somebody who speaks piece by piece: a few tokens at a time, each few with their own seed."""
    from accord.records import Text
    from accord.run import seed_of
    from accord.web.chat import Piece

    turn = threading.Lock()  # a model says one thing at a time

    def speak(messages: Sequence[Message], seed: int) -> Iterator[Piece]:
        prompt, said, finished = encoder.prompt(Text(messages=tuple(messages))), list[int](), False
        while not finished and len(said) < sampling.max_tokens:
            part = min(few, sampling.max_tokens - len(said))
            drawn = replace(sampling, max_tokens=part, seed=seed_of(seed, len(said)))
            with turn:
                (one,) = generator.generate([[*prompt, *said]], drawn)
            said += one.tokens
            finished = one.finished
            text = encoder.text(said, finished).messages[0].content
            yield Piece(text if finished else text.rstrip("\ufffd"), finished)

    return speak


def _place(project: Path, store: str) -> str:
    """Where the store is; the folder of a project is made when it is not there."""
    if store:
        return store
    project.mkdir(parents=True, exist_ok=True)
    return str((project / "store.db").resolve())
