"""The order in which a stage learns, as the recipe's `order` says: what is hard is measured before the stage begins."""

from __future__ import annotations

from typing import Any

import torch

from accord.algorithms.curriculum import Curriculum, by_length, of_prompts
from accord.batches import Comparisons, Segment
from accord.config import SettingsError
from accord.project import Project
from accord.records import Prompt, Sample
from accord.run import Run

SECTIONS = ("sft", "reward_model", "dpo")
"""Sections of a recipe whose stages learn in an order that can be chosen."""


def order(project: Project, section: str) -> dict[str, Any]:
    """What of the recipe's `order` decides a stage; nothing where it is by chance."""
    orders = project.recipe.order
    chosen = getattr(orders, section) if section in SECTIONS else None
    if chosen is None or chosen.schedule == "random":
        return {}
    return {"order": {**chosen.model_dump(mode="json"), **({"by": orders.by} if chosen.measure == "margin" else {})}}


def in_order(project: Project, section: str, run: Run, learned: Segment | Comparisons) -> None:
    """Deal to the loop in the order that the recipe wants. Raises SettingsError where it cannot be measured."""
    if not order(project, section):
        return
    chosen = getattr(project.recipe.order, section)
    if isinstance(learned, Segment):
        if chosen.measure != "length":
            raise SettingsError(
                f"order.{section}.measure={chosen.measure} is of pairs; demonstrations are measured by length"
            )
        run.order = Curriculum(chosen, by_length(learned))
        return
    score = scored(project, learned.segment) if chosen.measure == "margin" else None
    run.order = Curriculum(chosen, of_prompts(learned, chosen.measure, score))


def scored(project: Project, segment: Segment) -> torch.Tensor:
    """[B] score of each answer by the version of `order.by`. Raises SettingsError when that is no reward model."""
    by = project.recipe.order.by
    version = project.version(by) if by else None
    if version is None or version.role != "reward":
        raise SettingsError(f"measure=margin needs a reward model in order.by, and {by or 'nothing'!r} is none")
    samples = project.store.get_many(Sample, segment.names)
    prompts = project.store.get_many(Prompt, dict.fromkeys(sample.prompt for sample in samples.values()))
    return project.score(by)([(prompts[samples[name].prompt], samples[name]) for name in segment.names])
