"""Settings of one way through the circle: what a recipe file may say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from accord.algorithms.beside import Config as BesideConfig
from accord.algorithms.best_of_n import Config as BestConfig
from accord.algorithms.dpo import Config as DpoConfig
from accord.algorithms.grpo import KIN
from accord.algorithms.grpo import Config as GrpoConfig
from accord.algorithms.kto import Config as KtoConfig
from accord.algorithms.online_dpo import Config as OnlineConfig
from accord.algorithms.ppo import KL
from accord.algorithms.ppo import Config as PpoConfig
from accord.algorithms.process_reward import Config as ProcessConfig
from accord.algorithms.referred import Anchor
from accord.algorithms.reward_heads import Config as HeadsConfig
from accord.algorithms.reward_model import Config as RewardConfig
from accord.algorithms.sft import Config as SftConfig
from accord.config import Settings, SettingsError, build, laid, leaves, read, save
from accord.lab import LabConfig
from accord.quality.believe import BelieveConfig
from accord.run import OptimiserConfig, RunConfig
from accord.terms import Collect, Cost, Draw, Engine, Judging, Members, Orders, PolicyMethod, Steps
from accord.terms import FileData as FileData
from accord.terms import Worth as Worth
from accord.worlds.text.dialogue import DialogueConfig
from accord.worlds.text.encode import EncoderSettings
from accord.worlds.text.models import ModelSettings

RELATED = ("dpo", "grpo")
"""Sections of which relatives have some settings of their own, where nobody chose them."""


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
    reward_method: Literal["reward_model", "reward_heads"] = "reward_model"
    """Which method learns the reward of each round: from pairs, or from every form of judgement."""
    reward_heads: HeadsConfig = HeadsConfig(epochs=3, optimiser=OptimiserConfig(learning_rate=1e-3, weight_decay=0.1))
    """Learning what answers are worth from every form of judgement, with several models and calibration where asked."""
    process_reward: ProcessConfig = ProcessConfig(epochs=3, optimiser=OptimiserConfig(learning_rate=1e-3))
    """Learning which steps of an answer, or which of its tokens, are right."""
    beside: dict[str, Beside] = Field(default={})
    """Further reward models by name, only to compare; each becomes a version `roundN-reward-NAME`."""
    ppo: PpoConfig = PpoConfig(iterations=15, missing_end_penalty=-2.0, kl=KL(coefficient=0.2))
    """Learning to answer better, with a critic."""
    method: PolicyMethod = "ppo"
    """Which method makes the policy of each round; its version is called `roundN-METHOD`."""
    grpo: GrpoConfig = GrpoConfig(
        iterations=15,
        epochs=2,
        missing_end_penalty=-2.0,
        kl=KL(place="loss", estimator="k2", coefficient=0.3),
    )
    """Learning to answer better, without a critic: GRPO and, with what each changes, its kin."""
    best_of_n: BestConfig = BestConfig(iterations=6, updates=4, missing_end_penalty=-2.0)
    """Learning to give the best of several answers at once."""
    best_of: int = Field(default=8, ge=2)
    """Answers per prompt that best_of_n chooses from."""
    dpo: DpoConfig = DpoConfig(epochs=2, optimiser=OptimiserConfig(learning_rate=3e-4, schedule="linear", warmup=0.1))
    """Learning to answer better from comparisons alone: DPO and its kin."""
    online_dpo: OnlineConfig = OnlineConfig(missing_end_penalty=-2.0)
    """Learning to answer better from pairs of its own answers that a reward orders."""
    kto: KtoConfig = KtoConfig(
        beta=0.5, epochs=2, optimiser=OptimiserConfig(learning_rate=3e-4, schedule="linear", warmup=0.1)
    )
    """Learning to answer better from single good and bad answers."""
    worth: Worth = Worth()
    """What answers earn in PPO, GRPO with its kin, online DPO and best of n."""
    judging: Judging = Judging()
    """What tells how good answers to test prompts are."""
    steps: Steps = Steps()
    """Where in an answer PPO, GRPO and best of n are paid by a reward model."""
    ptx: BesideConfig = BesideConfig()
    """What PPO, GRPO with its kin, online DPO and best of n learn beside, so that less is forgotten."""
    engine: Engine = Engine()
    """Who draws answers while a policy learns."""
    anchor: Anchor = Anchor()
    """What drift is measured from, in PPO, GRPO, DPO and their kin, and online DPO."""
    forgetting: int = Field(default=100, ge=0)
    """Rows of held-out plain text on which each new policy's perplexity is measured; 0 measures nothing."""
    ensemble: Members = Members()
    """How several reward models are one to a policy."""
    costs: dict[str, Cost] = Field(default={})
    """Reward models by name whose costs are bounded while PPO, GRPO with its kin, online DPO or best of n learn."""
    cost: Cost = Cost()
    """The terms of a cost that is named on the command line alone (--cost NAME)."""
    order: Orders = Orders()
    """In which order things are learned from (a curriculum)."""
    rollout: int = Field(default=64, ge=1)
    """Prompts per iteration of PPO, GRPO with its kin, online DPO and best of n."""
    rollout_answers: int = Field(default=4, ge=1)
    """Answers per prompt in PPO, GRPO with its kin and online DPO."""
    dialogue: DialogueConfig = DialogueConfig()
    """Conversations of several turns instead of single answers, in PPO, GRPO with its kin, online DPO and best of n."""
    critic: Literal["reward", "policy", "shared"] = "reward"
    """What the value model starts from: the reward model, the policy, or a head on the policy's own trunk."""
    draw: Draw = Draw()
    """How answers are drawn."""
    run: RunConfig = RunConfig()
    """Device, checkpoints, trackers."""
    written: tuple[str, ...] = ()
    """Settings of `dpo` and `grpo` that somebody chose, as `dpo.beta`: a relative leaves them as they are. Where a file
    does not say, all that it names; a project keeps it with its settings, of which most were chosen by nobody."""

    @property
    def reading(self) -> EncoderSettings:
        """Limits of length that a new model can keep: `encode`, and never more than the model's context."""
        limit = self.encode.limit if self.model.name else min(self.encode.limit, self.model.context)
        return self.encode.model_copy(update={"limit": limit})

    def dealt(self) -> None:
        """Raises SettingsError when a rollout of PPO cannot be dealt into its minibatches."""
        if self.ppo.minibatches > self.rollout:
            raise SettingsError(
                f"ppo.minibatches={self.ppo.minibatches} does not fit rollout={self.rollout} prompts; "
                f"use 1 to {self.rollout}"
            )

    @model_validator(mode="after")
    def _known(self) -> Recipe:
        """A name that is no setting would let a relative change what was meant to be kept."""
        if unknown := set(self.written) - set(choosable(self)):
            raise ValueError(
                f"written: {', '.join(sorted(unknown))} is no setting of {' or '.join(RELATED)}; names are as dpo.beta"
            )
        return self

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
        if self.method == "ppo":
            self.dealt()
        if self.dialogue.turns > 1 and self.dialogue.user is None and self.data.kind != "lab":
            raise ValueError("dialogue.turns needs a dialogue.user (a version, or a model by folder) where no lab is")
        if self.dialogue.turns > 1 and self.dialogue.user and self.dialogue.user_tokens > self.reading.kept:
            raise ValueError(
                f"dialogue.user_tokens={self.dialogue.user_tokens} is more than the {self.reading.kept} tokens kept "
                "for what is said; lower it or raise encode.answer_limit (and encode.limit, and model.context)"
            )
        if self.judging.by == "rules" and not (self.judging.must or self.worth.rules):
            raise ValueError("judging.by=rules needs rules: name them in judging.must, or give one a weight in worth")
        return self

    @model_validator(mode="after")
    def _does_something(self) -> Recipe:
        """What would take long and come to nothing is refused too, and what would never be heard of."""
        acts, compares = self.method in ("ppo", "best_of_n", "online_dpo", *KIN), self.method in ("online_dpo", *KIN)
        alone = self.method == "reinforce_pp" or (self.method in KIN and self.grpo.baseline == "global")
        if compares and not alone and self.rollout_answers < 2:
            raise ValueError(f"method={self.method} compares answers to one prompt, and rollout_answers=1; take 4")
        if self.ppo.critic_warmup >= self.ppo.iterations:
            raise ValueError(
                f"ppo.critic_warmup={self.ppo.critic_warmup} leaves none of ppo.iterations={self.ppo.iterations} in "
                "which the policy learns; use less of the former or more of the latter"
            )
        for name, kl in (("ppo.kl", self.ppo.kl), ("grpo.kl", self.grpo.kl)):
            if kl.place == "loss" and kl.estimator == "k1" and kl.coefficient:
                raise ValueError(
                    f"{name}: place=loss with estimator=k1 holds nothing, for its gradient is zero on average; take "
                    "estimator=k2 or k3, or place=reward"
                )
            if kl.target is not None and not kl.coefficient:
                raise ValueError(f"{name}: coefficient=0 cannot grow towards target={kl.target:g}; set a first price")
        if self.grpo.soft_length is not None and self.grpo.soft_length > self.grpo.hard_length:
            raise ValueError(
                f"reward is lost from grpo.soft_length={self.grpo.soft_length} tokens on until all is lost at "
                f"grpo.hard_length={self.grpo.hard_length}, which comes before it; raise the latter"
            )
        if self.ptx.weight and not acts:
            raise ValueError(f"method={self.method} learns nothing beside, so `ptx` would do nothing; set ptx.weight=0")
        if self.costs and not acts:
            raise ValueError(
                f"method={self.method} is not paid while it learns, so {', '.join(self.costs)} in `costs` would bound "
                "nothing; take ppo, GRPO or one of its kin, best_of_n or online_dpo"
            )
        if self.beside and self.judging.by == "rules" and not self.worth.learned:
            raise ValueError("rules alone pay and judge, so no reward model is made, and none of `beside` either")
        return self


