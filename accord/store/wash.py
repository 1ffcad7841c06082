"""Files without what points at people, made before a row of them is kept: nobody sees what was not let in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from accord.records import KINDS
from accord.store import files
from accord.store.errors import Refused
from accord.store.files import Limits
from accord.store.people import People
from accord.store.scrub import Finder, scrub
from accord.store.store import Store
from accord.whole import replacing

WHO = ("annotator_id", "annotator", "judge", "worker_id", "user_id")
"""Names under which a row says whose word it is."""
PLAIN = frozenset(
    ("id", "item_id", "row_id", "label", "verdict", "split", "lang", "language", "source", "licence", "license",
     "model", "model_a", "model_b", "role", "from", "category", "subset", "scale", "annotator_type",
     "instruction_id_list", "kwargs_json", "kwargs")
)  # fmt: skip
"""Names of values that say how to read a row and are no texts of anybody."""


class Wash:
    """Scrubs files for one store, and counts what was taken out.

    Every string of a row goes through `scrub`, but those that say how to read it (`PLAIN`). An annotator whom the
    file calls by something that points at them gets a pseudonym; the name goes into the table of persons, where
    `accord erase NAME` finds it, and they cannot come in until somebody lets them.
    """

    def __init__(
        self, store: Store, names: Sequence[str] = (), finders: Sequence[Finder] = (), limits: Limits | None = None
    ) -> None:
        self._names, self._finders, self._limits = tuple(names), tuple(finders), limits or Limits()
        self._people = People(store)
        self.counts: Counter[str] = Counter()
        """Kind -> how many were taken out."""
        self.people: dict[str, str] = {}
        """What a file called somebody -> the pseudonym."""
        self.bad: dict[int, str] = {}
        """Line of the last file -> why it is no row."""

    def file(self, path: Path, folder: Path) -> Path:
        """A scrubbed file of the same name in the folder, JSONL, its rows in the same lines; `bad` has what is no row.

        Raises Refused for records in Accord's own form: those have ids that others point at.
        """
        name = path.name.removesuffix(".gz").removesuffix(".parquet").removesuffix(".jsonl")
        made, self.bad = folder / f"{name}.jsonl", {}
        with replacing(made) as out:
            for row in self._rows(path):
                out.write(b"\n" if row is None else json.dumps(row).encode() + b"\n")
        return made

    def _rows(self, path: Path) -> Iterator[Any]:
        at = 1
        for raw in files.rows(path, self._limits):
            yield from (None for _ in range(at, raw.line))  # blank lines, so that the numbers stay
            at = raw.line + 1
            if raw.reason:
                self.bad[raw.line] = raw.reason
                yield "no row"
                continue
            if raw.values.get("kind") in KINDS:
                raise Refused(
                    f"{raw.file} line {raw.line}: a {raw.values['kind']} in Accord's own form comes in as it is, for "
                    "others point at its id; scrub such a file on its way out (accord export --scrub)"
                )
            yield {key: self._value(key, value) for key, value in raw.values.items()}

    def _value(self, key: str, value: Any) -> Any:
        match value:
            case str() if key in WHO:
                return self._who(value)
            case str() if key not in PLAIN:
                done = scrub(value, self._names, self._finders)
                self.counts.update(done.counts())
                return done.text
            case list():
                return [self._value(key, one) for one in value]
            case dict():
                return {name: self._value(name, one) for name, one in value.items()}
            case _:
                return value

    def _who(self, said: str) -> str:
        """The pseudonym of somebody who is called by name, address or number; else what they are called."""
        if said not in self.people:
            if not scrub(said, self._names, self._finders).marks:
                return said
            known = self._people.named(said)
            if known is None:
                known = self._people.add(said, "annotator", active=False)
            self.people[said] = known.pseudonym
        return self.people[said]
