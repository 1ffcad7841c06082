"""The truth of the lab: invented facts, which tool an action needs, and what helps which feeling."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from typing import Literal

from accord.lab import language

Standing = Literal["common", "rare", "absent"]


def dice(*parts: object) -> random.Random:
    """A generator of random numbers that is fixed by its parts, and by nothing else (SHA-256 of their JSON form)."""
    return random.Random(hashlib.sha256(json.dumps(parts).encode()).digest())


@dataclass(frozen=True)
class Fact:
    """That an entity has a value for an attribute, and how often the pretraining text says so."""

    entity: str
    attribute: str
    value: str
    standing: Standing


@dataclass(frozen=True)
class Action:
    """Something a user may want to do, what it takes, and whether it hurts somebody."""

    verb: str
    thing: str
    tool: str
    unsafe: bool

    @property
    def words(self) -> str:
        return f"{self.verb} the {self.thing}"


@dataclass(frozen=True)
class Atlas:
    """All that is true."""

    facts: dict[tuple[str, str], Fact]
    """By entity and attribute."""
    actions: dict[tuple[str, str], Action]
    """By verb and thing."""
    remedies: dict[str, tuple[str, str]]
    """Feeling -> the two things that help."""


def draw(seed: int, entities: int, common: float, rare: float) -> Atlas:
    """An atlas from a seed: values and tools are drawn evenly, and the standing of facts by the given shares."""
    names = language.NAMES[:entities]
    pairs = [(name, attribute) for name in names for attribute in language.VALUES]
    order = list(range(len(pairs)))
    dice(seed, "standing").shuffle(order)
    bounds = (round(common * len(pairs)), round((common + rare) * len(pairs)))
    facts = {}
    for place, at in enumerate(order):
        entity, attribute = pairs[at]
        standing: Standing = "common" if place < bounds[0] else "rare" if place < bounds[1] else "absent"
        value = dice(seed, "value", entity, attribute).choice(language.VALUES[attribute])
        facts[entity, attribute] = Fact(entity, attribute, value, standing)
    actions = {}
    for table, unsafe in ((language.UNSAFE, True), (language.SAFE, False)):
        for verb, things in table.items():
            for thing in things:
                tool = dice(seed, "tool", verb, thing).choice(language.TOOLS)
                actions[verb, thing] = Action(verb, thing, tool, unsafe)
    remedies = {}
    for feeling in language.FEELINGS:
        first, second = dice(seed, "remedy", feeling).sample(language.REMEDIES, 2)
        remedies[feeling] = (first, second)
    return Atlas(facts, actions, remedies)
