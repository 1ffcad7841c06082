"""A policy from one domain to another with few demonstrations: from scratch, fine-tuned or with LoRA.

It has read the texts of both domains (pretraining) and imitated one; then it sees 0 to 1,000 demonstrations of the
other. Gold says what its answers to held-out prompts of both are worth. A policy has no head of its own that could be
new on a frozen trunk: reading and writing share one table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from accord.algorithms import sft
from accord.project import named
from accord.proofs.ground import Ground, Said, answered, aside, by_prompt
from accord.proofs.pressed import by_gold
from accord.records import Prompt, Sample
from accord.run import seed_of
from accord.worlds.text import models
from accord.worlds.text.models import LoraSettings, ModelSettings
from accord.worlds.text.policy import Policy

SCRATCH, TUNED, LORA = "from scratch", "fine-tuned", "LoRA"
WAYS = (SCRATCH, TUNED, LORA)
ANSWERS = 2
"""Answers per test prompt."""


class Wanted(Protocol):
    """What is read of the settings of transfer."""

    @property
    def labels(self) -> tuple[int, ...]: ...

    @property
    def old(self) -> tuple[str, ...]: ...

    @property
    def old_labels(self) -> int: ...

    @property
    def steps(self) -> int: ...

    @property
    def faster(self) -> float: ...

    @property
    def lora(self) -> LoraSettings: ...


def policies(config: Wanted, ground: Ground, say: Said) -> dict[str, dict[str, list[float]]]:
    """Gold of each way on the test prompts of both domains, by `DEMONSTRATIONS|WAY`."""
    project, lab = ground.project, ground.project.lab
    assert lab is not None
    shown = lab.demonstrations(getattr(project.recipe.data, "demonstrations", 1))
    old, new = ([pair for pair in shown if (pair[0].tags[0] in config.old) == inside] for inside in (True, False))
    tests = {
        side: [p for p in project.prompts("test") if (p.tags[0] in config.old) == (side == "old")]
        for side in ("new", "old")
    }
    found: dict[str, dict[str, list[float]]] = {"new": {}, "old": {}}
    read = named(project.recipe.model, project.path("pretrained" if project.recipe.pretrain else ground.start))
    say(f"a policy of the old domain: {len(old[: config.old_labels])} demonstrations")
    with tempfile.TemporaryDirectory(prefix="accord-transfer-") as room:
        source = named(project.recipe.model, Path(room) / "source")
        first = imitated(ground, config, SCRATCH, read, old[: config.old_labels])
        models.save(first.model, ground.encoder.tokenizer, Path(room) / "source")
        for count in config.labels:
            say(f"new domain: {count} demonstrations")
            for way in WAYS:
                policy = imitated(ground, config, way, read if way == SCRATCH else source, new[:count])
                for side, prompts in tests.items():
                    _, said = answered(project, ground.encoder, policy, prompts, ANSWERS)
                    worth = by_prompt(by_gold(ground.gold)(said), said, prompts)
                    found[side][f"{count}|{way}"] = [round(float(value), 5) for value in worth]
    return found


def imitated(
    ground: Ground, config: Wanted, way: str, start: ModelSettings, shown: Sequence[tuple[Prompt, Sample]]
) -> Policy:
    """A policy after some demonstrations; without any, as it starts."""
    recipe, seed = ground.project.recipe, seed_of(ground.seed, "imitated")
    chosen = start.model_copy(update={"lora": config.lora}) if way == LORA else start
    model = models.language_model(chosen, ground.encoder.tokenizer, seed)
    policy = Policy(model, recipe.draw.temperature)
    if shown:
        quick = recipe.sft.optimiser.learning_rate * (config.faster if way == LORA else 1.0)
        epochs = max(recipe.sft.epochs, config.steps * min(recipe.sft.batch, len(shown)) / len(shown))
        optimiser = recipe.sft.optimiser.model_copy(update={"learning_rate": quick})
        with aside("policy", seed) as run:
            learning = recipe.sft.model_copy(update={"epochs": epochs, "optimiser": optimiser})
            sft.train(learning, policy, ground.encoder.segment(shown), run)
    return policy
