"""What a place to answer needs to know: held claims, projects, progress, and the last answers of a project.

Every statement follows an index. Those that count run over one project's index entries and not over texts;
callers that show them often should keep what they got for some seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, func, literal_column, select, update

from accord.records import Feedback, Question, Record
from accord.store import answers, claims, schema, tally, writing
from accord.store.claims import Claim
from accord.store.errors import Missing
from accord.store.prepared import Among, Prepared
from accord.store.repeats import is_repeats
from accord.store.store import Store

_queue, _claim, _feedback = schema.queue.c, schema.claim.c, schema.feedback.c
_asked = schema.RECORDS["question"]
_question = _asked.c
_CLAIMED = (
    select(_question.payload)
    .join(schema.claim, _claim.question == _question.id)
    .where(_claim.id == bindparam("id"), _claim.annotator == bindparam("annotator"))
)

_sample, _prompt = schema.RECORDS["sample"].c, schema.RECORDS["prompt"]
_PAGE = Prepared(
    select(_feedback.sequence, _feedback.payload, _prompt.c.payload)
    .outerjoin(_asked, _question.id == _feedback.question)
    .outerjoin(_prompt, _prompt.c.id == _question.prompt)
    .where(_feedback.project == bindparam("project"), _feedback.state == literal_column("'standing'"))
    .where(_feedback.sequence > bindparam("last"))
    .order_by(_feedback.sequence)
    .limit(bindparam("count"))
)
_SAMPLES = Among(lambda ids: select(_sample.id, _sample.payload).where(_sample.id.in_(ids)))


class Progress(Record):
    """Where the queue of a project stands, in answers."""

    project: str
    """Which queue."""
    questions: int
    """Questions that were put."""
    wanted: int
    """Answers wanted to all of them."""
    answered: int
    """Slots that a standing answer fills."""
    leased: int
    """Slots that somebody holds at this moment."""
    surplus: int
    """Answers that came when no slot was free."""


def projects(store: Store) -> list[str]:
    """Names of all queues, in order, but for those of repeats; as many index look-ups as there are projects."""
    found: list[str] = []
    with store.reading() as connection:
        while True:
            query = select(func.min(_question.project))
            last = connection.scalar(query.where(_question.project > found[-1]) if found else query)
            if last is None:
                return [name for name in found if not is_repeats(name)]
            found.append(last)


def progress(store: Store, project: str) -> Progress:
    """Counts of one project's queue, from counters that are kept; only what is in hand is counted."""
    with store.reading() as connection:
        questions, wanted, people = tally.of_project(connection, project)
        live = select(func.count()).where(_claim.project == project, _claim.state == "live")
        leased = connection.scalar(live) or 0
    return Progress(
        project=project,
        questions=questions,
        wanted=wanted,
        answered=sum(one.answers for one in people),
        leased=leased,
        surplus=sum(one.surplus for one in people),
    )


def said_by(store: Store, project: str) -> list[tally.Count]:
    """What each person has done in a project."""
    with store.reading() as connection:
        return tally.of_project(connection, project)[2]


def done_by(store: Store, annotator: str) -> int:
    """How much one annotator has said that stands or is surplus, over all projects."""
    with store.reading() as connection:
        return tally.of_person(connection, annotator)


def latest(store: Store, project: str, count: int = 2000) -> list[Feedback]:
    """The last standing feedback of a project, newest first."""
    query = select(_feedback.payload).where(_feedback.project == project, _feedback.state == "standing")
    with store.reading() as connection:
        rows = connection.scalars(query.order_by(_feedback.sequence.desc()).limit(count)).all()
    return [Feedback.model_validate_json(row) for row in rows]


def last_of(store: Store, project: str, annotator: str, count: int) -> list[Feedback]:
    """The last standing feedback of one person in a project, newest first."""
    query = select(_feedback.payload).where(_feedback.annotator == annotator, _feedback.project == project)
    query = query.where(_feedback.state == "standing").order_by(_feedback.sequence.desc()).limit(count)
    with store.reading() as connection:
        rows = connection.scalars(query).all()
    return [Feedback.model_validate_json(row) for row in rows]


def said_to(store: Store, questions: Sequence[str]) -> list[Feedback]:
    """What stands of what was said to these questions, by anybody."""
    found = []
    for at in range(0, len(questions), 500):
        here = _feedback.question.in_(questions[at : at + 500])
        with store.reading() as connection:
            rows = connection.scalars(select(_feedback.payload).where(here, _feedback.state == "standing")).all()
        found += [Feedback.model_validate_json(row) for row in rows]
    return found


