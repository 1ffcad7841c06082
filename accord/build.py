"""Where names become things: the only file that knows every room.

A recipe names what is wanted; each `train_*` below is one stage of a project: it gathers records and models, calls
one algorithm, and keeps a Version. A stage whose Version exists is not made again; a stage that was killed goes on
from its checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from torch import nn

from accord import ordering, paid
from accord.acting import decides, kept, opened
from accord.algorithms import ppo, reward_heads, reward_model, sft
from accord.algorithms.consistency import Consistency
from accord.anchors import HELD, shown_in
from accord.config import Settings, SettingsError, laid
from accord.earned import asked
from accord.project import Project, named, parted, scores
from accord.records import Content, Demonstration, Preference, Prompt, Sample, Version, digest, named_id
from accord.run import Run, seed_of
from accord.run.stateful import difference
from accord.worlds.text import models, reworded
from accord.worlds.text.encode import Encoder
from accord.worlds.text.folder import uncalibrated
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import open_tokenizer


def train_pretrain(project: Project, name: str, start: str | None = None, **rest: Any) -> Version:
    """Read the texts."""
    config = project.recipe.pretrain or sft.Config()
    tokenizer = project.tokenizer()
    encoder, read = project.encoder(tokenizer), project.documents()
    learn, kept = parted(read)
    unseen = encoder.documents(kept) if kept else None
    policy = Policy(project.language_model(start, tokenizer))
    run = project.run(name, config, texts=digest(read))
    learned = encoder.documents(learn)
    encoder.report.warn(name)
    figures = sft.train(config, policy.to(run.device), learned, run, unseen) | encoder.report.figures()
    return project.keep(name, "policy", "pretrain", policy.model, tokenizer, start, config, (), figures)


def train_sft(project: Project, name: str, start: str | None = None, **rest: Any) -> Version:
    """Imitate the demonstrations."""
    config, store = project.recipe.sft, project.store
    policy, encoder = (
        project.policy(start) if start else (Policy(project.language_model(None, project.tokenizer())), None)
    )
    encoder = encoder or project.encoder(project.tokenizer())
    shown = list(store.all(Demonstration, split="train"))
    # By id, which is a hash: in the order of import the first ones may all be of one source.
    held = sorted(store.all(Demonstration, split="test"), key=lambda one: one.id)[:200]
    data = [one.id for one in shown]
    more = ordering.order(project, "sft")
    run = project.run(name, config, start=start, demonstrations=digest(data), **more)
    learned, unseen = shown_in(project, encoder, shown), shown_in(project, encoder, held) if held else None
    encoder.report.warn(name)
    ordering.in_order(project, "sft", run, learned)
    figures = sft.train(config, policy.to(run.device), learned, run, unseen) | encoder.report.figures()
    return project.keep(name, "policy", "sft", policy.model, encoder.tokenizer, start, config, data, figures, **more)


def train_reward_model(
    project: Project,
    name: str,
    start: str | None = None,
    beliefs: Sequence[Preference] | None = None,
    beside: str = "",
    group: str | None = None,
    **rest: Any,
) -> Version:
    """Learn what answers are worth. group: of whose beliefs alone."""
    recipe, other = project.recipe, project.recipe.beside[beside] if beside else None
    config, chosen = (other.learning, other.model) if other else (recipe.reward_model, recipe.reward_backbone)
    beliefs = beliefs_of(project, "train", group) if beliefs is None else beliefs
    if chosen is None and start is None:
        raise SettingsError("a reward model starts from a version (--start NAME) or from the recipe's reward_backbone")
    goes_on = config.head == "kept" and start is not None
    backbone = chosen if chosen and not goes_on else named(chosen or recipe.model, project.path(str(start)))
    tokenizer = open_tokenizer(str(backbone.name))
    encoder, held = project.encoder(tokenizer), beliefs_of(project, "test", group)
    scorer = begun(project, config, backbone, tokenizer, start)
    more = ordering.order(project, "reward_model") | alone(group)
    run = project.run(name, config, start=start, beliefs=digest([b.id for b in beliefs]), **more)
    learned = encoder.comparisons(beliefs, *project.looked_up(beliefs))
    unseen = encoder.comparisons(held, *project.looked_up(held)) if held else None
    encoder.report.warn(name)
    ordering.in_order(project, "reward_model", run, learned)
    scorer.to(run.device)
    fresh = _fresh(project, name, start) if config.normalise == "start" else []
    if fresh:
        spread = reward_model.normaliser(scores(scorer, encoder, fresh, config.micro_tokens)).std
        models.scale(scorer.model, 1 / spread)
    term = steady(project, config, scorer, run, encoder, beliefs)
    normaliser, figures = reward_model.train(config, scorer, learned, run, unseen, term)
    if fresh:
        normaliser = reward_model.normaliser(scores(scorer, encoder, fresh, config.micro_tokens))
    figures |= encoder.report.figures()
    models.with_normaliser(scorer.model, normaliser.mean, normaliser.std)
    parent, data = None if chosen and not goes_on else start, [belief.id for belief in beliefs]
    return project.keep(
        name,
        "reward",
        "reward_model",
        scorer.model,
        tokenizer,
        parent,
        config,
        data,
        figures | encoder.report.figures(),
        **more,
    )


def beliefs_of(project: Project, split: str, group: str | None) -> list[Preference]:
    """Beliefs about prompts of a side: all that there are, or those of one group of people (`accord believe --groups`).

    Raises SettingsError when a group believes nothing that could be learned from.
    """
    every = project.preferences(split)
    found = every if group is None else [one for one in every if one.group == group]
    if group is not None and not found and split == "train":
        there = ", ".join(repr(name) for name in sorted({one.group for one in every})) or "none"
        raise SettingsError(
            f"--group {group!r}: no belief about a train prompt is of this group; there are {there} ('' is everybody "
            "together); accord believe --groups makes them"
        )
    return found


def alone(group: str | None) -> dict[str, str]:
    """What decides a stage that learns from one group alone; nothing where it learns from all."""
    return {} if group is None else {"group": group}


def steady(
    project: Project,
    config: reward_model.Config | reward_heads.Config,
    scorer: Scorer,
    run: Run,
    encoder: Encoder,
    beliefs: Sequence[Preference],
) -> reward_model.Beside:
    """The term that keeps opinions the same in other words (`consistency`), where it is wanted.

    Its pairs are those that are learned from, and of every train prompt each answer in the store with the next other.
    """
    chosen = config.consistency
    if not chosen.weight:
        return reward_model.nothing
    here: dict[str, dict[Content, str]] = {}
    for sample in project.store.all(Sample, split="train"):
        here.setdefault(sample.prompt, {}).setdefault(sample.content, sample.id)
    open_ = [Preference(id=named_id("open", *two), prompt=prompt, chosen=two[0], rejected=two[1], probability=0.5)
             for prompt, said in here.items() for two in pairwise(said.values())]  # fmt: skip
    pairs = list({(one.prompt, *sorted((one.chosen, one.rejected))): one for one in [*open_, *beliefs]}.values())
    known = project.looked_up(pairs)
    reword = reworded.surface(chosen.ways)
    reword = reworded.written(Path(chosen.file), reword) if chosen.file else reword
    seeds = (seed_of(project.recipe.seed, "words", number) for number in range(chosen.phrasings))
    others = [reworded.in_other_words(encoder, pairs, *known, reword, seed, chosen.answers) for seed in seeds]
    found = [one for one in others if one is not None]
    try:
        return Consistency(chosen, scorer, encoder.comparisons(pairs, *known), found, run, config.micro_tokens)
    except ValueError as error:
        section = "reward_model" if isinstance(config, reward_model.Config) else "reward_heads"
        raise SettingsError(f"{section}.consistency: {error}") from error


def begun(
    project: Project, config: reward_model.Config, backbone: models.ModelSettings, tokenizer: Any, start: str | None
) -> Scorer:
    """A reward model before its first step: which head it has, and what of it learns."""
    made = project.version(start) if start else None
    if config.head == "kept" and (made is None or made.role != "reward"):
        is_ = f"{start} is a {made.role} model" if made else "none is named"
        raise SettingsError(f"reward_model.head=kept goes on from a reward model (--start NAME), and {is_}; take fresh")
    if config.trunk == "lora":
        backbone = backbone.model_copy(update={"lora": project.recipe.model.lora or models.LoraSettings()})
    seed = seed_of(project.recipe.seed, "head")
    model = models.scorer_model(backbone, tokenizer, seed, fresh_head=config.head == "fresh")
    if config.trunk == "frozen":
        models.parts(model)[0].requires_grad_(False)
    return Scorer(uncalibrated(model))


def _fresh(project: Project, name: str, start: str | None) -> list[tuple[Prompt, Sample]]:
    """One answer of the version that a reward model starts from to each of so many prompts of the training side."""
    if start is None:
        raise SettingsError("reward_model.normalise=start needs the version whose answers are normal (--start NAME)")
    return project.sample(start, project.prompts("train")[: reward_model.NORMALISED], 1, f"{name}-normal")


def train_ppo(project: Project, name: str, prompts: Sequence[Prompt] | None = None, **given: Any) -> Version:
    """Learn to answer better. given: start, reward, reference and cost, see `acting.opened`."""
    project.recipe.dealt()
    config, prompts = project.recipe.ppo, asked(project, prompts)
    if len(prompts) < config.minibatches:
        raise SettingsError(f"{len(prompts)} prompts do not make ppo.minibatches={config.minibatches} of a rollout")
    updates, actor = config.iterations * config.epochs * config.minibatches, partial(with_critic, project)
    here = opened(project, name, "ppo", "ppo", config, updates, actor=actor, prompts=prompts, **given)
    figures = ppo.train(config, here.policy, here.world, here.earned, here.run, here.before, here.beside)
    return kept(project, "ppo", here, config, figures)


def with_critic(project: Project, start: str, reward: str | None) -> tuple[Policy, Encoder]:
    """A version as PPO wants it, with a value model."""
    policy, encoder = project.policy(start)
    return Policy(policy.model, policy.temperature, critic(project, start, reward)), encoder


def critic(project: Project, start: str, reward: str | None) -> Scorer | Literal["shared"]:
    """The value model that PPO starts with. An encoder sees whole texts, so it cannot be one: then the policy is, as it
    is where rules alone pay.

    Its head starts at zero, for normalised rewards have mean zero. What a reward model says of half an answer is no
    expectation: taken over with its head, raw or in the units of the rewards, it explains less than nothing at first.
    """
    if project.recipe.critic == "shared":
        return "shared"
    scorer = None if reward is None or project.recipe.critic == "policy" else project.scorer(reward)[0]
    if scorer is None or not scorer.decoder:
        tokenizer = open_tokenizer(project.path(start))
        model = models.scorer_model(named(project.recipe.model, project.path(start)), tokenizer, fresh_head=True)
        scorer = Scorer(model)
    nn.init.zeros_(models.parts(scorer.model)[1].weight)
    return scorer


TRAIN: dict[str, Callable[..., Version]] = {
    "pretrain": train_pretrain,
    "sft": train_sft,
    "reward_model": train_reward_model,
    "ppo": train_ppo,
}


def train(project: Project, method: str, name: str, **given: Any) -> Version:
    """One stage, unless its version is there already. Raises SettingsError when that was made with other settings."""
    made = project.version(name)
    if made is None:
        return TRAIN[method](project, name, **given)
    other = project.recipe.beside.get(given.get("beside") or "")
    config: Settings = other.learning if other else getattr(project.recipe, method) or sft.Config()
    wanted = config.model_dump(mode="json")
    wanted |= decides(project, method, given.get("cost")) | alone(given.get("group"))
    refuse(project, made, wanted, config)
    return made


def refuse(project: Project, made: Version, wanted: dict[str, Any], config: Settings) -> None:
    """Raises SettingsError, with both values of each, when a version was made with other settings than are wanted."""
    if names := differing(made, wanted, config):
        then, now = ({n: values.get(n) for n in names} for values in (_then(made, config), wanted))
        raise SettingsError(
            f"{made.name} is in {project.folder} already, made with other settings of {', '.join(names)} "
            f"({difference(json.dumps(then), json.dumps(now))}). Set them as they are there, give the new one another "
            "--name, or use another --project (accord quickstart --fresh begins anew)."
        )


def differing(made: Version, wanted: dict[str, Any], config: Settings) -> list[str]:
    """Names of what a version was made with otherwise. What was no setting yet when it was made stood at its default.

    config: the settings of its method, whose defaults are meant.
    """
    then = _then(made, config)
    every = {*wanted, *HELD, *paid.KEYS, "order", "dialogue", "worth", "group"}
    return sorted(key for key in every if wanted.get(key) != then.get(key))


def _then(made: Version, config: Settings) -> dict[str, Any]:
    return laid(made.config, type(config)().model_dump(mode="json"))
