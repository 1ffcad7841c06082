"""What answers earn in a stage: a reward model or several as one, less what they cost; seen, logged and kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from accord import dialogues
from accord.batches import Rollout
from accord.columns import heads_of, member_scores
from accord.config import SettingsError
from accord.project import Project, scores
from accord.protocols import Reward
from accord.rewards.calibrate import Calibration
from accord.rewards.ensemble import Ensemble, Heads, together
from accord.rewards.lagrange import Lagrangian
from accord.rewards.learned import Answers, Learned
from accord.rewards.mix import Gate, Mix, held
from accord.rewards.turns import Turns, ends
from accord.run import Run
from accord.steps import METHOD, by_steps
from accord.terms import Cost, Members, Steps
from accord.worlds.text import models

Said = Callable[[Answers], Tensor]
Unit = Literal["score", "probability", "odds"]
KEYS = ("members_rule", "costs", "steps")
"""Under which names a version keeps these terms; it has none where they are at their defaults."""


def terms(project: Project, cost: str | None) -> dict[str, Any]:
    """What decides a stage beside its own settings: nothing with one reward model and without costs."""
    recipe, found = project.recipe, dict[str, Any]()
    if recipe.ensemble != Members():
        found["members_rule"] = recipe.ensemble.model_dump(mode="json")
    if recipe.steps != Steps():
        found["steps"] = recipe.steps.model_dump(mode="json")
    if bounds := costs(project, cost):
        found["costs"] = {name: _told(one) for name, one in bounds.items()}
    return found


def _told(cost: Cost) -> dict[str, Any]:
    """A cost's terms in plain values; what is not asked for is left out, as in versions that knew none of it."""
    unasked = {"gate", "whiten"} if cost.gate is None else set()
    unasked |= {
        name for name in ("from_gate", "weight", "held") if getattr(cost, name) == Cost.model_fields[name].default
    }
    return cost.model_dump(mode="json", exclude=unasked)


def costs(project: Project, cost: str | None) -> dict[str, Cost]:
    """Version -> its terms: those named on the command line (`a,b`), else all of the recipe's.

    Raises SettingsError for one that is not there or is no reward model.
    """
    recipe = project.recipe
    found = {name: recipe.costs.get(name, recipe.cost) for name in cost.split(",")} if cost else dict(recipe.costs)
    for name in found:
        there = project.version(name)
        if there is None or there.role != "reward":
            is_ = f"is a {there.role} model" if there else f"is not there (there are: {', '.join(project.names())})"
            raise SettingsError(f"a cost is what a reward model says, and {name!r} {is_}")
        if there.method == METHOD:
            raise SettingsError(f"a cost is the score of a whole answer, and {name!r} judges parts of answers")
    return found


def ruled(project: Project, reward: str | None, cost: str | None) -> None:
    """Raises SettingsError for a rule of ensembles where nothing that pays or costs is one: it would do nothing."""
    rule, paid = project.recipe.ensemble.rule, project.recipe.steps.paid
    whole = reward is not None and paid == "end"
    several = whole and (len(project.members(str(reward))) > 1 or heads_of(project, str(reward)))
    names = list(costs(project, cost))
    if rule == "mean" or several or any(len(project.members(name)) > 1 for name in names):
        return
    models = ", ".join([*([reward] if reward else []), *names])
    why = f"{models} is one model" if len(names) + bool(reward) == 1 else f"none of {models or 'the rules'} is several"
    why = why if reward is None or whole else f"steps.paid={paid} takes the mean of {reward}'s members"
    raise SettingsError(
        f"ensemble.rule={rule} says how several reward models are one, and {why}: it would do nothing. Set "
        "ensemble.rule=mean, or teach several (reward_heads.members or reward_heads.heads)"
    )


def sided(project: Project, reward: str | None, cost: str | None) -> None:
    """Warns where a yes to a flag would be paid for, which a fault must not be: nobody told the machine which it is."""
    bounds = costs(project, cost)
    flags = {name: _flag(project, name) for name in [*([reward] if reward else []), *bounds]}
    if reward and flags[reward]:
        warnings.warn(
            f"--reward {reward} learned the flag {flags[reward]!r}: answers that people would say yes of earn most. If "
            f"yes is the fault, bound it instead: --cost {reward} --cost.unit probability --cost.no-turned",
            stacklevel=2,
        )
    for name, one in bounds.items():
        if flags[name] and one.turned:
            warnings.warn(
                f"--cost {name} learned the flag {flags[name]!r}, and turned=true takes a yes for the virtue: answers "
                "that people would say no of are charged, or shut out. If yes is the fault, set turned=false "
                f"(--cost.no-turned, or costs.{name}.turned)",
                stacklevel=2,
            )


