"""One score from everything that people said: pairs, rankings, ratings, scores and flags on one trunk at once.

The main score r of an answer is the scorer's own head; each other criterion (helpfulness, harm, ...) has one linear
head beside it. Every kind of judgement sees its criterion through a scale of its own that is learnt with it:
slope * r, and thresholds, an offset, a spread or the prevalence of ties (`judgements.py`). The first kind of a
criterion has slope 1, so that the unit of r is that of its pairs. A judgement that is missing costs nothing.
Ours: a question counts once however much it says (a ranking is divided by its choices, a rating by its answers), as
in `quality`; an answer is encoded once however often it was judged; with `share_prompts` what was said of one prompt
in one way weighs at most 1 together (Ouyang et al. 2022, section 3.5). Length can have a head of its own (ODIN, Chen
et al. 2024): both heads together explain the overall judgements, correlation with length is driven into the one and
out of the other, and only the other is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from accord.algorithms.consistency import Config as ConsistencyConfig
from accord.algorithms.judgements import centred
from accord.algorithms.odin import Odin, added, away_from_length, crossing
from accord.algorithms.pseudo import Config as PseudoConfig
from accord.algorithms.reward_model import NORMALISED, Beside, Normaliser, correct, normaliser, nothing, steps
from accord.algorithms.scales import FORMS, Columns, Scales, Trunk, looked
from accord.batches import Segment, pack
from accord.config import Settings, SettingsError
from accord.judged import Judged
from accord.run import OptimiserConfig, Run, ranks


class Config(Settings):
    """Settings of a reward model that learns from every form of judgement."""

    epochs: float = Field(default=1.0, gt=0)
    """How often each judgement is seen."""
    batch: int = Field(default=32, ge=1)
    """Prompts (with all that was said of them) per optimiser step."""
    main: str = ""
    """Criterion that the score is for; empty for overall. Another one makes a model of harm, say."""
    forms: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """How much a form counts (`pair`, `ranking`, `rating`, `score`, `flag`); 1 when not named, 0 leaves it out."""
    share_prompts: bool = True
    """Whether all judgements of one kind on one prompt weigh at most 1 together, or each by itself."""
    ties: Literal["half", "davidson", "rao_kupper"] = "davidson"
    """What a tie of two is: half a win for each, or an outcome with a prevalence that is learnt."""
    margin: float = Field(default=0.0, ge=0)
    """How far apart, per step of strength, the scores of a pair should be; Llama 2 used 1/3 or 1."""
    centring: float = Field(default=0.01, ge=0)
    """Weight of the squared mean score of a judgement's answers; keeps the level near 0."""
    odin: Odin = Odin()
    """A length head, so that the score does not pay for length."""
    scale_rate: float = Field(default=0.01, gt=0)
    """Learning rate of slopes, thresholds, offsets and prevalences; the heads and the trunk have the optimiser's."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    check_every: int = Field(default=0, ge=0)
    """Measure held-out judgements after so many steps; 0 only at the end."""
    comparisons: Literal["said", "beliefs"] = "said"
    """The stage hears each choice as it was made, ties and both bad too, or what is believed of each pair."""
    criteria: dict[str, str] = Field(default_factory=dict)
    """Criterion that imported pairs are about, by how the source of their prompts begins; overall when not named."""
    members: int = Field(default=1, ge=1)
    """Models that the stage teaches, each from a head and in an order of its own: versions NAME, NAME-2, NAME-3 ..."""
    average: bool = False
    """With `members`: they share the start of their head too, and one version is kept, the mean of their weights."""
    heads: int = Field(default=0, ge=0)
    """Further heads on the trunk, each taught by prompts drawn anew: an ensemble read in one pass; 0 for none."""
    added: bool = False
    """Teach a fresh model without each kind of judgement too, and tell what the kind added on held-out pairs."""
    prior: Literal["none", "bradley_terry", "elo"] = "none"
    """What is known of an answer by where it came from: strengths of sources, from all comparisons of train prompts."""
    strengths: dict[str, float] = Field(default_factory=dict)
    """Strengths by source or version in log-odds, taken in place of fitted ones; Elo's points times .00576."""
    prior_weight: float = Field(default=0.1, gt=0)
    """What all that the prior says of one prompt weighs together; a question that people answered weighs 1."""
    calibrate: Literal["none", "temperature", "platt", "isotonic"] = "none"
    """Which map from scores to probabilities the stage fits: on pairs, `platt` on flags of the main criterion."""
    aside: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of train prompts that are not learned from when calibration or pseudo-labels need unseen judgements."""
    pseudo: PseudoConfig = PseudoConfig(rounds=0)
    """Labels of its own for questions that nobody answered; with `rounds` 0 there are none."""
    consistency: ConsistencyConfig = ConsistencyConfig()
    """Opinions (scores) that stay the same when a prompt is put in other words; no label is needed. Off by default."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=5e-4)
    """How the parameters move."""


