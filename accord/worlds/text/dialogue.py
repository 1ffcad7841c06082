"""Conversations of several turns: the policy answers, a user speaks, and only what the policy said is learned.

    observation   the prompt, up to where the assistant speaks
    action        answer 1 | user, with the template's frame | answer 2 | user, with its frame | answer 3
    mask          True     | False                           | True     | False                | True

One row holds one conversation, token by token as it was sampled, so sampler and trainer read the same text. What was
said stays as it is: nothing is written again by the template when the conversation goes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from pydantic import Field

from accord.batches import Comparisons, Rollout, Segment, padded
from accord.config import Settings, SettingsError
from accord.protocols import Completion, Policy, Sampling
from accord.records import Demonstration, Message, Preference, Prompt, Sample, Text
from accord.run import seed_of
from accord.worlds.text.encode import Encoder
from accord.worlds.text.world import TextWorld

REMEMBERED = 4
"""Collections whose users' words are kept for `keep`."""


class DialogueConfig(Settings):
    """Conversations of several turns in PPO, GRPO and best of n."""

    turns: int = Field(default=1, ge=1)
    """Answers of the policy in one conversation, at most; 1 asks for single answers and needs no user."""
    user: str | None = None
    """Who speaks between: a version of the project, or a model by folder or name, which samples the user's words; empty
    for the simulated user of the lab."""
    brief: str = "You are a person who talks with an assistant. Say what you want to know next, in a sentence or two."
    """What a model that plays the user is told first."""
    user_tokens: int = Field(default=48, ge=1)
    """Most tokens that such a user says at a time."""
    paid: Literal["each", "mean", "end"] = "each"
    """What a reward model's score is given for: `each` answer, `mean` of all answers of a conversation (placed at each,
    so that longer conversations earn no more), or the `end`, one score of the whole conversation."""


class User(Protocol):
    """Who talks with the policy."""

    def reply(self, conversation: Text) -> str | None:
        """What is said next; None when there is nothing more to say. The same conversation gets the same words."""


class Users(Protocol):
    """Many who talk at once, as a language model that plays them all."""

    def replies(self, conversations: Sequence[Text], numbers: Sequence[int]) -> list[str | None]:
        """What is said next in each; its number, and nothing else, is what chance may depend on."""


