"""Conversations of several turns in a project: who speaks, what an answer earns, and what versions say in them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from accord.config import SettingsError
from accord.evaluate.story import Figure, Side
from accord.lab import Asker
from accord.project import Project
from accord.protocols import Reward
from accord.records import Prompt, Sample, Text
from accord.rewards.learned import Learned
from accord.rewards.rules import Rules
from accord.rewards.turns import Turns, judged, turns_of
from accord.run import seed_of
from accord.statistics import mean_interval
from accord.worlds.text import models
from accord.worlds.text.dialogue import DialogueWorld, User, Users
from accord.worlds.text.encode import Encoder
from accord.worlds.text.generate import Sampler
from accord.worlds.text.models import located
from accord.worlds.text.speaker import Speaker
from accord.worlds.text.tokenizer import open_tokenizer
from accord.worlds.text.world import TextWorld

Pairs = list[tuple[Prompt, Sample]]
Score = Callable[[Sequence[tuple[Prompt, Sample]]], torch.Tensor]
World = TextWorld | DialogueWorld


def decides(project: Project) -> dict[str, Any]:
    """What of `dialogue` decides a stage; nothing where single answers are wanted, as in versions older than it."""
    config = project.recipe.dialogue
    return {"dialogue": config.model_dump(mode="json")} if config.turns > 1 else {}


def spoken(project: Project, world: TextWorld, device: torch.device | str) -> World:
    """The world with a user in it who goes on talking; the same world where single answers are wanted."""
    config = project.recipe.dialogue
    return DialogueWorld(world, user_of(project, device), config.turns) if config.turns > 1 else world


def user_of(project: Project, device: torch.device | str = "cpu", held_out: bool = False) -> User | Users:
    """Who speaks between the answers: a model by version or folder, else the simulated user of the lab.

    held_out: the lab's user asks on in phrasings that are never trained on. Raises SettingsError when nobody can.
    """
    recipe = project.recipe
    config, draw = recipe.dialogue, recipe.draw
    if config.user is None:
        if project.lab is None:
            raise SettingsError(
                f"dialogue.turns={config.turns} needs a user who speaks between the answers, and only the lab brings "
                "one; name a version of the project or a model by folder as dialogue.user"
            )
        return Asker(recipe.seed, held_out)
    there = project.version(config.user)
    if there is not None and there.role != "policy":
        raise SettingsError(f"dialogue.user={config.user} is a {there.role} model; a policy is wanted, which speaks")
    if there is not None:
        policy, encoder = project.policy(config.user, device)
        model: nn.Module = policy.model
    else:
        model, encoder = _outsider(project, config.user, device)
    seed = seed_of(recipe.seed, "user")
    sampling = draw.sampling(max_tokens=config.user_tokens, seed=seed, stop_text=())
    return Speaker(encoder, Sampler(model), sampling, config.brief)


def _outsider(project: Project, name: str, device: torch.device | str) -> tuple[nn.Module, Encoder]:
    """A language model that is no version of the project, and its own encoder."""
    try:
        folder = located(name)
        tokenizer = open_tokenizer(folder)
        model = models.language_model(models.ModelSettings(name=folder), tokenizer).to(device)
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"dialogue.user={name} is no version of {project.folder} (there are: "
            f"{', '.join(project.names()) or 'none'}) and no language model that opens: {error}"
        ) from error
    places = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    encode = project.recipe.encode
    return model, Encoder(tokenizer, encode.model_copy(update={"limit": min(encode.limit, places or encode.limit)}))


def each(project: Project, world: World) -> bool:
    """Whether every answer of a conversation is paid by itself, and not the whole at its end."""
    return not isinstance(world, TextWorld) and project.recipe.dialogue.paid != "end"


def learned(project: Project, world: World, score: Score, mean: float, std: float) -> Reward:
    """What a reward model's scores give: for each answer of a dialogue, or for a whole one at its end."""
    paid = project.recipe.dialogue.paid
    if not each(project, world):
        return Learned(world.keep, score, mean, std)
    return Turns(world.keep, score, mean, std, share=paid == "mean")


