"""The stage that learns what answers are worth from everything that was said: all forms, members, calibration."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from accord.added import what_each_added
from accord.algorithms import reward_heads
from accord.algorithms.heads_file import write_heads
from accord.algorithms.members import member, with_members
from accord.algorithms.pseudo import gaps_of, self_train
from accord.algorithms.reward_model import scores_of
from accord.batches import Comparisons
from accord.build import steady
from accord.columns import CRITERIA
from accord.config import SettingsError
from accord.heard import Lesson, enough, gathered, ordered, own, pool_of
from accord.judged import Judged
from accord.ordering import in_order, order
from accord.project import Project, named
from accord.records import Preference, Version, digest
from accord.rewards.calibrate import Calibration, calibrate, fitted_across
from accord.rewards.ensemble import agreed_order, averaged
from accord.run import ranks, seed_of
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder
from accord.worlds.text.folder import uncalibrated
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import open_tokenizer


@dataclass(frozen=True)
class Taught:
    """One model and what is known of it."""

    scorer: Scorer
    heads: reward_heads.Heads
    figures: dict[str, float]


def train_reward_heads(
    project: Project,
    name: str,
    method: str,
    config: reward_heads.Config,
    start: str | None = None,
    beliefs: Sequence[Preference] | None = None,
    **rest: Any,
) -> Version:
    """Learn what answers are worth from every form of judgement in the store."""
    recipe, chosen = project.recipe, project.recipe.reward_backbone
    if chosen is None and start is None:
        raise SettingsError(f"{method} starts from a version (--start NAME) or from the recipe's reward_backbone")
    lesson = gathered(project, config, beliefs)
    enough(lesson, name, config, f"{method}: ", project.folder)
    tokenizer = open_tokenizer(str((chosen or named(recipe.model, project.path(str(start)))).name))
    encoder, parent = project.encoder(tokenizer), None if chosen else start
    others = [f"{name}-{number}" for number in range(2, config.members + 1)]
    free(project, [] if config.average else others, method, lesson)
    batches = {part: encoder.judged(said, lesson.prompts, lesson.samples) if said else None
               for part, said in lesson.said.items()}  # fmt: skip
    encoder.report.warn(name)
    asked_for(config, batches["test"], {one.form + one.criterion for one in lesson.said["train"]})
    if config.calibrate != "none":  # what can be told apart at all is known before hours of learning
        outcome, prompts = outcomes(batches["calibration"], config)
        fit(np.linspace(-1, 1, len(outcome)), outcome, prompts, config)
    taught = learned(project, name, config, start, lesson, batches, encoder)
    measured = together(taught, batches["test"], config) | encoder.report.figures()
    if config.added:
        judged, held = batches["train"], batches["test"]
        assert judged is not None
        assert held is not None

        def fresh(run: str, said: Judged) -> Scorer:
            plain = config.model_copy(update={"heads": 0})
            return one_model(project, f"{name}-{run}", plain, start, 1, said, None, encoder.tokenizer).scorer

        measured |= what_each_added(config, fresh, judged, held, None if config.pseudo.rounds else taught[0].scorer)
    if config.average:
        taught, others = [averaged_model(taught, batches, config)], []
    kept = {**dict(zip(others, taught[1:], strict=True)), name: taught[0]}  # the first one last: it names the others
    for one, model in kept.items():
        own = {**model.figures, **calibrated(model, batches["calibration"], config), **measured}
        mean = model.heads.normalisers[config.main]
        models.with_normaliser(model.scorer.model, mean.mean, mean.std)

        def also(folder: Path, heads: reward_heads.Heads = model.heads) -> None:
            write_heads(heads.columns, heads.normalisers, folder / CRITERIA)

        more = order(project, "reward_heads") | ({"ensemble": others} if one == name and others else {})
        version = project.keep(one, "reward", method, model.scorer.model, tokenizer, parent, config, lesson.data, own,
                               also=also, **more)  # fmt: skip
    return version


def free(project: Project, names: Sequence[str], method: str, lesson: Lesson) -> None:
    """Raises SettingsError when a member's name belongs to a version that is not a member of these lessons."""
    for name in names:
        made = project.version(name)
        if made is not None and (made.method, made.data_digest) != (method, digest(lesson.data)):
            raise SettingsError(f"the ensemble's member would be called {name}, and there is such a version already; "
                                "give another --name")  # fmt: skip


