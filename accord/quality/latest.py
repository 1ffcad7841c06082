"""Of beliefs that were made again the last one: a vote teaches once, however often it was asked what to believe."""

from __future__ import annotations

from collections.abc import Sequence

from accord.records import Preference


def latest(beliefs: Sequence[Preference]) -> list[Preference]:
    """Beliefs without those that a later one about the same pair and criterion stands for, in their order.

    A later belief stands for an earlier one when they rest on a common feedback: so beliefs of two groups, of two
    queues, or of an imported file and of people stay beside each other. beliefs: in the order of making.
    """
    last: dict[tuple[str, frozenset[str], str, str], int] = {}
    for at, one in enumerate(beliefs):
        for said in one.feedback:
            last[one.prompt, frozenset((one.chosen, one.rejected)), one.criterion, said] = at
    gone = {
        at
        for at, one in enumerate(beliefs)
        for said in one.feedback
        if last[one.prompt, frozenset((one.chosen, one.rejected)), one.criterion, said] > at
    }
    return [one for at, one in enumerate(beliefs) if at not in gone]
