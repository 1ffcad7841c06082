"""The sampler's own log-probabilities are taken where they are the trainer's, and only there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from accord.algorithms import grpo, looking, ppo
from accord.algorithms.gathering import Queue
from accord.batches import Rollout, Segment
from accord.protocols import Evaluated
from accord.run import read_log
from tests.algorithms.conftest import Speaker, told

FREE = ppo.KL(place="none")
TRUSTING = ppo.Config(kl=FREE, old="sampler", micro_tokens=23)
TRAINER = ppo.Config(kl=FREE, micro_tokens=23)


class Beside(Speaker):
    """A policy whose critic can be asked alone, and that counts the rows it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.read = 0
        self.critic.values = lambda segment: self.critic(self.before(segment))[..., 0]

    def evaluate(self, segment: Segment) -> Evaluated:
        self.read += len(segment)
        return super().evaluate(segment)


class Actor(Beside):
    """Without any value, as GRPO's policies are."""

    def evaluate(self, segment: Segment) -> Evaluated:
        return replace(super().evaluate(segment), value=None)


def drawn(policy: Speaker) -> Rollout:
    """A rollout that this policy would have drawn."""
    rollout = told(policy)
    with torch.no_grad():
        return replace(rollout, logprob=Speaker.evaluate(policy, rollout).logprob)


@pytest.mark.parametrize("kind", [Beside, Actor])
def test_an_exact_sampler_is_believed_and_little_is_read(kind: type[Beside]) -> None:
    policy = kind()
    rollout = drawn(policy)
    policy.read = 0
    wanted, figures = ppo.look_again(rollout, policy, None, TRAINER)
    assert policy.read == len(rollout)
    policy.read = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(looking, "ROWS", 20)
        seen, told_ = ppo.look_again(rollout, policy, None, TRUSTING)
    assert 0 < policy.read < len(rollout) / 2
    assert torch.equal(seen.logprob[rollout.mask], rollout.logprob[rollout.mask])
    assert_close(seen.value[rollout.mask], wanted.value[rollout.mask])
    assert told_["entropy"] == pytest.approx(-float(rollout.logprob[rollout.mask].mean()))
    assert told_["entropy"] != figures["entropy"], "told by the tokens that were drawn"
    assert {**told_, "entropy": 0} == pytest.approx({**figures, "entropy": 0}, abs=1e-6)


@pytest.mark.parametrize(
    ("policy", "off"),
    [(Beside(), slice(None)), (Beside(), slice(1)), (Speaker(), slice(0))],
    ids=["a sampler that differs", "one token that differs", "values from the same pass"],
)
def test_else_everything_is_computed_again(policy: Speaker, off: slice) -> None:
    """off: which of the tokens the sampler is wrong about."""
    rollout = drawn(policy)
    row, step = (at[off] for at in rollout.mask.nonzero(as_tuple=True))
    rollout.logprob[row, step] += 2 * looking.EXACT
    wanted, figures = ppo.look_again(rollout, policy, None, TRAINER)
    seen, same = ppo.look_again(rollout, policy, None, TRUSTING)
    assert same == figures
    assert torch.equal(seen.logprob, wanted.logprob)
    assert torch.equal(seen.value, wanted.value)


def test_rows_without_a_token_of_the_policy_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Actor()
    rollout = drawn(policy)
    monkeypatch.setattr(looking, "ROWS", 20)
    some = looking.pack(rollout, 20)[-1]
    rollout.mask[some] = False
    assert looking.believed(rollout, policy) == (policy.evaluate, None)


def test_a_sampler_that_says_nonsense_stops_the_run() -> None:
    policy = Beside()
    rollout = drawn(policy)
    rollout.logprob[rollout.mask] = float("nan")
    with pytest.raises(ArithmeticError, match="differ by nan nats"):
        ppo.look_again(rollout, policy, None, TRUSTING)


def test_answers_of_an_earlier_policy_are_always_looked_at(monkeypatch, new_run) -> None:
    """What waited was drawn by other weights: the sampler's numbers are no ratio's start."""
    asked: list[str] = []
    look = ppo.look_again

    def looked(rollout, policy, reference, config):
        asked.append(config.old)
        return look(rollout, policy, reference, config)

    policy, stale = Actor(), iter([False, True])

    def gather(_policy, _world, _reward, queue: Queue, *_filter) -> Rollout:
        queue.stale = next(stale)
        return replace(drawn(policy), reward=torch.rand(20, 6, generator=torch.Generator().manual_seed(1)))

    monkeypatch.setattr(ppo, "look_again", looked)
    monkeypatch.setattr(grpo, "gather", gather)

    class World:
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            pass

    config = grpo.Config(iterations=2, old="sampler", kl=FREE, minibatches=1)
    run = new_run()
    figures = grpo.train(config, policy, World(), None, run)
    assert asked == ["sampler", "trainer"]
    assert figures["first_ratio"] == pytest.approx(0, abs=1e-5)
    first, second = read_log(run.folder / "log.jsonl")
    assert "sampler_drift" in first
    assert "waited_drift" not in first
    assert "waited_drift" in second, "it is no fault of the sampler's"
    assert "sampler_drift" not in second