# --- what is learned -------------------------------------------------------------------------------------------


def learned(
    project: Project,
    name: str,
    config: reward_heads.Config,
    start: str | None,
    lesson: Lesson,
    batches: dict[str, Judged | None],
    encoder: Encoder,
) -> list[Taught]:
    """Every member. With labels of its own, those of the best round; each round is a run below the stage's own."""
    held = batches["test"]

    def teach(run: str, number: int, judged: Judged) -> Taught:
        return one_model(project, run, config, start, number, judged, held, encoder.tokenizer)

    if not config.pseudo.rounds:
        judged = batches["train"]
        assert judged is not None
        numbers = range(1, config.members + 1)
        return [teach(name if number == 1 else f"{name}-{number}", number, judged) for number in numbers]
    if not lesson.pairs:
        raise SettingsError("reward_heads.pseudo labels pairs of questions that nobody answered, and there are none "
                            "about prompts that are learned from; put some there (accord ask), or set "
                            "reward_heads.pseudo.rounds=0")  # fmt: skip
    pool, people = pool_of(config, lesson, encoder)
    device = ranks.device(project.recipe.run.device)
    seen, stop = (ordered(batches[part], config.main).to(device) for part in ("calibration", "stop"))
    rounds: dict[str, list[Taught]] = {}

    def taught(turn: str, labelled: Comparisons) -> Sequence[Scorer]:
        judged = encoder.judged([*lesson.said["train"], *own(labelled, lesson)], lesson.prompts, lesson.samples)
        made = [teach(f"{name}-{turn}-{number}", number, judged) for number in range(1, config.members + 1)]
        rounds[turn] = made
        return [one.scorer for one in made]

    done = self_train(config.pseudo, taught, pool.to(device), people.to(device), seen, stop)
    figures = {"pseudo_best": float(done.best), "pseudo_pairs": float((~people).sum())}
    for number, one in enumerate(done.rounds):
        figures |= {f"pseudo_labels/{number}": float(one.labels), f"pseudo_accuracy/{number}": one.accuracy}
    return [replace(one, figures=one.figures | figures) for one in rounds[f"round{done.best}"]]


def one_model(
    project: Project,
    run_name: str,
    config: reward_heads.Config,
    start: str | None,
    number: int,
    judged: Judged,
    held: Judged | None,
    tokenizer: Any,
) -> Taught:
    """One member, from a head drawn for it."""
    recipe, shared_head = project.recipe, number == 1 or config.average
    backbone = recipe.reward_backbone or named(recipe.model, project.path(str(start)))
    parts: tuple[Any, ...] = ("head",) if shared_head else ("head", number)
    model = models.scorer_model(backbone, tokenizer, seed_of(recipe.seed, *parts), fresh_head=True)
    scorer = Scorer(uncalibrated(model))
    lessons = digest([judged.names, judged.value.tolist(), judged.weight.tolist()])
    run = project.run(run_name, config, start=start, member=number, judged=lessons, **order(project, "reward_heads"))
    in_order(project, "reward_heads", run, reward_heads.weighed(judged, config))
    if config.heads:  # weighed once here, so that the draws of the members' prompts are not weighed away
        judged = with_members(reward_heads.weighed(judged, config), config.heads, config.main, run.config.seed)
        config = config.model_copy(update={"share_prompts": False, "forms": {}})
    shared = held is not None and bool(set(held.kinds) & set(judged.kinds))
    scorer.to(run.device)
    term = steady(project, config, scorer, run, project.encoder(tokenizer), ())
    heads, figures = reward_heads.train(config, scorer, judged, run, held if shared else None, term)
    if config.heads and held is not None:
        figures |= heads_together(scorer, heads, held, config)
    return Taught(scorer, heads, figures)


