"""A language model that plays the user: it reads the conversation with the roles exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accord.config import SettingsError
from accord.protocols import Generator, Sampling
from accord.records import Message, Role, Text
from accord.worlds.text.encode import Encoder

OTHER: dict[Role, Role] = {"user": "assistant", "assistant": "user"}


class Speaker:
    """Samples what users say next. Implements dialogue.Users.

    All conversations of a turn are one call of the generator. What is said depends on the conversation and its number,
    not on the others. Too long a conversation loses its oldest part here (`encoder.report` counts it).
    """

    def __init__(self, encoder: Encoder, generator: Generator, sampling: Sampling, brief: str) -> None:
        """encoder: of the model that speaks. brief: what it is told first. Raises SettingsError for a model that does
        not speak, or more tokens than its encoder keeps free."""
        if encoder.pairwise or sampling.max_tokens > encoder.settings.kept:
            raise SettingsError(
                f"the model that plays the user must be a decoder with room for {sampling.max_tokens} tokens "
                f"(dialogue.user_tokens); its encoder keeps {encoder.settings.kept} free (encode.answer_limit)"
            )
        self.encoder, self.generator, self.brief = encoder, generator, brief
        self.sampling = replace(sampling, count=1, stop=sampling.stop or encoder.stop)

    def replies(self, conversations: Sequence[Text], numbers: Sequence[int]) -> list[str | None]:
        """The next words of each user; None where the model says nothing, which ends the conversation."""
        asked = [self.encoder.prompt(exchanged(conversation, self.brief)) for conversation in conversations]
        drawn = self.generator.generate(asked, replace(self.sampling, numbers=tuple(numbers)))
        said = {one.prompt: self.encoder.text(one.tokens, one.finished).messages[0].content for one in drawn}
        return [said[place].strip() or None for place in range(len(asked))]


def exchanged(conversation: Text, brief: str) -> Text:
    """The conversation as the user sees it: a brief, the user's own words as answers, the policy's as what was said.

    What the system told the policy is not shown.
    """
    turns = [Message(role=OTHER[m.role], content=m.content) for m in conversation.messages if m.role in OTHER]
    return Text(messages=(Message(role="user", content=brief), *turns))
