"""Does the order of the data matter: easy first, hard first and by competence, beside no order at all.

A reward model sees the same labels once in each order (`accord/algorithms/curriculum.py`). What is hard is told by
length, or by the margin of a model that learned from other labels. docs/experiments.md tells the figures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from accord.algorithms.curriculum import Config as Order
from accord.algorithms.curriculum import Curriculum, Measure, Schedule, of_prompts
from accord.algorithms.reward_model import scores_of
from accord.config import Settings
from accord.evaluate.page import Part, Table
from accord.proofs.ground import Ground, Labeller, Lesson, Said, compared, right, taught
from accord.proofs.seeds import Experiment, Rows, Stand
from accord.proofs.sided import Cell, cells, chart, collected, each, kept, plain

CONTROL = "random"


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
    """How often each label is seen. An order matters the more, the fewer times."""
    train_prompts: int = Field(default=4500, ge=1)
    """Prompts whose answers are labelled."""
    test_prompts: int = Field(default=400, ge=2)
    """Prompts that everything is measured on."""


SMALL: dict[str, Any] = {"labels": (150, 400), "probe": 150, "train_prompts": 800, "test_prompts": 160}
"""The small size."""


def measured(stand: Stand) -> dict[str, list[float]]:
    """What each order of one seed gets right."""
    found: dict[str, list[float]] = stand.parts.part("orders", lambda: orders(stand.config, stand.ground(), stand.say))
    return found


def orders(config: Config, ground: Ground, say: Said) -> dict[str, list[float]]:
    """What each order gets right of the test pairs, by `LABELS|ORDER`."""
    seed = ground.seed
    twos = ground.twos(ground.project.prompts("train"), "labels", config.probe + max(config.labels), answers=4)
    beliefs = ground.labelled(twos, config.flips, config.by)
    held = ground.twos(ground.project.prompts("test"), "held", answers=2)
    truth, recipe = ground.labelled(held), ground.project.recipe
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


def told(seeds: Rows, folder: Path, command: str) -> str:
    """Write table, page and figures. Returns the table in Markdown."""
    values = collected([{Cell(*name.split("|")): one for name, one in row.items()} for row in seeds.values()])
    rows = [cells(*one) for one in each(values, lambda cell: cell._replace(way=CONTROL))]
    measures = list(dict.fromkeys(cell.way.split(" by ")[1] for cell in values if " by " in cell.way))
    charts = []
    for measure in measures:
        mine = {c: v for c, v in values.items() if c.way == CONTROL or c.way.endswith(f" by {measure}")}
        charts.append(
            chart(measure, f"Orders by {measure}", mine, "labels", f"Held-out pairs ordered right, by {measure}")
        )
    table = Table(("labels", "order", "ordered right", f"less {CONTROL}", "verdict"), rows)
    lead = "The same labels, seen equally often, in several orders. Random is the control; gold says what is right."
    return kept(
        folder, "curriculum", "Curriculum", lead, [Part("Reward model", "", table, charts)], command, plain(values)
    )


prove = Experiment("curriculum", Config, SMALL, measured, told).prove
