"""The nouns that are kept: frozen records that cross processes and years.

Every record checks itself at birth, knows nothing of tensors, and is never changed: a correction is a new
record that names the one it replaces. Ids are made by whoever makes the record, so writing twice is harmless.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

Role = Literal["system", "user", "assistant", "tool"]
Split = Literal["train", "validation", "test"]
Form = Literal["comparison", "rating", "ranking", "correction", "critique", "demonstration", "flags", "combined"]
Probability = Annotated[float, Field(ge=0, le=1)]
PLAIN_NAME = r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]*$"


def new_id() -> str:
    """A fresh id that sorts by the time of its making (UUID version 7, RFC 9562)."""
    milliseconds = time.time_ns() // 1_000_000
    bits = (milliseconds << 80) | int.from_bytes(os.urandom(10), "big")
    bits = bits & ~(0xF << 76) | (0x7 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=bits))


def named_id(*parts: object) -> str:
    """The same id for the same parts (UUID version 8 over SHA-256): what is made again after a crash is not made twice.

    Parts are told apart by their JSON form, so `named_id("a", 1)` and `named_id("a", "1")` differ.
    """
    digest = hashlib.sha256(json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str).encode()).digest()
    bits = int.from_bytes(digest[:16], "big")
    bits = bits & ~(0xF << 76) | (0x8 << 76)
    bits = bits & ~(0x3 << 62) | (0x2 << 62)
    return str(uuid.UUID(int=bits))


def digest(values: Any) -> str:
    """SHA-256 of the canonical JSON form: equal contents have equal digests on every machine."""
    return hashlib.sha256(
        json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=str).encode()
    ).hexdigest()


class Record(BaseModel):
    """What every kept thing has in common: it is frozen and takes no field that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


# --- what can be said or shown ---------------------------------------------------------------------------------


class Message(Record):
    """One turn of a conversation."""

    role: Role
    """Who speaks."""
    content: str
    """What is said; untrusted text."""


class Text(Record):
    """A conversation, or a part of one."""

    kind: Literal["text"] = "text"
    messages: tuple[Message, ...] = Field(min_length=1)
    """The turns in order."""


class Slate(Record):
    """An ordered list of items, as a recommender shows them."""

    kind: Literal["slate"] = "slate"
    items: tuple[str, ...] = Field(min_length=1)
    """Item names, best place first."""


class Blob(Record):
    """Bytes that are kept elsewhere and named by their content: an image, a clip, a recorded episode."""

    kind: Literal["blob"] = "blob"
    media: str = Field(pattern=r"^[\w.+-]+/[\w.+-]+$")
    """Media type, as in `image/png`."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Digest of the bytes; also their address in the store."""


class Start(Record):
    """Where an episode begins: an environment by name and the seed that fixes it."""

    kind: Literal["start"] = "start"
    env: str
    """Name of the environment."""
    seed: int
    """What makes this start this start."""


Content = Annotated[Text | Slate | Blob | Start, Field(discriminator="kind")]


# --- what is asked, done and said ------------------------------------------------------------------------------


class Prompt(Record):
    """What a policy is asked to do."""

    id: str = Field(default_factory=new_id)
    """Made by the client."""
    content: Content
    """For text: the conversation up to and with the turn that is to be answered."""
    split: Split = "train"
    """Which side of the fence: nothing is ever trained on a prompt of `test`."""
    tags: tuple[str, ...] = ()
    """Free labels: topic, family, language."""
    source: str = ""
    """Where it came from, with version or commit."""
    licence: str = ""
    """Under what terms, as an SPDX name where there is one."""
    checks: dict[str, JsonValue] = Field(default_factory=dict)
    """What an answer can be checked against, shown to nobody: `answer`, or `instructions` and their `arguments`."""


class Sample(Record):
    """What a policy, or a person, did with a prompt."""

    id: str = Field(default_factory=new_id)
    """Made by the client."""
    prompt: str
    """Id of the prompt."""
    content: Content
    """For text: the turns that follow the prompt, first and last of them the assistant's."""
    finished: bool = True
    """Whether it ended by itself. An answer cut at the length limit has no end-of-text to learn or score."""
    version: str | None = None
    """Id of the version that made it; None when a person or an outside source did."""
    sampling: dict[str, JsonValue] = Field(default_factory=dict)
    """Temperature, seed and whatever else would be needed to make it again."""
    source: str = ""
    """Where it came from when no version made it."""


