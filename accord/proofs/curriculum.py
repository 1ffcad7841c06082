"""Does the order of the data matter: easy first, hard first and by competence, beside no order at all.

A reward model sees the same labels once in each order (`accord/algorithms/curriculum.py`). What is hard is told by
length, or by the margin of a model that learned from other labels. A policy imitates the same demonstrations once in
each order of their lengths. docs/experiments.md tells the figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from accord.algorithms import sft
from accord.algorithms.curriculum import Config as Order
from accord.algorithms.curriculum import Curriculum, Measure, Schedule, by_length, of_prompts
from accord.algorithms.reward_model import scores_of
from accord.config import Settings
from accord.evaluate.page import Part, Table
from accord.project import named
from accord.proofs.ground import Ground, Labeller, Lesson, Said, answered, aside, by_prompt, compared, right, taught
from accord.proofs.pressed import by_gold
from accord.proofs.seeds import Experiment, Rows, Stand
from accord.proofs.sided import Cell, cells, chart, collected, each, kept, plain
from accord.run import seed_of
from accord.worlds.text import models
from accord.worlds.text.policy import Policy

CONTROL = "random"
ANSWERS = 2
"""Answers of a policy to each test prompt."""


class Config(Settings):
    """Settings of the experiment."""

    labels: tuple[int, ...] = (300, 1000, 3000)
    """Labelled pairs that are put in order."""
    schedules: tuple[Schedule, ...] = ("easy", "hard", "competence")
    """Orders that are compared with `random`, the control."""
    measures: tuple[Measure, ...] = ("length", "margin")
    """What is called hard."""
    probe: int = Field(default=500, ge=1)
    """Further labels for the model that tells margins; it is not the one that is measured."""
    flips: float = Field(default=0.1, ge=0, le=1)
    """Share of labels that are turned round."""
    by: Labeller = "gold"
    """Who labels before that."""
    epochs: float = Field(default=2.0, gt=0)
    """How often each label and demonstration is seen. An order matters the more, the fewer times."""
    shown: tuple[int, ...] = (300, 3000)
    """Demonstrations that a policy imitates in order; () leaves policies out."""
    train_prompts: int = Field(default=4500, ge=1)
    """Prompts whose answers are labelled."""
    test_prompts: int = Field(default=400, ge=2)
    """Prompts that everything is measured on."""


SMALL: dict[str, Any] = {"labels": (150, 400), "probe": 150, "shown": (400,), "train_prompts": 800, "test_prompts": 160}
"""The small size."""


def measured(stand: Stand) -> dict[str, dict[str, list[float]]]:
    """What each order of one seed comes to: of labels, and of demonstrations."""
    config, say = stand.config, stand.say
    found = {"Reward model": stand.parts.part("orders", lambda: orders(config, stand.ground(), say))}
    if config.shown:
        found["Policy"] = stand.parts.part("imitated", lambda: imitated(config, stand.ground(), say))
    return found


def orders(config: Config, ground: Ground, say: Said) -> dict[str, list[float]]:
    """What each order gets right of the test pairs, by `LABELS|ORDER`."""
    seed = ground.seed
    twos = ground.twos(ground.project.prompts("train"), "labels", config.probe + max(config.labels), answers=4)
    beliefs = ground.labelled(twos, config.flips, config.by)
    held, truth = ground.held(ground.project.prompts("test"), answers=2)
    recipe = ground.project.recipe
    lesson = Lesson(ground.backbone(), recipe.reward_model.model_copy(update={"epochs": config.epochs}))
    probe = taught(
        lesson, ground.encoder, seed, compared(ground.encoder, twos[-config.probe :], beliefs[-config.probe :])
    )
    found: dict[str, list[float]] = {}
    for labels in config.labels:
        say(f"{labels} labels")
        learned = compared(ground.encoder, twos[:labels], beliefs[:labels])
        score = scores_of(probe.scorer, learned.segment, recipe.reward_model.micro_tokens)
        for measure in config.measures:
            difficulty = of_prompts(learned, measure, score)
            for schedule in (CONTROL, *config.schedules):
                name = CONTROL if schedule == CONTROL else f"{schedule} by {measure}"
                if f"{labels}|{name}" in found:
                    continue  # without an order it does not matter what is called hard
                order = Curriculum(Order(schedule=schedule, measure=measure), difficulty)
                found[f"{labels}|{name}"] = right(taught(lesson, ground.encoder, seed, learned, order), held, truth)
    return found


def imitated(config: Config, ground: Ground, say: Said) -> dict[str, list[float]]:
    """Gold of what a policy answers to each test prompt after each order, by `DEMONSTRATIONS|ORDER`."""
    project, seed = ground.project, seed_of(ground.seed, "in order")
    recipe, lab, prompts = project.recipe, project.lab, project.prompts("test")
    assert lab is not None
    start = named(recipe.model, project.path("pretrained" if recipe.pretrain else ground.start))
    lesson = recipe.sft.model_copy(update={"epochs": config.epochs})
    found: dict[str, list[float]] = {}
    for count in config.shown:
        say(f"{count} demonstrations")
        learned = ground.encoder.segment(lab.demonstrations(count))
        for schedule in (CONTROL, *config.schedules):
            policy = Policy(models.language_model(start, ground.encoder.tokenizer, seed), recipe.draw.temperature)
            with aside("policy", seed) as run:
                run.order = Curriculum(Order(schedule=schedule, measure="length"), by_length(learned))
                sft.train(lesson, policy, learned, run)
            _, said = answered(project, ground.encoder, policy, prompts, ANSWERS)
            worth = by_prompt(by_gold(ground.gold)(said), said, prompts)
            name = CONTROL if schedule == CONTROL else f"{schedule} by length"
            found[f"{count}|{name}"] = [round(float(value), 5) for value in worth]
    return found


AXES = {
    "Reward model": ("labels", "ordered right", "Held-out pairs ordered right"),
    "Policy": ("demonstrations", "gold", "Gold of answers"),
}
"""Of each section: what is put in order, what is measured, and how a chart calls that."""


def told(seeds: Rows, folder: Path, command: str) -> str:
    """Write tables, page and figures. Returns the tables in Markdown."""
    parts, figures = [], {}
    for section in next(iter(seeds.values())):
        across, measure, label = AXES[section]
        rows = [row[section] for row in seeds.values()]
        values = collected([{Cell(*name.split("|")): one for name, one in row.items()} for row in rows])
        lines = [cells(*one) for one in each(values, lambda cell: cell._replace(way=CONTROL))]
        charts = []
        for hard in dict.fromkeys(cell.way.split(" by ")[1] for cell in values if " by " in cell.way):
            mine = {c: v for c, v in values.items() if c.way == CONTROL or c.way.endswith(f" by {hard}")}
            key, title = f"{section.split()[0].lower()}-{hard}", f"{section}: orders by {hard}"
            charts.append(chart(key, title, mine, across, f"{label}, by {hard}"))
        table = Table((across, "order", measure, f"less {CONTROL}", "verdict"), lines)
        parts.append(Part(section, "", table, charts))
        figures[section] = plain(values)
    lead = "The same data, seen equally often, in several orders. Random is the control; gold says what is right."
    return kept(folder, "curriculum", "Curriculum", lead, parts, command, figures)


prove = Experiment("curriculum", Config, SMALL, measured, told).prove