@dataclass(frozen=True)
class Heads:
    """What was learnt beside the scorer itself."""

    columns: Columns
    """Heads of the other criteria, and of length."""
    scales: Scales
    """How each kind of judgement sees its criterion."""
    normalisers: Mapping[str, Normaliser]
    """Mean and spread of each criterion's score over the first training answers."""


def train(
    config: Config, scorer: Trunk, judged: Judged, run: Run, held: Judged | None = None, beside: Beside = nothing
) -> tuple[Heads, dict[str, float]]:
    """Fit the scores to all that was said. Returns the heads (`normalisers[config.main]` is the score's own) and the
    last figures.

    held: judgements of other prompts to be measured on; kinds that are not learned from are left out of it. beside: a
    term that joins each step's loss, of the main score. Raises SettingsError when nothing was said of `main`.
    """
    judged = weighed(judged, config).to(run.device)
    held = held.only(judged.kinds).to(run.device) if held is not None else None
    columns, scales = heads_for(config, scorer, judged, held, run)
    groups = judged.groups()
    total = steps(config, len(groups))
    run.optimise(config.optimiser, total, {"scales": config.scale_rate}, scorer=scorer, columns=columns, scales=scales)
    figures: dict[str, float] = {}
    for step in run.steps(total):
        dealt = torch.cat([groups[g] for g in run.deal(len(groups), config.batch).tolist()])
        chosen, times = torch.unique(dealt, return_counts=True)  # one round may end and the next begin with a prompt
        batch = replace(judged.of(chosen), weight=judged.weight[chosen] * times)
        push = None
        if columns.length is not None:
            now, by_length = scores_of(scorer, columns, batch.segment, config.micro_tokens)
            push = away_from_length(config.odin, now[:, 0], by_length, batch.segment.mask.sum(1))
        parts = list(run.parts(batch, config.micro_tokens))
        count = run.total(sum((counts * batch.weight[part].sum() for part, counts in parts), torch.zeros(())))
        each, tokens = torch.zeros(len(batch), device=run.device), 0
        for part, counts in parts:
            micro, rows = batch.of(part), batch.rows(part)
            with run.learning(scorer):
                scores, longer = looked(scorer, columns, micro.segment)
                loss = scales(added(scores, longer), micro, config.margin)
                level = config.centring * centred(*said_of(scores, scales, micro))
                summed = ((loss + level) * micro.weight).sum() / count
                if push is not None:
                    summed = summed + (torch.stack([scores[:, 0], longer]) * push[:, rows]).sum()
                run.backward(counts * summed, micro.names)
            each[part] += counts * loss.detach().to(each)
            tokens += int(counts) * micro.segment.tokens
        if push is not None:
            run.backward(config.odin.orthogonality / ranks.count() * crossing(scorer, columns), batch.names)
        each = run.whole(each)
        figures = {"loss": float((each * batch.weight).sum() / count), **by_kind(each, batch)}
        figures |= {"judgements": float(len(batch)), **run.step(tokens=tokens, **beside()), **scales.slopes()}
        if held is not None and (step + 1 == total or (config.check_every and (step + 1) % config.check_every == 0)):
            found = measured(config, scorer, columns, scales, held)
            figures |= {f"held_{name}": value for name, value in found.items()}
        run.log(**figures)
    return Heads(columns, scales, normalisers_of(config, scorer, columns, judged)), figures or run.last_figures()


# --- before the loop -------------------------------------------------------------------------------------------


def weighed(judged: Judged, config: Config) -> Judged:
    """The judgements that count, with the weight of their form; with `share_prompts` those of one kind on one prompt
    weigh at most 1 together. Raises SettingsError for a form that there is not.
    """
    unknown = sorted(set(config.forms) - set(FORMS))
    if unknown:
        raise SettingsError(f"forms: no form {', '.join(unknown)}; there are {', '.join(FORMS)}")
    weight = judged.weight.clone()
    if config.share_prompts:
        for group in judged.groups():
            for kind in set(judged.kind[group].tolist()):
                mine = group[judged.kind[group] == kind]
                weight[mine] = weight[mine] / weight[mine].sum().clamp_min(1.0)
    factor = torch.tensor([config.forms.get(kind.form, 1.0) for kind in judged.kinds]).to(weight)
    weight = weight * factor[judged.kind]
    left = (weight > 0).nonzero()[:, 0]
    kept = sorted(set(judged.kind[left].tolist()))
    return replace(judged, weight=weight).of(left).only(tuple(judged.kinds[k] for k in kept))


