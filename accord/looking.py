"""What those who lead are told of people beyond counts: reliability, taste for length, and what to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accord.records import Feedback, Question
    from accord.web.seen import Seen


def look(questions: Sequence[Question], said: Sequence[Feedback], lengths: Mapping[str, float]) -> dict[str, Seen]:
    """What these answers make likely of each person who voted, by pseudonym. lengths: sample id -> length.

    The same figures as those of `accord people`, over the answers that are given. Evidence for a human: nothing of it
    changes a vote.
    """
    from accord.quality.annotators import reliabilities
    from accord.quality.flags import flags
    from accord.quality.habits import habits, length_flags
    from accord.quality.votes import hear, tabulate
    from accord.web.seen import Seen

    votes = hear(questions, said).votes
    if not votes:
        return {}
    known, tended = reliabilities(tabulate(votes)), habits(votes, lengths, said)
    notes: dict[str, list[tuple[str, str]]] = {}
    for one in [*flags(votes, said), *length_flags(votes, lengths)]:
        notes.setdefault(one.annotator, []).append((one.kind, one.evidence))
    return {
        name: Seen(found.accuracy, tended[name].longer, tended[name].beyond, notes.get(name, []))
        for name, found in known.items()
    }
