"""GRPO and its kin and RLOO have the advantages, the loss and the gradient of TRL 1.16, off policy as well as on it.

The answers were written under old weights, the loss is that of new ones, the drift is from a third model. Where the
two define a thing differently:

- RLOO. TRL clips the ratio of whole answers and says -mean(A); ours is each token's ratio under PPO's clip, summed
  over the answer. Where nothing has moved both gradients are that of Ahmadian et al. 2024, A grad log pi(y | x), and
  so they are compared there. The value is then no more than the mean of A (0 in each group) or of A times length:
  each side is held against that.
- Names. TRL's `bnpo` and `dapo` are means over tokens, of a device's batch or of all; in one process they are one.
  TRL's clip of CISPO is the ratio's largest value, ours how far it may rise above 1.
- Answers that were cut and are to be left out: where answers are averaged (`grpo`) TRL still counts them, ours does
  not; where tokens are (`dapo`, whose paper asks for it) the two agree.
- Drift in the loss. TRL multiplies k3 by the ratio unless told otherwise (`use_bias_correction_kl`, DeepSeek-V3.2),
  ours is Shao et al.'s eq. 4, k3 alone. Told otherwise they agree; and where nothing has moved the gradient of TRL's
  own choice is that of our k2 (x grad log pi, the gradient of the exact KL in the mean), its value that of k3.
- The correction for a sampler that differs is only for vLLM in TRL; it is switched on here with our sampler's numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from accord.algorithms import gathering, grpo, ppo
from accord.batches import Rollout, at_end
from accord.records import Message, Prompt, Sample, Text
from accord.worlds.text.encode import Encoder, EncoderSettings
from tests.peers.beside import TALKS, WORSE, equal, needs_trl, parts, policy, trl, watched

pytestmark = needs_trl

EACH, LONGEST = 4, 40


@dataclass(frozen=True)
class Case:
    """One relative on both sides."""

    theirs: dict[str, Any]
    ours: dict[str, Any] = field(default_factory=dict)
    kin: str = "grpo"
    kind: str = "grpo"
    old: str = "old"
    sampler: str | None = None
    valued: dict[str, Any] | None = None
    """Our settings whose loss is compared, where they are not those of the gradient."""


FREE = {"kl": {"place": "none"}}
LOSS = {"kl": {"place": "loss", "estimator": "k3", "coefficient": 0.1}}
PLAIN = {"beta": 0.1, "use_bias_correction_kl": False}
CASES = {
    "grpo": Case({"loss_type": "grpo", **PLAIN}, LOSS),
    "grpo-on-policy": Case({"loss_type": "grpo", **PLAIN}, LOSS, old="policy"),
    "grpo-with-the-gradient-of-the-kl": Case(
        {"loss_type": "grpo", "beta": 0.1}, {"kl": {**LOSS["kl"], "estimator": "k2"}}, old="policy", valued=LOSS
    ),
    "dr_grpo": Case({"loss_type": "dr_grpo", "scale_rewards": "none"}, {"constant": LONGEST}, kin="dr_grpo"),
    "dapo": Case(
        {"loss_type": "dapo", "epsilon_high": 0.28, "mask_truncated_completions": True},
        {"soft_length": 10, "hard_length": 18}, kin="dapo",
    ),
    "bnpo-with-entropy": Case(
        {"loss_type": "bnpo", "entropy_coef": 0.02}, {"average": "token", "entropy": 0.02, **FREE}
    ),
    "gspo": Case(
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
        kin="gspo",
    ),
    "gspo-with-room": Case(
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.03, "epsilon_high": 0.04},
        {"clip_low": 0.03, "clip_high": 0.04}, kin="gspo",
    ),
    "cispo": Case({"loss_type": "cispo", "epsilon_high": 1.1}, {"clip_high": 0.1}, kin="cispo"),
    "grpo-corrected": Case(
        {"loss_type": "grpo", **PLAIN, "vllm_importance_sampling_mode": "token_truncate",
         "vllm_importance_sampling_clip_max": 1.05},
        {"sampler_cap": 1.05, **LOSS}, sampler="sampler",
    ),
    "rloo": Case(
        {"beta": 0.1}, {"kl": {"place": "reward", "estimator": "k1", "coefficient": 0.1}}, kin="rloo", kind="rloo",
        old="policy",
    ),
}  # fmt: skip


def config(case: Case) -> grpo.Config:
    """Our settings of a case: one update over everything, in small parts."""
    kept = {} if case.sampler else {"sampler_cap": None}
    return grpo.kin(case.kin, **{"minibatches": 1, "micro_tokens": 90, **kept, **case.ours})


def collected(tokenizer: Any, folder: Path, case: Case) -> Rollout:
    """Four answers to each of three talks, every fifth of them cut, with rewards, under the old weights."""
    told, said = [], [*WORSE, *(talk[-1][1] for talk in TALKS)]
    for number, talk in enumerate(TALKS[:3]):
        turns = [Message(role=role, content=content) for role, content in talk]
        prompt = Prompt(id=f"p{number}", content=Text(messages=turns[:-1]))
        for i in range(EACH):
            at = EACH * number + i
            content = Text(messages=(Message(role="assistant", content=said[at]),))
            told.append((prompt, Sample(id=f"s{at}", prompt=prompt.id, content=content, finished=at % 5 != 3)))
    segment = Encoder(tokenizer, EncoderSettings(limit=96)).segment(told)
    finished = torch.tensor([sample.finished for _, sample in told])
    earned = torch.randn(len(told), generator=torch.Generator().manual_seed(9)).double()
    plain = {name: getattr(segment, name) for name in segment.__dataclass_fields__}
    last = torch.arange(segment.action.shape[1]) == segment.length[:, None] - 1
    with torch.no_grad():
        logprob = policy(folder, case.sampler or case.old, tokenizer).evaluate(segment).logprob
    return Rollout(
        **plain, logprob=logprob, done=last & finished[:, None], finished=finished,
        reward=at_end(earned.float(), segment.length, segment.action.shape[1]),
    )  # fmt: skip


def job(case: Case, rollout: Rollout) -> dict[str, Any]:
    """The same batch for the other side."""
    assert rollout.reward is not None
    rows: list[dict[str, Any]] = []
    for row, reward in enumerate(rollout.reward.sum(1).tolist()):
        prompt, answer = parts(rollout, row)
        rows.append({"prompt_ids": prompt, "completion_ids": answer, "reward": reward})
        if case.sampler:
            rows[-1]["logprobs"] = rollout.logprob[row, : len(answer)].tolist()
    settings = {"num_generations": EACH, "max_completion_length": LONGEST, "temperature": 1.0, **case.theirs}
    made = {"kind": case.kind, "settings": settings, "rows": rows, "old": case.old}
    mine = config(case)
    if mine.soft_length is not None:
        made["overlong"] = [mine.hard_length, mine.hard_length - mine.soft_length]
    return made


@pytest.fixture(scope="module")
def theirs(folder: Path, tokenizer: Any) -> dict[str, Any]:
    """TRL's answers to all cases."""
    return trl(folder, {name: job(case, collected(tokenizer, folder, case)) for name, case in CASES.items()})


