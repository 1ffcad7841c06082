"""Whether a hub answers: asked once and shortly, before a library waits and tries again for most of a minute."""

from __future__ import annotations

import importlib
import os
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from accord.config import SettingsError

SECONDS = 5.0
"""How long a hub may take to take a call. Where it does, everything is as without this file."""


@contextmanager
def asking_the_hub(name: str, *libraries: Any) -> Iterator[None]:
    """While `name` is opened: where the hub does not answer, its libraries look only at what this machine keeps of it.

    libraries: modules whose own `HF_HUB_OFFLINE` is turned on besides. A folder asks nobody, and what the environment
    says (HF_HUB_OFFLINE) stands. Raises SettingsError, with the way out, when the hub does not answer and the name is
    not kept here; with a hub that answers errors are those of the library.
    """
    constants: Any = importlib.import_module("huggingface_hub.constants")
    if Path(name).exists() or constants.HF_HUB_OFFLINE or answers(constants.ENDPOINT):
        yield
        return
    told = [(module, module.HF_HUB_OFFLINE) for module in (constants, *libraries) if hasattr(module, "HF_HUB_OFFLINE")]
    try:
        for module, _ in told:
            module.HF_HUB_OFFLINE = True
        yield
    except OSError as error:
        raise SettingsError(
            f"{name} is no folder here, and the hub ({constants.ENDPOINT}) does not answer, so it cannot be fetched; "
            "nothing of it, or not all, is kept on this machine either. Name what is here (a folder, a file, "
            "`package:NAME`), look at the connection (HF_ENDPOINT, HTTPS_PROXY), or fetch it elsewhere and set HF_HOME "
            "to that folder"
        ) from error
    finally:
        for module, before in told:
            module.HF_HUB_OFFLINE = before


def answers(endpoint: str) -> bool:
    """Whether the endpoint, or the proxy on the way to it, takes a call; said again for a minute."""
    return _answers(endpoint, tuple(sorted(urllib.request.getproxies().items())), int(time.monotonic() // 60))


@lru_cache(maxsize=8)
def _answers(endpoint: str, proxies: tuple[tuple[str, str], ...], minute: int) -> bool:
    place = urlsplit(endpoint)
    proxy = None if urllib.request.proxy_bypass(place.hostname or "") else dict(proxies).get(place.scheme)
    if proxy or dict(proxies).get("all"):
        place = urlsplit(proxy or dict(proxies)["all"])
    heard: list[bool] = []

    def call() -> None:
        try:
            port = place.port or (80 if place.scheme == "http" else 443)
            socket.create_connection((place.hostname or "", port), SECONDS).close()
            heard.append(True)
        except (OSError, ValueError):
            pass

    # The name is looked up without a limit of time, so the call is left behind where it takes too long.
    waiting = threading.Thread(target=call, daemon=True, name=f"call-{os.getpid()}")
    waiting.start()
    waiting.join(SECONDS)
    return bool(heard)
