"""Keys to the door: passwords, sessions, one-time links and tokens, and patience with those who guess.

A password is chosen by a person and so is kept slow to try (argon2id). Sessions, links and tokens are 256 random
bits: nobody guesses those, so SHA-256 is enough and a request does not wait for argon2.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from accord.store import Refused, Store
from accord.store.people import People, Person, SecretKind
from accord.web.settings import WebSettings

SHORTEST = 10
LONGEST = 256
_WINDOW = 300.0
_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_room = threading.Semaphore(4)
_nobody = _hasher.hash(secrets.token_hex(16))


def digest(secret: str) -> str:
    """What is kept of a random secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def csrf(session: str) -> str:
    """The word that a page of this session must say with every write; it does not give the session away."""
    return hashlib.sha256(b"csrf:" + session.encode()).hexdigest()


def encode(password: str) -> str:
    """argon2id of a password. Raises Refused when it is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise Refused(f"a password has {SHORTEST} to {LONGEST} characters; this one has {len(password)}")
    with _room:
        return _hasher.hash(password)


def fits(person: Person | None, password: str) -> bool:
    """Whether it is the person's password; takes as long when there is no such person."""
    kept = person.password if person is not None and person.password else _nobody
    try:
        with _room:
            right = _hasher.verify(kept, password[:LONGEST])
    except (VerificationError, InvalidHashError, UnicodeError):
        return False
    return right and person is not None and bool(person.password) and person.active


def grant(people: People, person: Person, kind: SecretKind, settings: WebSettings) -> str:
    """A new secret of a kind for a person; it is shown once and only its digest is kept."""
    hours = {"session": settings.session_hours, "link": settings.link_hours, "token": settings.token_days * 24}
    made = secrets.token_urlsafe(32)
    people.grant(person.id, kind, digest(made), hours[kind] * 3600)
    return made


def first_link(store: Store, settings: WebSettings, name: str | None = None) -> str | None:
    """Path of a sign-in link: for the owner, who is made when nobody is there yet, or for the person named.

    None when there are people already and none is named. Raises Refused for a name that nobody has.
    """
    people = People(store)
    if name is not None:
        person = people.named(name)
        if person is None or not person.active:
            raise Refused(f"nobody called {name!r} may come in; there are: {', '.join(p.name for p in people.all())}")
    elif people.count():
        return None
    else:
        person = people.add("owner", "owner")
    return f"/in/{grant(people, person, 'link', settings)}"


@dataclass
class Throttle:
    """Counts failures in memory, by name and by address; nothing of it is written down."""

    tries: int
    """Failures in five minutes after which the door waits."""
    failures: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wait(self, key: str, times: int = 1, now: float | None = None) -> float:
        """Seconds until another try is listened to; 0 when at once."""
        clock = time.monotonic() if now is None else now
        with self.lock:
            seen = self.failures.get(key)
            while seen and seen[0] <= clock - _WINDOW:
                seen.popleft()
            allowed = self.tries * times
            return seen[-allowed] + _WINDOW - clock if seen and len(seen) >= allowed else 0.0

    def failed(self, key: str, now: float | None = None) -> None:
        """Remember a failure."""
        with self.lock:
            seen = self.failures.setdefault(key, deque(maxlen=1000))
            seen.append(time.monotonic() if now is None else now)
            self.failures.move_to_end(key)
            while len(self.failures) > 10_000:
                self.failures.popitem(last=False)
