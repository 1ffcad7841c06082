"""Verbs about people: who they are, whom they taught, and forgetting them."""

from __future__ import annotations

import math
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from accord.store import Store


DOOR = "command line"
"""Who did it, in the audit log, when it was done from a shell."""


def people(
    act: Positional[Literal["list", "add", "pause", "resume", "withdraw"]] = "list",
    names: Positional[tuple[str, ...]] = (),
    /,
    project: Path = Path("quickstart"),
    store: str = "",
    queue: str = "",
    role: Literal["owner", "manager", "annotator", "auditor"] = "annotator",
) -> int:
    """List people with their figures, add them, or let them rest.

    The list: answers; agreement with most of the others; reliability (what all together make likely); share of votes
    for the answer shown first and for the longer one, each with its 95 % interval; and what a human should look at.
    Nothing of it changes a vote.

    Args:
        act: `list`; `add` (accord serve --link NAME then lets them in); `pause` (they cannot come in), `resume`;
            `withdraw` (pauses, and says what `accord erase` would do).
        names: Names, or pseudonyms.
        project: Folder of the project.
        store: Another store: a path, or `postgresql+psycopg://...`.
        queue: Only what was said in this queue.
        role: Of those who are added.
    """
    from accord.config import SettingsError
    from accord.store import Store
    from accord.store.near import hint, is_project
    from accord.store.office import Office
    from accord.store.people import People

    if act == "add" and not store:
        if not is_project(project):
            print(f"a new project begins in {project}{hint(project)}", file=sys.stderr)
        project.mkdir(parents=True, exist_ok=True)
    with Store.open(project / "store.db") if act == "add" and not store else Store.of(project, store) as opened:
        everybody, office = People(opened), Office(opened)
        if act == "list":
            return _list(opened, queue, names)
        if not names:
            raise SettingsError(f"accord people {act} NAME ...: whom?")
        for name in names:
            if act == "add":
                made = everybody.add(name, role)
                office.note(DOOR, "add person", made.pseudonym, role=role)
                print(f"{name}: {role}, known as {made.pseudonym}")
                continue
            found = next((one for one in everybody.all() if name in (one.name, one.pseudonym)), None)
            if found is None:
                raise SettingsError(f"nobody called {name!r} signs in here; `accord people` lists everybody")
            everybody.set_active(found.id, act == "resume")
            office.note(DOOR, "let in" if act == "resume" else "pause person", found.pseudonym)
            print(f"{name}: {'may come in again' if act == 'resume' else 'cannot come in any more'}")
            if act == "withdraw":
                print(f"what they said stands; what rests on it: accord erase {shlex.quote(name)} --project {project}")
    return 0


def erase(
    person: Positional[str],
    /,
    project: Path = Path("quickstart"),
    store: str = "",
    unlink: bool = False,
    withdraw: bool = False,
) -> int:
    """Forget a person. Without an option only tells what would be done.

    Args:
        person: Name or pseudonym.
        project: Folder of the project.
        store: Another store: a path, or `postgresql+psycopg://...`.
        unlink: Keep what they said under a fresh pseudonym that nothing leads to, and remove the name.
        withdraw: Take away what they said and every belief that rests on it; mark the models and put them aside.
    """
    from accord.config import SettingsError
    from accord.store import Store, erasure
    from accord.store.belongings import known
    from accord.store.office import Office
    from accord.store.traces import in_files, left

    if unlink and withdraw:
        raise SettingsError("--unlink keeps what they said and --withdraw takes it away: give one of the two")
    with Store.of(project, store) as opened:
        if erasure.finish(opened):
            print("an erasure that had been interrupted is finished: the file was written anew")
        who = known(opened, person)
        texts, beliefs = len(who.prompts) + len(who.samples), f"{len(who.preferences)} preferences"
        print(
            f"{person}: {len(who.feedback)} answers, {texts} texts of their own, {beliefs}, "
            f"{len(who.demonstrations)} demonstrations, {len(who.versions)} models rest on them"
        )
        for name in who.versions.values():
            print(f"  taught: {name}")
        if not unlink and not withdraw:
            for one in in_files(project, who):
                if not one.path.name.startswith("store.db"):
                    print(f"  stands in: {one.path}{f' (not looked into: {one.why})' if one.why else ''}")
            print("nothing was done; --unlink keeps what they said without the name, --withdraw takes it away")
            return 0
        office = Office(opened)
        if unlink:
            fresh = erasure.unlink(opened, who)
            print(f"unlinked: what they said stands as {fresh}")
            office.note(DOOR, "unlink", fresh, answers=len(who.feedback))
        else:
            aside = erasure.withdraw(opened, who)
            for old, new in aside.items():
                _move(project, old, new)
                print(f"  tainted: {old}, put aside as {new}")
            print(f"withdrawn; {who.questions} questions are open for others again")
            office.note(
                DOOR, "withdraw person", answers=len(who.feedback), beliefs=len(who.preferences), models=len(aside)
            )
            if aside:
                print(
                    f"make these again from the rest: {', '.join(aside)} (the command that made them, as accord loop)"
                )
        held = left(opened, who) if withdraw else []
        files = in_files(project, who, texts=withdraw)
    for place in [*held, *(str(one.path) for one in files if not one.why)]:
        print(f"  still there: {place}")
    for one in files:
        if one.why:
            print(f"  not looked into: {one.path} ({one.why})")
    print(
        "found nowhere else in this project" if not held and not files else "remove or make again what is named above"
    )
    return 1 if held else 0


