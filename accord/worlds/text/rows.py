"""Rows: what one answer becomes, how long it may be, and how many of them make a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field, JsonValue, model_validator

from accord.batches import Segment, padded
from accord.config import Settings
from accord.records import Message, Prompt, Sample, Text
from accord.worlds.text.template import EncodingError


class EncoderSettings(Settings):
    """How long a text may be, and what is done with rows that cannot be used."""

    limit: int = Field(512, ge=4)
    """Tokens of prompt and answer together; at most what the model can read."""
    answer_limit: int | None = None
    """Tokens always kept free for the answer; empty for half of `limit`. A shorter prompt leaves more."""
    strict: bool = False
    """Stop at the first batch with a bad row, instead of leaving the row out and reporting it."""
    template: dict[str, JsonValue] = Field(default_factory=dict)
    """Options that the model's chat template knows, as in `enable_thinking: false`."""

    @property
    def kept(self) -> int:
        """Tokens kept free for the answer."""
        return self.limit // 2 if self.answer_limit is None else self.answer_limit

    @model_validator(mode="after")
    def _both_have_room(self) -> EncoderSettings:
        if not 1 <= self.kept <= self.limit - 2:
            raise ValueError(f"answer_limit={self.kept} must leave prompt and answer room in limit={self.limit}")
        return self


@dataclass(frozen=True)
class Row:
    """One answer in token ids."""

    observation: tuple[int, ...]
    tokens: tuple[int, ...]
    mask: tuple[bool, ...]
    cut: bool


def table(rows: Sequence[tuple[str, Row, str, float]], pad: int) -> Segment:
    """Rows as tensors, each prompt once. rows: (prompt id, row, name, weight)."""
    groups: dict[str, int] = {}
    seen: list[tuple[int, ...]] = []
    for prompt, row, _, _ in rows:
        if prompt not in groups:
            groups[prompt] = len(seen)
            seen.append(row.observation)
    observation, observation_length = padded(seen, pad)
    action, length = padded([row.tokens for _, row, _, _ in rows], pad)
    mask, _ = padded([row.mask for _, row, _, _ in rows])
    return Segment(
        observation=observation,
        observation_length=observation_length,
        group=torch.tensor([groups[prompt] for prompt, _, _, _ in rows], dtype=torch.long),
        action=action,
        length=length,
        mask=mask.bool(),
        weight=torch.tensor([weight for _, _, _, weight in rows], dtype=torch.float32),
        names=tuple(name for _, _, name, _ in rows),
    )


def text_of(record: Prompt | Sample) -> Text:
    """The conversation in a record. Raises EncodingError when it holds something else."""
    if not isinstance(record.content, Text):
        raise EncodingError(f"{record.id} holds a {record.content.kind}, and this world reads text")
    return record.content


def told(messages: Sequence[Message]) -> str:
    """A conversation as one text for a model that knows no turns; a single turn is its own words."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{m.role.capitalize()}: {m.content}" for m in messages)


def without_oldest(turns: list[Message]) -> list[Message]:
    """A conversation less its oldest exchange; the system's turn and the last turn stay."""
    head = turns[:1] if turns[0].role == "system" else []
    rest = turns[len(head) :]
    for at in range(1, len(rest)):
        if rest[at].role == "user":
            return [*head, *rest[at:]]
    return turns


def with_end(tokenizer: Any) -> Any:
    """An encoder's tokenizer whose separator also ends a text."""
    if tokenizer.eos_token_id is None:
        tokenizer.eos_token = tokenizer.sep_token
    return tokenizer