def ruled(project: Project, world: World, judge: Callable[[Prompt, Sample], float], of_prompt: bool) -> Reward:
    """What a rule gives: for each answer of a dialogue, or for the last one, where also rules of a prompt look."""
    paid = project.recipe.dialogue.paid
    if of_prompt or not each(project, world):
        return Rules(world.keep, judge)
    return Turns(world.keep, judged(judge), share=paid == "mean")


def figures(world: World, stage: str) -> dict[str, float]:
    """What a version keeps of its dialogues; warns of those that ended because another answer would not have fitted."""
    if isinstance(world, TextWorld):
        return {}
    found = world.figures()
    if found["dialogues_ended_by_context"]:
        warnings.warn(
            f"{stage}: {found['dialogues_ended_by_context']:.0%} of the dialogues ended early, since another answer "
            f"did not fit into encode.limit={world.encoder.settings.limit}; raise it (and model.context), or lower "
            "dialogue.turns or draw.max_tokens",
            stacklevel=2,
        )
    return found


def talks(project: Project, version: str, prompts: Sequence[Prompt]) -> Pairs:
    """One dialogue of a version from each prompt, in their order; the same call gives the same dialogues."""
    policy, encoder = project.policy(version)
    draw, seed = project.recipe.draw, seed_of(project.recipe.seed, "dialogues")
    sampling = draw.sampling(stop=encoder.stop)
    first = TextWorld(
        encoder, prompts, Sampler(policy.model, spell=encoder.spell), sampling, len(prompts), seed, version
    )
    world = DialogueWorld(first, user_of(project, held_out=True), project.recipe.dialogue.turns)
    made: Mapping[str, tuple[Prompt, Sample]] = {pair[0].id: pair for pair in world.keep(world.collect(policy))}
    return [made[prompt.id] for prompt in prompts]


def told(
    project: Project, before: str, after: str, prompts: Sequence[Prompt], worth: Callable[[Pairs], list[float]]
) -> tuple[list[Side], list[Figure]]:
    """For a report: a dialogue of each version for each family of prompts, and what their answers are worth by turn.

    worth: the score of each single answer to the conversation before it. Nothing where single answers are learned.
    """
    if project.recipe.dialogue.turns == 1:
        return [], []
    old, new = (_scored(talks(project, name, prompts), worth) for name in (before, after))
    shown: dict[str, Side] = {}
    for prompt, (was, first), (now, last) in zip(prompts, old, new, strict=True):
        family = (*prompt.tags, prompt.source, "")[0]
        side = Side(
            prompt=_lines(prompt.content),
            before=_lines(was.content),
            after=_lines(now.content),
            before_score=sum(first) / len(first),
            after_score=sum(last) / len(last),
            family=f"{family} dialogue".strip(),
            note="a dialogue; its score is the mean of its answers' scores",
        )
        shown.setdefault(family, side)
    figures = []
    for turn in range(max(len(scores) for _, scores in new)):
        came, held = ([scores[turn] for _, scores in side if len(scores) > turn] for side in (new, old))
        figures.append(
            Figure(
                name=f"mean score of answer {turn + 1} in dialogues",
                interval=mean_interval(came),
                kind="mean",
                reference=sum(held) / len(held) if held else None,
                note=f"{len(came)} dialogues came so far; held against the mean before, of {len(held)}",
            )
        )
    return list(shown.values()), figures


def _scored(pairs: Pairs, worth: Callable[[Pairs], list[float]]) -> list[tuple[Sample, list[float]]]:
    """Each dialogue with the scores of its answers."""
    turns = [turns_of(*pair) for pair in pairs]
    scores = iter(worth([pair for one in turns for pair in one]))
    return [(sample, [next(scores) for _ in one]) for (_, sample), one in zip(pairs, turns, strict=True)]


def _lines(content: object) -> str:
    """A conversation as people read it."""
    assert isinstance(content, Text)
    return "\n".join(f"{message.role}: {message.content}" for message in content.messages)
