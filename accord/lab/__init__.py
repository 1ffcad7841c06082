"""A small world whose truth is known."""

from accord.lab.crowd import COMMON, Agreement, Tastes, agreement, ceiling, crowd
from accord.lab.gold import Gold, Judged, Worth
from accord.lab.people import Dials, Person
from accord.lab.reading import FAMILIES
from accord.lab.texts import Quality
from accord.lab.user import Asker
from accord.lab.world import Lab, LabConfig

__all__ = [
    "COMMON",
    "FAMILIES",
    "Agreement",
    "Asker",
    "Dials",
    "Gold",
    "Judged",
    "Lab",
    "LabConfig",
    "Person",
    "Quality",
    "Tastes",
    "Worth",
    "agreement",
    "ceiling",
    "crowd",
]
