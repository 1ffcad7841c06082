"""Verbs at the gate: records into a project and out of it, without what points at people where that is wanted."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tyro.conf import Positional


def import_(
    files: Positional[tuple[Path, ...]],
    /,
    project: Path = Path("projects/mine"),
    store: str = "",
    form: str = "auto",
    test_share: float = 0.1,
    bad: int = 20,
    again: bool = False,
    scrub: bool = False,
    names: Path | None = None,
    presidio: str = "",
) -> int:
    """Bring records into a project: JSONL, JSONL.gz or Parquet; the forms are those of docs/data.md.

    Good rows are kept, bad ones reported with their line; the same file twice adds nothing, under whatever name.

    Args:
        files: What to read.
        project: Folder of the project; made when it is not there.
        store: Another store: a path, or `postgresql+psycopg://...`.
        form: Form of the rows; `auto` looks at each.
        test_share: Share of prompts put aside for the test.
        bad: How many bad rows of each file are named.
        again: Also read a file whose rows came under another name before; they are then believed twice.
        scrub: Take e-mail, telephone, ids, cards and names out of the texts before anything is kept or shown.
        names: File of further names to take out, one a line; turns --scrub on.
        presidio: Language, as `en`, in which presidio looks for more; turns --scrub on.
    """
    from accord.config import SettingsError
    from accord.store import Store
    from accord.store import scrub as scrubber
    from accord.store.copies import copied, remember
    from accord.store.exchange import import_file
    from accord.store.files import found as named
    from accord.store.near import hint, is_project
    from accord.store.wash import Wash

    if not files:
        raise SettingsError("name at least one file to import: accord import FILE ... [--project DIR]")
    known, finders = scrubber.looked_for(names, presidio)
    if not store:
        if not is_project(project):
            print(f"a new project begins in {project}{hint(project)}", file=sys.stderr)
        project.mkdir(parents=True, exist_ok=True)
    refused = 0
    with Store.open(store or project / "store.db") as opened, TemporaryDirectory(prefix="accord") as aside:
        wash = Wash(opened, known, finders) if scrub or names or presidio else None
        for file in (file for pattern in files for file in named(pattern)):
            if not again and (before := copied(opened, file)):
                print(f"{file}: its rows came as {before!r} before; nothing was added (--again reads them once more)")
                continue
            clean = file if wash is None else wash.file(file, Path(aside))
            found = import_file(opened, clean, form, test_share=test_share)  # type: ignore[arg-type]
            remember(opened, file)
            refused += found.bad_rows
            print(f"{file}: {found.good} of {found.rows} rows used, {found.new} records new")
            if found.surplus:
                print(
                    f"  {found.surplus} of the answers are surplus: kept, but not counted, for the question had all it "
                    "wanted, or one of the same person (docs/data.md)"
                )
            for row in found.bad[: max(0, bad)]:
                print(f"  line {row.line}: {wash.bad.get(row.line, row.reason) if wash else row.reason}")
            if found.bad_rows > max(0, bad):
                print(f"  and {found.bad_rows - max(0, bad)} more bad rows; --bad {found.bad_rows} names them")
        if wash is not None:
            print(scrubber.told(wash.counts))
            if wash.people:
                print(f"annotators who were called by name, kept under pseudonyms (accord people): {len(wash.people)}")
    return 1 if refused else 0


def export(
    file: Positional[Path],
    /,
    project: Path = Path("projects/mine"),
    store: str = "",
    form: str = "accord",
    group: str | None = None,
    scrub: bool = False,
    names: Path | None = None,
    presidio: str = "",
) -> int:
    """Take records out of a project: everything in Accord's own form, or what other trainers read.

    Args:
        file: Where to write; the ending says whether JSONL, JSONL.gz or Parquet.
        project: Folder of the project.
        store: Another store: a path, or `postgresql+psycopg://...`.
        form: `accord`, or `preference`, `completion`, `unpaired` as TRL reads them.
        group: Only the preferences of this group of people (accord believe --groups); "" for those of everybody.
        scrub: Take e-mail, telephone, ids, cards and names out of texts, and name people by a key of this export.
        names: File of further names to take out, one a line; turns --scrub on.
        presidio: Language, as `en`, in which presidio looks for more; turns --scrub on.
    """
    from accord.store import Store
    from accord.store import scrub as scrubber
    from accord.store.cleaning import Cleaner
    from accord.store.export import export as write
    from accord.store.office import Office

    known, finders = scrubber.looked_for(names, presidio)
    with Store.of(project, store) as opened:
        cleaner = Cleaner(opened, known, finders) if scrub or names or presidio else None
        done = write(opened, file, form, group=group, cleaner=cleaner)  # type: ignore[arg-type]
        print(f"{file}: {done.rows} rows" + (f", {done.left_out} left out" if done.left_out else ""))
        if cleaner is not None:
            print(scrubber.told(cleaner.counts))
        Office(opened).note(
            "command line", "export", file.name, form=form, rows=done.rows, scrubbed=cleaner is not None
        )
    return 0