def open_questions(store: Store, project: str, annotator: str, most: int = 1000) -> int:
    """How many questions the annotator may still meet in the queue; counts no further than `most`."""
    place = select(schema.passed.c.place).where(
        schema.passed.c.project == project, schema.passed.c.annotator == annotator
    )
    with store.reading() as connection:
        start = connection.scalar(place) or 0
        ahead = select(_queue.question).where(_queue.project == project, _queue.open > 0, _queue.place > start)
        return connection.scalar(select(func.count()).select_from(ahead.limit(most).subquery())) or 0


def held(store: Store, annotator: str, project: str, seconds: float, count: int) -> list[Claim]:
    """Live claims of an annotator, oldest first, renewed for so many seconds: what a reloaded page goes on with."""
    now = time.time()
    mine = (_claim.annotator == annotator) & (_claim.project == project) & (_claim.state == "live")
    with store.writing() as connection:
        query = select(_claim.id, _claim.question, _question.payload).join(_asked, _question.id == _claim.question)
        query = query.join(schema.queue, _queue.question == _claim.question).where(mine, _claim.until > now)
        # Ids begin with the millisecond and go on by chance: alone they would change what is in front.
        query = query.order_by(func.substr(_claim.id, 1, 13), _queue.place).limit(count)
        rows = connection.execute(query).all()
        if rows:
            renewed = update(schema.claim).where(_claim.id.in_([row.id for row in rows]))
            connection.execute(renewed.values(until=now + seconds))
    asked = store.ask([Question.model_validate_json(row.payload) for row in rows], annotator)
    return [
        Claim(id=row.id, asked=one, annotator=annotator, until=now + seconds)
        for row, one in zip(rows, asked, strict=True)
    ]


def put_and_hold(store: Store, records: Sequence[Record], question: Question, annotator: str, seconds: float) -> Claim:
    """Put records with a question among them, leased to this annotator before anybody else can see it."""
    until = time.time() + seconds
    with store.writing() as connection:
        writing.put(connection, records)
        id = claims.hold(connection, question, annotator, until)
    (asked,) = store.ask([question], annotator)
    return Claim(id=id, asked=asked, annotator=annotator, until=until)


def holds(store: Store, question: str, annotator: str) -> bool:
    """Whether the annotator has, or had, a claim on the question."""
    query = select(_claim.id).where(_claim.question == question, _claim.annotator == annotator).limit(1)
    with store.reading() as connection:
        return connection.scalar(query) is not None


def claimed(store: Store, claim: str, annotator: str) -> Question:
    """The question under a claim of this annotator. Raises Missing, also when the claim is somebody else's."""
    with store.reading() as connection:
        payload = connection.scalar(_CLAIMED, {"id": claim, "annotator": annotator})
    if payload is None:
        raise Missing("claim", [claim], "take one with `claim`")
    return Question.model_validate_json(payload)


def say(store: Store, claim: str, annotator: str, make: Callable[[Question], Feedback]) -> tuple[Feedback, str]:
    """Answer a claim of this annotator in one transaction: `make` gets the question. What is kept, and its state.

    Raises Missing when the claim is not theirs, what `make` raises, and whatever `Store.answer` raises.
    """
    with store.writing() as connection:
        found = answers.held(connection, claim)
        if found is None or found[0].annotator != annotator:
            raise Missing("claim", [claim], "take one with `claim`")
        said = make(found[1].question)
        kept, _, state = answers.settle(connection, *found, said, time.time())
        return kept, state


def shown(question: Question, annotator: str) -> tuple[str, ...]:
    """Sample ids in the order in which this annotator sees them."""
    return claims.shown(question, annotator)


class Said(NamedTuple):
    """What stands, with what it was said to as it is kept: JSON of records, not yet checked."""

    feedback: Feedback
    prompt: str
    """A `Prompt`."""
    samples: Mapping[str, str]
    """Each `Sample` of the page, by id."""


def pages(store: Store, project: str, named: Callable[[Feedback], Iterable[str]], size: int = 500) -> Iterator[Said]:
    """What stands in a project in the order of its coming, in constant memory; two statements for each page.

    named: the samples whose texts are wanted of each; who names none is passed over. Raises Missing.
    """
    last, full = 0, True
    while full:
        with store.looking() as connection:
            rows = _PAGE.rows(connection, project=project, last=last, count=size)
            said = [(Feedback.model_validate_json(payload), prompt) for _, payload, prompt in rows]
            wanted = [(one, prompt, list(named(one))) for one, prompt in said]
            ids = list(dict.fromkeys(id for _, _, names in wanted for id in names))
            samples: dict[str, str] = dict(_SAMPLES.rows(connection, ids)) if ids else {}
        full, last = len(rows) == size, rows[-1][0] if rows else last
        for one, prompt, names in wanted:
            if names and prompt is None:
                raise Missing("prompt", [one.question], "the prompt of this question is gone")
            if absent := [id for id in names if id not in samples]:
                raise Missing("sample", absent)
            if names:
                yield Said(one, prompt, samples)