def heads_for(config: Config, scorer: Trunk, judged: Judged, held: Judged | None, run: Run) -> tuple[Columns, Scales]:
    """Fresh heads and scales for what was said. Raises SettingsError when nothing was said of the main criterion."""
    named = dict.fromkeys(kind.criterion for kind in judged.kinds)
    if config.main not in named:
        said = ", ".join(repr(name) for name in named) or "nothing"
        raise SettingsError(f"main={config.main!r}: no judgement is about it; they are about {said}: take one of them")
    criteria = [config.main, *(name for name in named if name != config.main)]
    with torch.no_grad():
        width = scorer.states(judged.segment.rows(torch.zeros(1, dtype=torch.long, device=run.device))).shape[1]
    columns = Columns(width, criteria, config.odin.correlation > 0, run.config.seed)
    scales = Scales([judged] if held is None else [judged, held], criteria, config.ties)
    return columns.to(run.device), scales.to(run.device)


# --- inside the loop -------------------------------------------------------------------------------------------


def said_of(scores: Tensor, scales: Scales, judged: Judged) -> tuple[Tensor, Tensor]:
    """[J, K] scores of each judgement's answers in its criterion, and which places are filled."""
    row, _ = judged.table()
    return scores[row.clamp_min(0), scales.column[judged.kind][:, None]], row >= 0


def by_kind(each: Tensor, judged: Judged) -> dict[str, float]:
    """Mean loss of each kind that occurs."""
    figures = {}
    for k, kind in enumerate(judged.kinds):
        mine = judged.kind == k
        if mine.any():
            mean = (each * judged.weight)[mine].sum() / judged.weight[mine].sum()
            figures[f"loss/{kind.name}"] = float(mean)
    return figures


@torch.no_grad()
def scores_of(scorer: Trunk, columns: Columns, segment: Segment, micro_tokens: int) -> tuple[Tensor, Tensor]:
    """([B, C] score of every row by criterion, [B] what length adds), without gradient."""
    scores = torch.zeros(len(segment), len(columns.criteria), device=segment.length.device)
    longer = torch.zeros(len(segment), device=segment.length.device)
    for index in pack(segment, micro_tokens):
        one, two = looked(scorer, columns, segment.rows(index))
        scores[index], longer[index] = one.float(), two.float()
    return scores, longer


def normalisers_of(config: Config, scorer: Trunk, columns: Columns, judged: Judged) -> dict[str, Normaliser]:
    """Mean and spread of each criterion's score over the first answers."""
    first = torch.arange(min(len(judged.segment), NORMALISED), device=judged.kind.device)
    scores, _ = scores_of(scorer, columns, judged.segment.rows(first), config.micro_tokens)
    return {name: normaliser(one) for name, one in zip(columns.criteria, scores.T, strict=True)}


@torch.no_grad()
def measured(config: Config, scorer: Trunk, columns: Columns, scales: Scales, judged: Judged) -> dict[str, float]:
    """Mean loss of each kind, and the share of weight of ordered pairs of answers that the used scores order alike.

    The length head is left out, as it will be. Pairs are those inside one judgement whose answers were not said to be
    equal; `accuracy` is of the main criterion, `accuracy/NAME` of the others.
    """
    scores, _ = scores_of(scorer, columns, judged.segment, config.micro_tokens)
    figures = by_kind(scales(scores, judged, config.margin), judged)
    for c, criterion in enumerate(columns.criteria):
        right, weight, _ = rights(scores[:, c], judged, criterion)
        if len(right):
            figures["accuracy" + (f"/{criterion}" if c else "")] = float((right * weight).sum() / weight.sum())
    return figures


def rights(score: Tensor, judged: Judged, criterion: str = "") -> tuple[Tensor, Tensor, Tensor]:
    """Of each pair that a judgement orders: [N] whether the scores [B] do too, [N] its weight, [N] its prompt."""
    better, worse, weight, _ = judged.ordered(criterion)
    return correct(score[better], score[worse]), weight, judged.segment.group[better]