def averaged_model(taught: Sequence[Taught], batches: dict[str, Judged | None], config: reward_heads.Config) -> Taught:
    """One model whose weights are the mean of the members' (Rame et al. 2024), measured and normalised anew."""
    first, judged, held = taught[0], batches["train"], batches["test"]
    assert judged is not None
    first.scorer.load_state_dict(averaged([one.scorer.state_dict() for one in taught]))
    first.heads.columns.load_state_dict(averaged([one.heads.columns.state_dict() for one in taught]))
    device = next(first.scorer.parameters()).device
    normalisers = reward_heads.normalisers_of(config, first.scorer, first.heads.columns, judged.to(device))
    figures = {name: value for name, value in first.figures.items() if name.startswith("pseudo_")}
    if held is not None and len(held.ordered(config.main)[0]):
        score = scores_of(first.scorer, held.segment.to(device), config.micro_tokens).cpu()
        right, weight, _ = reward_heads.rights(score, held, config.main)
        figures["held_accuracy"] = float((right * weight).sum() / weight.sum())
    return Taught(first.scorer, replace(first.heads, normalisers=normalisers), figures)


# --- what is known of it ---------------------------------------------------------------------------------------


def asked_for(config: reward_heads.Config, held: Judged | None, kinds: Collection[str]) -> None:
    """Raises SettingsError, before anything is learned, for settings that do not fit each other or the judgements."""
    if config.average and config.members < 2:
        raise SettingsError("reward_heads.average is the mean of several models; set reward_heads.members to 3, say")
    if config.heads and config.members > 1:
        raise SettingsError("reward_heads.heads and reward_heads.members are two ways to an ensemble; take one of them")
    if config.heads == 1:
        raise SettingsError("reward_heads.heads=1: one head cannot disagree with itself; take 5, or 0 for none")
    if config.added and len(kinds) < 2:
        raise SettingsError(f"reward_heads.added leaves out one kind of judgement after another, and there is but "
                            f"{', '.join(kinds)}; ask people in another form too, or turn it off")  # fmt: skip
    if config.added and (held is None or not len(held.ordered(config.main)[0])):
        raise SettingsError("reward_heads.added measures on judgements of test prompts that order answers in the main "
                            "criterion, and there are none; import with --test-share, or turn it off")  # fmt: skip


@torch.no_grad()
def heads_together(
    scorer: Scorer, heads: reward_heads.Heads, held: Judged, config: reward_heads.Config
) -> dict[str, float]:
    """How the mean of the heads on one trunk orders held-out pairs, and how often two of them order answers alike."""
    if not len(held.ordered(config.main)[0]):
        return {}
    segment, names = held.segment.to(next(scorer.parameters()).device), heads.columns.criteria
    scores, _ = reward_heads.scores_of(scorer, heads.columns, segment, config.micro_tokens)
    mine = [names.index(member(config.main, number)) for number in range(1, config.heads + 1)]
    said = torch.stack([heads.normalisers[names[place]](scores[:, place]) for place in mine]).cpu()
    right, weight, _ = reward_heads.rights(said.mean(0), held, config.main)
    return {"ensemble_accuracy": float((right * weight).sum() / weight.sum()), "agreed_order": agreed_order(said)}


def together(taught: Sequence[Taught], held: Judged | None, config: reward_heads.Config) -> dict[str, float]:
    """How the members' mean orders held-out pairs, and how often two members order two answers alike."""
    if len(taught) < 2 or held is None or not len(held.ordered(config.main)[0]):
        return {}
    segment = held.segment.to(next(taught[0].scorer.parameters()).device)
    said = [one.heads.normalisers[config.main](scores_of(one.scorer, segment, config.micro_tokens)) for one in taught]
    scores = torch.stack(said).cpu()
    right, weight, _ = reward_heads.rights(scores.mean(0), held, config.main)
    return {"ensemble_accuracy": float((right * weight).sum() / weight.sum()), "agreed_order": agreed_order(scores)}


