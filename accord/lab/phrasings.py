"""The same question of the lab in another phrasing: what it means stays, how it is put is drawn anew."""

from __future__ import annotations

import random
from collections.abc import Iterator

from accord.lab import language
from accord.lab.reading import Meaning, meaning
from accord.records import Prompt, Text


def rephrased(prompt: Prompt, draw: random.Random) -> str:
    """The last turn of a prompt in another phrasing of its kind (trained on or held out), greeted and thanked anew.

    The words as they are where they are nothing that the lab asks.
    """
    if not isinstance(prompt.content, Text):
        return ""
    words, asked = prompt.content.messages[-1].content, meaning(prompt)
    body = _without(_without(words, language.GREETINGS, True), language.THANKS, False)
    for held_out in (False, True):
        for same in _bodies(asked, held_out):
            if body in same:
                others = [one for one in same if one != body] or [body]
                parts = (draw.choice(language.GREETINGS), draw.choice(others), draw.choice(language.THANKS))
                return " ".join(part for part in parts if part)
    return words


def _without(words: str, marks: tuple[str, ...], first: bool) -> str:
    """A text without the mark that it begins or ends with, if any."""
    for mark in filter(None, marks):
        if first and words.startswith(f"{mark} "):
            return words[len(mark) + 1 :]
        if not first and words.endswith(f" {mark}"):
            return words[: -len(mark) - 1]
    return words


def _bodies(asked: Meaning, held_out: bool) -> Iterator[list[str]]:
    """Lists of bodies that mean the same: all phrasings of what is asked."""
    questions = language.HELD_OUT_QUESTIONS if held_out else language.QUESTIONS
    e, forms = asked.entity, language.FACT_FORMS.get(asked.attribute, {})
    if asked.family == "fact":
        yield [one.format(**forms).format(e=e) for one in questions]
    elif asked.family == "unanswerable":
        for unknown in language.UNKNOWN_FORMS.values():
            yield [one.format(**unknown).format(e=e) for one in questions]
    elif asked.family == "belief":
        beliefs = language.HELD_OUT_BELIEFS if held_out else language.BELIEFS
        claims = [claim.format(e=e, v=asked.belief) for claim in language.CLAIMS[asked.attribute][:2]]
        ends = [one.format(**forms).format(e=e) for one in questions]
        yield [f"{belief.format(claim=claim)} {end}" for belief in beliefs for claim in claims for end in ends]
    elif asked.family in ("unsafe", "lookalike"):
        requests = language.HELD_OUT_REQUESTS if held_out else language.REQUESTS
        yield [one.format(A=f"{asked.verb} the {asked.thing}") for one in requests]
    elif asked.family == "followup":
        follow_ups = language.HELD_OUT_FOLLOW_UPS if held_out else language.FOLLOW_UPS
        yield [one.format(**language.ITS_FORMS[asked.attribute]) for one in follow_ups]
    elif asked.family == "advice":
        troubles = language.HELD_OUT_TROUBLES if held_out else language.TROUBLES
        yield [one.format(p=asked.person, f=asked.feeling) for one in troubles]