class Comparison(Record):
    """Which of two (or more) is better."""

    kind: Literal["comparison"] = "comparison"
    better: str | None = None
    """Id of the better sample; None when neither is."""
    verdict: Literal["better", "tie", "both_bad"] = "better"
    """`tie`: equally good. `both_bad`: equally bad, which also says something about their level."""
    strength: int = Field(default=1, ge=1, le=3)
    """1 slightly, 2 clearly, 3 much better."""
    criterion: str = ""
    """In what respect; empty for overall."""
    safe: tuple[str, ...] | None = None
    """Ids of the samples that are safe, where Llama 2's question was asked; None where it was not."""

    @model_validator(mode="after")
    def _a_verdict_names_its_winner(self) -> Comparison:
        if (self.verdict == "better") != (self.better is not None):
            raise ValueError(f"verdict {self.verdict!r} with better={self.better!r}: 'better' alone names a winner")
        return self

    @model_validator(mode="after")
    def _no_unsafe_answer_beats_a_safe_one(self) -> Comparison:
        if self.better is not None and self.safe and self.better not in self.safe:
            raise ValueError(
                "the better answer is unsafe and another is safe: Llama 2 leaves this case out, choose again"
            )
        return self


class Rating(Record):
    """How good each sample is on a scale, by criterion."""

    kind: Literal["rating"] = "rating"
    scores: dict[str, dict[str, float]] = Field(min_length=1)
    """Sample id -> criterion -> score; the overall criterion is named `""`."""
    scale: tuple[float, float] = (1, 5)
    """Lowest and highest score that could be given."""

    @model_validator(mode="after")
    def _scores_lie_on_the_scale(self) -> Rating:
        low, high = self.scale
        off = [s for by in self.scores.values() for s in by.values() if not low <= s <= high]
        if off or low >= high:
            raise ValueError(f"scores {off} outside the scale {low}..{high}")
        return self


class Ranking(Record):
    """All samples from best to worst; those in one place are tied."""

    kind: Literal["ranking"] = "ranking"
    order: tuple[tuple[str, ...], ...] = Field(min_length=1)
    """Places from best to worst, each with the ids that share it."""
    criterion: str = ""
    """In what respect; empty for overall."""

    @model_validator(mode="after")
    def _each_sample_has_one_place(self) -> Ranking:
        named = [sample for place in self.order for sample in place]
        if len(named) < 2 or len(set(named)) != len(named) or not all(self.order):
            raise ValueError(f"a ranking names each sample once and has no empty place; got {self.order}")
        return self


class Flags(Record):
    """What is and is not so of each sample: yes or no, by name. A yes says nothing about better or worse."""

    kind: Literal["flags"] = "flags"
    flags: dict[str, dict[str, bool]] = Field(min_length=1)
    """Sample id -> name of the flag -> yes."""


class Combined(Record):
    """Two looks from one reading (InstructGPT): each sample by itself first, then all in order."""

    kind: Literal["combined"] = "combined"
    rating: Rating
    """How good each is on the scale."""
    ranking: Ranking
    """All from best to worst."""
    flags: dict[str, dict[str, bool]] = Field(default_factory=dict)
    """Sample id -> name of the flag -> yes; empty when none was asked for."""


class Correction(Record):
    """A better text made from a given one."""

    kind: Literal["correction"] = "correction"
    sample: str
    """Id of the sample that was edited."""
    content: Content
    """What it should have been."""


class Written(Record):
    """An answer made from nothing, to show how it is done."""

    kind: Literal["written"] = "written"
    content: Content
    """The demonstration."""


class Span(Record):
    """A marked part of a text, counted in code points of the sample's last message."""

    start: int = Field(ge=0)
    """First code point."""
    end: int = Field(gt=0)
    """One past the last code point."""
    label: str
    """What is said of it: good, bad, unsafe, unsupported, or a project's own word."""

    @model_validator(mode="after")
    def _it_has_a_length(self) -> Span:
        if self.end <= self.start:
            raise ValueError(f"span {self.start}..{self.end} is empty")
        return self


class Critique(Record):
    """Free words about one sample, with the places they speak of."""

    kind: Literal["critique"] = "critique"
    sample: str
    """Id of the sample."""
    text: str = ""
    """What is right or wrong with it."""
    spans: tuple[Span, ...] = ()
    """Marked places."""


Answer = Annotated[
    Comparison | Rating | Ranking | Flags | Combined | Correction | Written | Critique, Field(discriminator="kind")
]