def scored(case: Case, rollout: Rollout, folder: Path, tokenizer: Any) -> tuple[Rollout, ppo.Prices]:
    """The rollout on its way to the learner, as `grpo.train` sends it."""
    mine, old, reference = config(case), *(policy(folder, name, tokenizer) for name in (case.old, "reference"))
    shared = ppo.Config(micro_tokens=mine.micro_tokens, drift_limit=1e9, kl=mine.kl, entropy=mine.entropy)
    prices, sampled = ppo.Prices(shared), rollout.logprob
    rollout, _ = ppo.look_again(rollout, old, lambda some: reference.evaluate(some).logprob, shared)
    rollout, _ = ppo.with_reward(rollout, lambda seen: gathering.less_length(seen, mine), prices.kl, shared)
    return grpo.with_advantage(rollout, sampled, mine)[0], prices


def each(rollout: Rollout, case: Case) -> Tensor:
    """[B] advantage of each answer as it was before masks and the sampler's weights."""
    return grpo.advantages(replace(rollout, mask=rollout.present), config(case))[:, 0]


@pytest.mark.parametrize("name", CASES)
def test_a_relative_has_the_advantages_value_and_gradient_of_trl(
    name: str, theirs: dict[str, Any], folder: Path, tokenizer: Any, tmp_path: Path
) -> None:
    case, told = CASES[name], theirs[name]
    rollout, prices = scored(case, collected(tokenizer, folder, case), folder, tokenizer)
    torch.testing.assert_close(each(rollout, case), torch.tensor(told["advantages"]), rtol=1e-5, atol=1e-5)
    actor = policy(folder, "policy", tokenizer)
    with watched(tmp_path / "groups", actor) as (run, seen), run.learning(actor):
        figures = grpo.update(config(case), actor, rollout, prices, run)
    assert seen.micros > 2
    moved = figures["first_ratio"] > 1e-3
    assert moved == (case.old == "old")
    if moved:
        assert 0 < figures["clip_fraction"] < 1
    ours, other = seen.loss, told["loss"]
    if case.kind == "rloo":
        advantage = each(rollout, case)
        assert ours == pytest.approx(-float((advantage * rollout.mask.sum(1)).mean()), abs=1e-5)
        ours = -float(advantage.mean())
    if case.valued:
        with watched(tmp_path / "value", actor) as (run, also), run.learning(actor):
            grpo.update(config(replace(case, ours=case.valued)), actor, rollout, prices, run)
        ours = also.loss
    equal(name, seen.gradient, told["gradient"], ours, other, scale=1.0)
