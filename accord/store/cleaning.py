"""Records as they may leave the house: texts scrubbed, people under names that only this export knows."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import JsonValue

from accord.records import (
    Answer,
    Content,
    Correction,
    Critique,
    Demonstration,
    Feedback,
    Preference,
    Prompt,
    Question,
    Record,
    Sample,
    Slate,
    Span,
    Text,
    Written,
)
from accord.store.scrub import Finder, Scrubbed, pseudonym, scrub
from accord.store.store import Store

R = TypeVar("R", bound=Record)
DAY = 86_400


class Cleaner:
    """Cleans records for one export, and counts what was taken out.

    Texts of prompts, samples, answers and notes go through `scrub`. Annotators and ids of feedback (which a person's
    client made) get others by HMAC under `key`, a fresh one unless given, so two exports cannot be joined by person.
    Times become days, seconds whole. Marked places in critiques move with the words.
    """

    def __init__(
        self, store: Store, names: Sequence[str] = (), finders: Sequence[Finder] = (), key: bytes | None = None
    ) -> None:
        self._store, self._names, self._finders = store, tuple(names), tuple(finders)
        self._key = key or secrets.token_bytes(32)
        self.counts: Counter[str] = Counter()
        """Kind -> how many were taken out."""

    def clean(self, record: R) -> R:
        """The record as it may be shown outside."""
        made: R = self._cleaned(record)
        return made

    def _cleaned(self, record: Any) -> Any:
        match record:
            case Prompt():
                checks = {name: self._value(value) for name, value in record.checks.items()}
                return record.model_copy(update={"content": self._content(record.content), "checks": checks})
            case Sample():
                return record.model_copy(update={"content": self._content(record.content)})
            case Question():
                return record.model_copy(update={"gold": self._answer(record.gold)})
            case Feedback():
                return record.model_copy(
                    update={
                        "id": self._id(record.id),
                        "annotator": pseudonym(self._key, record.annotator),
                        "answer": self._answer(record.answer),
                        "note": self._text(record.note).text,
                        "replaces": self._id(record.replaces) if record.replaces else None,
                        "seconds": float(round(record.seconds)),
                        "made": record.made // DAY * DAY,
                    }
                )
            case Preference() | Demonstration():
                return record.model_copy(update={"feedback": tuple(self._id(one) for one in record.feedback)})
            case _:
                return record

    def _id(self, id: str) -> str:
        """Another id for feedback: those of a client tell the time, those of a simulation the name."""
        bits = int.from_bytes(hmac.new(self._key, id.encode(), hashlib.sha256).digest()[:16], "big")
        bits = bits & ~(0xF << 76) | (0x8 << 76)
        return str(uuid.UUID(int=bits & ~(0x3 << 62) | (0x2 << 62)))

    def _text(self, text: str) -> Scrubbed:
        done = scrub(text, self._names, self._finders)
        self.counts.update(done.counts())
        return done

    def _value(self, value: JsonValue) -> JsonValue:
        """A value with its strings scrubbed, however deep they stand."""
        match value:
            case str():
                return self._text(value).text
            case list():
                return [self._value(one) for one in value]
            case dict():
                return {name: self._value(one) for name, one in value.items()}
            case _:
                return value

    def _content(self, content: Content) -> Content:
        if isinstance(content, Text):
            turns = [turn.model_copy(update={"content": self._text(turn.content).text}) for turn in content.messages]
            return content.model_copy(update={"messages": tuple(turns)})
        if isinstance(content, Slate):
            return content.model_copy(update={"items": tuple(self._text(item).text for item in content.items)})
        return content

    def _answer(self, answer: Answer | None) -> Answer | None:
        if isinstance(answer, Correction | Written):
            return answer.model_copy(update={"content": self._content(answer.content)})
        if isinstance(answer, Critique):
            about = self._store.get(Sample, answer.sample).content
            done = scrub(about.messages[-1].content, self._names, self._finders) if isinstance(about, Text) else None
            spans = [_moved(span, done) for span in answer.spans] if done else list(answer.spans)
            return answer.model_copy(
                update={"text": self._text(answer.text).text, "spans": tuple(span for span in spans if span)}
            )
        return answer


def _moved(span: Span, done: Scrubbed) -> Span | None:
    """The same words in the scrubbed text; a place of which nothing is left is gone."""
    start, end = done.moved(span.start), done.moved(span.end)
    return span.model_copy(update={"start": start, "end": end}) if start < end else None
