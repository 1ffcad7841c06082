"""A policy that acts and is paid: what decides such a stage, what it opens before its first step, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accord import dialogues, ordering, paid
from accord.algorithms.beside import Beside
from accord.algorithms.ppo import Reference
from accord.anchors import HELD, anchor, held, rehearsed
from accord.config import Settings, SettingsError
from accord.earned import asked, earning
from accord.project import Project
from accord.protocols import Reward
from accord.records import Prompt, Version
from accord.run import Run
from accord.worlds.text.encode import Encoder
from accord.worlds.text.policy import Policy


@dataclass(frozen=True)
class Acting:
    """A stage in which a policy answers and is paid, as it stands before its first step."""

    name: str
    """Of the version that it makes."""
    start: str
    """The version that the policy starts from."""
    given: Mapping[str, str | None]
    """Versions that stand beside it: the reward, and the reference where there is one."""
    cost: str | None
    """Versions whose scores are costs, as on the command line."""
    more: Mapping[str, Any]
    """What decides it besides its method's settings."""
    run: Run
    prompts: Sequence[Prompt]
    policy: Policy
    encoder: Encoder
    world: dialogues.World
    earned: Reward
    """What answers are paid, less what they cost."""
    before: Reference | None
    """What drift is measured from; None where nobody asks it."""
    beside: Beside
    """Known rows that are learned beside."""


def opened(
    project: Project,
    name: str,
    method: str,
    section: str,
    config: Any,
    updates: int,
    drifts: bool = True,
    actor: Callable[[str, str | None], tuple[Policy, Encoder]] | None = None,
    *,
    start: str | None = None,
    reward: str | None = None,
    reference: str | None = None,
    prompts: Sequence[Prompt] | None = None,
    cost: str | None = None,
    **rest: Any,
) -> Acting:
    """All that a stage needs before its first step.

    section: the method's settings in the recipe. config: these settings. updates: optimiser steps that there will be at
    most. drifts: whether a reference is asked. actor: how the policy is opened, given start and reward; else as the
    version is. The rest is as on the command line; prompts: else those of the recipe.
    Raises SettingsError for a version that is not there or is something else, or when there is nothing to answer.
    """
    recipe, refers = project.recipe, section in HELD["anchor"]
    start = wanted(project, method, "start", "policy", start)
    reward = wanted(project, method, "reward", "reward", reward) if recipe.worth.learned else None
    paid.ruled(project, reward, cost)
    paid.sided(project, reward, cost)
    if section == "best_of_n":
        paid.comparable(project, cost, config.rounds)
    origin = wanted(project, method, "reference", "policy", reference or start) if refers else start
    prompts = asked(project, prompts)
    more, given = decides(project, section, cost), {"reward": reward, **({"reference": origin} if refers else {})}
    # Checkpoints of PPO know the reference as it was named, also where it was not; they shall go on.
    run = project.run(name, config, start=start, **{**given, **({"reference": reference} if section == "ppo" else {})},
                      **more)  # fmt: skip
    policy, encoder = actor(start, reward) if actor else project.policy(start)
    policy = policy.to(run.device)
    world = world_of(project, policy, encoder, prompts, name, answers(project, section))

    def earns(world: dialogues.World) -> Reward:
        return earning(project, world, reward, run.device, config.micro_tokens)

    ordering.in_world(project, section, run, world, policy, earns, config.iterations)
    earned = paid.bounded(project, run, world, earns(world), cost, config.micro_tokens)
    before = anchor(project, policy, origin, run) if refers and drifts else None
    beside = rehearsed(project, policy, encoder, run, updates, config.micro_tokens)
    return Acting(name, start, given, cost, more, run, prompts, policy, encoder, world, earned, before, beside)


def kept(project: Project, method: str, acting: Acting, config: Settings, figures: dict[str, float]) -> Version:
    """The version that such a stage made, with what was seen of costs and of dialogues."""
    figures = figures | paid.figures(acting.run) | dialogues.figures(acting.world, acting.name)
    taught = paid.taught(project, acting.given["reward"], acting.cost)
    data, more = [*(prompt.id for prompt in acting.prompts), *taught], {**acting.more, "given": dict(acting.given)}
    model, tokenizer = acting.policy.model, acting.encoder.tokenizer
    return project.keep(acting.name, "policy", method, model, tokenizer, acting.start, config, data, figures, **more)


# --- what it stands on -------------------------------------------------------------------------------------------


def wanted(project: Project, method: str, option: str, role: str, name: str | None) -> str:
    """The name of a version that is there and has the role. Raises SettingsError saying what is there instead."""
    there = f"there are: {', '.join(project.names()) or 'none'}"
    if name is None:
        raise SettingsError(f"{method} needs a {role} model: give --{option} NAME ({there})")
    found = project.version(name)
    if found is None or found.role != role:
        is_ = f"is a {found.role} model" if found else f"is not there ({there})"
        raise SettingsError(f"{method} needs a {role} model, and --{option} {name} {is_}")
    return name


def decides(project: Project, section: str, cost: str | None = None) -> dict[str, Any]:
    """What decides a stage besides its own settings: in which order it learns, what holds it to what it was, and where
    it acts, how answers are collected and paid.
    """
    recipe, more = project.recipe, {**ordering.order(project, section), **held(project, section)}
    if section not in ordering.ACTING:
        return more
    collected: dict[str, Any] = {"rollout": recipe.rollout, "answers": answers(project, section)}
    collected |= {"critic": recipe.critic} if section == "ppo" else {}
    collected["draw"] = recipe.draw.model_dump(mode="json")
    if section != "ppo" or recipe.worth.rules or not recipe.worth.learned:  # PPO is older than `worth`
        collected["worth"] = recipe.worth.model_dump(mode="json")
    return {**collected, **recipe.engine.decides(), **more, **paid.terms(project, cost), **dialogues.decides(project)}


def answers(project: Project, section: str) -> int:
    """How many answers to a prompt are drawn."""
    return project.recipe.best_of if section == "best_of_n" else project.recipe.rollout_answers


def world_of(
    project: Project, policy: Policy, encoder: Encoder, prompts: Sequence[Prompt], name: str, count: int
) -> dialogues.World:
    """Where the policy acts, perhaps with a user in it: so many answers to each prompt."""
    world = project.world(policy, encoder, prompts, name, count)
    return dialogues.spoken(project, world, next(policy.parameters()).device)
