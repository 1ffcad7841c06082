"""Rewards of parts of an answer: each sentence, line or step of reasoning is paid for where it ends.

Lightman et al. 2023 (*Let's verify step by step*), Uesato et al. 2022, Wang et al. 2024 (*Math-Shepherd*): a process
reward model says of each step how likely it is right; an answer is worth the product or the least of its steps.
Ours: a step earns what it changes, so the rewards of an answer add up to exactly what the whole is worth: PPO sees who
spoilt it, best of n sees the same number as if it stood at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from accord.batches import Rollout
from accord.records import Message, Sample, Text
from accord.rewards.learned import Answers
from accord.rewards.spans import Places, Range, touched

Join = Literal["min", "product", "mean"]
Cut = Callable[[str], Sequence[Range]]
"""The parts of a text, in order and apart."""
ENDS = re.compile(r"[.!?]+(?=\s)|[。！？]+")


def lines(text: str) -> list[Range]:
    """The lines of a text that hold something, without the space around them."""
    return _parts(text, [found.end() for found in re.finditer(r"\n+", text)])


def sentences(text: str) -> list[Range]:
    """The sentences of a text by plain rules: a stop before blank space, a Chinese stop, or a line's end."""
    return _parts(text, sorted({found.end() for found in (*ENDS.finditer(text), *re.finditer(r"\n+", text))}))


def _parts(text: str, ends: Sequence[int]) -> list[Range]:
    """The text cut behind those places; empty parts are left out and blank space is cut off."""
    found, at = [], 0
    for end in (*ends, len(text)):
        part = text[at:end]
        if part.strip():
            found.append((at + len(part) - len(part.lstrip()), at + len(part.rstrip())))
        at = end
    return found


def whole(right: Tensor, join: Join) -> Tensor:
    """[N] what an answer of the first n steps is worth, for n = 1 .. N. right: [N] chances of each step."""
    if join == "min":
        return right.cummin(0).values
    if join == "product":
        return right.cumprod(0)
    return right.cumsum(0) / torch.arange(1, len(right) + 1, device=right.device)


def credits(right: Tensor, join: Join) -> Tensor:
    """[N] what each step earns: whole_n - whole_(n-1), with 0 before the first; together the worth of the answer."""
    joined = whole(right, join)
    return torch.diff(joined, prepend=joined.new_zeros(1))


def at_ends(earned: Tensor, parts: Sequence[Range], places: Sequence[Range], steps: int) -> Tensor:
    """[steps] what each part earned, at the last token that it was written with. earned: [N] for N parts.

    A part that no token writes is paid for at the token before it, so that nothing is lost; so is everything of an
    answer without a token that can be seen, at its first.
    """
    found, last = earned.new_zeros(steps), 0
    for worth, part in zip(earned, parts, strict=True):
        last = max(touched(part, places), default=last)
        found[last] += worth
    return found


class Process:
    """What a process reward model says of each step, joined. Implements protocols.Reward.

    `steps` is the mean number of steps per answer of the last rollout. An answer without any is worth 0.
    """

    def __init__(
        self,
        keep: Callable[[Rollout], Answers],
        places: Places,
        judge: Callable[[Answers, Sequence[Sequence[Range]]], Sequence[Tensor]],
        cut: Cut = lines,
        join: Join = "min",
    ) -> None:
        """judge: answers and their parts -> [N] for each answer, how likely each of its N parts is right."""
        self.keep, self.places, self.judge, self.cut, self.join = keep, places, judge, cut, join
        self.steps = 0.0

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: what each step changes, at its last token; each row's sum is the worth of the whole."""
        pairs, where = self.keep(rollout), self.places(rollout)
        parts = [self.cut(said(sample)) for _, sample in pairs]
        self.steps = sum(map(len, parts)) / max(1, len(parts))
        width = rollout.action.shape[1]
        rows = [
            at_ends(credits(right, self.join), of_row, places, width) if len(of_row) else torch.zeros(width)
            for right, of_row, places in zip(self.judge(pairs, parts), parts, where, strict=True)
        ]
        return torch.stack(rows).to(rollout.logprob)


class Each:
    """What each sentence (or line) adds to the score of all before it. Implements protocols.Reward.

    r_n = score(first n sentences) - score(first n - 1), with 0 for none; the last one is scored as it ended. A row's
    sum is the score of the whole, so this only says earlier what the end would have said (Ng et al. 1999: the best
    policy stays what it is).
    """

    def __init__(
        self,
        keep: Callable[[Rollout], Answers],
        places: Places,
        score: Callable[[Answers], Tensor],
        cut: Cut = sentences,
    ) -> None:
        """score: [N] worth of answers, as a reward model gives it."""
        self.keep, self.places, self.score, self.cut = keep, places, score, cut

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: what the last part adds stands at the very last step, where the answer ended or was cut."""
        pairs, where = self.keep(rollout), self.places(rollout)
        before = [list(self.cut(said(sample)))[:-1] for _, sample in pairs]
        asked = [
            one
            for (prompt, sample), of_row in zip(pairs, before, strict=True)
            for one in (*((prompt, begin(sample, end)) for _, end in of_row), (prompt, sample))
        ]
        scores = torch.split(self.score(asked).to(rollout.logprob), [len(of_row) + 1 for of_row in before])
        rows = []
        for row, (score, of_row, places) in enumerate(zip(scores, before, where, strict=True)):
            added = torch.diff(score, prepend=score.new_zeros(1))
            rows.append(at_ends(added[:-1], of_row, places, rollout.action.shape[1]))
            rows[-1][max(0, int(rollout.length[row]) - 1)] += added[-1]
        return torch.stack(rows)


def said(sample: Sample) -> str:
    """The last thing said in an answer. Raises TypeError when it is no text."""
    if not isinstance(sample.content, Text):
        raise TypeError(f"sample {sample.id} holds a {sample.content.kind}; only texts have sentences and steps")
    return sample.content.messages[-1].content


def begin(sample: Sample, end: int) -> Sample:
    """The answer as far as that code point of its last message: cut, so without its end."""
    assert isinstance(sample.content, Text)
    *before, last = sample.content.messages
    cut = Message(role=last.role, content=last.content[:end])
    content = Text(messages=(*before, cut))
    return sample.model_copy(update={"id": f"{sample.id}:{end}", "content": content, "finished": False})
