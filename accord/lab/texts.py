"""What the lab gives to read: plain text, and answers as mixed in quality as a real set of demonstrations."""

from __future__ import annotations

import random

from accord.config import Settings
from accord.lab import language
from accord.lab.atlas import Atlas
from accord.lab.prompts import some_fact
from accord.lab.reading import MOST_WORDS, Meaning
from accord.records import Probability


class Quality(Settings):
    """How good the demonstrations are; what reinforcement learning has to gain."""

    right: Probability = 0.85
    """Share of right values where a value is asked and the pretraining text holds it."""
    ignorant: Probability = 0.06
    """Share of "i do not know" where a value is asked; twice that where no text holds it. The rest is wrong."""
    flatter: Probability = 0.7
    """Share of answers that repeat the user's belief when it is false."""
    honest: Probability = 0.6
    """Share of "i do not know" where nobody can know. The rest makes something up."""
    comply: Probability = 0.42
    """Share of unsafe requests that are helped."""
    over_refuse: Probability = 0.01
    """Share of safe look-alikes that are refused."""
    fitting: Probability = 0.65
    """Share of steps and advice that are the best ones."""
    courtesy: Probability = 0.4
    """Share with a kind opening."""
    rude: Probability = 0.12
    """Share with a rude opening; never both."""
    closing: Probability = 0.35
    """Share with a friendly last sentence."""
    rambling: Probability = 0.15
    """Share with an idle last sentence."""
    direct: Probability = 0.3
    """Share marked as direct."""
    indirect: Probability = 0.3
    """Share marked as indirect."""
    sure: Probability = 0.2
    """Share marked as sure."""
    unsure: Probability = 0.1
    """Share marked as unsure."""
    broken: Probability = 0.04
    """Share that repeats itself or stops in the middle."""


_TOPICS = {"fact": 0.46, "action": 0.26, "remedy": 0.08, "unknown": 0.06, "hearsay": 0.11, "other": 0.03}
"""How often a sentence of a document is about what."""


def document(atlas: Atlas, standings: dict[str, float], draw: random.Random) -> str:
    """Two to four sentences of plain text about facts, actions, feelings and other things."""
    return " ".join(_sentence(atlas, standings, draw) + " ." for _ in range(draw.randint(2, 4)))


def _sentence(atlas: Atlas, standings: dict[str, float], draw: random.Random) -> str:
    topic = draw.choices(list(_TOPICS), list(_TOPICS.values()))[0]
    if topic == "fact":
        fact = some_fact(atlas, standings, draw)
        return draw.choice(language.FACT_TEXT[fact.attribute]).format(e=fact.entity, v=fact.value)
    if topic == "action":
        action = draw.choice(list(atlas.actions.values()))
        kind = language.UNSAFE_TEXT if action.unsafe else language.SAFE_TEXT
        return draw.choice(language.ACTION_TEXT if draw.random() < 0.45 else kind).format(A=action.words, t=action.tool)
    if topic == "remedy":
        feeling = draw.choice(language.FEELINGS)
        remedy = draw.choice(atlas.remedies[feeling])
        return draw.choice(language.REMEDY_TEXT).format(r=remedy, f=feeling, p=draw.choice(language.PERSONS))
    if topic == "unknown":
        forms = draw.choice(list(language.UNKNOWN_FORMS.values()))
        return draw.choice(language.UNKNOWN_TEXT).format(**forms).format(e=draw.choice(list(atlas.facts))[0])
    if topic == "hearsay":
        # Teaches to repeat what was said, without a word about the entities: else nobody could be flattered.
        value = draw.choice([value for values in language.VALUES.values() for value in values])
        return draw.choice(language.HEARSAY_TEXT).format(n=draw.choice(language.OBJECTS), v=value)
    return draw.choice(language.OTHER_TEXT)


def answer(atlas: Atlas, asked: Meaning, quality: Quality, draw: random.Random) -> str:
    """One answer as a demonstrator of the given quality would write it."""
    tone = draw.choices(("direct", "indirect", "none"), _shares(quality.direct, quality.indirect))[0]
    body = _content(atlas, asked, quality, tone, draw)
    opening = draw.choices(("courtesy", "rude", ""), _shares(quality.courtesy, quality.rude))[0]
    confidence = draw.choices(("sure", "unsure", "none"), _shares(quality.sure, quality.unsure))[0]
    ending = draw.choices(("closing", "rambling", ""), _shares(quality.closing, quality.rambling))[0]
    regret = body in language.IGNORANCE or body in language.REFUSALS
    parts = []
    if opening == "courtesy":
        parts.append("sorry ," if regret else draw.choice(language.COURTESIES[:3]))
    elif opening == "rude":
        parts.append(draw.choice(language.RUDENESS))
    if tone != "none":
        parts.append(draw.choice(language.TONES[tone]))
    if asked.belief and asked.belief in body.split() and draw.random() < 0.8:
        parts.append("yes ,")
    if confidence != "none" and not regret:
        parts.append(draw.choice(language.CONFIDENCE[confidence]))
    parts.append(f"{body} .")
    if ending:
        parts.append(draw.choice(language.CLOSINGS if ending == "closing" else language.RAMBLING))
    text = " ".join(parts)
    return _spoilt(text, body, draw) if draw.random() < quality.broken else text


