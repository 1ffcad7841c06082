"""What a store knows of a person, and what rests on it: read before anything is taken away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, union

from accord.records import (
    Blob,
    Content,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    Preference,
    Prompt,
    Sample,
    Text,
    Written,
)
from accord.store import lineage, people, schema
from accord.store.errors import Refused
from accord.store.pieces import LEAST, PIECE, pieces
from accord.store.store import Store

ERASED = "erased"
"""Stands for everybody who withdrew, as the annotator of a stone and the source of an emptied sample."""
_feedback, _claim, _learned = schema.feedback.c, schema.claim.c, schema.learned.c
_asked, _prompt, _sample, _version = (schema.RECORDS[kind].c for kind in ("question", "prompt", "sample", "version"))
SHORT = 100
"""Short texts of theirs that are looked for among the words of others, at most."""
TALK = "chat"
"""Source of prompts that somebody typed in a live talk with a model."""


@dataclass(frozen=True)
class Known:
    """All that a store knows of a person, and what rests on it."""

    pseudonym: str
    """What their words are kept under."""
    person: str
    """Id in the table of persons; empty when they never signed in."""
    name: str
    """What they signed in with; empty likewise."""
    feedback: tuple[str, ...]
    """What they said."""
    prompts: tuple[str, ...]
    """Conversations with a model that they led: each turn is a prompt that holds their words."""
    samples: tuple[str, ...]
    """Answers that they, and nobody else, wrote or corrected, and what a model said in those conversations."""
    preferences: tuple[str, ...]
    """Beliefs that rest on their words or on those answers."""
    demonstrations: tuple[str, ...]
    """Demonstrations likewise."""
    versions: dict[str, str]
    """Id -> name of the versions that learned from those, and of all that come from them, in order of making; without
    those that an earlier erasure put aside."""
    questions: int
    """Questions that are open to others again without them."""
    texts: tuple[str, ...]
    """Their own words, of eight signs or more. Not kept."""
    pieces: tuple[str, ...]
    """Parts of those that stand in no answer that they corrected, and in nobody else's note: what can be searched for
    afterwards. Not kept."""
    blobs: tuple[str, ...]
    """Pictures and clips that they alone gave."""


def known(store: Store, who: str) -> Known:
    """What is kept of somebody, by pseudonym or by the name they sign in with. Raises Refused when there is nothing."""
    found = next((one for one in people.People(store).all() if who in (one.name, one.pseudonym)), None)
    pseudonym = found.pseudonym if found else who
    with store.reading() as connection:
        rows = connection.scalars(select(_feedback.payload).where(_feedback.annotator == pseudonym))
        said = [Feedback.model_validate_json(row) for row in rows]
        claimed = connection.scalar(select(_claim.id).where(_claim.annotator == pseudonym).limit(1))
        if (found is None and not said and claimed is None) or pseudonym == ERASED:
            raise Refused(f"nobody of the name or pseudonym {who!r} is known in this store")
        theirs = _said_too(connection, said, pseudonym)
        talks = _talked(connection, pseudonym)
        wrote = [*_written(connection, said, theirs), *_spoken(connection, talks)]
        shared = [content for others in theirs.values() for content in others if content is not None]
        rest = lineage.trace_person(connection, pseudonym)
        preferences = [*rest.preferences, *_about(connection, wrote, "preference")]
        demonstrations = [*rest.demonstrations, *_about(connection, wrote, "demonstration")]
        items = [*preferences, *demonstrations, *(one.id for one in wrote), *(one.id for one in talks)]
        first = dict.fromkeys(rest.versions)
        for part in parts(items):
            first.update(dict.fromkeys(connection.scalars(select(_learned.version).where(_learned.item.in_(part)))))
        taught = [*first, *lineage.descendants(connection, tuple(first))]
        marked = select(schema.taint.c.id).where(schema.taint.c.kind == "version")
        query = select(_version.id, _version.name).where(_version.id.in_(taught), _version.id.not_in(marked))
        standing = select(_feedback.question).where(_feedback.annotator == pseudonym, _feedback.state == "standing")
        every = dict.fromkeys([*(text for one in said for text in _texts(one, shared)), *_typed(talks)])
        texts = tuple(text for text in every if len(text) >= LEAST)
        return Known(
            pseudonym=pseudonym,
            person=found.id if found else "",
            name=found.name if found else "",
            feedback=tuple(one.id for one in said),
            prompts=tuple(one.id for one in talks),
            samples=tuple(one.id for one in wrote),
            preferences=tuple(dict.fromkeys(preferences)),
            demonstrations=tuple(dict.fromkeys(demonstrations)),
            versions={row.id: row.name for row in connection.execute(query.order_by(_version.sequence))},
            questions=len(set(connection.scalars(standing))),
            texts=texts,
            pieces=_pieces(connection, said, texts, pseudonym),
            blobs=_blobs(connection, said, wrote),
        )


# --- what is theirs --------------------------------------------------------------------------------------------


def _texts(said: Feedback, shared: Sequence[Content]) -> Iterable[str]:
    """The words in an answer, but for those that somebody else wrote too."""
    yield said.note
    match said.answer:
        case Critique():
            yield said.answer.text
        case Correction() | Written() if isinstance(said.answer.content, Text) and said.answer.content not in shared:
            yield from (turn.content for turn in said.answer.content.messages)
        case _:
            pass


def _pieces(connection: Connection, said: Sequence[Feedback], texts: Sequence[str], pseudonym: str) -> tuple[str, ...]:
    """Parts of their texts that are surely their own."""
    corrected = {one.answer.sample for one in said if isinstance(one.answer, Correction)}
    before = list[str]()
    for part in parts(corrected):
        for row in connection.scalars(select(_sample.payload).where(_sample.id.in_(part))):
            content = Sample.model_validate_json(row).content
            before += [turn.content for turn in content.messages] if isinstance(content, Text) else []
    found = dict.fromkeys(piece for text in texts for piece in pieces(text, before))
    # What is short others say in the same words: `both are fine` leads to nobody.
    for piece in [one for one in found if len(one) < PIECE][:SHORT]:
        word = json.dumps(piece, ensure_ascii=False)[1:-1]
        others = select(_feedback.id).where(_feedback.payload.contains(word, autoescape=True))
        if connection.scalar(others.where(_feedback.annotator.not_in([pseudonym, ERASED])).limit(1)) is not None:
            del found[piece]
    return tuple(found)


def _given(said: Feedback) -> Content | None:
    """What a person made rather than judged."""
    return said.answer.content if isinstance(said.answer, Correction | Written) else None


def _said_too(connection: Connection, said: Sequence[Feedback], pseudonym: str) -> dict[str, list[Content | None]]:
    """For each prompt that they wrote something for, what others wrote for it."""
    asked = {one.question for one in said if _given(one) is not None}
    found: dict[str, list[Content | None]] = {}
    for part in parts(asked):
        found.update((prompt, []) for prompt in connection.scalars(select(_asked.prompt).where(_asked.id.in_(part))))
    for prompt, theirs in found.items():
        others = select(_feedback.payload).join(schema.RECORDS["question"], _asked.id == _feedback.question)
        rows = connection.scalars(
            others.where(_asked.prompt == prompt, _feedback.annotator.not_in([pseudonym, ERASED]))
        )
        theirs.extend(_given(Feedback.model_validate_json(row)) for row in rows)
    return found


def _written(
    connection: Connection, said: Sequence[Feedback], theirs: Mapping[str, list[Content | None]]
) -> list[Sample]:
    """Samples that were made from their words alone: where somebody else said the same, the words are theirs too."""
    mine = [content for one in said if (content := _given(one)) is not None]
    found = []
    for prompt, others in theirs.items():
        made = _sample.source.in_(("correction", "written"))
        for row in connection.scalars(select(_sample.payload).where(_sample.prompt == prompt, made)):
            one = Sample.model_validate_json(row)
            if one.content in mine and one.content not in others:
                found.append(one)
    return found


def _talked(connection: Connection, pseudonym: str) -> list[Prompt]:
    """Prompts that they typed in live talks: those of questions that were first in their hands."""
    mine = union(
        select(_claim.question).where(_claim.annotator == pseudonym),
        select(_feedback.question).where(_feedback.annotator == pseudonym),
    )
    query = select(_asked.id, _prompt.payload).join(schema.RECORDS["prompt"], _prompt.id == _asked.prompt)
    query = query.where(_prompt.source == TALK, _asked.id.in_(mine.subquery().select()))
    found = []
    for question, payload in connection.execute(query.order_by(_asked.sequence)).all():
        # Ids of claims sort by time; where a lease ran out somebody else may have judged what this one typed.
        first = select(_claim.annotator).where(_claim.question == question).order_by(_claim.id).limit(1)
        if connection.scalar(first) in (pseudonym, None):
            found.append(Prompt.model_validate_json(payload))
    return found


def _spoken(connection: Connection, talks: Sequence[Prompt]) -> list[Sample]:
    """What models said in these talks."""
    found = []
    for part in parts(one.id for one in talks):
        rows = connection.scalars(select(_sample.payload).where(_sample.prompt.in_(part)))
        found += [Sample.model_validate_json(row) for row in rows]
    return found


def _typed(talks: Sequence[Prompt]) -> Iterable[str]:
    """A person's own turns."""
    for one in talks:
        if isinstance(one.content, Text):
            yield from (turn.content for turn in one.content.messages if turn.role == "user")


