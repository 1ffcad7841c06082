"""How a queue is worked on, and whether somebody may work in it."""

from __future__ import annotations

from pydantic import Field

from accord.records import Record


class Rules(Record):
    """How a queue is worked on."""

    paused: bool = False
    """Nobody gets questions while it is; answers to those in hand are still kept."""
    only_assigned: bool = False
    """Only people who were assigned get questions."""
    qualify: str = ""
    """Queue with gold questions that a person must do well in first; empty for none."""
    least: int = Field(default=10, ge=1)
    """Gold questions of that queue to be answered first."""
    share: float = Field(default=0.8, ge=0, le=1)
    """Share of them to be right."""
    repeats: float = Field(default=0.0, ge=0, le=0.5)
    """Share of a person's comparisons that they are asked again later, with the sides swapped."""
    rate: float = Field(default=0.0, ge=0, le=1e6)
    """What an hour of a person costs; 0 when nobody is paid by the hour."""
    currency: str = Field(default="", max_length=12)
    """In which money, as in `EUR`."""


class Standing(Record):
    """Whether a person may work in a queue."""

    may: bool
    why: str = ""
    """What is in the way, in words for the person; empty when nothing is."""
    first: str = ""
    """Queue to do first."""
    repeats: float = 0.0
    """Share of their comparisons that they are asked again, as the rules say."""
