"""Statements of the common path: compiled once for each kind of data base and run by the driver's own cursor.

A claim and an answer are a dozen small statements. SQLAlchemy spends ten times as long on each as SQLite does, most of
it on finding the compiled text again and on wrapping the rows; here the text is kept, and rows are plain tuples. The
transaction around them, the pool and the names of the errors are SQLAlchemy's as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

from sqlalchemy import BindParameter, ClauseElement, Connection, bindparam

Row = tuple[Any, ...]
_MOST = 512
"""Values that one statement is given at most."""


def bare(connection: Connection, words: str, given: Any = ()) -> Any:
    """A cursor of the driver behind a statement in the words of the data base."""
    raw: Any = connection.connection.driver_connection
    try:
        return raw.execute(words, given)
    except connection.dialect.loaded_dbapi.Error as error:
        # The same names of errors and the same care for broken connections as for every other statement.
        connection._handle_dbapi_exception(error, words, given, None, None)


class _Text(NamedTuple):
    """A statement as one kind of data base wants it."""

    words: str
    names: tuple[str, ...] | None
    """Names of the values in their order; None where the driver takes them by name."""
    fixed: Mapping[str, Any]
    """Values that stand in the statement itself."""


@final
class Prepared:
    """A statement with named values (`bindparam`); an insert names its columns."""

    def __init__(self, statement: ClauseElement, *columns: str) -> None:
        self._statement, self._columns = statement, list(columns) or None
        self._texts: dict[str, _Text] = {}

    def rows(self, connection: Connection, **values: Any) -> list[Row]:
        """All rows that it finds."""
        return list(self._run(connection, values).fetchall())

    def first(self, connection: Connection, **values: Any) -> Row | None:
        """The first row that it finds."""
        row: Row | None = self._run(connection, values).fetchone()
        return row

    def ask(self, connection: Connection, **values: Any) -> Any:
        """The driver's cursor; in a pipeline its rows come when the pipeline ends."""
        return self._run(connection, values)

    def value(self, connection: Connection, **values: Any) -> Any:
        """The first column of the first row; None when there is none."""
        row = self._run(connection, values).fetchone()
        return None if row is None else row[0]

    def run(self, connection: Connection, **values: Any) -> int:
        """Do it; how many rows it changed."""
        return int(self._run(connection, values).rowcount)

    def run_all(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Do it for every row."""
        for values in rows:
            self._run(connection, values)

    def _run(self, connection: Connection, values: Mapping[str, Any]) -> Any:
        text = self._texts.get(connection.dialect.name) or self._compile(connection)
        given: Any = {**text.fixed, **values}
        if text.names is not None:
            given = tuple([given[name] for name in text.names])
        return bare(connection, text.words, given)

    def _compile(self, connection: Connection) -> _Text:
        made: Any = self._statement.compile(dialect=connection.dialect, column_keys=self._columns)
        names = None if made.positiontup is None else tuple(made.positiontup)
        fixed = {name: value for name, value in made.params.items() if value is not None}
        return self._texts.setdefault(connection.dialect.name, _Text(str(made), names, fixed))


@final
class Among:
    """A statement about several values (`x IN (...)`): one text for one value, and few for all the other numbers.

    make: the statement for parameters that stand for the values. The last value is said again until their number is
    a power of two, so that there are ten texts and not five hundred.
    """

    def __init__(self, make: Callable[[list[BindParameter[Any]]], ClauseElement]) -> None:
        self._make = make
        self._sizes: dict[int, Prepared] = {}

    def rows(self, connection: Connection, among: Iterable[Any], **values: Any) -> list[Row]:
        """All rows that it finds, for any number of values."""
        found: list[Row] = []
        for prepared, given in self._parts(list(among)):
            found += prepared.rows(connection, **given, **values)
        return found

    def run(self, connection: Connection, among: Iterable[Any], **values: Any) -> int:
        """Do it; how many rows it changed."""
        return sum(prepared.run(connection, **given, **values) for prepared, given in self._parts(list(among)))

    def _parts(self, among: list[Any]) -> Iterable[tuple[Prepared, dict[str, Any]]]:
        for at in range(0, len(among), _MOST):
            part = among[at : at + _MOST]
            size = 1 << (len(part) - 1).bit_length()
            part += part[-1:] * (size - len(part))
            yield self._of(size), {f"v{number}": value for number, value in enumerate(part)}

    def _of(self, size: int) -> Prepared:
        if size not in self._sizes:
            self._sizes[size] = Prepared(self._make([bindparam(f"v{number}") for number in range(size)]))
        return self._sizes[size]