class Question(Record):
    """What somebody is asked."""

    id: str = Field(default_factory=new_id)
    """Made by the client."""
    prompt: str
    """Id of the prompt."""
    samples: tuple[str, ...] = ()
    """Ids of the samples to judge; empty when a demonstration is wanted."""
    form: Form = "comparison"
    """Which kind of answer is wanted."""
    criteria: tuple[str, ...] = ()
    """Named respects to judge by; empty for overall."""
    scale: tuple[int, int] = (1, 5)
    """Lowest and highest score of a rating, as in (1, 7)."""
    flags: tuple[str, ...] = ()
    """What is asked of each sample by yes or no, in the forms `flags` and `combined`."""
    safety: bool = False
    """Whether a comparison also asks which answers are safe (Llama 2)."""
    guideline: str = ""
    """Version of the guideline shown beside it."""
    wanted: int = Field(default=1, ge=1)
    """How many people should answer."""
    gold: Answer | None = None
    """The known right answer, for a question that tests the annotator. Never shown."""
    project: str = "default"
    """Which queue it stands in."""
    propensity: float = Field(default=1.0, gt=0, le=1)
    """Probability with which the selection rule chose it; what unbiased estimates divide by."""
    arm: str = "random"
    """Which selection rule chose it."""


class Asked(Record):
    """A question with everything that is needed to answer it. Not kept: the store puts it together."""

    question: Question
    """What is asked."""
    prompt: Prompt
    """About what."""
    samples: tuple[Sample, ...] = ()
    """What is to be judged, in the order shown: left or top first."""


class Feedback(Record):
    """What somebody said. Kept for ever as it was said; belief is made from it elsewhere."""

    id: str = Field(default_factory=new_id)
    """Made by the client, so that sending twice is saying once."""
    question: str
    """Id of the question."""
    annotator: str
    """Pseudonym of the person, or name of the judge."""
    answer: Answer | None
    """What was said; None when the question was skipped (the reason is in `note`)."""
    shown: tuple[str, ...] = ()
    """Sample ids in the order shown, left or top first."""
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Time from showing to answering."""
    note: str = ""
    """Free words, or the reason of a skip or a flag."""
    guideline: str = ""
    """Version of the guideline that stood beside the question; empty when there was none."""
    replaces: str | None = None
    """Id of an earlier feedback that this one takes back."""
    made: float = Field(default_factory=time.time, allow_inf_nan=False)
    """Seconds since 1970, by the client's clock."""


# --- what we believe -------------------------------------------------------------------------------------------


class Preference(Record):
    """That one sample is better than another, and how sure we are."""

    id: str = Field(default_factory=new_id)
    """Made by whoever believes."""
    prompt: str
    """Id of the prompt."""
    chosen: str
    """Id of the better sample."""
    rejected: str
    """Id of the other sample."""
    probability: float = Field(default=1.0, ge=0.5, le=1)
    """How sure we are that `chosen` is the better one; a tie is 0.5."""
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """How much this one counts; six pairs of one ranking share the weight of the ranking."""
    margin: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """By how much, in steps of strength; 0 when nobody said."""
    criterion: str = ""
    """In what respect; empty for overall."""
    group: str = ""
    """Population of annotators whose belief this is; empty for everybody."""
    feedback: tuple[str, ...] = ()
    """Ids of the feedback it rests on."""

    @model_validator(mode="after")
    def _two_samples(self) -> Preference:
        if self.chosen == self.rejected:
            raise ValueError(f"sample {self.chosen} cannot be preferred to itself")
        return self


class Demonstration(Record):
    """That this is how it is done."""

    id: str = Field(default_factory=new_id)
    """Made by whoever believes."""
    prompt: str
    """Id of the prompt."""
    sample: str
    """Id of the sample to imitate."""
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """How much this one counts."""
    feedback: tuple[str, ...] = ()
    """Ids of the feedback it rests on."""


# --- what learned from it --------------------------------------------------------------------------------------


class Version(Record):
    """A model, and everything that made it."""

    id: str = Field(default_factory=new_id)
    """Made by whoever trains."""
    name: str = Field(pattern=PLAIN_NAME)
    """Short name within the project, as in `round1-policy`; its folder is called so, so it leads nowhere else."""
    role: Literal["policy", "reward", "reference", "value", "tokenizer"]
    """What it is for."""
    parent: str | None = None
    """Id of the version it started from."""
    method: str = ""
    """Algorithm that made it, as in `ppo`."""
    config: dict[str, JsonValue] = Field(default_factory=dict)
    """All settings of the run."""
    data: tuple[str, ...] = ()
    """Ids of the preferences, demonstrations or prompts that it learned from."""
    data_digest: str = ""
    """SHA-256 over those ids and their contents."""
    weights: str = ""
    """Folder of the weights, relative to the project."""
    figures: dict[str, float] = Field(default_factory=dict)
    """What was measured of it."""


Kept = Prompt | Sample | Question | Feedback | Preference | Demonstration | Version
KINDS: Mapping[str, type[Record]] = {
    "prompt": Prompt,
    "sample": Sample,
    "question": Question,
    "feedback": Feedback,
    "preference": Preference,
    "demonstration": Demonstration,
    "version": Version,
}
