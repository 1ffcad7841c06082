"""Questions by REST: prompts with their answers go into a queue, all of a request or nothing of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from accord.records import Answer, Feedback, Form, Message, Prompt, Question, Record, Sample, Text, new_id
from accord.store import Conflict, Refused
from accord.store.answers import check
from accord.web.api import SENT, Project, refused
from accord.web.doors import Steering, TheRoom, Visitor
from accord.web.fits import fits

router = APIRouter(prefix="/api", tags=["managing"])
MOST = 500
"""Questions of one request."""
ANSWERS: dict[Form, tuple[int, int]] = {
    "comparison": (2, 2),
    "rating": (1, 9),
    "ranking": (2, 9),
    "correction": (1, 1),
    "critique": (1, 1),
    "demonstration": (0, 0),
    "flags": (1, 9),
    "combined": (2, 9),
}
"""How few and how many answers each form shows."""
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]
Own = Annotated[str, Field(pattern=r"^[\w.:-]{8,128}$")]


class Shown(BaseModel):
    """One answer that is to be judged."""

    model_config = SENT
    id: Own = Field(default_factory=new_id)
    """Made by you; gold names answers by it. UUIDs are good."""
    text: str
    """What it says."""
    source: str = Field(default="", max_length=200)
    """Where it came from; never shown to those who judge."""


class Put(BaseModel):
    """A question, with everything that is needed to answer it."""

    model_config = SENT
    id: Own = Field(default_factory=new_id)
    """Made by you, so that sending twice is asking once."""
    prompt: str | list[Message]
    """What was said by the user, or a conversation up to and with the turn that is to be answered."""
    answers: list[Shown] = Field(default_factory=list, max_length=9)
    """Two to compare, two to nine to rank or combine, one to correct or criticise, up to nine to rate or flag."""
    form: Form = "comparison"
    criteria: list[Name] = Field(default_factory=list, max_length=20)
    scale: tuple[int, int] = (1, 5)
    flags: list[Name] = Field(default_factory=list, max_length=20)
    safety: bool = False
    wanted: int = Field(default=1, ge=1, le=1000)
    """How many people should answer."""
    gold: Answer | None = None
    """The known right answer, which tests the person. Never shown."""


class Many(BaseModel):
    """What to ask."""

    model_config = SENT
    questions: list[Put] = Field(min_length=1, max_length=MOST)


class Made(BaseModel):
    """What there is now."""

    questions: list[str]
    """Ids in the order of the request."""
    new: int
    """How many prompts, answers and questions were not there before; 0 for the same again."""


@router.post("/projects/{name}/questions", status_code=201)
def put_questions(name: Project, given: Many, who: Steering, room: TheRoom) -> Made:
    """Put questions into a queue, which begins with the first of them. All are kept, or none.

    The same request again adds nothing. 409: an id is there already with something else; 422: a form with too few or
    too many answers, or gold that does not answer its question. A request is as long as `body` of the settings allows,
    a million bytes by default: send long lists in parts.
    """
    made = [_read(name, number, one, who) for number, one in enumerate(given.questions)]
    try:
        new = room.store.put(record for one in made for record in one)
    except Conflict as error:
        raise refused(error) from error
    room.kept.clear()
    if new:
        room.office.note(who.person.pseudonym, "questions", name, asked=len(made), new=new)
    return Made(questions=[one.id for one in given.questions], new=new)


def _read(name: str, number: int, one: Put, who: Visitor) -> list[Record]:
    """Prompt, samples and question; ids follow from the question's, so that a repeat is the same. Raises Refused."""
    few, many = ANSWERS[one.form]
    if not few <= len(one.answers) <= many:
        wanted = str(few) if few == many else f"{few} to {many}"
        raise Refused(f"question {number}: a {one.form} shows {wanted} answers, this one has {len(one.answers)}")
    if len({answer.id for answer in one.answers}) < len(one.answers):
        raise Refused(f"question {number}: two of its answers have one id")
    if one.form == "flags" and not one.flags:
        raise Refused(f"question {number}: form flags asks for `flags`, the names of what is asked by yes or no")
    if not one.scale[0] < one.scale[1] <= one.scale[0] + 100:
        raise Refused(f"question {number}: a scale goes from a number to a larger one, not {list(one.scale)}")
    turns = [Message(role="user", content=one.prompt)] if isinstance(one.prompt, str) else one.prompt
    if not turns or turns[-1].role == "assistant" or not turns[-1].content.strip():
        raise Refused(f"question {number}: a prompt ends with a turn that is to be answered")
    source = f"rest:{who.person.pseudonym}"
    prompt = Prompt(id=f"{one.id}:prompt", content=Text(messages=tuple(turns)), source=source)
    samples = [
        Sample(
            id=answer.id,
            prompt=prompt.id,
            content=Text(messages=(Message(role="assistant", content=answer.text),)),
            source=answer.source or source,
        )
        for answer in one.answers
    ]
    question = Question(
        id=one.id,
        prompt=prompt.id,
        samples=tuple(sample.id for sample in samples),
        form=one.form,
        criteria=tuple(one.criteria),
        scale=one.scale,
        flags=tuple(one.flags),
        safety=one.safety,
        wanted=one.wanted,
        gold=one.gold,
        project=name,
    )
    if one.gold is not None:
        fits(question, one.gold)
        check(Feedback(question=one.id, annotator="", answer=one.gold), question)
    return [prompt, *samples, question]
