"""Pairs of a policy's own answers, against the plain rule; the first step, against DPO on the same pairs by hand."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from accord.algorithms import dpo, online_dpo
from accord.batches import at_end
from accord.run import OptimiserConfig, read_log
from accord.worlds.toy import Bandit, BanditConfig, ToyPolicy
from tests.algorithms.conftest import Speaker, told


def paid(rollout, seed=0):
    """The rollout with whole numbers as rewards, so that some answers earn the same."""
    earned = torch.randint(0, 3, (len(rollout),), generator=torch.Generator().manual_seed(seed)).float()
    return replace(rollout, reward=at_end(earned, rollout.length, rollout.action.shape[1])), earned.tolist()


@pytest.mark.parametrize("pairs", ["extremes", "all"])
@pytest.mark.parametrize("least", [0.0, 1.0])
def test_pairs_are_those_of_one_prompt_that_earned_differently(pairs, least):
    rollout = told(Speaker(), rows=24)
    rollout = replace(rollout, group=torch.arange(24) // 4)
    rollout, earned = paid(rollout)
    found = online_dpo.paired(rollout, online_dpo.Config(pairs=pairs, least=least))
    wanted = set()
    for g in range(6):
        mine = range(4 * g, 4 * g + 4)
        every = {(i, j) for i in mine for j in mine if earned[i] - earned[j] > least}
        top, low = max(earned[i] for i in mine), min(earned[i] for i in mine)
        wanted |= every if pairs == "all" else {(i, j) for i, j in every if earned[i] == top and earned[j] == low}
    got = list(zip(found.better.tolist(), found.worse.tolist(), strict=True))
    assert len(set(got)) == len(got) == len(found.names)
    assert set(got) <= wanted
    assert pairs == "extremes" or set(got) == wanted
    assert {i // 4 for i, _ in got} == {i // 4 for i, _ in wanted}, "one pair at least where there is any"
    assert found.margin.tolist() == [earned[i] - earned[j] for i, j in got]
    assert found.probability.tolist() == [1.0] * len(got)
    soft = online_dpo.paired(rollout, online_dpo.Config(pairs=pairs, least=least, labels="soft"))
    assert soft.probability.tolist() == pytest.approx([1 / (1 + math.exp(earned[j] - earned[i])) for i, j in got])


@pytest.mark.parametrize("loss", ["dpo", "ipo", "simpo"])
def test_the_first_step_is_that_loss_on_the_extremes_of_each_prompt(loss, new_run):
    world = Bandit(BanditConfig(contexts=8, answers=4))
    policy, twin = ToyPolicy(4, 5, "categorical"), ToyPolicy(4, 5, "categorical")
    seen = Bandit(BanditConfig(contexts=8, answers=4)).collect(twin)
    earned = world.reward(seen)[:, 0].tolist()
    up = [max(range(4 * g, 4 * g + 4), key=lambda b: earned[b]) for g in range(8)]
    down = [min(range(4 * g, 4 * g + 4), key=lambda b: earned[b]) for g in range(8)]
    differ = [g for g in range(8) if earned[up[g]] > earned[down[g]]]
    logprob = twin.evaluate(seen).logprob[:, 0]
    beta, h = 0.7, torch.stack([logprob[up[g]] - logprob[down[g]] for g in differ])
    moved = h - h.detach()
    plain = {
        "dpo": -torch.log(1 / (1 + torch.exp(-beta * moved))),
        "ipo": (moved - 1 / (2 * beta)) ** 2,
        "simpo": -torch.log(1 / (1 + torch.exp(-beta * h))),
    }[loss]
    plain.mean().backward()
    run, found = new_run(), {}

    def note(**parts):
        found["gradient"] = policy.actor[0].weight.grad.clone()
        policy.zero_grad(set_to_none=True)
        return {name: float(value) for name, value in parts.items()}

    run.step = note
    config = online_dpo.Config(iterations=1, updates=1, micro_tokens=11, objective=dpo.Config(loss=loss, beta=beta))
    start = ToyPolicy(4, 5, "categorical")
    reference = None if loss == "simpo" else lambda s: start.evaluate(s).logprob
    figures = online_dpo.train(config, policy, world, world.reward, run, reference)
    assert_close(found["gradient"], twin.actor[0].weight.grad)
    assert figures["loss"] == pytest.approx(float(plain.detach().mean()), rel=1e-4)
    assert figures["pairs"] == len(differ)
    if loss == "dpo":
        assert figures["loss"] == pytest.approx(math.log(2))


def test_nothing_moves_where_all_answers_earn_the_same(new_run):
    world, policy = Bandit(BanditConfig(contexts=8)), ToyPolicy(4, 5, "categorical")
    before, start = policy.actor[0].weight.clone(), ToyPolicy(4, 5, "categorical")
    config = online_dpo.Config(iterations=2, least=99.0)
    told = "in 2 rounds no two answers to a prompt differed in reward by more than online_dpo.least=99.0"
    with pytest.warns(UserWarning, match=told):
        figures = online_dpo.train(config, policy, world, world.reward, new_run(), lambda s: start.evaluate(s).logprob)
    assert figures["pairs"] == 0
    assert torch.equal(policy.actor[0].weight, before)


def test_a_round_without_pairs_leaves_out_its_updates_and_the_schedule_still_comes_to_its_end(new_run):
    world, policy = Bandit(BanditConfig(contexts=8)), ToyPolicy(4, 5, "categorical")
    rate, asked = OptimiserConfig(learning_rate=0.1, schedule="linear", warmup=0), []

    def reward(rollout):
        asked.append(rollout)
        return world.reward(rollout) * (len(asked) > 1)  # the first round's answers all earn nothing

    config = online_dpo.Config(iterations=2, updates=2, optimiser=rate, objective={"loss": "simpo"})
    run = new_run()
    online_dpo.train(config, policy, world, reward, run)
    first, last = read_log(run.folder / "log.jsonl")
    assert first["pairs"] == 0 < last["pairs"]
    assert last["learning_rate"] == pytest.approx(0.1 * (rate.factor(2, 4) + rate.factor(3, 4)) / 2), "updates 2 and 3"
    assert rate.factor(3, 4) < rate.factor(2, 4) < rate.factor(0, 4)


def test_a_loss_that_wants_a_reference_says_so(new_run):
    world, policy = Bandit(BanditConfig(contexts=8)), ToyPolicy(4, 5, "categorical")
    with pytest.raises(ValueError, match="needs a reference policy"):
        online_dpo.train(online_dpo.Config(), policy, world, world.reward, new_run())
