"""Who may come in: persons, the secrets that open the door to them, and the guidelines they work by.

Tables of their own beside the records: a record knows only a pseudonym, a name stands here alone. Secrets are kept
as digests that the caller makes; nothing here can open a door.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal, get_args

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from accord.records import Record, new_id
from accord.store.errors import Missing, Refused
from accord.store.prepared import Among, Prepared
from accord.store.store import Store

PersonRole = Literal["owner", "manager", "annotator", "auditor"]
ROLES: tuple[PersonRole, ...] = get_args(PersonRole)
KEPT = 400 * 86_400.0
"""Seconds for which the digest of a secret that has ended is still kept; it opens nothing."""
SecretKind = Literal["session", "token", "link"]

metadata = MetaData()

person = Table(
    "person",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("pseudonym", String, nullable=False, unique=True),
    Column("role", String, nullable=False),
    Column("password", String, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("made", Float, nullable=False),
)
secret = Table(
    "secret",
    metadata,
    Column("digest", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("person", String, nullable=False),
    Column("until", Float, nullable=False),
    Column("made", Float, nullable=False),
)
Index("secret_by_person", secret.c.person, secret.c.kind)
guideline = Table(
    "guideline",
    metadata,
    Column("project", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("text", Text, nullable=False),
    Column("made", Float, nullable=False),
)

# Every request asks who is there.
_HOLDER = Prepared(
    select(person)
    .join(secret, secret.c.person == person.c.id)
    .where(secret.c.digest == bindparam("digest"), secret.c.kind == bindparam("kind"))
    .where(secret.c.until > bindparam("now"), person.c.active)
)
_HOLDERS = Among(
    lambda digests: (
        select(secret.c.kind, secret.c.digest, person)
        .join(secret, secret.c.person == person.c.id)
        .where(secret.c.digest.in_(digests), secret.c.until > bindparam("now"), person.c.active)
    )
)
_NAMES = tuple(column.name for column in person.columns)


class Person(Record):
    """Somebody who may sign in. Records know the pseudonym alone."""

    id: str
    """Made by the store."""
    name: str
    """What they sign in with; shown to managers, never in an export."""
    pseudonym: str
    """What their feedback is kept under."""
    role: PersonRole
    """What they may do."""
    password: str = ""
    """Encoded digest of the password; empty while there is none."""
    active: bool = True
    """Whether they may come in."""
    made: float = 0.0
    """Seconds since 1970."""


class Guideline(Record):
    """One version of what people are told to judge by."""

    project: str
    """Queue it is for."""
    number: int
    """Version, from 1; 0 when there is none."""
    text: str
    """Markdown."""


class People:
    """The verbs on persons, secrets and guidelines of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.tables(metadata)

    # --- persons -----------------------------------------------------------------------------------------------

    def add(
        self, name: str, role: PersonRole, pseudonym: str | None = None, password: str = "", active: bool = True
    ) -> Person:
        """A new person, who may come in where they are active.

        Raises Refused for a name or a pseudonym that is taken, or a role that does not exist.
        """
        if role not in ROLES:
            raise Refused(f"role {role!r} is none of {', '.join(ROLES)}")
        id = new_id()
        made = Person(
            id=id,
            name=name,
            pseudonym=pseudonym or f"p-{id.replace('-', '')[-10:]}",
            role=role,
            password=password,
            active=active,
            made=time.time(),
        )
        try:
            with self._store.writing() as connection:
                connection.execute(insert(person).values(**made.model_dump()))
        except IntegrityError as error:
            raise Refused(f"there is somebody called {name!r} (or {made.pseudonym!r}) already") from error
        return made

    def get(self, id: str) -> Person:
        """A person by id. Raises Missing."""
        return self._one(person.c.id == id, id)

    def named(self, name: str) -> Person | None:
        """A person by name; None when there is nobody."""
        try:
            return self._one(person.c.name == name, name)
        except Missing:
            return None

    def all(self) -> list[Person]:
        """Everybody, in the order in which they came."""
        with self._store.reading() as connection:
            rows = connection.execute(select(person).order_by(person.c.made, person.c.id)).mappings().all()
        return [Person(**row) for row in rows]

    def set_password(self, id: str, encoded: str) -> None:
        """Another password; every session and link of the person ends with the old one."""
        with self._store.writing() as connection:
            connection.execute(update(person).where(person.c.id == id).values(password=encoded))
            connection.execute(delete(secret).where(secret.c.person == id, secret.c.kind.in_(("session", "link"))))

    def set_active(self, id: str, active: bool) -> None:
        """Let a person in, or keep them out: then all their secrets end too. What they said stays."""
        with self._store.writing() as connection:
            connection.execute(update(person).where(person.c.id == id).values(active=active))
            if not active:
                connection.execute(delete(secret).where(secret.c.person == id))

    # --- secrets -----------------------------------------------------------------------------------------------

    def grant(self, id: str, kind: SecretKind, digest: str, seconds: float) -> None:
        """Keep the digest of a secret that opens the door to a person for so many seconds."""
        now = time.time()
        with self._store.writing() as connection:
            # Not at once: a clock that jumps ahead for a minute shall not take everybody's token away for good.
            connection.execute(delete(secret).where(secret.c.until <= now - KEPT))
            values = {"digest": digest, "kind": kind, "person": id, "until": now + seconds, "made": now}
            connection.execute(insert(secret).values(**values))

    def holder(self, kind: SecretKind, digest: str) -> Person | None:
        """The active person whose live secret this is; None for any other."""
        with self._store.looking() as connection:
            row = _HOLDER.first(connection, digest=digest, kind=kind, now=time.time())
        return None if row is None else Person(**dict(zip(_NAMES, row, strict=True)))

    def holders(self, secrets: Sequence[tuple[SecretKind, str]]) -> list[Person | None]:
        """The same for several secrets, each by kind and digest, with one look."""
        with self._store.looking() as connection:
            rows = _HOLDERS.rows(connection, [digest for _, digest in secrets], now=time.time())
        found = {(kind, digest): row for kind, digest, *row in rows}
        return [Person(**dict(zip(_NAMES, found[one], strict=True))) if one in found else None for one in secrets]

    def spend(self, kind: SecretKind, digest: str) -> bool:
        """End a secret. Whether it was there: of two who spend it at once, one gets True."""
        with self._store.writing() as connection:
            found = connection.execute(delete(secret).where(secret.c.digest == digest, secret.c.kind == kind))
        return found.rowcount == 1

    def revoke(self, id: str, kind: SecretKind) -> int:
        """End all secrets of one kind of a person; how many there were."""
        with self._store.writing() as connection:
            found = connection.execute(delete(secret).where(secret.c.person == id, secret.c.kind == kind))
        return int(found.rowcount)

    # --- guidelines --------------------------------------------------------------------------------------------

    def write_guideline(self, project: str, text: str) -> Guideline:
        """The next version of a project's guideline; earlier ones stay. The same text again is the same version."""
        with self._store.writing() as connection:
            c = guideline.c
            query = select(c.number, c.text).where(c.project == project).order_by(c.number.desc()).limit(1)
            last = connection.execute(query).one_or_none()
            if last is not None and last.text == text:
                return Guideline(project=project, number=last.number, text=text)
            made = Guideline(project=project, number=(last.number if last else 0) + 1, text=text)
            connection.execute(insert(guideline).values(**made.model_dump(), made=time.time()))
        return made

    def guideline(self, project: str, number: int | None = None) -> Guideline:
        """A version of a project's guideline, the last when none is named; number 0 and no text when there is none."""
        c = guideline.c
        query = select(c.number, c.text).where(c.project == project)
        query = query.order_by(c.number.desc()).limit(1) if number is None else query.where(c.number == number)
        with self._store.reading() as connection:
            row = connection.execute(query).one_or_none()
        return Guideline(project=project, number=row.number if row else 0, text=row.text if row else "")

    def count(self) -> int:
        """How many people there are."""
        with self._store.reading() as connection:
            return int(connection.scalar(select(func.count()).select_from(person)) or 0)

    def _one(self, condition: object, shown: str) -> Person:
        with self._store.reading() as connection:
            row = connection.execute(select(person).where(condition)).mappings().one_or_none()  # type: ignore[arg-type]
        if row is None:
            raise Missing("person", [shown], "add them first")
        return Person(**row)
