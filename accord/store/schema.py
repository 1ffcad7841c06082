"""The tables: one for each kind of record, the links between them, and the queue of open questions.

A record is kept whole as JSON in `payload`; beside it stand only those fields that queries need. Rows are never
changed, but for `feedback.state` (what became of an answer), `claim` and `queue`, which are about work in hand,
`tally`, which counts, and by an erasure (erasure.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import BigInteger, Column, Float, Index, Integer, MetaData, String, Table, Text

SCHEMA = 3
"""Version of these tables. An older store is brought up step by step (`steps.py`), a newer one is not opened."""

metadata = MetaData()
_Count = BigInteger().with_variant(Integer, "sqlite")

INDEXED: Mapping[str, tuple[str, ...]] = {
    "prompt": ("split", "source"),
    "sample": ("prompt", "version", "source"),
    "question": ("project", "prompt"),
    "feedback": ("question", "annotator", "project", "replaces"),
    "preference": ("prompt", "group"),
    "demonstration": ("prompt",),
    "version": ("name", "role", "parent"),
}
"""Fields that `all` and `count` can select by; each has an index that ends with the order of insertion."""


def _kept(kind: str, *more: Column[str]) -> Table:
    """A table of records: order of insertion, id, content, and the fields to select by."""
    fields = [Column(name, String, index=False) for name in INDEXED[kind]]
    table = Table(
        kind,
        metadata,
        Column("sequence", _Count, primary_key=True, autoincrement=True),
        Column("id", String, nullable=False, unique=True),
        *fields,
        *more,
        Column("payload", Text, nullable=False),
        sqlite_autoincrement=True,
    )
    for field in fields:
        Index(f"{kind}_by_{field.name}", field, table.c.sequence)
    return table


feedback = _kept("feedback", Column("state", String, nullable=False))
"""`state`: `standing`, `replaced`, `surplus`, `withdrawal` (a feedback that only takes another back), or `erased` (a
stone where somebody's word stood, so that an old export cannot bring it back)."""
Index("feedback_by_project_and_state", feedback.c.project, feedback.c.state, feedback.c.sequence)
Index("feedback_by_question_and_annotator", feedback.c.question, feedback.c.annotator)

RECORDS: Mapping[str, Table] = {kind: feedback if kind == "feedback" else _kept(kind) for kind in INDEXED}
"""The table of each kind."""

rests = Table(
    "rests",
    metadata,
    Column("belief", String, primary_key=True),
    Column("feedback", String, primary_key=True),
    Column("kind", String, nullable=False),
)
"""Which belief (`kind` preference or demonstration) rests on which feedback."""
Index("rests_by_feedback", rests.c.feedback)

learned = Table(
    "learned",
    metadata,
    Column("version", String, primary_key=True),
    Column("item", String, primary_key=True),
)
"""Which version learned from which belief, prompt or other version."""
Index("learned_by_item", learned.c.item)

taint = Table(
    "taint",
    metadata,
    Column("kind", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("at", Float, nullable=False),
)
"""What rested on an erased word: beliefs, whose rows are gone, and versions, which stand but should be made again."""

queue = Table(
    "queue",
    metadata,
    Column("question", String, primary_key=True),
    Column("project", String, nullable=False),
    Column("place", _Count, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("answers", Integer, nullable=False),
    Column("leases", Integer, nullable=False),
    Column("open", Integer, nullable=False),
)
"""Where each question stands. `open` = wanted - answers - leases; `place` grows whenever a slot comes back."""
Index("queue_open", queue.c.project, queue.c.place, sqlite_where=queue.c.open > 0, postgresql_where=queue.c.open > 0)

claim = Table(
    "claim",
    metadata,
    Column("id", String, primary_key=True),
    Column("question", String, nullable=False),
    Column("annotator", String, nullable=False),
    Column("project", String, nullable=False),
    Column("until", Float, nullable=False),
    Column("state", String, nullable=False),
    Column("feedback", String),
)
"""Leases. `state`: `live`, `expired`, `released` or `answered`; `feedback`: the last answer given under it."""
Index("claim_live", claim.c.until, sqlite_where=claim.c.state == "live", postgresql_where=claim.c.state == "live")
claim_of_annotator = Index(
    "claim_of_annotator",
    claim.c.annotator,
    claim.c.project,
    claim.c.id,
    sqlite_where=claim.c.state == "live",
    postgresql_where=claim.c.state == "live",
)
"""Since version 2: what one person holds, without a look at what everybody holds."""
Index("claim_by_question_and_annotator", claim.c.question, claim.c.annotator)

passed = Table(
    "passed",
    metadata,
    Column("project", String, primary_key=True),
    Column("annotator", String, primary_key=True),
    Column("place", _Count, nullable=False),
)
"""How far each annotator has come: every open question up to this place has been with them."""

tally = Table(
    "tally",
    metadata,
    Column("project", String, primary_key=True),
    Column("annotator", String, primary_key=True),
    Column("questions", _Count, nullable=False),
    Column("wanted", _Count, nullable=False),
    Column("answers", _Count, nullable=False),
    Column("standing", _Count, nullable=False),
    Column("surplus", _Count, nullable=False),
    Column("given", _Count, nullable=False),
    Column("seconds", Float, nullable=False),
)
"""Since version 3: what was asked in a project (annotator `""`), and what each person did in it (see `tally.py`)."""
Index("tally_by_annotator", tally.c.annotator)

meta = Table("meta", metadata, Column("name", String, primary_key=True), Column("value", _Count, nullable=False))
"""`schema`: version of the tables. `place`: the last place given out."""
