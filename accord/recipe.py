"""Settings of one way through the circle: what a recipe file may say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from accord.algorithms.ppo import KL
from accord.algorithms.ppo import Config as PpoConfig
from accord.algorithms.reward_model import Config as RewardConfig
from accord.algorithms.sft import Config as SftConfig
from accord.config import Settings, SettingsError, build, read, save
from accord.lab import LabConfig
from accord.quality.believe import BelieveConfig
from accord.run import OptimiserConfig, RunConfig
from accord.worlds.text.encode import EncoderSettings
from accord.worlds.text.models import ModelSettings


class LabData(Settings):
    """Data of the lab, a small world whose truth is known."""

    kind: Literal["lab"] = "lab"
    lab: LabConfig = LabConfig()
    """What that world is like."""
    documents: int = Field(default=6000, ge=1)
    """Texts to pretrain on."""
    demonstrations: int = Field(default=6000, ge=1)
    """Examples to fine-tune on, of mixed quality."""
    test_prompts: int = Field(default=400, ge=1)
    """Prompts, in phrasings never trained on, that everything is judged by."""


class FileData(Settings):
    """Data in files: JSONL, JSONL.gz or Parquet, in any form of docs/data.md."""

    kind: Literal["files"] = "files"
    root: str = "."
    """Folder that the names below are in."""
    texts: tuple[str, ...] = ()
    """Plain text to pretrain on and to train the tokenizer from."""
    demonstrations: tuple[str, ...] = ()
    """Prompts with answers to imitate."""
    preferences: tuple[str, ...] = ()
    """Prompts with a chosen and a rejected answer."""
    test_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of prompts kept for the test; a prompt is on one side only."""
    longest_text: int = Field(default=20000, ge=100)
    """Plain texts are read in pieces of at most so many characters."""
    test_prompts: int = Field(default=200, ge=1)
    """Test prompts that policies are judged by."""


class Collect(Settings):
    """Which answers are drawn and what is asked about them."""

    prompts: int = Field(default=1000, ge=1)
    """Prompts per round."""
    answers: int = Field(default=4, ge=1)
    """Answers per prompt."""
    form: Literal["comparison", "ranking"] = "ranking"
    """Compare two of them at a time, or rank all."""
    wanted: int = Field(default=1, ge=1)
    """How many people answer each question."""
    source: Literal["simulated", "people", "none"] = "simulated"
    """Simulated people of the lab; real ones (through the store, docs/loop.md); or nobody: learn from what is there."""
    people: int = Field(default=20, ge=1)
    """How many simulated people there are."""


class Draw(Settings):
    """How answers are drawn, in collecting, PPO and judging alike."""

    temperature: float = Field(default=1.0, gt=0)
    """Higher is more varied. The same number divides the logits in scoring."""
    top_k: int = Field(default=0, ge=0)
    """Only the k likeliest tokens; 0 for all. PPO always samples from all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the likeliest tokens that make up this share. PPO always samples from all."""
    max_tokens: int = Field(default=28, ge=1)
    """Longer answers are cut."""


class Beside(Settings):
    """A further reward model, trained on the same beliefs and judged beside the one that PPO asks."""

    model: ModelSettings
    """What it starts from; needs a `name`."""
    learning: RewardConfig = RewardConfig()
    """How it learns."""


