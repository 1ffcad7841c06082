"""Telling other servers what is said, signed by the Standard Webhooks (specification 1.0.0).

A hook is a cursor over the feedback in the order of insertion: nothing is lost when this or the other server falls,
what was not acknowledged is sent again under the same id, and an answer costs nothing more because somebody listens.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping

from accord.store.office import Hook, Office, Said

PATIENCE = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds after each failure in a row, as the specification proposes; after the last one the hook is given up."""
AT_ONCE = 20
GAP = 10.0
"""Seconds for which a hole in the numbers may be an answer that is just being written."""
Send = Callable[[str, bytes, Mapping[str, str]], int]


def signed(secret: str, id: str, moment: int, body: bytes) -> dict[str, str]:
    """The headers that let the listener know that it was us, and when: HMAC-SHA256 over `id.timestamp.body`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    proof = hmac.new(key, b".".join((id.encode(), str(moment).encode(), body)), hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "user-agent": "accord",
        "webhook-id": id,
        "webhook-timestamp": str(moment),
        "webhook-signature": "v1," + base64.b64encode(proof).decode(),
    }


def message(said: Said) -> bytes:
    """What is sent: that something was said, to which question, by whom (by pseudonym). Texts are fetched by REST."""
    one = said.feedback
    kinds = {"withdrawal": "feedback.undone", "surplus": "feedback.surplus"}
    body = {
        "type": kinds.get(said.state, "feedback.kept"),
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.made)),
        "data": {
            "feedback": one.id,
            "question": one.question,
            "project": said.project,
            "annotator": one.annotator,
            "answer": one.answer.model_dump(mode="json") if one.answer is not None else None,
            "replaces": one.replaces,
        },
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *given: object, **named: object) -> None:
        """Somebody else's redirect could lead anywhere, also into this network."""


_opener = urllib.request.build_opener(_Stay)


def post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Send, and follow nothing. The status; 0 when nobody answered within ten seconds."""
    asked = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    try:
        with _opener.open(asked, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError):
        return 0


class Postman:
    """Delivers for one worker; several workers share the hooks by leases."""

    def __init__(self, office: Office, send: Send = post) -> None:
        self._office, self._send = office, send
        self._holes: dict[int, float] = {}

    def round(self, now: float | None = None) -> int:
        """Tell whoever is due; how many messages were taken."""
        clock, told = time.time() if now is None else now, 0
        seen: set[str] = set()
        while (hook := self._office.take_hook(clock)) is not None and hook.id not in seen:
            seen.add(hook.id)
            told += self._tell(hook, clock)
        return told

    def _tell(self, hook: Hook, now: float) -> int:
        told, after, status = 0, hook.after, 200
        for said in self._ready(hook.after, now):
            if not hook.project or said.project == hook.project:
                body = message(said)
                status = self._send(hook.url, body, signed(hook.secret, f"msg_{said.feedback.id}", int(now), body))
                if not 200 <= status < 300:
                    break
                told += 1
            after = said.sequence
        if 200 <= status < 300:
            self._office.put_hook(hook.id, after=after, failures=0, said="", due=now + (0 if told == AT_ONCE else 1))
        else:
            self._failed(hook, after, status, now)
        return told

    def _failed(self, hook: Hook, after: int, status: int, now: float) -> None:
        """Wait longer each time; 410 says that nobody wants to hear it any more."""
        first = after > hook.after
        failures = 1 if first else hook.failures + 1
        over = status == 410 or failures > len(PATIENCE)
        due = now + PATIENCE[min(failures, len(PATIENCE)) - 1]
        word = f"status {status}" if status else "no answer"
        self._office.put_hook(hook.id, after=after, failures=failures, said=word, due=due, active=not over)

    def _ready(self, after: int, now: float) -> list[Said]:
        """Feedback behind a place, up to a hole in the numbers that may still be filled."""
        found: list[Said] = []
        expected = after + 1
        for said in self._office.said_after(after, AT_ONCE):
            if said.sequence != expected and now - self._holes.setdefault(expected, now) < GAP:
                break
            found.append(said)
            expected = said.sequence + 1
        self._holes = {hole: since for hole, since in self._holes.items() if now - since < 10 * GAP}
        return found

    def walk(self, stop: threading.Event) -> None:
        """Go round until told to stop; what fails is tried again later."""
        while not stop.wait(1.0):
            try:
                self.round()
            except Exception:  # the store may be away for a while
                logging.getLogger("uvicorn.error").exception("listeners could not be told")