@dataclass
class Talk:
    """One conversation under way."""

    name: str
    prompt: Text
    observation: list[int]
    tokens: list[int]
    mask: list[bool]
    logprob: list[float]
    finished: bool
    answers: list[str]
    heard: list[str] = field(default_factory=list)
    """What the user said between the answers."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """Everything that was said."""
        return (*self.prompt.messages, *spoken(self.answers, self.heard))


class DialogueWorld:
    """A TextWorld whose users go on talking. Implements protocols.World.

    The first answers are those of the world of single answers, bit for bit. Later ones depend on the seed, the name of
    their row and the turn alone, so not on what else is in the batch or how long others talk. A conversation ends
    when the user has no more to say, an answer was cut, all turns are taken, or another answer would not fit.
    """

    def __init__(self, first: TextWorld, user: User | Users | Callable[[Text], str | None], turns: int) -> None:
        """first: who is asked, and how answers are drawn. turns: answers in one conversation, at most.

        Raises SettingsError for encoders of pairs and fewer than two turns. Warns where answers will not fit, or where
        the chat template writes earlier turns in another way once a conversation goes on.
        """
        encoder, room = first.encoder, turns * first.sampling.max_tokens
        if turns < 2 or encoder.pairwise:
            raise SettingsError(f"a dialogue has two turns or more and a decoder that speaks; got turns={turns}")
        if encoder.settings.kept < room:
            warnings.warn(
                f"{turns} answers of {first.sampling.max_tokens} tokens need {room} and the user's words; the encoder "
                f"keeps {encoder.settings.kept} free, so some dialogues will end early: raise encode.answer_limit",
                stacklevel=2,
            )
        if not encoder.template.appends():
            warnings.warn(
                "the chat template writes earlier turns in another way once a conversation goes on; dialogues keep "
                "them as they were sampled. Give the tokenizer a template that only appends to make both the same",
                stacklevel=2,
            )
        self.first, self.turns = first, turns
        self.user: Users = user if hasattr(user, "replies") else _OneByOne(user)  # type: ignore[assignment]
        self._heard: dict[str, dict[str, list[str]]] = {}
        self.counts = {"dialogues": 0, "answers": 0, "ended_by_user": 0, "ended_by_cut": 0, "ended_by_context": 0}

    @property
    def encoder(self) -> Encoder:
        """Text to tokens and back."""
        return self.first.encoder

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """What conversations begin with."""
        return self.first.prompts

    def collect(self, policy: Policy) -> Rollout:
        """A conversation for each row; `done` holds at its last step, `finished` when its last answer was not cut."""
        opened = self.first.collect(policy)
        kept = self.first.keep(opened)
        sampling = replace(self.first.sampling, count=1, seed=int(str(kept[0][1].sampling["seed"])))
        talks = [_opened(opened, row, *pair) for row, pair in enumerate(kept)]
        alive = self._not_cut(talks)
        for turn in range(1, self.turns):
            alive = self._not_cut(self._answered(self._spoken_to(alive, turn), turn, sampling))
        self.counts["dialogues"] += len(talks)
        self.counts["answers"] += sum(len(talk.answers) for talk in talks)
        now = (str(self.first.turn - 1), {talk.name: talk.heard for talk in talks})
        self._heard = dict([*self._heard.items(), now][-REMEMBERED:])
        return _rollout(opened, talks, self.encoder.pad)

    def keep(self, rollout: Rollout) -> list[tuple[Prompt, Sample]]:
        """The records of a rollout: prompts, and samples whose turns are the answers with the user's words between.

        Raises KeyError for rows of none of the last collections.
        """
        kept = []
        known = {name: heard for by_name in self._heard.values() for name, heard in by_name.items()}
        for row, (prompt, sample) in enumerate(self.first.keep(rollout)):
            if rollout.names[row] not in known:
                raise KeyError(f"row {rollout.names[row]} is older than the last {REMEMBERED} collections of dialogues")
            parts = answers_of(rollout.action[row].tolist(), rollout.mask[row].tolist())
            heard, last = known[rollout.names[row]], len(parts) - 1
            words = [self._words(part, sample.finished or at < last) for at, part in enumerate(parts)]
            content = Text(messages=spoken(words, heard))
            kept.append((prompt, sample.model_copy(update={"content": content})))
        return kept

    def compared(self, beliefs: Sequence[Preference]) -> Comparisons:
        """As in the world of single answers."""
        return self.first.compared(beliefs)

    def shown(self, examples: Sequence[Demonstration]) -> Segment:
        """As in the world of single answers."""
        return self.first.shown(examples)

    def figures(self) -> dict[str, float]:
        """Answers per dialogue, and the share of dialogues by what ended them before all turns were taken."""
        total = max(1, self.counts["dialogues"])
        shares = {f"dialogues_{name}": n / total for name, n in self.counts.items() if name.startswith("ended")}
        return {"answers_per_dialogue": self.counts["answers"] / total, **shares}

    def state_dict(self) -> dict[str, Any]:
        """The turn, the users' words of the last collections, and what was counted."""
        return {**self.first.state_dict(), "heard": dict(self._heard), "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved turn."""
        self.first.load_state_dict(state)
        self._heard, self.counts = dict(state["heard"]), dict(state["counts"])

    def _not_cut(self, talks: list[Talk]) -> list[Talk]:
        """Those whose last answer ended by itself; others end here."""
        alive = [talk for talk in talks if talk.finished]
        self.counts["ended_by_cut"] += len(talks) - len(alive)
        return alive

    def _spoken_to(self, talks: list[Talk], turn: int) -> list[Talk]:
        """Those whose user has said something, with it; others end here."""
        if not talks:
            return []
        numbers = [seed_of(talk.name, turn, "user") for talk in talks]
        replies = self.user.replies([Text(messages=talk.messages) for talk in talks], numbers)
        going = []
        for talk, words in zip(talks, replies, strict=True):
            if words is None or not words.strip():
                self.counts["ended_by_user"] += 1
                continue
            # An answer that a text ended (`draw.stop`) has no end of turn, and what follows is read behind one.
            ended = [] if talk.tokens[-1] in self.encoder.stop else [self.encoder.template.end]
            theirs = [*ended, *self.encoder.template.between(talk.messages, words)]
            length = len(talk.observation) + len(talk.tokens) + len(theirs)
            if length + self.first.sampling.max_tokens > self.encoder.settings.limit:
                self.counts["ended_by_context"] += 1
                continue
            talk.heard.append(words)
            talk.tokens += theirs
            talk.mask += [False] * len(theirs)
            talk.logprob += [0.0] * len(theirs)
            going.append(talk)
        return going

    def _answered(self, talks: list[Talk], turn: int, sampling: Sampling) -> list[Talk]:
        """The same with the policy's next answers."""
        if not talks:
            return []
        sampling = replace(sampling, numbers=tuple(seed_of(talk.name, turn, "policy") for talk in talks))
        drawn = self.first.generator.generate([[*talk.observation, *talk.tokens] for talk in talks], sampling)
        if sorted(answer.prompt for answer in drawn) != list(range(len(talks))):
            raise RuntimeError(f"the generator gave {len(drawn)} answers to {len(talks)} dialogues")
        for answer in drawn:
            self._take(talks[answer.prompt], answer)
        return talks

    def _take(self, talk: Talk, answer: Completion) -> None:
        """An answer into its conversation."""
        talk.tokens += answer.tokens
        talk.mask += [True] * len(answer.tokens)
        talk.logprob += answer.logprobs
        talk.finished = answer.finished
        talk.answers.append(self._words(list(answer.tokens), answer.finished))

    def _words(self, tokens: list[int], finished: bool) -> str:
        """The text of one answer."""
        return self.encoder.text(tokens, finished).messages[0].content


class _OneByOne:
    """Users who are asked one after the other."""

    def __init__(self, user: User | Callable[[Text], str | None]) -> None:
        self.reply: Callable[[Text], str | None] = user.reply if hasattr(user, "reply") else user

    def replies(self, conversations: Sequence[Text], numbers: Sequence[int]) -> list[str | None]:
        """What each says; chance is the user's own business."""
        return [self.reply(conversation) for conversation in conversations]


def answers_of(tokens: Sequence[int], mask: Sequence[bool]) -> list[list[int]]:
    """The runs of tokens that the policy wrote, in order. Padding has a false mask."""
    parts: list[list[int]] = []
    for at, (token, own) in enumerate(zip(tokens, mask, strict=True)):
        if own and not (at and mask[at - 1]):
            parts.append([])
        if own:
            parts[-1].append(token)
    return parts


def spoken(answers: Sequence[str], heard: Sequence[str]) -> tuple[Message, ...]:
    """Answers and what the user said between them, in turn."""
    said = [Message(role="assistant", content=answers[0])]
    for words, answer in zip(heard, answers[1:], strict=True):
        said += [Message(role="user", content=words), Message(role="assistant", content=answer)]
    return tuple(said)


def _opened(rollout: Rollout, row: int, prompt: Prompt, sample: Sample) -> Talk:
    """A conversation after its first answer."""
    assert isinstance(prompt.content, Text)
    assert isinstance(sample.content, Text)
    group, length = int(rollout.group[row]), int(rollout.length[row])
    return Talk(
        name=rollout.names[row],
        prompt=prompt.content,
        observation=rollout.observation[group, : int(rollout.observation_length[group])].tolist(),
        tokens=rollout.action[row, :length].tolist(),
        mask=[True] * length,
        logprob=rollout.logprob[row, :length].tolist(),
        finished=bool(rollout.finished[row]),
        answers=[sample.content.messages[0].content],
    )


def _rollout(opened: Rollout, talks: Sequence[Talk], pad: int) -> Rollout:
    """Conversations as tensors; prompts, groups and names as they were."""
    action, length = padded([talk.tokens for talk in talks], pad)
    mask, _ = padded([talk.mask for talk in talks])
    logprob = torch.zeros(action.shape, dtype=torch.float32)
    for row, talk in enumerate(talks):
        logprob[row, : len(talk.logprob)] = torch.tensor(talk.logprob, dtype=torch.float32)
    return replace(
        opened,
        action=action,
        length=length,
        mask=mask.bool(),
        logprob=logprob,
        done=torch.arange(action.shape[1]) == length[:, None] - 1,
        finished=torch.tensor([talk.finished for talk in talks]),
    )
