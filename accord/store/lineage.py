"""Who taught what: from a person to the models, and from a model to the people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Select, select, union

from accord.store import schema
from accord.store.errors import Missing

_rests, _learned = schema.rests.c, schema.learned.c
_version, _feedback = schema.RECORDS["version"].c, schema.feedback.c


@dataclass(frozen=True)
class Lineage:
    """Ids along the way from people to models."""

    annotators: tuple[str, ...]
    """Whose word it is, in alphabetical order."""
    feedback: tuple[str, ...]
    """What was said, also what was taken back later."""
    preferences: tuple[str, ...]
    """Beliefs that rest on it."""
    demonstrations: tuple[str, ...]
    """Demonstrations that rest on it."""
    versions: tuple[str, ...]
    """Of a person: versions that learned from those beliefs. Of a version: itself."""
    related: tuple[str, ...]
    """Of a person: further versions that come from those. Of a version: those that it comes from."""
    tainted: tuple[str, ...] = ()
    """Versions among these, and beliefs that they learned from, that rest on a word which was erased since."""


def trace_person(connection: Connection, annotator: str) -> Lineage:
    """Everything that rests on what one annotator said.

    A version comes from another when it names it as `parent`, or in `data` (as a policy names its reward model).
    """
    said = select(_feedback.id).where(_feedback.annotator == annotator)
    beliefs = select(_rests.belief).join(schema.feedback, _feedback.id == _rests.feedback)
    beliefs = beliefs.where(_feedback.annotator == annotator)
    # What a person said can also be learned from directly.
    items = union(beliefs, said).subquery().select()
    first = _in_order(connection, "version", select(_learned.version).where(_learned.item.in_(items)))
    feedback = _in_order(connection, "feedback", said)
    return Lineage(
        annotators=(annotator,) if feedback else (),
        feedback=feedback,
        preferences=_in_order(connection, "preference", beliefs),
        demonstrations=_in_order(connection, "demonstration", beliefs),
        versions=first,
        related=(further := descendants(connection, first)),
        tainted=tainted(connection, [*first, *further]),
    )


def trace_version(connection: Connection, id: str) -> Lineage:
    """Everything that a version rests on, through all versions that it comes from. Raises Missing."""
    if connection.scalar(select(_version.id).where(_version.id == id)) is None:
        raise Missing("version", [id])
    elders = _closure(connection, (id,), _elders)
    items = select(_learned.item).where(_learned.version.in_([id, *elders]))
    said = union(select(_rests.feedback).where(_rests.belief.in_(items)), items).subquery().select()
    annotators = select(_feedback.annotator).where(_feedback.id.in_(said)).distinct()
    return Lineage(
        annotators=tuple(sorted(connection.scalars(annotators))),
        feedback=_in_order(connection, "feedback", said),
        preferences=_in_order(connection, "preference", items),
        demonstrations=_in_order(connection, "demonstration", items),
        versions=(id,),
        related=elders,
        tainted=tainted(connection, [id, *elders]),
    )


def tainted(connection: Connection, versions: Sequence[str]) -> tuple[str, ...]:
    """Those of the versions, and of what they learned from, that rest on an erased word; sorted."""
    items = select(_learned.item).where(_learned.version.in_(versions))
    marked = schema.taint.c.id.in_(versions) | schema.taint.c.id.in_(items)
    return tuple(sorted(connection.scalars(select(schema.taint.c.id).where(marked))))


def descendants(connection: Connection, versions: Sequence[str]) -> tuple[str, ...]:
    """Versions that come from these in any number of steps, without these."""
    return _closure(connection, versions, _children)


def _children(of: list[str]) -> tuple[Select[tuple[str]], ...]:
    """Versions that come from these in one step."""
    return (
        select(_version.id).where(_version.parent.in_(of)),
        select(_learned.version).where(_learned.item.in_(of)),
    )


def _elders(of: list[str]) -> tuple[Select[tuple[str]], ...]:
    """Versions that these come from in one step."""
    teachers = select(_version.id).join(schema.learned, _learned.item == _version.id)
    return (
        select(_version.parent).where(_version.id.in_(of), _version.parent.is_not(None)),
        teachers.where(_learned.version.in_(of)),
    )


def _closure(
    connection: Connection, start: Sequence[str], step: Callable[[list[str]], tuple[Select[tuple[str]], ...]]
) -> tuple[str, ...]:
    """Versions reached from `start` in any number of steps, without `start`, nearest first.

    Step by step rather than by a recursive query: versions are few, and a family with a loop in it still ends.
    """
    found: dict[str, None] = dict.fromkeys(start)
    edge = list(found)
    while edge:
        reached: dict[str, None] = {}
        for at in range(0, len(edge), 500):
            for query in step(edge[at : at + 500]):
                reached.update(dict.fromkeys(connection.scalars(query)))
        edge = [id for id in reached if id not in found]
        found.update(dict.fromkeys(edge))
    begin = set(start)
    return tuple(id for id in found if id not in begin)


def _in_order(connection: Connection, kind: str, ids: Select[tuple[str]]) -> tuple[str, ...]:
    """Those of `ids` that are records of this kind, in the order of insertion."""
    table = schema.RECORDS[kind].c
    return tuple(connection.scalars(select(table.id).where(table.id.in_(ids)).order_by(table.sequence)))
