"""What answers earn in a stage where they are written: a reward model, rules that can be checked, or a mixture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

import torch

from accord import dialogues, paid
from accord.config import SettingsError
from accord.project import Project
from accord.protocols import Reward
from accord.recipe import Recipe
from accord.records import Prompt, Sample
from accord.rewards.ifeval import follows
from accord.rewards.mix import Mix
from accord.rewards.rules import Rule, by_prompt, exact, form, length, script
from accord.terms import RuleName

RULES: tuple[str, ...] = get_args(RuleName)
CHECKED = {"exact": "answer", "follows": "instructions"}
"""What a rule that has something of its own for each prompt finds it under, in `Prompt.checks`."""


def asked(project: Project, prompts: Sequence[Prompt] | None) -> list[Prompt]:
    """Prompts to answer: those given, else those of the recipe; with rules that need checks, train prompts with them.

    Raises SettingsError when there are none.
    """
    worth = project.recipe.worth
    if prompts is None and worth.own and not worth.learned:
        prompts = [prompt for prompt in project.store.all(Prompt, split="train") if prompt.checks]
    if prompts is None:  # without pairs: those that can be checked; else all, as where single answers were judged
        every = list(project.store.all(Prompt, split="train"))
        alone = worth.rules and not worth.learned  # rules that are the same for all can check an answer to any prompt
        checked = [] if alone else [one for one in every if one.checks]
        prompts = project.prompts("train") or checked or every
    if not prompts and not worth.own:
        raise SettingsError(f"there is no train prompt to answer in {project.folder}: import some (accord import)")
    if not prompts or (worth.own and not any(prompt.checks for prompt in prompts)):
        raise SettingsError(
            f"{len(prompts)} train prompts, {sum(bool(p.checks) for p in prompts)} of them with something to check "
            f"(worth.exact={worth.exact}, worth.follows={worth.follows}); import rows with `answer` or instructions"
        )
    return list(prompts)


def earning(project: Project, world: dialogues.World, reward: str | None, device: torch.device, tokens: int) -> Reward:
    """The sum of what the recipe's `worth` gives weight to: the learned reward, and rules."""
    worth, parts = project.recipe.worth, dict[str, Reward]()
    if reward is not None:
        parts["learned"] = paid.learned(project, world, reward, device, tokens)
    for name, judge in judges(project, world.prompts).items():
        parts[name] = dialogues.ruled(project, world, judge, of_prompt=name in ("exact", "follows"))
    weights = {name: float(getattr(worth, name)) for name in parts}
    return parts["learned"] if weights == {"learned": 1.0} else Mix(parts, weights)


def must(recipe: Recipe) -> tuple[str, ...]:
    """The rules that an answer must keep to pass, where rules judge: those named, else all that `worth` weighs."""
    return tuple(dict.fromkeys(recipe.judging.must)) or tuple(name for name in RULES if getattr(recipe.worth, name))


def unseen(project: Project) -> list[Prompt]:
    """Test prompts that rules can judge by, in the order of their ids: those that bring what a rule needs.

    Raises SettingsError when there are none.
    """
    if project.lab is None:
        every = sorted(project.store.all(Prompt, split="test"), key=lambda one: one.id)
    else:
        every = project.prompts("test")
    needed = {CHECKED[name] for name in must(project.recipe) if name in CHECKED}
    found = [one for one in every if not needed or needed & set(one.checks)]
    if not found:
        raise SettingsError(
            f"judging.by=rules: of {len(every)} test prompts none has {' or '.join(sorted(needed)) or 'an id'} "
            f"to check answers against (judging.must={list(must(project.recipe))}); import rows that bring it, or "
            "raise data.test_share"
        )
    return found


def judges(
    project: Project, prompts: Sequence[Prompt], names: Sequence[str] = ()
) -> Mapping[str, Callable[[Prompt, Sample], float]]:
    """The rules that are named, else those that have a weight, each as a judge of an answer.

    Raises SettingsError for one that cannot be used.
    """
    worth = project.recipe.worth

    def right(prompt: Prompt) -> Rule | None:
        answer = str(prompt.checks.get("answer", ""))
        return exact(answer, loose=worth.loose) if answer.strip() else None

    def obedient(prompt: Prompt) -> Rule | None:
        names, given = prompt.checks.get("instructions"), prompt.checks.get("arguments")
        try:
            return follows(names, given) if names else None  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"prompt {prompt.id}: {error}") from error

    own = {"exact": right, "follows": obedient}
    alike = {
        "length": lambda: length(worth.least, worth.most),
        "form": lambda: form(worth.pattern),
        "script": lambda: script(worth.language),
    }
    found = {}
    for name in names or [name for name in RULES if getattr(worth, name)]:
        try:
            if name in alike:
                found[name] = by_prompt({}, otherwise=alike[name]())
            else:
                rules = {prompt.id: rule for prompt in prompts if (rule := own[name](prompt)) is not None}
                found[name] = by_prompt(rules, otherwise=lambda _: 0.0)
        except ValueError as error:
            raise SettingsError(f"worth.{name}: {error}") from error
    return found