def _flag(project: Project, name: str) -> str:
    """The flag that a version's score was calibrated on; empty where it was on none."""
    there = project.version(name)
    noted = models.noted(project.path(name)).get("calibration") or {}
    return str(there.config.get("main", "")) if there and noted.get("of") == "flag" else ""


def comparable(project: Project, cost: str | None, rounds: int) -> None:
    """Raises SettingsError where the best of several rounds is to be kept (all, where `rounds` is 0) and costs make
    what they earned no measure: prices that move in between, or each round made of the same mean and spread."""
    bounds = costs(project, cost)
    gates = [name for name, one in bounds.items() if one.gate is not None]
    moving = [name for name, one in bounds.items() if one.gate is None and one.constraint.least < one.constraint.most]
    white = [name for name in gates[-1:] if bounds[name].whiten]
    if rounds != 1 and (moving or white):
        ways = [*([f"the price of {' and '.join(moving)} moves (least < most)"] if moving else []),
                *([f"{white[0]} whitens each round (whiten=true)"] if white else [])]  # fmt: skip
        raise SettingsError(
            f"best_of_n.rounds={rounds} keeps what earned most in several rounds, and {' and '.join(ways)}: an answer "
            "from when harm was cheap would stay for good. Set best_of_n.rounds=1, or pay alike in all rounds"
        )


def taught(project: Project, reward: str | None, cost: str | None) -> list[str]:
    """Ids of the versions that say what answers earn and cost, all members of ensembles among them."""
    names = [*([reward] if reward else []), *costs(project, cost)]
    versions = [project.version(member) for name in names for member in project.members(name)]
    return list(dict.fromkeys(version.id for version in versions if version is not None))


def learned(project: Project, world: dialogues.World, reward: str, device: torch.device, tokens: int) -> Reward:
    """The normalised score of a reward model; of an ensemble, what its members say by the recipe's rule."""
    if (on_the_way := by_steps(project, world, reward, device, tokens)) is not None:
        return on_the_way
    rule = project.recipe.ensemble
    if heads_of(project, reward):
        if dialogues.each(project, world):
            raise SettingsError(
                f"{reward} is an ensemble of heads, which pays for whole dialogues; set dialogue.paid=end"
            )
        score, normalisers = member_scores(project, reward, device, tokens)
        return Heads(world.keep, score, normalisers, rule.rule, rule.doubt)
    every = [_score(project, world, name, device, tokens) for name in project.members(reward)]
    return every[0] if len(every) == 1 else Ensemble(every, rule.rule, rule.doubt)


def bounded(
    project: Project, run: Run, world: dialogues.World, reward: Reward, cost: str | None, tokens: int
) -> Reward:
    """The reward behind its gates, less what its costs are charged. Prices and what was seen are logged, and belong
    to the checkpoint.

    A plain reward without costs is returned as it is.
    """
    bounds = costs(project, cost)
    watched: list[Ensemble | Heads | Lagrangian | Gate | Mix] = [
        one for one in _inside(reward) if isinstance(one, Ensemble | Heads | Mix)
    ]
    places = (lambda rollout: ends(rollout.mask)) if dialogues.each(project, world) else None
    share = places is not None and project.recipe.dialogue.paid == "mean"
    gates, priced = ({k: one for k, one in bounds.items() if (one.gate is None) == free} for free in (False, True))
    for name, one in gates.items():
        assert one.gate is not None
        safe = _safe(project, world, name, one, run.device, tokens)
        last = name == list(gates)[-1]  # what is whitened inside would be mixed with log-odds that are not
        whiten = one.whiten and last
        reward = Gate(reward, safe, one.gate, None, whiten, name, one.from_gate, one.weight, places, share)
        watched.insert(0, reward)
    if priced:
        charged = {name: _cost(project, world, name, one, run.device, tokens) for name, one in priced.items()}
        rules = {name: one.constraint for name, one in priced.items()}
        reward = Lagrangian(reward, charged, rules, places=None if share else places)
        run.track(constraints=reward)
        watched.insert(0, reward)  # the innermost is read last: its `reward` is the one before all of them
    if not watched:
        return reward
    seen = Watched(reward, watched)
    run.track(watched=seen)
    run.noted = lambda: seen.seen
    return seen