def calibrated(model: Taught, aside: Judged | None, config: reward_heads.Config) -> dict[str, float]:
    """Fit the map on judgements that were not learned from, note it with the weights, and say what it does.

    The figures are of prompts that the map of the other half was fitted on; the map that is kept is of all.
    """
    if config.calibrate == "none":
        return {}
    outcome, prompts = outcomes(aside, config)
    fitted, (before, after, off, mended) = fit(told(model, aside, config), outcome, prompts, config)
    if after > before:
        warnings.warn(
            f"reward_heads.calibrate={config.calibrate}: fitted on half of what was put aside ({fitted.rows} rows) the "
            f"map makes the other half worse (log loss {before:.3f} -> {after:.3f}): too few; raise reward_heads.aside",
            stacklevel=2,
        )
    of = "flag" if config.calibrate == "platt" else "pair"
    models.note(model.scorer.model, calibration={**fitted.model_dump(mode="json"), "of": of})
    names = ("loss_before", "loss_after", "ece_before", "ece_after")
    figures = {f"calibration_{name}": value for name, value in zip(names, (before, after, off, mended), strict=True)}
    return {**figures, "calibration_rows": float(fitted.rows)}


def fit(
    score: np.ndarray, outcome: np.ndarray, prompts: np.ndarray, config: reward_heads.Config
) -> tuple[Calibration, tuple[float, float, float, float]]:
    """The map that is kept, and how well that of one half of the prompts does on the other. All [N].

    Raises SettingsError where there is nothing to tell apart, whatever the scores are.
    """
    kind = config.calibrate
    assert kind != "none"
    try:
        return calibrate(score, outcome, kind), fitted_across(score, outcome, prompts, kind)
    except ValueError as error:
        raise SettingsError(f"reward_heads.calibrate={kind}: {error}; raise reward_heads.aside") from error


def outcomes(aside: Judged | None, config: reward_heads.Config) -> tuple[np.ndarray, np.ndarray]:
    """[N] what was said of flags, or of pairs from both sides, and [N] about which prompts."""
    if config.calibrate == "platt":
        entry = flagged(aside, config.main)
        assert aside is not None
        return aside.value[entry].double().numpy(), aside.segment.group[aside.row[entry]].numpy()
    pairs = ordered(aside, config.main)
    sure, prompt = pairs.probability.double().numpy(), pairs.segment.group[pairs.better].numpy()
    return np.concatenate((sure, 1 - sure)), np.concatenate((prompt, prompt))


def told(model: Taught, aside: Judged | None, config: reward_heads.Config) -> np.ndarray:
    """[N] raw scores of a flag's answers, or gaps of pairs from both sides."""
    device = next(model.scorer.parameters()).device
    if config.calibrate != "platt":
        pairs = ordered(aside, config.main).to(device)
        gap = gaps_of([model.scorer], pairs, config.micro_tokens)[0].cpu().double().numpy()
        return np.concatenate((gap, -gap))
    assert aside is not None
    score = scores_of(model.scorer, aside.segment.to(device), config.micro_tokens).cpu()
    return score[aside.row[flagged(aside, config.main)]].double().numpy()


def flagged(aside: Judged | None, main: str) -> torch.Tensor:
    """[E] bool: which entries are flags of one criterion. Raises SettingsError when there is none."""
    kinds = enumerate(aside.kinds) if aside is not None else ()
    numbers = [k for k, kind in kinds if kind.form == "flag" and kind.criterion == main]
    if aside is None or not numbers:
        raise SettingsError("reward_heads.calibrate=platt needs flags of the main criterion, and none was put aside; "
                            "take temperature for pairs, or set reward_heads.main")  # fmt: skip
    return torch.isin(aside.kind[aside.said], torch.tensor(numbers))
