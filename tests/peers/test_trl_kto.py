"""KTO has the loss and the gradient of TRL 1.16 on the same batch and weights.

What is expected is measured on answers under foreign prompts. TRL moves the answers of a batch on by one place, ours
deals each answer a foreign prompt once and for all, by the seed; the paper (Ethayarajh et al. 2024, section 4.1) asks
for no more than that they do not belong together. Here TRL is given the strangers that ours has dealt.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.algorithms import kto
from accord.batches import Segment
from accord.worlds.text.encode import Encoder, EncoderSettings
from tests.peers.beside import equal, needs_trl, parts, policy, records, trl, watched

pytestmark = needs_trl


@dataclass(frozen=True)
class Case:
    """One loss on both sides."""

    theirs: dict[str, Any]
    ours: dict[str, Any]
    policy: str = "policy"
    reference: str = "reference"


WEIGHTS = {"desirable_weight": 1.3, "undesirable_weight": 0.8}
CASES = {
    "kto": Case({"beta": 0.3}, {"beta": 0.3}),
    "kto-the-other-way": Case({"beta": 0.3}, {"beta": 0.3}, policy="reference", reference="policy"),
    "kto-weighted": Case({"beta": 0.3, **WEIGHTS}, {"beta": 0.3, **WEIGHTS}),
    "apo-zero": Case({"beta": 0.3, "loss_type": "apo_zero_unpaired"}, {"beta": 0.3, "baseline": "none"}),
}


def verdicts(tokenizer: Any) -> tuple[Segment, Tensor]:
    """Six good answers and four bad ones, mixed."""
    good, bad = records()
    told = [*zip(good, [True] * 6, strict=True), *zip(bad[:4], [False] * 4, strict=True)]
    mixed = [told[(7 * i) % 10] for i in range(10)]
    return Encoder(tokenizer, EncoderSettings(limit=96)).segment([row for row, _ in mixed]), torch.tensor(
        [label for _, label in mixed]
    )


def job(case: Case, segment: Segment, desirable: Tensor) -> dict[str, Any]:
    """The same batch for the other side."""
    strangers, rows, crossed = kto.mismatched(segment, seed=0).tolist(), [], []
    for row, (label, other) in enumerate(zip(desirable.tolist(), strangers, strict=True)):
        prompt, answer = parts(segment, row)
        rows.append({"prompt_ids": prompt, "completion_ids": answer, "label": label})
        if other >= 0:
            foreign = segment.observation[other, : int(segment.observation_length[other])].tolist()
            assert foreign != prompt
            crossed.append({"prompt_ids": foreign, "completion_ids": answer, "label": label})
    return {
        "kind": "kto", "settings": case.theirs, "rows": rows, "crossed": crossed, "policy": case.policy,
        "reference": case.reference,
    }  # fmt: skip


@pytest.fixture(scope="module")
def theirs(folder: Path, tokenizer: Any) -> dict[str, Any]:
    """TRL's answers to all cases."""
    return trl(folder, {name: job(case, *verdicts(tokenizer)) for name, case in CASES.items()})


@pytest.mark.parametrize("name", CASES)
def test_kto_has_the_value_and_gradient_of_trl(
    name: str, theirs: dict[str, Any], folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    case, told = CASES[name], theirs[name]
    segment, desirable = verdicts(tokenizer)
    actor, reference = policy(folder, case.policy, tokenizer), policy(folder, case.reference, tokenizer)
    config = kto.Config(batch=len(segment), micro_tokens=60, **case.ours)
    with watched(tmp_path / "kto", actor) as (run, seen):
        figures = kto.train(config, actor, segment, desirable, run, lambda some: reference.evaluate(some).logprob)
    assert seen.micros > 2
    assert figures["expected"] == pytest.approx(told["expected"], rel=1e-5, abs=1e-6)
    equal(name, seen.gradient, told["gradient"], seen.loss, told["loss"])


def test_expectation_was_above_zero_one_way_and_cut_off_the_other(theirs: dict[str, Any]) -> None:
    assert theirs["kto"]["expected"] > 0.1
    assert theirs["kto-the-other-way"]["expected"] == 0
