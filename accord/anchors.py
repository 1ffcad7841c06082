"""What holds a policy to what it was: texts learned beside, and what drift is measured from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch

from accord.algorithms.beside import Beside, Rehearsal, nothing
from accord.algorithms.kept import Frozen
from accord.algorithms.ppo import Reference
from accord.batches import Segment
from accord.config import SettingsError
from accord.project import Project, parted
from accord.protocols import Evaluated
from accord.records import Demonstration, Prompt, Sample
from accord.run import Average, Run, ranks, seed_of
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder
from accord.worlds.text.policy import Policy

T = TypeVar("T")
HELD = {"ptx": ("ppo", "grpo", "best_of_n", "online_dpo"), "anchor": ("ppo", "grpo", "dpo", "online_dpo")}
"""Sections of a recipe that hold a policy, and the methods (by their section) that they hold."""


def held(project: Project, section: str) -> dict[str, Any]:
    """What of `ptx` and `anchor` decides a stage; nothing where they are off, as in versions older than they are."""
    recipe = project.recipe
    on = {"ptx": recipe.ptx.weight > 0, "anchor": recipe.anchor.reference != "fixed"}
    return {name: getattr(recipe, name).model_dump(mode="json") for name in on if on[name] and section in HELD[name]}


def told_of(section: str) -> str:
    """A line about these sections for the help of a method; empty where they do not hold it."""
    also = [f"--{name}.NAME VALUE" for name, sections in HELD.items() if section in sections]
    return f"What holds it to what it was (docs/forgetting.md): {', '.join(also)}\n\n" if also else ""


# --- what is learned beside --------------------------------------------------------------------------------------


def rehearsed(project: Project, policy: Policy, encoder: Encoder, run: Run, updates: int, micro_tokens: int) -> Beside:
    """The loss of known rows that joins each update, as the recipe's `ptx` says.

    updates: how many there will be at most; no more rows are read than they can take along. Raises SettingsError when
    there are no such rows.
    """
    config = project.recipe.ptx
    if not config.weight:
        return nothing
    most, seed = updates * config.rows, seed_of(project.recipe.seed, "beside")
    if config.source == "pretraining":
        texts = some(parted(project.documents())[0], most, seed)
        if not texts:
            raise SettingsError(
                "ptx.source=pretraining learns plain texts beside, and the recipe names none (data.texts); give some, "
                "or take ptx.source=demonstrations"
            )
        examples = encoder.documents(texts)
    else:
        shown = some(list(project.store.all(Demonstration, split="train")), most, seed)
        if not shown:
            raise SettingsError(
                f"ptx.source=demonstrations learns demonstrations beside, and {project.folder} has none; import some, "
                "or take ptx.source=pretraining"
            )
        examples = shown_in(project, encoder, shown)
    encoder.report.warn("beside (ptx)")
    return Rehearsal(config, examples, lambda rows: at_one(policy, rows), run, micro_tokens)


def at_one(policy: Policy, segment: Segment) -> Evaluated:
    """What the policy says of rows at temperature 1, at which texts and demonstrations were learned."""
    kept, policy.temperature = policy.temperature, 1.0
    try:
        return policy.evaluate(segment)
    finally:
        policy.temperature = kept


def some(things: Sequence[T], most: int, seed: int) -> list[T]:
    """At most so many of the things, chosen by the seed, in their order."""
    if len(things) <= most:
        return list(things)
    drawn = torch.randperm(len(things), generator=torch.Generator().manual_seed(seed))[:most]
    return [things[i] for i in sorted(drawn.tolist())]


def shown_in(project: Project, encoder: Encoder, shown: Sequence[Demonstration]) -> Segment:
    """Demonstrations as a batch with their weights."""
    prompts = project.store.get_many(Prompt, dict.fromkeys(one.prompt for one in shown))
    samples = project.store.get_many(Sample, dict.fromkeys(one.sample for one in shown))
    return encoder.segment([(prompts[one.prompt], samples[one.sample]) for one in shown], [one.weight for one in shown])


# --- what drift is measured from ---------------------------------------------------------------------------------


def anchor(project: Project, policy: Policy, version: str, run: Run) -> Reference:
    """What drift is measured from, as the recipe's `anchor` says. policy: as it starts, on its device.

    Raises SettingsError where weights are shared out: a share cannot be put in the place of the whole.
    """
    settings = project.recipe.anchor
    if settings.reference == "fixed":
        return frozen(project, policy, version)
    if project.recipe.run.shard and ranks.count() > 1:
        raise SettingsError("anchor.reference=ema keeps an average of whole weights; set run.shard=false")
    average = Average(policy.model, settings.decay)
    run.track(anchor=average)

    def asked(segment: Segment) -> torch.Tensor:
        with average.inside():
            return policy.likely(segment)

    return asked


def frozen(project: Project, policy: Policy, version: str) -> Reference:
    """What the policy was before: the policy itself without its adapter where that will do, else a frozen copy."""
    if models.with_reference(policy.model, project.path(version)):
        return Frozen(policy, policy.reference)
    before, _ = project.policy(version, next(policy.parameters()).device)
    return Frozen(before)
