"""Where experiments stand: the lab up to fine-tuning, pairs of answers, labels of a known quality, quick lessons."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from accord.algorithms import reward_model
from accord.batches import Comparisons, Rollout
from accord.config import SettingsError
from accord.lab import Gold, crowd
from accord.loop import start
from accord.project import Project, named, scores, text_of
from accord.protocols import Sampling
from accord.recipe import recipe
from accord.records import Preference, Prompt, Sample, named_id
from accord.rewards.ensemble import Rule, together
from accord.rewards.learned import Answers
from accord.run import Run, RunConfig, seed_of
from accord.run.order import Order
from accord.whole import written
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder
from accord.worlds.text.generate import Sampler
from accord.worlds.text.models import ModelSettings
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import open_tokenizer
from accord.worlds.text.world import TextWorld

Said = Callable[[str], None]
Labeller = Literal["gold", "people"]
LAB: dict[str, Any] = {"run": {"trackers": (), "checkpoint_seconds": 120, "progress": False}}
"""What every experiment changes in the lab's recipe."""
SMALL: dict[str, Any] = {
    "data": {"documents": 3000, "demonstrations": 3000},
    "pretrain": {"epochs": 2, "optimiser": {"learning_rate": 3e-3}},
    "sft": {"epochs": 3, "optimiser": {"learning_rate": 3e-3}},
}
"""What the small size changes besides: half the texts, so that the start takes a minute or two of one core."""


@dataclass(frozen=True)
class Two:
    """Two different answers to one prompt."""

    prompt: Prompt
    first: Sample
    second: Sample

    @property
    def name(self) -> str:
        """The same for the same answers."""
        return named_id("two", self.first.id, self.second.id)


@dataclass(frozen=True)
class Member:
    """A reward model that was just taught, with its score normaliser."""

    scorer: Scorer
    encoder: Encoder
    mean: float
    std: float
    tokens: int = 8192

    @torch.no_grad()
    def __call__(self, pairs: Answers) -> Tensor:
        """[B] normalised scores of answers."""
        return (scores(self.scorer, self.encoder, pairs, self.tokens) - self.mean) / self.std


@dataclass(frozen=True)
class Proxy:
    """What is optimised: some members as one score. An answer that was cut has `cut`, as in PPO's penalty."""

    members: Sequence[Member]
    rule: Rule = "mean"
    doubt: float = 1.0
    cut: float = -2.0

    def each(self, pairs: Answers) -> Tensor:
        """[M, B] normalised scores by each member."""
        return torch.stack([member(pairs) for member in self.members])

    def of(self, each: Tensor, pairs: Answers) -> Tensor:
        """[B] the members' scores [M, B] as one."""
        whole = torch.tensor([sample.finished for _, sample in pairs])
        return torch.where(whole, together(each, self.rule, self.doubt), self.cut)

    def __call__(self, pairs: Answers) -> Tensor:
        """[B]: what an answer earns."""
        return self.of(self.each(pairs), pairs)


