"""Data sets in: JSONL, JSONL.gz and Parquet, in Accord's own form and in those of others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError
from sqlalchemy import Connection

from accord.records import Prompt, Record, Sample, Split
from accord.store import files, schema, writing
from accord.store.columns import renamed
from accord.store.errors import Refused, StoreError
from accord.store.files import Limits
from accord.store.forms import Origin, RowForm, form_of, records_of, voters_of
from accord.store.sides import split_of
from accord.store.store import Store
from accord.store.unfolded import unfolded

LIMITS = Limits()


@dataclass(frozen=True)
class Bad:
    """A row that could not be used."""

    file: str
    line: int
    """Counted from 1."""
    reason: str


@dataclass
class Report:
    """What became of the rows of a file."""

    rows: int = 0
    """Rows seen."""
    good: int = 0
    """Rows that were used."""
    new: int = 0
    """Records that the store did not hold before."""
    surplus: int = 0
    """Answers among these that do not count: their question had as many as it wanted, or one of the same person."""
    bad_rows: int = 0
    """Rows that could not be used; all are counted, also those that are not named in `bad`."""
    bad: list[Bad] = field(default_factory=list)
    """The first of them, with reasons."""

    def refuse(self, bad: Bad, limits: Limits) -> None:
        """Count a bad row, and name it while there is room."""
        self.bad_rows += 1
        if len(self.bad) < limits.bad:
            self.bad.append(bad)

    def add(self, other: Report) -> None:
        """Count another file in."""
        self.rows, self.good, self.new = self.rows + other.rows, self.good + other.good, self.new + other.new
        self.bad_rows, self.bad = self.bad_rows + other.bad_rows, [*self.bad, *other.bad]
        self.surplus += other.surplus

    def warn(self, file: str) -> None:
        """Say that rows were left out, and why the first of them. Raises Refused when not one could be used."""
        first = f"line {self.bad[0].line}: {self.bad[0].reason}" if self.bad else "no reason kept"
        if self.rows and not self.good:
            raise Refused(f"{file}: none of its {self.rows} rows can be used ({first}); docs/data.md lists the forms")
        if self.bad_rows:
            warnings.warn(
                f"{file}: {self.bad_rows} of {self.rows} rows cannot be used ({first}); "
                f"`accord import FILE --bad {self.bad_rows}` names them all",
                stacklevel=3,
            )


@dataclass(frozen=True)
class Imported:
    """The records of a file, and what was wrong with the rest."""

    records: tuple[Record, ...]
    """Each once, in the order of the rows."""
    report: Report
    """Rows seen, used and refused."""


@dataclass(frozen=True)
class _Row:
    """The records of one row, and where it stood."""

    file: str
    line: int
    records: list[Record]
    ours: bool
    """Whether it is in Accord's own form, which says exactly what a record is."""


def read(
    path: str | Path,
    form: RowForm | Literal["auto"] = "auto",
    limits: Limits = LIMITS,
    *,
    source: str = "",
    licence: str = "",
    project: str = "",
    annotator: str = "",
    test_share: float = 0.0,
    validation_share: float = 0.0,
    split: Split | None = None,
) -> Imported:
    """Records of the files that a path or pattern names, in memory. See `import_file` for the arguments."""
    origin = Origin(source, licence, project, annotator, test_share, validation_share, split)
    report, found = Report(), dict[str, Record]()
    for row in _rows(path, form, origin, limits, report):
        report.good += 1
        for record in row.records:
            found.setdefault(record.id, record)  # type: ignore[attr-defined]
    report.new = len(found)
    return Imported(tuple(found.values()), report)


def import_file(
    store: Store,
    path: str | Path,
    form: RowForm | Literal["auto"] = "auto",
    limits: Limits = LIMITS,
    *,
    source: str = "",
    licence: str = "",
    project: str = "",
    annotator: str = "",
    test_share: float = 0.0,
    validation_share: float = 0.0,
    split: Split | None = None,
) -> Report:
    """Put the files that a path or pattern names into a store, in one transaction: all of it or nothing.

    Bad rows are reported with line and reason and the others are kept; importing again adds nothing. A prompt or
    sample that the store holds already stays as it is, so a prompt never changes its side of the fence. In
    Accord's own form a record may only point at records that stand before it or in the store.

    `source` names the source where rows do not (default: the name of the file); `test_share` and
    `validation_share` draw the side by `split_of` over the first user turn, `split` sets it for all rows.
    Raises Refused for files that cannot be read or are too large.
    """
    origin = Origin(source, licence, project, annotator, test_share, validation_share, split)
    split_of("", test_share, validation_share)  # shares that cannot be are the caller's fault and not that of each row
    report = Report()
    with store.writing() as connection:
        chunk: list[_Row] = []
        for row in _rows(path, form, origin, limits, report):
            chunk.append(row)
            if len(chunk) == 250:
                _write(connection, chunk, report, limits)
                chunk = []
        _write(connection, chunk, report, limits)
    return report


def texts(path: str | Path, limits: Limits = LIMITS, longest: int | None = None) -> Iterator[str]:
    """Documents for pretraining: each `text` of JSONL or Parquet rows; a .txt or .txt.gz file is one document.

    longest: documents are handed out in pieces of at most so many characters, cut between paragraphs where they can
    be. Raises Refused at the first row without a text, and for a text that is not UTF-8.
    """
    for document in _documents(path, limits):
        yield from _pieces(document, longest) if longest is not None else [document]


def _pieces(document: str, longest: int) -> Iterator[str]:
    """A document cut into pieces, whole paragraphs as long as they fit. Blank pieces are left out."""
    held = ""
    for paragraph in document.replace("\r\n", "\n").split("\n\n"):
        if held and len(held) + 2 + len(paragraph) > longest:
            yield held
            held = ""
        held = f"{held}\n\n{paragraph}" if held else paragraph
        while len(held) > longest:
            yield held[:longest]
            held = held[longest:]
    if held.strip():
        yield held


