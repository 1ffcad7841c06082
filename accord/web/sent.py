"""A claim as it is sent: texts rendered, clips by address; who made an answer and what is right stay here."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from accord.records import Asked, Blob, Form, Sample, Text
from accord.store import Claim
from accord.web.render import render

SEEN = {"image/png", "image/jpeg", "image/gif", "image/webp", "video/mp4", "video/webm"}
EPISODE = "application/json"
"""Media that the judging page can show; others are named only."""


class Turn(BaseModel):
    """One turn of a conversation."""

    role: str
    text: str
    """As it was written."""
    html: str
    """Safe to show: sanitised, loads nothing."""


class Shown(BaseModel):
    """One sample to judge."""

    id: str
    text: str
    """As it was written; several turns are joined by blank lines. Spans of a critique count in its last turn."""
    html: str
    """Safe to show: sanitised, loads nothing."""
    last: int
    """Where its last turn begins, in code points of `text`."""
    media: str = ""
    """Media type of a clip or picture; empty for text."""
    blob: str = ""
    """Where its bytes are, for those who are signed in."""


class Lease(BaseModel):
    """A question that is yours for a while."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    id: str
    """Answer under this id."""
    question: str
    """Id of the question."""
    project: str
    form: Form
    """Which kind of answer is wanted."""
    criteria: list[str]
    """Respects to judge by; empty for overall."""
    scale: tuple[int, int]
    """Lowest and highest score of a rating."""
    flags: list[str]
    """What is asked of each sample by yes or no."""
    safety: bool
    """Whether a comparison also names the samples that are safe."""
    guideline: str
    """Version of the guideline that the question names."""
    prompt: list[Turn]
    """The conversation so far."""
    samples: list[Shown]
    """What to judge, in the order in which this person is to see it."""
    shown: list[str]
    """Ids in that order; kept with the answer."""
    until: float
    """End of the lease, in seconds since 1970. A later answer is still kept."""


def lease(claim: Claim, project: str) -> Lease:
    """A claim as it is sent: texts rendered, gold and model names left out. project: the queue that was asked for."""
    asked, question = claim.asked, claim.asked.question
    return Lease(
        id=claim.id,
        question=question.id,
        project=project,
        form=question.form,
        criteria=list(question.criteria),
        scale=question.scale,
        flags=list(question.flags),
        safety=question.safety,
        guideline=question.guideline,
        prompt=conversation(asked),
        samples=[shown(sample) for sample in asked.samples],
        shown=[sample.id for sample in asked.samples],
        until=claim.until,
    )


def conversation(asked: Asked) -> list[Turn]:
    """The prompt, turn by turn."""
    content = asked.prompt.content
    if isinstance(content, Text):
        return [Turn(role=m.role, text=m.content, html=render(m.content)) for m in content.messages]
    text = _described(content)
    return [Turn(role="user", text=text, html=render(text))]


def shown(sample: Sample) -> Shown:
    """A sample without a word about who made it."""
    content = sample.content
    text = "\n\n".join(m.content for m in content.messages) if isinstance(content, Text) else _described(content)
    last = len(text) - len(content.messages[-1].content) if isinstance(content, Text) else 0
    found = Shown(id=sample.id, text=text, html=render(text), last=last)
    if isinstance(content, Blob) and content.media in {*SEEN, EPISODE}:
        return found.model_copy(
            update={"media": content.media, "blob": f"/api/blobs/{content.sha256}?media={quote(content.media)}"}
        )
    return found


def _described(content: Any) -> str:
    """Content that is no conversation, in words."""
    if content.kind == "slate":
        return "\n".join(f"{place}. {item}" for place, item in enumerate(content.items, 1))
    return ", ".join(f"{name} {value}" for name, value in content.model_dump().items() if name != "kind")
