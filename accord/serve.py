"""`accord serve`: open the room where people answer, on this machine and for as long as it runs."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

    from accord.protocols import Generator, Sampling
    from accord.records import Message
    from accord.web.chat import Piece, Speaker
    from accord.worlds.text.encode import Encoder

    Speak = Callable[[Sequence[Message], int], Iterator[Piece]]

ASKED = "ACCORD_SERVE"
LINE = 120
"""Seconds for which a connection stays open without a request: people read for longer than the usual five."""


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
    _needs_the_web()
    from accord.config import SettingsError
    from accord.store import Store
    from accord.store.near import hint, is_project
    from accord.web.people import first_link
    from accord.web.settings import WebSettings

    if bool(certificate) != bool(key):
        raise SettingsError("--certificate and --key go together: give both or neither")
    _may_listen(host, port)
    if not store and not is_project(project):
        print(f"accord: a new project begins in {project}{hint(project)}", file=sys.stderr)
    place = _place(project, store)
    settings = WebSettings(secure=bool(certificate))
    address = f"{'https' if certificate else 'http'}://{_near(host)}:{port}"
    with Store.open(place) as opened:
        way_in = first_link(opened, settings, link or None)
    print(f"accord: people can answer at {address}", file=sys.stderr)
    if way_in is not None:
        print(f"accord: come in as {link or 'owner'} (works once): {address}{way_in}", file=sys.stderr)
    asked = {"store": place, "settings": settings.model_dump(mode="json"), "chat": chat, "project": str(project)}
    return _listen(asked, host, port, workers, certificate, key)


def first(
    project: Path = Path("quickstart-people"),
    circle: Path = Path("quickstart"),
    host: str = "127.0.0.1",
    port: int = 8765,
    browser: bool = True,
) -> int:
    """Open the room on a first project: sixty pairs of the lab to judge, and after thirty what your answers taught.

    The pairs are answers of the fine-tuned model of your quickstart where it has collected some; else the lab makes
    them at once, without a model. Opens the browser, or prints the link where there is none to open.

    Args:
        project: Folder for your answers; made when it is not there. The same command goes on in it.
        circle: Folder of a quickstart whose model's answers are judged.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        browser: Whether to open the browser.
    """
    _needs_the_web()
    from accord.first import prepare
    from accord.store import Store
    from accord.store.people import People
    from accord.web.people import first_link
    from accord.web.settings import WebSettings

    begun = prepare(project, circle)
    place, settings = _place(project, ""), WebSettings()
    port = port or _free(host)
    _may_listen(host, port)
    with Store.open(place) as store:
        way_in = first_link(store, settings, "owner" if People(store).count() else None)
    address = f"http://{_near(host)}:{port}{way_in}"
    print(f"accord: to judge are {begun.told}", file=sys.stderr)
    print(f"accord: your room (the link works once): {address}", file=sys.stderr)
    if browser and _has_a_window():
        threading.Thread(target=_open, args=(address, host, port), daemon=True).start()
    elif browser:
        print("accord: there is no browser to open here: open the link in one", file=sys.stderr)
    asked = {"store": place, "settings": settings.model_dump(mode="json"), "chat": "", "project": str(project)}
    return _listen({**asked, "first": str(circle)}, host, port)


def _may_listen(host: str, port: int) -> None:
    """Raises SettingsError when nobody could come in there: before a link is made, which works only once."""
    from accord.config import SettingsError

    if not 0 < port < 65536:
        raise SettingsError(f"--port {port}: a port is a number from 1 to 65535")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(place)
    except OSError as error:
        why = error.strerror or str(error)
        raise SettingsError(f"{host}:{port} cannot be listened on ({why}); give another --port or --host") from error


def _listen(asked: Mapping[str, object], host: str, port: int, workers: int = 1, *pem: str) -> int:
    """Serve until it is ended; what was asked for reaches each worker by the environment. The status.

    Raises KeyboardInterrupt after Ctrl+C, when all who answered were let finish.
    """
    import uvicorn

    from accord.web import crew

    certificate, key = pem or ("", "")
    os.environ[ASKED] = json.dumps(dict(asked))
    options: dict[str, Any] = {
        "factory": True,
        "ws": "none",
        "host": host,
        "port": port,
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": LINE,
        "ssl_certfile": certificate or None,
        "ssl_keyfile": key or None,
    }
    if workers > 1 and not crew.possible():
        uvicorn.run("accord.serve:app", workers=workers, **options)
        return 0
    config = uvicorn.Config("accord.serve:app", **options)
    if workers == 1:  # not by `uvicorn.run`, which would not say that Ctrl+C was the end of it
        server = uvicorn.Server(config)
        server.run()
        return 0 if server.started else 3
    for name in ("accord.web.app", "accord.web.hooks", "uvicorn.lifespan.on", "uvicorn.protocols.http.auto"):
        import_module(name)  # before anybody is forked
    config.get_loop_factory()
    with config.bind_socket() as door:

        def worker() -> Callable[[], object]:
            config.load()
            return partial(uvicorn.Server(config).run, sockets=[door])

        return crew.crew(worker, workers, _say)


def _say(error: Exception) -> None:
    """What a worker met, for whoever runs the service."""
    from accord.config import SettingsError
    from accord.store import StoreError

    if isinstance(error, SettingsError | StoreError | OSError):
        print(f"accord: {error}", file=sys.stderr)
    else:
        traceback.print_exception(error)


def app() -> FastAPI:
    """The application of one worker, as `serve` asked for it in the environment."""
    from accord.looking import look
    from accord.store import Store
    from accord.web import WebSettings, make_app
    from accord.web.hooks import Postman

    asked = json.loads(os.environ[ASKED])
    talking = speakers(Path(asked["project"]), asked["chat"].split(",")) if asked["chat"] else []
    store, teacher = Store.open(asked["store"]), None
    if "first" in asked:
        from accord.first import prepare
        from accord.first import teacher as told_by

        teacher = told_by(store, prepare(Path(asked["project"]), Path(asked["first"])))
    made = make_app(store, WebSettings(**asked["settings"]), talking, teacher, look)
    postman = Postman(made.state.room.office)
    threading.Thread(target=postman.walk, args=(threading.Event(),), name="postman", daemon=True).start()
    return made


def speakers(folder: Path, names: Sequence[str]) -> list[Speaker]:
    """Versions of a project as somebody to talk with, drawing as the recipe says."""
    from accord.config import SettingsError
    from accord.project import Project
    from accord.recipe import recipe
    from accord.store.near import hint
    from accord.web.chat import Speaker
    from accord.worlds.text.generate import Sampler

    if not (folder / "project.yaml").exists():
        raise SettingsError(f"{folder} is no project with versions to talk with{hint(folder)}: it has no project.yaml")
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
        speak = speaking(Sampler(policy.model), encoder, draw.sampling(stop=encoder.stop))
        found.append(Speaker(speak, version.id, draw.told()))
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
            drawn = replace(sampling, max_tokens=part, seed=seed_of(seed, len(said)), stop_text=())
            with turn:
                (one,) = generator.generate([[*prompt, *said]], drawn)
            ends = ended(said, one.tokens, sampling.stop_text, encoder)
            said += one.tokens[:ends]
            finished = one.finished or ends is not None
            text = encoder.text(said, finished).messages[0].content
            yield Piece(text if finished else text.rstrip("\ufffd"), finished)

    return speak


def ended(said: Sequence[int], newest: Sequence[int], texts: Sequence[str], encoder: Encoder) -> int | None:
    """How many of the newest tokens it takes until one of the texts that end an answer is said; None: it is not."""
    spelt = (encoder.spell([*said, *newest[: count + 1]]) for count in range(len(newest))) if texts else ()
    return next((at for at, text in enumerate(spelt, 1) if any(end in text for end in texts)), None)


def _place(project: Path, store: str) -> str:
    """Where the store is; the folder of a project is made when it is not there."""
    if store:
        return store
    project.mkdir(parents=True, exist_ok=True)
    return str((project / "store.db").resolve())


def _needs_the_web() -> None:
    """Raises SettingsError when the packages of the service are not installed."""
    from importlib.util import find_spec

    from accord.config import SettingsError

    missing = [name for name in ("fastapi", "uvicorn", "argon2", "markdown_it", "nh3") if find_spec(name) is None]
    if missing:
        raise SettingsError(f"the pages need {', '.join(missing)}: pip install 'accord[web]'")


def _near(host: str) -> str:
    """How this machine names itself to a browser on it."""
    return "localhost" if host in ("127.0.0.1", "0.0.0.0", "::") else host


def _free(host: str) -> int:
    """A port that nobody listens on at this moment."""
    with socket.create_server((host, 0)) as found:
        return int(found.getsockname()[1])


def _has_a_window() -> bool:
    """Whether a browser would open beside this terminal and not in it."""
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open(address: str, host: str, port: int, patience: float = 60.0) -> None:
    """Open the browser as soon as somebody listens."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            socket.create_connection((host, port), 1).close()
            break
        except OSError:
            time.sleep(0.1)
    if not webbrowser.open(address):
        print("accord: no browser opened: open the link in one", file=sys.stderr)