def _documents(path: str | Path, limits: Limits) -> Iterator[str]:
    """Documents as they stand in the files."""
    for file in files.found(path):
        if ".txt" in file.suffixes[-2:]:
            whole = b"\n".join(line or b"" for line in files.lines(file, limits))
            try:
                yield whole.decode("utf-8")
            except UnicodeDecodeError as error:
                line = whole[: error.start].count(b"\n") + 1
                raise Refused(f"{file} line {line}: not UTF-8 ({error.reason}); save it as UTF-8") from error
            continue
        for raw in files.rows(file, limits):
            if raw.reason or not isinstance(raw.values.get("text"), str):
                raise Refused(f"{raw.file} line {raw.line}: {raw.reason or 'no string named `text`'}")
            yield raw.values["text"]


def _rows(
    path: str | Path, form: RowForm | Literal["auto"], origin: Origin, limits: Limits, report: Report
) -> Iterator[_Row]:
    """The rows that can be used; the others go into the report."""
    if form != "auto" and form not in get_args(RowForm):
        raise Refused(f"form {form!r} is none of auto, {', '.join(get_args(RowForm))}")
    for file in files.found(path):
        name = file.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".parquet")
        here = origin if origin.source else Origin(**{**vars(origin), "source": name})
        voters = _voters(file, form, here, limits)
        for raw in _named(file, limits):
            report.rows += 1
            made = _made(raw, form, here, voters)
            if isinstance(made, str):
                report.refuse(Bad(raw.file, raw.line, made), limits)
            else:
                yield _Row(raw.file, raw.line, made, any(_form(row, form) == "accord" for row in _plain(raw, form)))


def _named(file: Path, limits: Limits) -> Iterator[files.Raw]:
    """The rows of a file under the names that the forms know."""
    for raw in files.rows(file, limits):
        yield raw if raw.reason else replace(raw, values=renamed(raw.values))


def _made(
    raw: files.Raw, form: RowForm | Literal["auto"], origin: Origin, voters: dict[str, int]
) -> list[Record] | str:
    """The records of a row, or what is wrong with it."""
    if raw.reason:
        return raw.reason
    try:
        made = [record for row in _plain(raw, form) for record in records_of(row, _form(row, form), origin, voters)]
        return list({record.id: record for record in made}.values())  # type: ignore[attr-defined]
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"[:300]
    except KeyError as error:
        return f"no value named {error.args[0]!r}, which the form needs"
    except RecursionError:
        return "nested too deeply"
    except UnicodeEncodeError as error:
        return f"half a character (an unpaired surrogate, {error.object[error.start]!a}), which no text can hold"
    except (ValueError, TypeError) as error:
        return str(error)[:300]


def _voters(file: Path, form: RowForm | Literal["auto"], origin: Origin, limits: Limits) -> dict[str, int]:
    """How many people answered each question of a file of votes: read once before, since a record never changes."""
    people: dict[str, set[str]] = {}
    for raw in _named(file, limits):
        if not raw.reason and _speechless(raw, form):
            break
        made = _made(raw, form, origin, {})
        for question, name in () if isinstance(made, str) else voters_of(made):
            people.setdefault(question, set()).add(name)
    return {question: len(names) for question, names in people.items()}


def _speechless(raw: files.Raw, form: RowForm | Literal["auto"]) -> bool:
    """Whether a row is of a form without votes; a file is of one form, so its first good row decides."""
    try:
        return not any(_form(row, form) in ("votes", "unpaired", "ratings", "steps") for row in _plain(raw, form))
    except ValueError:
        return False


def _plain(raw: files.Raw, form: RowForm | Literal["auto"]) -> list[dict[str, Any]]:
    """The rows that a row amounts to: itself, where its form was said. Raises ValueError."""
    return unfolded(raw.values) if form == "auto" else [raw.values]


def _form(row: Mapping[str, Any], form: RowForm | Literal["auto"]) -> RowForm:
    """The form that was asked for, or that of the row. Raises ValueError."""
    return form_of(row) if form == "auto" else form


def _write(connection: Connection, chunk: Sequence[_Row], report: Report, limits: Limits) -> None:
    """Put a chunk; when it is refused, row by row, so that one bad row costs only itself."""
    if not chunk:
        return
    try:
        with connection.begin_nested():
            done = writing.put(connection, _unknown(connection, chunk))
            writing.grounded(connection, [record for row in chunk if row.ours for record in row.records])
        report.new, report.surplus = report.new + done.new, report.surplus + done.surplus
        report.good += len(chunk)
        return
    except StoreError as error:
        if len(chunk) == 1:
            report.refuse(Bad(chunk[0].file, chunk[0].line, str(error)[:300]), limits)
            return
    for row in chunk:
        _write(connection, [row], report, limits)


def _unknown(connection: Connection, chunk: Sequence[_Row]) -> list[Record]:
    """The records of a chunk; of the prompts and samples of other people's forms only those not there already.

    Elsewhere the same prompt may come with other tags or another source: the first word stands.
    """
    ours = [record for row in chunk if row.ours for record in row.records]
    theirs: dict[str, Record] = {}
    for row in chunk:
        for record in () if row.ours else row.records:
            theirs.setdefault(record.id, record)  # type: ignore[attr-defined]
    known: set[str] = set()
    for kind, of in (("prompt", Prompt), ("sample", Sample)):
        ids = [id for id, record in theirs.items() if isinstance(record, of)]
        known.update(writing.present(connection, schema.RECORDS[kind], ids))
    return [*ours, *(record for id, record in theirs.items() if id not in known)]