class Ground:
    """A lab with a fine-tuned policy, its answers, and those who label them."""

    def __init__(self, project: Project, say: Said) -> None:
        """Makes the start where it is not there yet. Raises SettingsError when the data are not the lab's."""
        if project.lab is None:
            raise SettingsError("these experiments are judged by gold, and only the lab has it")
        project.prepare()
        self.project, self.start = project, start(project, say).name
        self.gold, self.seed = Gold(project.lab), project.recipe.seed
        self.encoder = project.encoder(open_tokenizer(project.path(self.start)))
        self.people = crowd(project.lab, project.recipe.collect.people, self.seed)

    def twos(self, prompts: Sequence[Prompt], name: str, count: int = 0, answers: int = 4) -> list[Two]:
        """`count` pairs of different answers (0: all), every prompt's first pair before any prompt's second.

        Raises SettingsError when there are fewer.
        """
        drawn = self.project.sample(self.start, prompts, answers, name)
        turns: list[list[Two]] = [[] for _ in range(answers // 2)]
        for at in range(0, len(drawn), answers):
            different = list({text_of(s).messages[-1].content: s for _, s in drawn[at : at + answers]}.values())
            for turn, (one, other) in enumerate(zip(different[::2], different[1::2], strict=False)):
                turns[turn].append(Two(drawn[at][0], one, other))
        found = [two for turn in turns for two in turn]
        if len(found) < count:
            raise SettingsError(
                f"{len(prompts)} prompts gave {len(found)} pairs of different answers, and {count} are wanted; "
                "give more prompts (collect.prompts) or fewer labels"
            )
        return found[: count or None]

    def held(
        self, prompts: Sequence[Prompt], name: str = "held", answers: int = 4
    ) -> tuple[list[Two], list[Preference]]:
        """Pairs of answers to held-out prompts that gold tells apart, and what gold says of them.

        Where gold holds two answers equal nothing can be ordered right or wrong. Raises SettingsError without any.
        """
        found = [two for two in self.twos(prompts, name, answers=answers) if abs(self.gap(two)) > 1e-9]
        if not found:
            raise SettingsError(f"{len(prompts)} held-out prompts gave no two answers that gold tells apart; give more")
        return found, self.labelled(found)

    def labelled(self, twos: Sequence[Two], flips: float = 0.0, by: Labeller = "gold") -> list[Preference]:
        """One label for each pair, and a share of them turned round. The label of a pair depends on the pair alone.

        gold: whichever is truly better, a coin where both are alike. people: one of the lab's crowd, by exact chances.
        """
        beliefs = []
        for two in twos:
            draw = random.Random(seed_of(self.seed, "label", two.name))
            first = (draw.random() < self.chance(two, by, draw)) != (draw.random() < flips)
            chosen, rejected = (two.first, two.second) if first else (two.second, two.first)
            name = named_id("label", two.name, by, flips)
            beliefs.append(Preference(id=name, prompt=two.prompt.id, chosen=chosen.id, rejected=rejected.id))
        return beliefs

    def chance(self, two: Two, by: Labeller, draw: random.Random) -> float:
        """How likely the first answer is the one that is called better."""
        if by == "people":
            told = draw.choice(self.people).chances(two.prompt, two.first, two.second)
            return told.first + told.tie / 2
        gap = self.gap(two)
        return 0.5 if abs(gap) <= 1e-9 else float(gap > 0)

    def gap(self, two: Two) -> float:
        """How much better the first answer is by gold."""
        return self.gold(two.prompt, two.first).score - self.gold(two.prompt, two.second).score

    def backbone(self) -> ModelSettings:
        """What reward models start from: the fine-tuned policy's trunk."""
        return named(self.project.recipe.model, self.project.path(self.start))


def compared(encoder: Encoder, twos: Sequence[Two], beliefs: Sequence[Preference]) -> Comparisons:
    """Labelled pairs as a batch. Pairs that the encoder cannot use are left out."""
    samples = {sample.id: sample for two in twos for sample in (two.first, two.second)}
    return encoder.comparisons(beliefs, {two.prompt.id: two.prompt for two in twos}, samples)


@dataclass(frozen=True)
class Lesson:
    """How a reward model is taught in an experiment."""

    backbone: ModelSettings
    """What it starts from."""
    config: reward_model.Config
    """How it learns."""
    fresh_head: bool = True
    """Draw a new head although the start has one."""
    frozen: bool = False
    """Only the head learns."""
    tags: tuple[str, ...] = ()
    """What else tells its chance apart."""


def taught(
    lesson: Lesson,
    encoder: Encoder,
    seed: int,
    learned: Comparisons | None,
    order: Order | None = None,
    term: Callable[[Scorer, Run], reward_model.Beside] | None = None,
) -> Member:
    """A reward model after one lesson; without comparisons, as it starts. Its run leaves nothing on the disk.

    The head and the order of the data are drawn from `seed` and the lesson's tags alone. order: a curriculum.
    term: what joins each step's loss.
    """
    chance = seed_of(seed, "lesson", *lesson.tags)
    model = models.scorer_model(lesson.backbone, encoder.tokenizer, seed_of(chance, "head"), lesson.fresh_head)
    scorer = Scorer(model)
    tokens = lesson.config.micro_tokens
    if learned is None:
        return Member(scorer, encoder, *models.normaliser(model), tokens)
    if lesson.frozen:
        for weight in models.parts(model)[0].parameters():
            weight.requires_grad_(False)
    with aside("reward", chance) as run:
        run.order = order
        beside = term(scorer, run) if term else reward_model.nothing
        normaliser, _ = reward_model.train(lesson.config, scorer, learned, run, beside=beside)
    return Member(scorer, encoder, normaliser.mean, normaliser.std, tokens)


@contextmanager
def aside(name: str, seed: int) -> Iterator[Run]:
    """A run whose folder vanishes: for lessons so short that making one again costs less than keeping it."""
    with tempfile.TemporaryDirectory(prefix=f"accord-{name}-") as folder:
        quiet = RunConfig(seed=seed, trackers=(), progress=False, checkpoint_seconds=1e9, keep=1)
        yield Run(Path(folder) / name, quiet)


@torch.no_grad()
def answered(
    project: Project, encoder: Encoder, policy: Any, prompts: Sequence[Prompt], answers: int
) -> tuple[Rollout, Answers]:
    """What a policy says now to prompts: the rollout, and its records. Every policy draws by the same chance."""
    draw = project.recipe.draw
    sampling = Sampling(draw.temperature, max_tokens=draw.max_tokens, count=answers)
    seed = seed_of(project.recipe.seed, "look")
    world = TextWorld(encoder, prompts, Sampler(policy.model), sampling, len(prompts), seed, "looked at")
    rollout = world.collect(policy)
    return rollout, world.keep(rollout)


def by_prompt(values: Tensor, said: Answers, prompts: Sequence[Prompt]) -> Tensor:
    """[..., G] means over each prompt's answers, in the order of the prompts. values: [..., B]."""
    place = {prompt.id: g for g, prompt in enumerate(prompts)}
    row = torch.tensor([place[prompt.id] for prompt, _ in said])
    total = values.new_zeros(*values.shape[:-1], len(prompts)).index_add(-1, row, values)
    return total / torch.bincount(row, minlength=len(prompts))


def right(member: Callable[[Answers], Tensor], twos: Sequence[Two], beliefs: Sequence[Preference]) -> list[float]:
    """For each pair 1, 1/2 or 0: whether the believed better answer scores higher."""
    asked = [(two.prompt, sample) for two in twos for sample in (two.first, two.second)]
    score = member(asked).reshape(-1, 2)
    first = torch.tensor([belief.chosen == two.first.id for belief, two in zip(beliefs, twos, strict=True)])
    better, worse = torch.where(first, score[:, 0], score[:, 1]), torch.where(first, score[:, 1], score[:, 0])
    return reward_model.correct(better, worse).tolist()


class Kept:
    """Finished parts of an experiment as JSON files by name: a killed one goes on after the last whole part."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Raises SettingsError when the folder holds parts that were made under other settings."""
        self.folder = folder
        mine, file = json.dumps(settings, indent=1, sort_keys=True, default=str), folder / "settings.json"
        if file.is_file() and file.read_text(encoding="utf-8") != mine:
            raise SettingsError(f"{folder} holds parts that were made under other settings; give another --folder")
        written(file, mine)

    def part(self, name: str, make: Callable[[], Any]) -> Any:
        """What is there under this name, or what `make` returns, written down. Plain values that JSON can hold."""
        file = self.folder / f"{name}.json"
        if not file.is_file():
            written(file, json.dumps(make()))
        return json.loads(file.read_text(encoding="utf-8"))


def lab(folder: Path, seed: int, changes: Mapping[str, Any], small: bool) -> Project:
    """The lab's project of one seed: the recipe with `LAB`, when small with `SMALL`, and changes laid over both."""
    wanted: dict[str, Any] = {**LAB, **(SMALL if small else {}), **changes, "seed": seed}
    data = {**(SMALL["data"] if small else {}), **changes.get("data", {})}
    wanted["data"] = {"kind": "lab", **data, "lab": {**data.get("lab", {}), "seed": seed}}
    return Project(folder, recipe(None, wanted))
