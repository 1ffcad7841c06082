"""The order in which a stage learns, as the recipe's `order` says: what is hard is measured before the stage begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from accord import dialogues
from accord.algorithms.curriculum import Config, Curriculum, Measure, by_length, by_pass_rate, of_judged, of_prompts
from accord.algorithms.functional import group_sum
from accord.batches import Comparisons, Segment
from accord.config import SettingsError
from accord.judged import Judged
from accord.project import Project, text_of
from accord.protocols import Policy, Reward
from accord.records import Prompt, Sample
from accord.run import Run
from accord.worlds.text.world import TextWorld

SECTIONS = ("sft", "reward_model", "reward_heads", "dpo", "kto")
"""Sections of a recipe whose stages deal what they learn from in an order that can be chosen."""
ACTING = ("ppo", "grpo", "best_of_n", "online_dpo")
"""Those whose prompts are asked in the order of `policy`."""


def order(project: Project, section: str) -> dict[str, Any]:
    """What of the recipe's `order` decides a stage; nothing where it is by chance."""
    orders, chosen = project.recipe.order, _chosen(project, section)
    if chosen is None or chosen.schedule == "random":
        return {}
    more: dict[str, Any] = {"by": orders.by} if chosen.measure == "margin" else {}
    more |= {"tries": orders.tries, "passed": orders.passed} if chosen.measure == "pass_rate" else {}
    return {"order": {**chosen.model_dump(mode="json"), **more}}


def _chosen(project: Project, section: str) -> Config | None:
    """The settings of the order of a stage; None where it has none."""
    name = "policy" if section in ACTING else section if section in SECTIONS else None
    return getattr(project.recipe.order, name) if name else None


def in_order(project: Project, section: str, run: Run, learned: Segment | Comparisons | Judged) -> None:
    """Deal to the loop in the order that the recipe wants. Raises SettingsError where it cannot be measured."""
    if not order(project, section):
        return
    chosen = _chosen(project, section)
    assert chosen is not None
    if isinstance(learned, Segment):
        run.order = Curriculum(chosen, by_length(learned))
        return
    score = scored(project, learned.segment) if chosen.measure == "margin" else None
    if isinstance(learned, Judged):
        run.order = Curriculum(chosen, of_judged(learned, chosen.measure, score))
    else:
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


# --- prompts to be answered --------------------------------------------------------------------------------------


def in_world(
    project: Project,
    section: str,
    run: Run,
    world: dialogues.World,
    policy: Policy,
    earns: Callable[[TextWorld], Reward],
    turns: int,
) -> None:
    """Ask prompts in the order that the recipe's `order.policy` wants.

    policy: as it starts. earns: what answers in a world earn, without costs. turns: collections that there will be.
    Raises SettingsError where the order cannot be measured.
    """
    if not order(project, section):
        return
    chosen, first = _chosen(project, section), world if isinstance(world, TextWorld) else world.first
    assert chosen is not None
    if chosen.measure == "length":
        hard = [float(len(first.encoder.prompt(text_of(prompt)))) for prompt in first.prompts]
    elif chosen.measure == "pass_rate":
        hard = by_tries(project, first, policy, earns)
    else:
        hard = by_beliefs(project, first, chosen.measure)
    curriculum = Curriculum(chosen, torch.tensor(hard, dtype=torch.float64))
    first.order = curriculum.prompts(run.config.seed, turns, first.batch)


def by_tries(project: Project, world: TextWorld, policy: Policy, earns: Callable[[TextWorld], Reward]) -> list[float]:
    """How seldom the start's answers to each prompt earn what passes: single answers, also where dialogues follow."""
    tries, passed = project.recipe.order.tries, project.recipe.order.passed
    tried = TextWorld(world.encoder, world.prompts, world.generator, replace(world.sampling, count=tries), world.batch,
                      world.seed, f"{world.version}-tries")  # fmt: skip
    numbers = [
        list(range(at, min(at + world.batch, len(world.prompts)))) for at in range(0, len(world.prompts), world.batch)
    ]
    tried.order = lambda turn: (
        numbers[turn] if turn < len(numbers) else []
    )  # a world asks for one turn more than it had
    judge, found = earns(tried), list[float]()
    for some in numbers:
        rollout = tried.collect(policy)
        good = (judge(rollout).sum(1).cpu() >= passed).long()
        found += by_pass_rate(group_sum(good, rollout.group, len(some)), torch.full((len(some),), tries)).tolist()
    return found


def by_beliefs(project: Project, world: TextWorld, measure: Measure) -> list[float]:
    """Disagreement or margin of what is believed of each prompt's answers; the mean where nothing is."""
    numbers = {prompt.id: number for number, prompt in enumerate(world.prompts)}
    beliefs = [belief for belief in project.preferences("train") if belief.prompt in numbers]
    if not beliefs:
        raise SettingsError(f"order.policy.measure={measure} is of beliefs about the prompts, and there are none; take "
                            "length or pass_rate")  # fmt: skip
    pairs = world.encoder.comparisons(beliefs, *project.looked_up(beliefs))
    score = scored(project, pairs.segment) if measure == "margin" else None
    hard = of_prompts(pairs, measure, score)
    about = {belief.id: belief.prompt for belief in beliefs}
    known = {about[pairs.names[int(members[0])]]: float(one) for members, one in zip(pairs.groups(), hard, strict=True)}
    middle = sum(known.values()) / len(known)
    return [known.get(prompt.id, middle) for prompt in world.prompts]