def trace(name: Positional[str], /, project: Path = Path("quickstart"), store: str = "", most: int = 50) -> int:
    """Who taught a version and with what, or which data sets and versions rest on a person.

    Args:
        name: Name of a version; or name or pseudonym of a person.
        project: Folder of the project.
        store: Another store: a path, or `postgresql+psycopg://...`.
        most: How many names of a kind are shown.
    """
    from accord.config import SettingsError
    from accord.records import Version
    from accord.store import Store
    from accord.store.people import People

    with Store.of(project, store) as opened:
        every = {one.id: one for one in opened.all(Version)}
        version = next((one for one in every.values() if one.name == name), None)
        person = next((one.pseudonym for one in People(opened).all() if name in (one.name, one.pseudonym)), name)
        found = opened.trace_version(version.id) if version else opened.trace_person(person)
    if version is None and person == name and not found.feedback:
        names = ", ".join(one.name for one in every.values()) or "none"
        raise SettingsError(f"{name!r} is no version (there are: {names}) and nobody of that name answered")
    for kind, ids in vars(found).items():
        shown = sorted(ids if kind == "annotators" else ())
        if kind in ("versions", "related"):
            shown = sorted(every[id].name for id in ids)
        more = f" and {len(shown) - most} more" if len(shown) > most else ""
        print(f"{kind}: {len(ids)}  {', '.join(shown[:most])}{more}".rstrip())
    rests = {*found.feedback, *found.preferences, *found.demonstrations}
    for id in dict.fromkeys([*found.versions, *found.related]):
        made = every[id]
        items = len(rests & set(made.data))
        if items:
            print(f"data set of {made.name}: {items} of {len(made.data)} items, digest {made.data_digest[:12] or '-'}")
    return 0


# --- parts -----------------------------------------------------------------------------------------------------


def _list(store: Store, queue: str, only: Sequence[str]) -> int:
    """Everybody who signs in or answered, and what a human should look at."""
    from accord.measured import said_in
    from accord.quality.annotators import reliabilities
    from accord.quality.flags import flags
    from accord.quality.habits import habits, length_flags
    from accord.quality.votes import hear, tabulate
    from accord.records import Sample
    from accord.store.people import People

    questions, said = said_in(store, queue)
    votes = hear(questions, said).votes
    lengths = {one.id: float(len(one.content.model_dump_json())) for one in store.get_many(
        Sample, {id for question in questions for id in question.samples}).values()}  # fmt: skip
    known, tended = reliabilities(tabulate(votes)), habits(votes, lengths, said)
    names = {one.pseudonym: one for one in People(store).all()}
    answers = Counter(one.annotator for one in said if one.answer is not None)
    rows = [("person", "name", "state", "answers", "with most", "reliability", "worth", "left", "longer", "seconds")]
    for who in [*names, *(one for one in answers if one not in names)]:
        here, rel, habit = names.get(who), known.get(who), tended.get(who)
        if only and not {who, here.name if here else ""} & set(only):
            continue
        rows.append(
            (
                who,
                here.name if here else "",
                "" if here is None else here.role if here.active else "paused",
                str(answers[who]),
                habit.agrees.percent() if habit else "",
                rel.accuracy.percent() if rel else "",
                f"{rel.effective:.1f}" if rel else "",
                rel.left.percent() if rel else "",
                habit.longer.percent() if habit else "",
                "" if habit is None or math.isnan(habit.seconds) else f"{habit.seconds:.1f}",
            )
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    print(
        "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
        )
    )
    shown = [one for one in [*flags(votes, said), *length_flags(votes, lengths)] if not only or one.annotator in only]
    print("\nto look at (a human decides; nothing was changed):" if shown else "\nnothing to look at")
    for one in shown:
        print(f"  {one.annotator}: {one.kind}: {one.evidence}")
    return 0


def _move(project: Path, old: str, new: str) -> None:
    """Weights and run of a version out of the way of the one that is made again."""
    if old in ("", ".", "..") or Path(old).name != old:
        return  # a name that came with a file and would lead out of the project: nothing of ours lies there
    for kind in ("versions", "runs"):
        there, aside = project / kind / old, project / kind / new
        if there.exists() and not aside.exists():
            there.rename(aside)
