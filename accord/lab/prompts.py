"""What users ask: seven families, many phrasings each, some of which are never trained on."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from accord.lab import language
from accord.lab.atlas import Atlas, Fact
from accord.lab.reading import FAMILIES, Family


@dataclass(frozen=True)
class Asking:
    """A conversation up to the turn that is to be answered, and how it was put."""

    turns: tuple[str, ...]
    """What is said, the user first and last, the assistant between."""
    family: Family
    phrasing: str
    """Family and number of the phrasing, as in `fact/3`; held-out ones as in `fact/held-1`."""


def ask(atlas: Atlas, family: Family, held_out: bool, standings: dict[str, float], draw: random.Random) -> Asking:
    """One question of a family, in a phrasing that is trained on or in one that is held out."""
    turns, number = _WRITERS[family](atlas, held_out, standings, draw)
    name = f"{family}/{'held-' if held_out else ''}{number}"
    greeting, thanks = draw.choice(language.GREETINGS), draw.choice(language.THANKS)
    last = " ".join(part for part in (greeting, turns[-1], thanks) if part)
    return Asking((*turns[:-1], last), family, name)


def some_fact(atlas: Atlas, standings: dict[str, float], draw: random.Random) -> Fact:
    """A fact, of each standing as often as its share says."""
    standing = draw.choices(list(standings), list(standings.values()))[0]
    return draw.choice([fact for fact in atlas.facts.values() if fact.standing == standing])


Written = tuple[tuple[str, ...], int]


def _pick(texts: tuple[str, ...], draw: random.Random) -> tuple[int, str]:
    return draw.choice(list(enumerate(texts)))


def _questions(held_out: bool) -> tuple[str, ...]:
    return language.HELD_OUT_QUESTIONS if held_out else language.QUESTIONS


def _fill(template: str, forms: dict[str, str], **slots: str) -> str:
    return template.format(**forms).format(**slots)


def _fact(atlas: Atlas, held_out: bool, standings: dict[str, float], draw: random.Random) -> Written:
    fact = some_fact(atlas, standings, draw)
    number, template = _pick(_questions(held_out), draw)
    return (_fill(template, language.FACT_FORMS[fact.attribute], e=fact.entity),), number


def _unanswerable(atlas: Atlas, held_out: bool, standings: dict[str, float], draw: random.Random) -> Written:
    number, template = _pick(_questions(held_out), draw)
    forms = language.UNKNOWN_FORMS[draw.choice(list(language.UNKNOWN_FORMS))]
    return (_fill(template, forms, e=some_fact(atlas, standings, draw).entity),), number


def _request(unsafe: bool) -> Callable[[Atlas, bool, dict[str, float], random.Random], Written]:
    def write(atlas: Atlas, held_out: bool, standings: dict[str, float], draw: random.Random) -> Written:
        number, template = _pick(language.HELD_OUT_REQUESTS if held_out else language.REQUESTS, draw)
        action = draw.choice([action for action in atlas.actions.values() if action.unsafe == unsafe])
        return (template.format(A=action.words),), number

    return write


def _belief(atlas: Atlas, held_out: bool, standings: dict[str, float], draw: random.Random) -> Written:
    fact = some_fact(atlas, standings, draw)
    others = [value for value in language.VALUES[fact.attribute] if value != fact.value]
    value = fact.value if draw.random() < 0.5 else draw.choice(others)
    claim = language.CLAIMS[fact.attribute][draw.randrange(2)].format(e=fact.entity, v=value)
    beliefs = language.HELD_OUT_BELIEFS if held_out else language.BELIEFS
    stated, template = _pick(beliefs, draw)
    number, question = _pick(_questions(held_out), draw)
    asked = _fill(question, language.FACT_FORMS[fact.attribute], e=fact.entity)
    return (f"{template.format(claim=claim)} {asked}",), stated * 100 + number


def _follow_up(atlas: Atlas, held_out: bool, standings: dict[str, float], draw: random.Random) -> Written:
    fact = some_fact(atlas, standings, draw)
    other = atlas.facts[fact.entity, draw.choice([name for name in language.VALUES if name != fact.attribute])]
    _, first = _pick(_questions(held_out), draw)
    known = other.standing != "absent" and draw.random() < 0.8
    value = other.value if known else draw.choice(language.VALUES[other.attribute])
    reply = draw.choice(language.CLAIMS[other.attribute]).format(e=fact.entity, v=value) + " ."
    number, template = _pick(language.HELD_OUT_FOLLOW_UPS if held_out else language.FOLLOW_UPS, draw)
    opening = _fill(first, language.FACT_FORMS[other.attribute], e=fact.entity)
    return (opening, reply, template.format(**language.ITS_FORMS[fact.attribute])), number


def _advice(atlas: Atlas, held_out: bool, standings: dict[str, float], draw: random.Random) -> Written:
    number, template = _pick(language.HELD_OUT_TROUBLES if held_out else language.TROUBLES, draw)
    return (template.format(p=draw.choice(language.PERSONS), f=draw.choice(language.FEELINGS)),), number


_WRITERS: dict[str, Callable[[Atlas, bool, dict[str, float], random.Random], Written]] = {
    "fact": _fact,
    "unanswerable": _unanswerable,
    "unsafe": _request(True),
    "lookalike": _request(False),
    "belief": _belief,
    "followup": _follow_up,
    "advice": _advice,
}
assert set(_WRITERS) == set(FAMILIES)
