"""A small world whose truth is known."""

from accord.lab.gold import Gold, Judged, Worth
from accord.lab.reading import FAMILIES
from accord.lab.texts import Quality
from accord.lab.world import Lab, LabConfig

__all__ = ["FAMILIES", "Gold", "Judged", "Lab", "LabConfig", "Quality", "Worth"]