def figures(run: Run) -> dict[str, float]:
    """What was seen last, for the version; nothing where nothing is watched."""
    last, watched = (
        run.last_figures(),
        ("cost/", "price/", "gated/", "doubtful/", "uncharged_reward", "disagreement", "agreed_order"),
    )
    return {name: value for name, value in last.items() if name.startswith((*watched, "worth/"))}


class Watched:
    """A reward whose parts say what they saw. Implements protocols.Reward; `seen` holds it for the log.

    It is kept in the checkpoint, for a run that goes on in the middle of a step may not ask the reward again.
    """

    def __init__(self, reward: Reward, parts: Sequence[Ensemble | Heads | Lagrangian | Gate | Mix]) -> None:
        self.reward, self.parts = reward, tuple(parts)
        self.seen: dict[str, float] = {}

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: what the reward says."""
        found = self.reward(rollout)
        told = {name: value for part in self.parts for name, value in part.seen.items()}
        # The loop's own `reward` is what was paid; this one is what would have been without costs and gates.
        self.seen = {("uncharged_reward" if name == "reward" else name): value for name, value in told.items()}
        return found

    def state_dict(self) -> dict[str, float]:
        """For the checkpoint."""
        return dict(self.seen)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """From the checkpoint."""
        self.seen = {name: float(value) for name, value in state.items()}


def _inside(reward: Reward) -> list[Reward]:
    """A reward and the parts of a mixture."""
    return [reward, *reward.rewards.values()] if isinstance(reward, Mix) else [reward]


def _score(project: Project, world: dialogues.World, name: str, device: torch.device, tokens: int) -> Reward:
    """The normalised score of one reward model, of each answer of a dialogue where that is wanted."""
    scorer, theirs = project.scorer(name, device)
    mean, std = models.normaliser(scorer.model)
    return dialogues.learned(project, world, lambda pairs: scores(scorer, theirs, pairs, tokens), mean, std)


def _cost(project: Project, world: dialogues.World, name: str, cost: Cost, device: torch.device, tokens: int) -> Reward:
    """What an answer costs by one version: of several members, by the recipe's rule, doubt makes it dearer."""
    good = _good(project, name, cost, cost.unit, device, tokens)
    most = 1.0 if cost.turned and cost.unit == "probability" else 0.0  # what a chance of the virtue leaves to 1

    def charged(pairs: Answers) -> Tensor:
        bad = most - good(pairs)
        return bad if cost.held is None else held(bad, cost.held, [sample.id for _, sample in pairs])

    return dialogues.learned(project, world, charged, 0.0, 1.0)


def _safe(project: Project, world: dialogues.World, name: str, cost: Cost, device: torch.device, tokens: int) -> Reward:
    """How safe an answer is by one version, in log-odds: of several members, by the recipe's rule."""
    odds = _good(project, name, cost, "odds", device, tokens)
    return Turns(world.keep, odds) if dialogues.each(project, world) else Learned(world.keep, odds)


def _good(project: Project, name: str, cost: Cost, unit: Unit, device: torch.device, tokens: int) -> Said:
    """How good answers are by one version; of several members, by the recipe's rule, doubt makes them worse."""
    rule, sign = project.recipe.ensemble, 1 if cost.turned else -1
    every = [_said(project, member, unit, device, tokens) for member in project.members(name)]
    return lambda pairs: together(torch.stack([sign * one(pairs) for one in every]), rule.rule, rule.doubt)


def _said(project: Project, name: str, unit: Unit, device: torch.device, tokens: int) -> Said:
    """What one reward model says of answers: its normalised score; or of the flag that it learned, by its calibration,
    the chance or the log-odds. Raises SettingsError when it learned none."""
    scorer, theirs = project.scorer(name, device)
    if unit == "score":
        mean, std = models.normaliser(scorer.model)
        return lambda pairs: (scores(scorer, theirs, pairs, tokens) - mean) / std
    kept = dict(models.noted(scorer.model).get("calibration") or {})
    if kept.pop("of", "") != "flag":
        raise SettingsError(f"costs.{name}.unit=probability: {name} was not calibrated on flags; train it with "
                            "reward_heads.calibrate=platt and reward_heads.main set to the flag")  # fmt: skip
    known = Calibration.model_validate(kept)

    def calibrated(pairs: Answers) -> Tensor:
        raw = scores(scorer, theirs, pairs, tokens)
        told = (known.log_odds if unit == "odds" else known)(raw.cpu().numpy())
        return torch.from_numpy(told).to(raw)

    return calibrated