def recipe(path: str | Path | None, changes: dict[str, Any] | None = None) -> Recipe:
    """A recipe from a file laid over the defaults, with changes laid over both: what a section leaves out stays.

    Raises SettingsError naming what cannot be used.
    """
    told, changes = read(path) if path else {}, changes or {}
    if path and Path(path).name == "project.yaml":  # all settings stand there: in an old one nobody knows whose
        told = {"written": [], **told}
    values, given = laid(changes, laid(told, Recipe().model_dump())), changes.get("written", told.get("written"))
    if given is None:
        values["written"] = chosen(told, changes)
    elif "written" not in changes and isinstance(given, list | tuple):
        values["written"] = (*given, *chosen(changes))
    return build(Recipe, values, str(path or "recipe"))


def chosen(*told: Mapping[str, Any]) -> tuple[str, ...]:
    """The settings of `dpo` and `grpo` that plain values name, as `dpo.beta`."""
    sections = [{name: values[name]} for values in told for name in RELATED if isinstance(values.get(name), Mapping)]
    return tuple(dict.fromkeys(way for section in sections for way, _ in leaves(section)))


def choosable(recipe: Recipe) -> tuple[str, ...]:
    """Every setting of `dpo` and `grpo`, as `dpo.beta`."""
    return chosen({name: getattr(recipe, name).model_dump() for name in RELATED})


BROUGHT = tuple(f"data.{name}" for name in ("kind", "lab", "documents", "texts", "spelling", "digits"))
GROUND = ("seed", "vocabulary", "model", "encode", *BROUGHT)
"""What every version of a project stands on."""
ASKED = tuple(f"collect.{name}" for name in ("prompts", "answers", "form", "wanted", "people"))
ROUNDS = (*ASKED, "believe", "reward_backbone", "draw")
"""What every round stands on: a finished one is not gone again, so these cannot change once there is a round."""


def follow(chosen: Recipe, folder: Path) -> None:
    """Write the recipe that a project follows into its folder.

    Raises SettingsError, and leaves the old recipe, when versions are there that stand on another seed, other texts or
    another model: a later stage would be built upon them, and the report would call them what they are not.
    """
    file, wanted = folder / "project.yaml", chosen.model_dump(mode="json")
    if file.is_file() and any((folder / "versions").glob("[!.]*")):
        there = read(file)
        ground = GROUND if wanted["data"]["kind"] == "files" else (*GROUND, "data.demonstrations")
        ground = (*ground, *ROUNDS) if any((folder / "versions").glob("round*")) else ground
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
