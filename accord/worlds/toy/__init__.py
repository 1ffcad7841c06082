"""Worlds without text, torch only: a bandit and a small control task."""

from accord.worlds.toy.bandit import Bandit, BanditConfig
from accord.worlds.toy.control import Control, ControlConfig
from accord.worlds.toy.policy import ToyPolicy

__all__ = ["Bandit", "BanditConfig", "Control", "ControlConfig", "ToyPolicy"]
