"""A user of the lab who goes on talking: asks on, asks again when not answered, and leaves when content."""

from __future__ import annotations

from accord.lab import language
from accord.lab.atlas import dice
from accord.lab.reading import Meaning, Saying, meaning, said
from accord.records import Prompt, Text

FACTUAL = ("fact", "belief", "followup")
AGAIN = "excuse me ."
THANKS = "thank you ."


class Asker:
    """Reads what was said and nothing else; it does not know what is true. Implements the text world's `User`.

    An answer that claims something about what was asked is followed by a question about another thing of the same
    entity, with thanks when the answer was kind; steps and advice are enough. A broken answer, one off the subject, a
    refusal and "i do not know" are no answers: the question is put once more, and then the user leaves. The same
    conversation gets the same words; chance is fixed by the seed and by what was said.
    """

    def __init__(self, seed: int = 0, held_out: bool = False) -> None:
        """held_out: ask on in phrasings that are never trained on."""
        self.seed = seed
        self.templates = language.HELD_OUT_FOLLOW_UPS if held_out else language.FOLLOW_UPS

    def reply(self, conversation: Text) -> str | None:
        """What the user says next; None when content or tired of asking."""
        turns = conversation.messages
        if len(turns) < 2 or (turns[-2].role, turns[-1].role) != ("user", "assistant"):
            return None
        places = [at for at, turn in enumerate(turns) if turn.role == "user"]
        asked = [meaning(Prompt(content=Text(messages=turns[: at + 1]))) for at in places]
        heard = said(turns[-1].content)
        if not answered(asked[-1], heard):
            question = turns[-2].content
            before = turns[places[-2]].content if len(places) > 1 else ""
            return None if question == f"{AGAIN} {before}" else f"{AGAIN} {question}"
        left = [name for name in language.VALUES if name not in {one.attribute for one in asked}]
        if asked[-1].family not in FACTUAL or not left:
            return None
        draw = dice(self.seed, "user", [turn.content for turn in turns])
        words = draw.choice(self.templates).format(**language.ITS_FORMS[draw.choice(left)])
        return f"{THANKS} {words}" if heard.has("courtesy") else words


def answered(asked: Meaning, heard: Saying) -> bool:
    """Whether an answer is one in the eyes of who asked: the right kind of sentence, on the subject, true or not."""
    if heard.broken:
        return False
    wanted = {"unsafe": "steps", "lookalike": "steps", "advice": "counsel"}.get(asked.family, "claim")
    said = [body for body in heard.bodies if body.kind == wanted]
    if asked.family in FACTUAL:
        return any(body.attribute == asked.attribute and body.entity in ("", asked.entity) for body in said)
    return bool(said)
