"""Stages that make a policy better without a critic: from beliefs, from single verdicts, from what answers earn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from accord import ordering
from accord.acting import decides, kept, opened, wanted
from accord.algorithms import best_of_n, dpo, grpo, kto, online_dpo
from accord.anchors import anchor, frozen
from accord.build import alone, beliefs_of
from accord.config import SettingsError
from accord.project import Project
from accord.records import Comparison, Critique, Feedback, Preference, Prompt, Question, Rating, Sample, Version, digest

WAYS = "collect some (accord loop) or import some (accord import)"
GOOD, FAULTS = frozenset({"good"}), frozenset({"bad", "unsafe", "unsupported"})
"""What marked places of a critique say for an answer, and against it."""


def train_dpo(
    project: Project,
    name: str,
    method: str,
    config: dpo.Config,
    start: str | None = None,
    reference: str | None = None,
    beliefs: Sequence[Preference] | None = None,
    group: str | None = None,
    **rest: Any,
) -> Version:
    """Learn from comparisons. Drift is measured from `reference`; without one, from the policy that it starts from.

    group: of whose beliefs alone.
    """
    start = wanted(project, method, "start", "policy", start)
    beliefs = beliefs_of(project, "train", group) if beliefs is None else beliefs
    if not beliefs:
        raise SettingsError(f"{method} learns from beliefs about train prompts, and {project.folder} has none: {WAYS}")
    policy, encoder = project.policy(start)
    data, held = [belief.id for belief in beliefs], beliefs_of(project, "test", group)
    more = decides(project, "dpo") | alone(group)
    run = project.run(name, config, start=start, reference=reference or start, beliefs=digest(data), **more)
    learned = encoder.comparisons(beliefs, *project.looked_up(beliefs))
    unseen = encoder.comparisons(held, *project.looked_up(held)) if held else None
    encoder.report.warn(name)
    ordering.in_order(project, "dpo", run, learned)
    before = None  # the policy as it comes: then nothing is opened twice
    if moving := "anchor" in more and not dpo.free(config):
        before = anchor(project, policy.to(run.device), start, run)
    elif reference not in (None, start) and not dpo.free(config):
        before = frozen(project, policy.to(run.device), wanted(project, method, "reference", "policy", reference))
    figures = dpo.train(config, policy.to(run.device), learned, run, before, unseen, moving) | encoder.report.figures()
    more["given"] = {"reference": reference or start}
    return project.keep(name, "policy", method, policy.model, encoder.tokenizer, start, config, data, figures, **more)


def train_kto(
    project: Project,
    name: str,
    method: str,
    config: kto.Config,
    start: str | None = None,
    reference: str | None = None,
    beliefs: Sequence[Preference] | None = None,
    group: str | None = None,
    **rest: Any,
) -> Version:
    """Learn from answers that are good or bad: both sides of beliefs, and what people said of single answers.

    group: of whose beliefs alone, and what these people said.
    """
    start = wanted(project, method, "start", "policy", start)
    beliefs = beliefs_of(project, "train", group) if beliefs is None else beliefs
    net, data = verdicts(project, beliefs, everybody=group is None)
    samples = project.store.get_many(Sample, net)
    prompts = project.store.get_many(Prompt, dict.fromkeys(sample.prompt for sample in samples.values()))
    pairs = [(prompts[sample.prompt], sample) for sample in samples.values()]
    if not pairs:
        raise SettingsError(f"{method} learns from good and bad answers, and {project.folder} has none: {WAYS}")
    policy, encoder = project.policy(start)
    more = decides(project, "kto") | alone(group)
    run = project.run(name, config, start=start, reference=reference or start, verdicts=digest(net), **more)
    examples = encoder.segment(pairs, [abs(net[sample.id]) for _, sample in pairs])
    encoder.report.warn(name)
    ordering.in_order(project, "kto", run, examples)
    good = torch.tensor([net[row] > 0 for row in examples.names])
    if good.all() or not good.any():
        raise SettingsError(
            f"{method} needs good and bad answers, and {int(good.sum())} of {len(good)} are good; "
            "with good ones alone use imitation (accord train sft), or ask for more"
        )
    policy, before = policy.to(run.device), None
    if reference not in (None, start):
        before = frozen(project, policy, wanted(project, method, "reference", "policy", reference))
    figures = kto.train(config, policy, examples, good, run, before) | encoder.report.figures()
    more["given"] = {"reference": reference or start}
    return project.keep(name, "policy", method, policy.model, encoder.tokenizer, start, config, data, figures, **more)


def verdicts(
    project: Project, beliefs: Sequence[Preference], everybody: bool = True
) -> tuple[dict[str, float], list[str]]:
    """Sample id -> how good (above 0) or how bad (below 0) it was found, and ids of the beliefs and feedback behind it.

    A belief counts weight (2 probability - 1) for its better answer and as much against the other, so an answer from
    the middle of a ranking counts little, and one that is even is left out. To this come, with 1 each, what stands in
    the store and compares nothing: a rating of one answer above or below the middle of its scale, a critique whose
    places speak for or against it, and `both_bad`. Only answers to train prompts count.

    everybody: also of people on whom none of the beliefs rests.
    """
    net: dict[str, float] = {}
    for belief in beliefs:
        sure = belief.weight * (2 * belief.probability - 1)
        net[belief.chosen] = net.get(belief.chosen, 0.0) + sure
        net[belief.rejected] = net.get(belief.rejected, 0.0) - sure
    compared = {one for belief in beliefs for one in belief.feedback}
    said = list(project.store.feedback())
    theirs = {one.annotator for one in said if everybody or one.id in compared}
    said = [one for one in said if one.annotator in theirs and isinstance(one.answer, Comparison | Rating | Critique)]
    questions = project.store.get_many(Question, dict.fromkeys(one.question for one in said))
    prompts = project.store.get_many(Prompt, dict.fromkeys(question.prompt for question in questions.values()))
    used = [belief.id for belief in beliefs]
    for one in said:
        question = questions[one.question]
        found = single(one, question, one.id in compared) if prompts[question.prompt].split == "train" else {}
        used += [one.id] if found else []
        for sample, worth in found.items():
            net[sample] = net.get(sample, 0.0) + worth
    return {sample: worth for sample, worth in net.items() if abs(worth) > 1e-9}, used


def single(said: Feedback, question: Question, compared: bool) -> dict[str, float]:
    """What somebody says of single answers that they were shown: sample id -> 1 good or -1 bad; nothing of pairs.

    compared: whether a belief rests on it already, so that it is not heard twice.
    """
    match said.answer:
        case Comparison(verdict="both_bad"):
            return dict.fromkeys(question.samples, -1.0)
        case Rating(scores=scores, scale=(low, high)) if len(scores) == 1 and not compared:
            ((sample, by),) = scores.items()
            level = by.get("", sum(by.values()) / max(1, len(by))) - (low + high) / 2
        case Critique(sample=sample, spans=spans) if not compared:
            level = sum((span.label in GOOD) - (span.label in FAULTS) for span in spans)
        case _:
            return {}
    return {sample: 1.0 if level > 0 else -1.0} if level and sample in question.samples else {}


def train_grpo(project: Project, name: str, method: str, config: grpo.Config, **given: Any) -> Version:
    """Learn from what several answers to one prompt earn. Drift is measured from `reference`, else from the start.

    given: start, reward, reference, prompts and cost, see `acting.opened`.
    """
    if config.baseline != "global":
        several(project, method)
    updates, drifts = config.iterations * config.epochs * config.minibatches, config.kl.place != "none"
    here = opened(project, name, method, "grpo", config, updates, drifts, **given)
    figures = grpo.train(config, here.policy, here.world, here.earned, here.run, here.before, here.beside)
    return kept(project, method, here, config, figures)


def train_best_of_n(project: Project, name: str, method: str, config: best_of_n.Config, **given: Any) -> Version:
    """Draw several answers to a prompt and imitate the best; the best of all rounds stay.

    given: start, reward, prompts and cost, see `acting.opened`.
    """
    here = opened(project, name, method, "best_of_n", config, config.iterations * config.updates, **given)
    figures = best_of_n.train(config, here.policy, here.world, here.earned, here.run, here.beside)
    return kept(project, method, here, config, figures)


def train_online_dpo(project: Project, name: str, method: str, config: online_dpo.Config, **given: Any) -> Version:
    """Learn from pairs of the policy's own answers that are drawn and judged in rounds.

    given: start, reward, reference, prompts and cost, see `acting.opened`.
    """
    several(project, method)
    updates, drifts = config.iterations * config.updates, not dpo.free(config.objective)
    here = opened(project, name, method, "online_dpo", config, updates, drifts, **given)
    figures = online_dpo.train(config, here.policy, here.world, here.earned, here.run, here.before, here.beside)
    return kept(project, method, here, config, figures)


def several(project: Project, method: str) -> None:
    """Raises SettingsError when there is nothing that an answer to a prompt could be compared with."""
    count = project.recipe.rollout_answers
    if count < 2:
        raise SettingsError(f"{method} compares answers to one prompt; rollout_answers={count}, take 4")