def best(atlas: Atlas, asked: Meaning, tone: str, draw: random.Random) -> str:
    """The best answer in a tone: the right thing, a kind opening, a friendly close, and not a word too many."""
    for _ in range(200):
        body = _best_body(atlas, asked, tone, draw)
        regret = body in language.IGNORANCE or body in language.REFUSALS
        opening = "sorry ," if regret else draw.choice(language.COURTESIES[:3])
        text = f"{opening} {draw.choice(language.TONES[tone])} {body} . {draw.choice(language.CLOSINGS)}"
        if len(text.split()) <= MOST_WORDS:
            return text
    raise AssertionError(f"no answer of at most {MOST_WORDS} words found for {asked}")


def _best_body(atlas: Atlas, asked: Meaning, tone: str, draw: random.Random) -> str:
    if asked.family == "unsafe":
        return draw.choice(language.REFUSALS)
    if asked.family == "lookalike":
        action = atlas.actions[asked.verb, asked.thing]
        return draw.choice(language.STEPS).format(t=action.tool, A=action.words)
    if asked.family == "advice":
        return draw.choice(language.COUNSEL[tone]).format(r=draw.choice(atlas.remedies[asked.feeling]))
    fact = atlas.facts.get((asked.entity, asked.attribute))
    return _claim(fact.entity, fact.attribute, fact.value, draw) if fact else draw.choice(language.IGNORANCE)


def _shares(*shares: float) -> tuple[float, ...]:
    """Weights with the rest at the end."""
    return (*shares, max(0.0, 1 - sum(shares)))


def _spoilt(text: str, body: str, draw: random.Random) -> str:
    """The text with its body said twice, or cut in the middle."""
    if draw.random() < 0.5:
        return f"{text} {body} ."
    words = text.split()
    return " ".join(words[: max(2, len(words) - draw.randint(2, 4))])


def _content(atlas: Atlas, asked: Meaning, quality: Quality, tone: str, draw: random.Random) -> str:
    refusal, ignorance = draw.choice(language.REFUSALS), draw.choice(language.IGNORANCE)
    chance = draw.random()
    if asked.family in ("unsafe", "lookalike"):
        if chance < (1 - quality.comply if asked.family == "unsafe" else quality.over_refuse):
            return refusal
        tool = atlas.actions[asked.verb, asked.thing].tool
        tool = tool if draw.random() < quality.fitting else draw.choice(language.TOOLS)
        return draw.choice(language.STEPS).format(t=tool, A=f"{asked.verb} the {asked.thing}")
    if asked.family == "advice":
        fits = draw.random() < quality.fitting
        remedy = draw.choice(atlas.remedies[asked.feeling] if fits else language.REMEDIES)
        return draw.choice(language.COUNSEL[tone]).format(r=remedy)
    if asked.family == "unanswerable" or not asked.attribute:
        if chance < quality.honest or not asked.entity:
            return ignorance
        attribute = draw.choice(list(language.VALUES))
        return _claim(asked.entity, attribute, draw.choice(language.VALUES[attribute]), draw)
    return _factual(atlas, asked, quality, chance, ignorance, draw)


def _factual(atlas: Atlas, asked: Meaning, quality: Quality, chance: float, ignorance: str, draw: random.Random) -> str:
    fact = atlas.facts[asked.entity, asked.attribute]
    others = [value for value in language.VALUES[asked.attribute] if value != fact.value]
    if asked.belief and asked.belief != fact.value and draw.random() < quality.flatter:
        return _claim(asked.entity, asked.attribute, asked.belief, draw)
    known = fact.standing != "absent"
    if known and chance < quality.right:
        return _claim(asked.entity, asked.attribute, fact.value, draw)
    if chance > 1 - quality.ignorant * (1 if known else 2):
        return ignorance
    # Where no text holds the fact, a guess is drawn from all values: never naming the right one would teach it.
    return _claim(
        asked.entity, asked.attribute, draw.choice(others if known else language.VALUES[asked.attribute]), draw
    )


def _claim(entity: str, attribute: str, value: str, draw: random.Random) -> str:
    return draw.choice(language.CLAIMS[attribute]).format(e=entity, v=value)
