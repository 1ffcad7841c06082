"""From older tables to today's, one step for each version, all in the transaction in which the store is opened.

Tables that are new are made by `create_all`, and fields that are new in a record have defaults; a step is needed
only where something that stands already must change. A step never changes again once it was published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, update

from accord.store import schema, tally
from accord.store.errors import StoreError

Step = Callable[[Connection], None]


def _what_one_person_holds(connection: Connection) -> None:
    """2: an index over the live claims of each person."""
    schema.claim_of_annotator.create(connection, checkfirst=True)


def _counters(connection: Connection) -> None:
    """3: counters that are kept; what was said before is counted once."""
    tally.recount(connection)


STEPS: Mapping[int, Step] = {2: _what_one_person_holds, 3: _counters}
"""What leads to each version from the one before."""


def climb(connection: Connection, found: int) -> None:
    """Bring a store of version `found` to `schema.SCHEMA`. Raises StoreError for one that is newer than this Accord."""
    if found > schema.SCHEMA:
        raise StoreError(
            f"this store has tables of version {found}, this Accord reads version {schema.SCHEMA}: "
            "open it with the Accord that wrote it, export, and import here"
        )
    for number in range(found + 1, schema.SCHEMA + 1):
        STEPS[number](connection)
    if found < schema.SCHEMA:
        connection.execute(update(schema.meta).where(schema.meta.c.name == "schema").values(value=schema.SCHEMA))
