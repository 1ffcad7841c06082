"""DPO and its kin, CPO, SimPO and ORPO have the loss and the gradient of TRL 1.16 on the same batch and weights.

Where the two define a thing differently, a case says which transformation makes them comparable:

- One at a time. TRL's likelihood terms (`sft`, CPO's, ORPO's) are means over all tokens of a batch, so that a long
  answer counts more in a batch than alone; ours are means over answers of each one's mean per token. Where each pair
  is a batch of its own the two agree. Xu et al. and Hong et al. write an expectation over answers.
- TRL's DPO has no label smoothing of the conservative kind (cDPO). Its optimal-transport loss `aot` sorts log-ratios
  over the batch; one pair at a time there is nothing to sort, and what remains is cDPO. CPO has the smoothing itself.
- TRL has no soft beliefs. Of a belief of .8 it learns with weight .8 from the pair and with .2 from the pair reversed.
- TRL's IPO is per token (its authors said that to the makers of TRL), ours is eq. 17 of the paper and per token with
  `length_normalised`.
- TRL's ORPO fits prompt and answer; eq. 6 of Hong et al. speaks of the answer given the prompt, as ours. Either its
  first term is added by our fine-tuning on whole conversations, or prompts are no more than the first token.

Models compute in fp32 and agree to 1e-5. The losses of TRL's DPO are compared once more in fp64, to 1e-10, as functions
of the answers' log-probabilities: there a model on the other side says what it is told. (Its ORPO computes in fp32.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from accord.algorithms import dpo, sft
from accord.algorithms.referred import with_reference
from accord.batches import Comparisons, Segment, padded
from accord.worlds.text.encode import Encoder, EncoderSettings
from tests.peers.beside import compared_talks, equal, needs_trl, parts, policy, trl, watched

pytestmark = needs_trl


@dataclass(frozen=True)
class Case:
    """One loss on both sides."""

    kind: str
    theirs: dict[str, Any]
    ours: dict[str, Any]
    apart: bool = False
    """Each pair a batch of its own on the other side."""
    sure: float = 1.0
    """Probability of our beliefs; below 1 the other side learns from each pair both ways round."""
    bare: bool = False
    """Prompts of the first token alone."""


DPO, CPO = "dpo", "cpo"
CASES = {
    "dpo": Case(DPO, {"loss_type": ["sigmoid"], "beta": 0.3}, {"beta": 0.3}),
    "dpo-soft-beliefs": Case(DPO, {"loss_type": ["sigmoid"], "beta": 0.3}, {"beta": 0.3}, apart=True, sure=0.8),
    "cdpo": Case(
        DPO, {"loss_type": ["aot"], "beta": 0.3, "label_smoothing": 0.1}, {"beta": 0.3, "label_smoothing": 0.1},
        apart=True,
    ),
    "robust": Case(
        DPO, {"loss_type": ["robust"], "beta": 0.3, "label_smoothing": 0.1},
        {"loss": "robust", "beta": 0.3, "label_smoothing": 0.1},
    ),
    "ipo": Case(DPO, {"loss_type": ["ipo"], "beta": 0.3}, {"loss": "ipo", "beta": 0.3, "length_normalised": True}),
    "hinge": Case(DPO, {"loss_type": ["hinge"], "beta": 0.7}, {"loss": "hinge", "beta": 0.7}),
    "hinge-soft-beliefs": Case(
        DPO, {"loss_type": ["hinge"], "beta": 0.7}, {"loss": "hinge", "beta": 0.7}, apart=True, sure=0.7
    ),
    "dpo-per-token": Case(
        DPO, {"loss_type": ["sigmoid_norm"], "beta": 2.0}, {"beta": 2.0, "length_normalised": True}
    ),
    "dpo-and-imitation": Case(
        DPO, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5], "beta": 0.3},
        {"beta": 0.3, "imitation": 0.5}, apart=True,
    ),
    "cpo": Case(CPO, {"beta": 0.1, "cpo_alpha": 1.0}, {"loss": "cpo", "beta": 0.1}, apart=True),
    "cpo-smoothed": Case(
        CPO, {"beta": 0.1, "cpo_alpha": 0.0, "label_smoothing": 0.2},
        {"loss": "cpo", "beta": 0.1, "imitation": 0.0, "label_smoothing": 0.2},
    ),
    "hinge-reference-free": Case(
        CPO, {"loss_type": "hinge", "beta": 0.1, "cpo_alpha": 0.0},
        {"loss": "hinge", "beta": 0.1, "reference_free": True},
    ),
    "ipo-reference-free": Case(
        CPO, {"loss_type": "ipo", "beta": 0.3, "cpo_alpha": 0.0},
        {"loss": "ipo", "beta": 0.3, "reference_free": True, "length_normalised": True},
    ),
    "simpo": Case(
        CPO, {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.7, "cpo_alpha": 0.0},
        {"loss": "simpo", "beta": 2.0, "gap": 0.7},
    ),
    "simpo-smoothed": Case(
        CPO, {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.7, "cpo_alpha": 0.0, "label_smoothing": 0.2},
        {"loss": "simpo", "beta": 2.0, "gap": 0.7, "label_smoothing": 0.2},
    ),
    "simpo-and-imitation": Case(
        CPO, {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.7, "cpo_alpha": 0.5},
        {"loss": "simpo", "beta": 2.0, "gap": 0.7, "imitation": 0.5}, apart=True,
    ),
    "orpo": Case("orpo", {"beta": 0.2}, {"loss": "orpo", "beta": 0.2, "imitation": 0.0}),
    "orpo-of-the-answer": Case("orpo", {"beta": 0.2}, {"loss": "orpo", "beta": 0.2}, apart=True, bare=True),
}  # fmt: skip


def believed(tokenizer: Any, case: Case) -> Comparisons:
    """Our batch of a case."""
    batch = compared_talks(Encoder(tokenizer, EncoderSettings(limit=96)), probability=case.sure)
    if not case.bare:
        return batch
    told = batch.segment
    first = replace(
        told, observation=told.observation[:, :1], observation_length=torch.ones_like(told.observation_length)
    )
    return replace(batch, segment=first)


def job(case: Case, batch: Comparisons) -> dict[str, Any]:
    """The same batch for the other side."""
    rows = []
    for better, worse in zip(batch.better.tolist(), batch.worse.tolist(), strict=True):
        (prompt, chosen), (_, rejected) = parts(batch.segment, better), parts(batch.segment, worse)
        rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    size = len(rows)
    batches: list[Any] = [[case.sure, [i]] for i in range(size)] if case.apart else [[1.0, list(range(size))]]
    made: dict[str, Any] = {}
    if case.kind == "dpo":
        made = {"logprobs": said(batch, 0), "reference": said(batch, 1)}
    if case.sure < 1:
        # Chosen ones first: better, then worse of the pairs reversed; then the rejected ones, the other way round.
        made = {which: [*table, *table[size:], *table[:size]] for which, table in made.items()}
        rows += [{**row, "chosen_ids": row["rejected_ids"], "rejected_ids": row["chosen_ids"]} for row in rows]
        batches += [[1 - case.sure, [size + i]] for i in range(size)]
    return {"kind": case.kind, "settings": case.theirs, "rows": rows, "batches": batches, **made}


def said(batch: Comparisons, which: int) -> list[list[float]]:
    """Log-probabilities drawn for each token, of the better answers and then of the worse ones."""
    draw = torch.Generator().manual_seed(40)
    policy = [torch.rand(int(n), generator=draw, dtype=torch.float64) * -2 for n in batch.segment.length]
    moved = [values - 0.3 * torch.rand(len(values), generator=draw, dtype=torch.float64) for values in policy]
    table = [values.tolist() for values in (policy, moved)[which]]
    return [table[row] for row in [*batch.better.tolist(), *batch.worse.tolist()]]


@pytest.fixture(scope="module")
def theirs(folder: Path, tokenizer: Any) -> dict[str, Any]:
    """TRL's answers to all cases."""
    return trl(folder, {name: job(case, believed(tokenizer, case)) for name, case in CASES.items()})


