"""What is seen of people beyond counts: pace, and what statistics that are handed in make of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accord.records import Feedback, Question, Sample
from accord.web.doors import Room

if TYPE_CHECKING:
    from accord.statistics import Interval

HOUR = 3600.0


@dataclass(frozen=True)
class Seen:
    """What the statistics make of one person; who works it out is handed in (`Room.look`)."""

    reliability: Interval | None = None
    """How often they name the better answer, as all answers together make likely."""
    longer: Interval | None = None
    """Share of decided comparisons that chose the longer answer."""
    beyond: Interval | None = None
    """The same less the share of the others on the very same pairs."""
    notes: Sequence[tuple[str, str]] = ()
    """What a human should look at: kind, and evidence in a sentence."""


def window(said: Sequence[Feedback], most: int) -> float:
    """Seconds before now in which pace is counted: an hour, or what the last `most` answers took when that is less."""
    return min(HOUR, max(1.0, time.time() - said[-1].made)) if len(said) >= most else HOUR


def pace(said: Sequence[Feedback], seconds: float) -> int:
    """Answers an hour, by those of the last `seconds`."""
    since = time.time() - seconds
    return round(sum(one.made >= since for one in said if one.answer is not None) * HOUR / seconds)


def seen(room: Room, project: str, questions: Mapping[str, Question], said: Sequence[Feedback]) -> Mapping[str, Seen]:
    """By pseudonym, by whoever works it out; the lengths of answers are looked up once."""
    if room.look is None:
        return {}
    known: dict[str, float] = room.kept.get(("lengths", project), {})
    wanted = {id for one in questions.values() for id in one.samples}
    lengths = {id: known[id] for id in wanted & known.keys()}
    for id, sample in room.store.get_many(Sample, wanted - known.keys()).items():
        lengths[id] = float(len(sample.content.model_dump_json()))
    room.kept["lengths", project] = lengths
    found: Mapping[str, Seen] = room.look(list(questions.values()), said, lengths)
    return found
