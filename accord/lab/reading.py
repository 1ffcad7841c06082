"""What a prompt asks and what an answer says, read from the words alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from accord.lab import language
from accord.records import Prompt, Sample, Text

Family = Literal["fact", "unanswerable", "unsafe", "lookalike", "belief", "followup", "advice", "other"]
FAMILIES: tuple[Family, ...] = ("fact", "unanswerable", "unsafe", "lookalike", "belief", "followup", "advice")
Kind = Literal["claim", "ignorance", "refusal", "steps", "counsel"]
UNKNOWABLE = frozenset(["tomorrow", "dreams", "dream", "secret", "wishes", "wish"])
ATTRIBUTE_WORDS = {
    "colour": frozenset({"colour"}),
    "home": frozenset({"home", "live", "lives"}),
    "food": frozenset({"food", "eat", "eats"}),
}
MOST_WORDS = 16


@dataclass(frozen=True)
class Meaning:
    """What a prompt asks."""

    family: Family
    entity: str = ""
    attribute: str = ""
    belief: str = ""
    """The value that the user says to believe in; empty when none is stated."""
    verb: str = ""
    thing: str = ""
    feeling: str = ""
    person: str = ""


@dataclass(frozen=True)
class Part:
    """A stretch of an answer, in words from `start` to before `end`, and what it is."""

    role: str
    start: int
    end: int


@dataclass(frozen=True)
class Body:
    """The sentence of an answer that says something."""

    kind: Kind
    entity: str = ""
    attribute: str = ""
    value: str = ""
    tool: str = ""
    verb: str = ""
    thing: str = ""
    remedy: str = ""
    tone: str = "none"


@dataclass(frozen=True)
class Saying:
    """What an answer says. `broken` when it is no sentence of the language, or repeats itself."""

    words: tuple[str, ...]
    bodies: tuple[Body, ...]
    parts: tuple[Part, ...]
    broken: bool

    def has(self, role: str) -> bool:
        return any(part.role == role for part in self.parts)

    @property
    def tone(self) -> str:
        """`direct`, `indirect`, `mixed` when both are marked, `none` when neither is."""
        marks = {role for role in ("direct", "indirect") if self.has(role)}
        marks |= {body.tone for body in self.bodies} - {"none"}
        return "mixed" if len(marks) > 1 else next(iter(marks), "none")


def last_words(content: object) -> str:
    """The last message of a text; empty for any other content."""
    return content.messages[-1].content if isinstance(content, Text) else ""


def meaning(prompt: Prompt) -> Meaning:
    """What the last turn of a prompt asks; `other` when it is nothing that the lab knows."""
    if not isinstance(prompt.content, Text):
        return Meaning("other")
    messages = tuple((message.role, message.content) for message in prompt.content.messages)
    return _meaning(messages)


@lru_cache(maxsize=65536)
def _meaning(messages: tuple[tuple[str, str], ...]) -> Meaning:
    if messages[-1][0] != "user":
        return Meaning("other")
    words = messages[-1][1].split()
    action = _action(words)
    if action:
        unsafe = action[1] in language.UNSAFE[action[0]]
        return Meaning("unsafe" if unsafe else "lookalike", verb=action[0], thing=action[1])
    feeling, person = _one(words, language.FEELINGS), _one(words, language.PERSONS)
    if feeling and person:
        return Meaning("advice", feeling=feeling, person=person)
    entity = _one(words, language.NAMES)
    if entity and UNKNOWABLE & set(words):
        return Meaning("unanswerable", entity=entity)
    attribute = _one(reversed(words), {word: name for name, found in ATTRIBUTE_WORDS.items() for word in found})
    if not attribute:
        return Meaning("other")
    attribute = next(name for name, found in ATTRIBUTE_WORDS.items() if attribute in found)
    if entity:
        belief = _one(words, language.VALUES[attribute])
        return Meaning("belief" if belief else "fact", entity=entity, attribute=attribute, belief=belief)
    earlier = [word for role, said in messages[:-1] if role == "user" for word in said.split()]
    entity = _one(reversed(earlier), language.NAMES)
    return Meaning("followup", entity=entity, attribute=attribute) if entity else Meaning("other")


def _one(words: Iterable[str], known: Iterable[str]) -> str:
    """The first of `words` that is known; empty when none is."""
    among = frozenset(known)
    return next((word for word in words if word in among), "")


def _action(words: list[str]) -> tuple[str, str] | None:
    for at, word in enumerate(words[:-2]):
        if words[at + 1] == "the" and word in language.UNSAFE:
            thing = words[at + 2]
            if thing in language.UNSAFE[word] or thing in language.SAFE[word]:
                return word, thing
    return None


def saying(sample: Sample) -> Saying:
    """What an answer says; one that was cut, or that is not one assistant turn, is broken."""
    content = sample.content
    whole = isinstance(content, Text) and len(content.messages) == 1 and content.messages[0].role == "assistant"
    return said(last_words(content), whole and sample.finished)


@lru_cache(maxsize=65536)
def said(text: str, whole: bool = True) -> Saying:
    """What a text says when it is read as an answer."""
    words = tuple(text.split(" ")) if text else ()
    parts: list[Part] = []
    bodies: list[Body] = []
    broken = not whole
    at = 0
    opening = True
    while at < len(words) and not broken:
        found = _mark(words, at, opening)
        if found is None:
            end = words.index(".", at) if "." in words[at:] else len(words)
            body = _body(" ".join(words[at:end]))
            if body is None or end == len(words):
                broken = True
                break
            bodies.append(body)
            found = Part("body", at, end + 1)
            opening = False
        parts.append(found)
        at = found.end
    roles = [part.role for part in parts if part.role not in ("closing", "rambling", "body")]
    sentences = [words[part.start : part.end] for part in parts]
    twice = len(set(roles)) < len(roles) or len(set(sentences)) < len(sentences)
    return Saying(words, tuple(bodies), tuple(parts), broken or twice or not bodies or opening)


def _mark(words: tuple[str, ...], at: int, opening: bool) -> Part | None:
    """The opening mark, or after the first body the closing sentence, that stands at a place."""
    for role, mark in _OPENINGS if opening else _ENDINGS:
        if words[at : at + len(mark)] == mark:
            return Part(role, at, at + len(mark))
    return None


def _marks(table: dict[str, tuple[str, ...]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((role, tuple(mark.split())) for role, marks in table.items() for mark in marks)


_OPENINGS = _marks(
    {
        "courtesy": language.COURTESIES,
        "rude": language.RUDENESS,
        **language.TONES,
        **language.CONFIDENCE,
        **language.STANCES,
    }
)
_ENDINGS = _marks({"closing": language.CLOSINGS, "rambling": language.RAMBLING})


def _pattern(frame: str, attribute: str = "") -> re.Pattern[str]:
    """A frame with its slots as named groups."""
    slots = {
        "{e}": f"(?P<entity>{'|'.join(language.NAMES)})",
        "{v}": f"(?P<value>{'|'.join(language.VALUES.get(attribute, ('-',)))})",
        "{t}": f"(?P<tool>{'|'.join(language.TOOLS)})",
        "{A}": r"(?P<verb>\w+) the (?P<thing>\w+)",
        "{r}": f"(?P<remedy>{'|'.join(language.REMEDIES)})",
    }
    for slot, group in slots.items():
        frame = frame.replace(slot, group)
    return re.compile(frame)


_FRAMES: tuple[tuple[re.Pattern[str], Body], ...] = (
    *((_pattern(text), Body("ignorance")) for text in language.IGNORANCE),
    *((_pattern(text), Body("refusal")) for text in language.REFUSALS),
    *((_pattern(text), Body("steps")) for text in language.STEPS),
    *((_pattern(text), Body("counsel", tone=tone)) for tone, texts in language.COUNSEL.items() for text in texts),
    *(
        (_pattern(text, attribute), Body("claim", attribute=attribute))
        for attribute, texts in language.CLAIMS.items()
        for text in texts
    ),
)


def _body(sentence: str) -> Body | None:
    """What one sentence says, without its stop; None when it is no sentence of the lab."""
    for pattern, body in _FRAMES:
        match = pattern.fullmatch(sentence)
        if match:
            slots = match.groupdict()
            if body.kind == "steps" and _action([slots["verb"], "the", slots["thing"]]) is None:
                return None
            return Body(**{**vars(body), **slots})
    return None
