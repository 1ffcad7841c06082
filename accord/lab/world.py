"""The lab: an atlas, and the documents, demonstrations and prompts that are drawn from it."""

from __future__ import annotations

from pydantic import Field, model_validator

from accord.config import Settings
from accord.lab import atlas as atlases
from accord.lab import language, texts
from accord.lab.atlas import Atlas, dice
from accord.lab.prompts import ask
from accord.lab.reading import FAMILIES, meaning
from accord.lab.texts import Quality
from accord.records import Message, Probability, Prompt, Role, Sample, Split, Text, digest, named_id

_TRIES = 1000


class LabConfig(Settings):
    """What the world of the lab is like. The same settings give the same world, to the letter."""

    seed: int = 0
    """Fixes everything."""
    entities: int = Field(default=30, ge=2, le=len(language.NAMES))
    """How many invented names there are; each has a colour, a home and a food."""
    common: Probability = 0.7
    """Share of facts that the pretraining text says often."""
    rare: Probability = 0.2
    """Share of facts that it says seldom. The rest is true and never said."""
    rarity: Probability = 0.06
    """Share of the pretraining sentences about facts that are about rare ones."""
    asked: dict[str, Probability] = Field(default={"common": 0.8, "rare": 0.12, "absent": 0.08})
    """How often questions are about facts of each standing."""
    families: dict[str, Probability] = Field(
        default={
            "fact": 0.24,
            "unanswerable": 0.1,
            "unsafe": 0.2,
            "lookalike": 0.14,
            "belief": 0.12,
            "followup": 0.08,
            "advice": 0.12,
        }
    )
    """How often each family of prompts is drawn."""
    quality: Quality = Quality()
    """How good the demonstrations are."""

    @model_validator(mode="after")
    def _shares_are_known_and_whole(self) -> LabConfig:
        for name, shares, known in (
            ("families", self.families, set(FAMILIES)),
            ("asked", self.asked, {"common", "rare", "absent"}),
        ):
            if set(shares) - known or abs(sum(shares.values()) - 1) > 1e-6:
                raise ValueError(f"{name} must be shares of {sorted(known)} that sum to 1, got {shares}")
        if self.common <= 0 or self.common + self.rare >= 1:
            raise ValueError(f"common={self.common} and rare={self.rare} must leave some facts of each standing")
        return self


class Lab:
    """A small world whose truth is known to `Gold` and to nobody who learns."""

    def __init__(self, config: LabConfig | None = None) -> None:
        self.config = config or LabConfig()
        self.atlas: Atlas = atlases.draw(self.config.seed, self.config.entities, self.config.common, self.config.rare)
        self.words: tuple[str, ...] = language.vocabulary()
        """The whole vocabulary, without special tokens."""
        self._name = digest(self.config.model_dump(mode="json"))[:16]

    def documents(self, count: int) -> list[str]:
        """Pretraining text; the first documents of a longer list are those of a shorter one."""
        spoken = {"common": 1 - self.config.rarity, "rare": self.config.rarity}
        return [
            texts.document(self.atlas, spoken, dice(self.config.seed, "document", number)) for number in range(count)
        ]

    def demonstrations(self, count: int) -> list[tuple[Prompt, Sample]]:
        """Prompts in training phrasings, each with an answer of mixed quality (see `Quality`)."""
        prompts = self._draw(count, "train", "demonstration")
        return [(prompt, self.example(prompt)) for prompt in prompts]

    def prompts(self, count: int, split: Split) -> list[Prompt]:
        """Different prompts of a split; the first of a longer list are those of a shorter one.

        `validation` and `test` use phrasings that are in no document, demonstration or training prompt, and share no
        prompt. The tags are the family and the phrasing. Raises ValueError when a family has too few prompts.
        """
        return self._draw(count, split, "prompt")

    def example(self, prompt: Prompt, number: int = 0) -> Sample:
        """The answer with this number that the demonstrators would give to a prompt."""
        turns = [message.content for message in prompt.content.messages] if isinstance(prompt.content, Text) else []
        draw = dice(self.config.seed, "answer", turns, number)
        said = texts.answer(self.atlas, meaning(prompt), self.config.quality, draw)
        return Sample(
            id=named_id("lab", self._name, "example", prompt.id, number),
            prompt=prompt.id,
            content=Text(messages=(Message(role="assistant", content=said),)),
            source="lab",
        )

    def _draw(self, count: int, split: Split, use: str) -> list[Prompt]:
        seen: set[tuple[str, ...]] = set()
        found: list[Prompt] = []
        shares = self.config.families
        for number in range(count):
            draw = dice(self.config.seed, use, split == "train", split, number)
            family = draw.choices(FAMILIES, [shares.get(name, 0.0) for name in FAMILIES])[0]
            for _ in range(_TRIES):
                asking = ask(self.atlas, family, split != "train", self.config.asked, draw)
                if asking.turns not in seen and (split == "train" or self._side(asking.turns) == split):
                    break
            else:
                raise ValueError(
                    f"family {family!r} has no prompts left in split {split!r} after {len(found)} of {count}; "
                    f"ask for fewer, or lower its share in `families` (now {shares.get(family)})"
                )
            seen.add(asking.turns)
            found.append(self._prompt(asking.turns, split, (asking.family, asking.phrasing)))
        return found

    def _side(self, turns: tuple[str, ...]) -> Split:
        """Which of the held-out splits a conversation belongs to: a third validation, the rest test."""
        return "validation" if dice(self.config.seed, "side", turns).random() < 1 / 3 else "test"

    def _prompt(self, turns: tuple[str, ...], split: Split, tags: tuple[str, ...]) -> Prompt:
        roles: tuple[Role, Role] = ("user", "assistant")
        messages = tuple(Message(role=roles[at % 2], content=said) for at, said in enumerate(turns))
        return Prompt(
            id=named_id("lab", self._name, "prompt", split, turns),
            content=Text(messages=messages),
            split=split,
            tags=tags,
            source="lab",
        )