def _about(connection: Connection, samples: Iterable[Sample], kind: str) -> list[str]:
    """Beliefs of anybody that name one of these samples."""
    by_prompt: dict[str, set[str]] = {}
    for sample in samples:
        by_prompt.setdefault(sample.prompt, set()).add(sample.id)
    found, table = [], schema.RECORDS[kind].c
    for prompt, ids in by_prompt.items():
        for row in connection.scalars(select(table.payload).where(table.prompt == prompt)):
            if kind == "preference":
                pair = Preference.model_validate_json(row)
                found += [pair.id] if {pair.chosen, pair.rejected} & ids else []
            else:
                shown = Demonstration.model_validate_json(row)
                found += [shown.id] if shown.sample in ids else []
    return found


def _blobs(connection: Connection, said: Sequence[Feedback], wrote: Sequence[Sample]) -> tuple[str, ...]:
    """Blobs in their answers that no record of anybody else names."""
    given = {content.sha256 for one in said if isinstance(content := _given(one), Blob)}
    own = {*(one.id for one in said), *(one.id for one in wrote)}
    alone = []
    for digest in sorted(given):
        naming: set[str] = set()
        for kind in ("prompt", "sample", "feedback"):
            table = schema.RECORDS[kind].c
            naming.update(connection.scalars(select(table.id).where(table.payload.contains(digest))))
        if naming <= own:
            alone.append(digest)
    return tuple(alone)


def parts(ids: Iterable[str], size: int = 500) -> Iterable[list[str]]:
    """Lists of at most `size`, as many as one statement takes."""
    every = list(ids)
    return (every[at : at + size] for at in range(0, len(every), size))