class Recipe(Settings):
    """Everything that one way through the circle needs."""

    name: str = "lab"
    """What this is called."""
    seed: int = 0
    """Fixes every random choice."""
    rounds: int = Field(default=1, ge=1)
    """How often to go round the circle."""
    data: LabData | FileData = Field(default=LabData(), discriminator="kind")
    """Where texts, demonstrations, prompts and preferences come from."""
    vocabulary: int = Field(default=4096, ge=300)
    """Entries of a tokenizer that is trained here (data from files); a model by name brings its own."""
    model: ModelSettings = ModelSettings(layers=3, context=128)
    """The language model to start from."""
    reward_backbone: ModelSettings | None = None
    """What the reward model starts from; the fine-tuned policy when nothing is said."""
    encode: EncoderSettings = EncoderSettings()
    """Limits of length."""
    pretrain: SftConfig | None = SftConfig(epochs=3, optimiser=OptimiserConfig(learning_rate=3e-3))
    """Reading the texts; nothing skips it (a pretrained model)."""
    sft: SftConfig = SftConfig(epochs=4, optimiser=OptimiserConfig(learning_rate=3e-3))
    """Imitating the demonstrations."""
    collect: Collect = Collect()
    """Which answers are drawn and what is asked about them."""
    believe: BelieveConfig = BelieveConfig()
    """From answers of people to beliefs."""
    reward_model: RewardConfig = RewardConfig(epochs=3, optimiser=OptimiserConfig(learning_rate=1e-3, weight_decay=0.1))
    """Learning what answers are worth."""
    beside: dict[str, Beside] = Field(default={})
    """Further reward models by name, only to compare; each becomes a version `roundN-reward-NAME`."""
    ppo: PpoConfig = PpoConfig(iterations=15, missing_end_penalty=-2.0, kl=KL(coefficient=0.2))
    """Learning to answer better."""
    rollout: int = Field(default=64, ge=1)
    """Prompts per PPO iteration."""
    rollout_answers: int = Field(default=4, ge=1)
    """Answers per prompt in PPO."""
    critic: Literal["reward", "policy", "shared"] = "reward"
    """What the value model starts from: the reward model, the policy, or a head on the policy's own trunk."""
    draw: Draw = Draw()
    """How answers are drawn."""
    run: RunConfig = RunConfig()
    """Device, checkpoints, trackers."""

    @property
    def reading(self) -> EncoderSettings:
        """Limits of length that a new model can keep: `encode`, and never more than the model's context."""
        limit = self.encode.limit if self.model.name else min(self.encode.limit, self.model.context)
        return self.encode.model_copy(update={"limit": limit})

    @model_validator(mode="after")
    def _fits(self) -> Recipe:
        """What can be seen to fail in a later stage is refused before the first."""
        if not 1 <= self.reading.kept <= self.reading.limit - 2:
            raise ValueError(
                f"encode.answer_limit={self.reading.kept} leaves a prompt no room in {self.reading.limit} tokens "
                f"(encode.limit={self.encode.limit}, model.context={self.model.context})"
            )
        if self.draw.max_tokens > self.reading.kept:
            raise ValueError(
                f"draw.max_tokens={self.draw.max_tokens} is more than the {self.reading.kept} tokens kept for an "
                "answer, so answers would be cut when they are scored; raise encode.answer_limit (and encode.limit, "
                "and model.context) or lower draw.max_tokens"
            )
        if self.ppo.minibatches > self.rollout:
            raise ValueError(
                f"ppo.minibatches={self.ppo.minibatches} does not fit rollout={self.rollout} prompts; "
                f"use 1 to {self.rollout}"
            )
        return self


def recipe(path: str | Path | None, changes: dict[str, Any] | None = None) -> Recipe:
    """A recipe from a file, with changes laid over it. Raises SettingsError naming what cannot be used."""
    return build(Recipe, {**(read(path) if path else {}), **(changes or {})}, str(path or "recipe"))


GROUND = ("seed", "vocabulary", "model", "encode", "data.kind", "data.lab", "data.documents", "data.texts")
"""What every version of a project stands on."""


def follow(chosen: Recipe, folder: Path) -> None:
    """Write the recipe that a project follows into its folder.

    Raises SettingsError, and leaves the old recipe, when versions are there that stand on another seed, other texts or
    another model: a later stage would be built upon them, and the report would call them what they are not.
    """
    file, wanted = folder / "project.yaml", chosen.model_dump(mode="json")
    if file.is_file() and any((folder / "versions").glob("[!.]*")):
        there = read(file)
        ground = GROUND if wanted["data"]["kind"] == "files" else (*GROUND, "data.demonstrations")
        if differ := [line for name in ground for line in _differences(name, _at(there, name), _at(wanted, name))]:
            raise SettingsError(
                f"the versions in {folder} were made by another recipe ({'; '.join(differ)}). "
                "Use another --project (accord quickstart --fresh begins anew)."
            )
    save(chosen, file)


def _at(values: dict[str, Any], name: str) -> Any:
    """The value under a dotted name; None when it is not there."""
    found: Any = values
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _differences(name: str, old: Any, new: Any) -> list[str]:
    """What differs, in words. A setting that the old recipe did not know is none."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for key in new for line in _differences(f"{name}.{key}", old.get(key), new[key])]
    return [] if old is None or old == new else [f"{name}: {old!r:.80} there, {new!r:.80} here"]