def conversations(batch: Comparisons) -> Segment:
    """The better answers with their prompts as one text that is all to be learned, after its first token."""
    told = [[*seen, *said] for seen, said in (parts(batch.segment, row) for row in batch.better.tolist())]
    observation, seen = padded([row[:1] for row in told])
    action, length = padded([row[1:] for row in told])
    return Segment(
        observation=observation, observation_length=seen, group=torch.arange(len(told)), action=action, length=length,
        mask=torch.arange(action.shape[1]) < length[:, None], weight=torch.ones(len(told)), names=batch.names,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_loss_of_pairs_has_the_value_and_gradient_of_trl(
    name: str, theirs: dict[str, Any], folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    case = CASES[name]
    batch, actor = believed(tokenizer, case), policy(folder, "policy", tokenizer)
    reference, config = policy(folder, "reference", tokenizer), dpo.Config(batch=8, micro_tokens=60, **case.ours)
    with watched(tmp_path / "pairs", actor) as (run, seen):
        dpo.train(config, actor, batch, run, lambda segment: reference.evaluate(segment).logprob)
    assert seen.micros > 2
    loss, gradient = seen.loss, seen.gradient
    if name == "orpo":
        actor.zero_grad()
        with watched(tmp_path / "likelihood", actor) as (run, also):
            sft.train(sft.Config(batch=8, micro_tokens=80), actor, conversations(batch), run)
        loss, gradient = loss + also.loss, {n: g + also.gradient[n] for n, g in gradient.items()}
    equal(name, gradient, theirs[name]["gradient"], loss, theirs[name]["loss"])


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind == "dpo"])
def test_a_loss_of_pairs_is_that_of_trl_to_the_last_digits(name: str, theirs: dict[str, Any], tokenizer: Any) -> None:
    case, told = CASES[name], theirs[name]
    batch, config = believed(tokenizer, case), dpo.Config(**case.ours)
    order, size = [*batch.better.tolist(), *batch.worse.tolist()], len(batch)
    tables = [
        torch.nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.float64) for row in said(batch, which)], True)
        for which in (0, 1)
    ]
    logprob = tables[0].requires_grad_()
    place = torch.tensor(order).argsort()  # rows of the segment from better ones, then worse ones
    sure = torch.full((size,), case.sure, dtype=torch.float64)
    referred = replace(batch, segment=with_reference(batch.segment, tables[1].sum(1)[place]), probability=sure)
    value = dpo.loss_of(dpo.pairs_of(referred, logprob.sum(1)[place], config), config).mean()
    (slope,) = torch.autograd.grad(value, logprob)
    found = told["slopes"]
    if case.sure < 1:  # rows 0..N are the pairs, N..2N the pairs reversed; then the same of the rejected ones
        sides = [found[size * i : size * (i + 1)] for i in range(4)]
        both = [zip(sides[0], sides[3], strict=True), zip(sides[2], sides[1], strict=True)]
        found = [[a + b for a, b in zip(*rows, strict=True)] for side in both for rows in side]
    assert float(value) == pytest.approx(told["exact"], rel=1e-10)
    apart = max(
        abs(a - b)
        for mine, other in zip(slope.tolist(), found, strict=True)
        for a, b in zip(mine[: len(other)], other, strict=True)
    )
    print(f"{name}: fp64 loss {abs(float(value) - told['exact']):.1e} apart, slopes {apart:.1e}")
    assert apart < 1e-10
    assert float(slope.abs().max()) > 1e-3
