"""GRPO and its kin against loops written from the papers, their identities, the filter and the sampler's correction."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from accord.algorithms import grpo, ppo
from accord.algorithms.gathering import Queue, gather, less_length
from accord.algorithms.joined import joined
from accord.config import SettingsError
from accord.run import read_log
from accord.worlds.toy import Bandit, BanditConfig, ToyPolicy
from tests.algorithms.conftest import Speaker, told


def rewarded(rollout, seed=4, per=2):
    """A reward at the last step of each row; `per` rows share a prompt."""
    draw = torch.Generator().manual_seed(seed)
    table = torch.zeros_like(rollout.logprob)
    for b in range(len(rollout)):
        table[b, int(rollout.length[b]) - 1] = torch.randn((), generator=draw)
    group = torch.arange(len(rollout)) // per
    return replace(
        rollout,
        group=group,
        reward=table,
        observation=rollout.observation[: len(rollout) // per],
        observation_length=rollout.observation_length[: len(rollout) // per],
    )


def flat(advantage, rollout):
    return [float(advantage[b][rollout.mask[b]][0]) for b in range(len(rollout))]


@pytest.mark.parametrize("baseline", ["group", "centred", "leave_one_out"])
def test_advantages_of_a_group_against_loops(speaker, baseline):
    rollout = rewarded(told(speaker), per=4)
    found = grpo.advantages(rollout, grpo.Config(baseline=baseline))
    earned = [sum(row) for row in rollout.reward.tolist()]
    for b in range(20):
        mates = [earned[i] for i in range(b // 4 * 4, b // 4 * 4 + 4)]
        mean = sum(mates) / 4
        expected = {
            "centred": earned[b] - mean,
            "leave_one_out": earned[b] - (sum(mates) - earned[b]) / 3,
            "group": (earned[b] - mean) / (math.sqrt(sum((m - mean) ** 2 for m in mates) / 3) + 1e-4),
        }[baseline]
        for t in range(6):
            assert found[b, t].item() == pytest.approx(expected if rollout.mask[b, t] else 0, abs=1e-5)


def test_a_global_baseline_is_the_reward_to_come_whitened_over_all_tokens(speaker):
    rollout = rewarded(told(speaker))
    rollout = replace(rollout, reward=rollout.reward - 0.1 * rollout.present.float())
    found = grpo.advantages(rollout, grpo.Config(baseline="global"))
    to_come = {(b, t): sum(rollout.reward[b, t:].tolist()) for b in range(20) for t in range(6) if rollout.mask[b, t]}
    mean = sum(to_come.values()) / len(to_come)
    spread = math.sqrt(sum((v - mean) ** 2 for v in to_come.values()) / len(to_come))
    for (b, t), v in to_come.items():
        assert found[b, t].item() == pytest.approx((v - mean) / spread, abs=1e-4)


def test_with_two_answers_all_baselines_agree_up_to_scale(speaker):
    """RLOO is twice Dr. GRPO; GRPO has the same signs and its own scale in each group."""
    rollout = rewarded(told(speaker))
    centred, alone, group = (
        grpo.advantages(rollout, grpo.Config(baseline=b)) for b in ("centred", "leave_one_out", "group")
    )
    assert_close(alone, 2 * centred)
    scale = torch.where(rollout.mask, alone / group, 0)
    for members in rollout.members():
        inside = scale[members][rollout.mask[members]]
        assert inside.std() < 1e-4 * inside.mean()
        assert inside.mean() > 0


def test_an_answer_alone_has_nobody_to_be_compared_with(speaker):
    lonely = rewarded(told(speaker)).rows(torch.tensor([0, 2, 3]))
    with pytest.raises(ValueError, match="1 of 2 prompts have fewer than two answers"):
        grpo.advantages(lonely, grpo.Config())
    grpo.advantages(lonely, grpo.Config(baseline="global"))


def plain_loss(name, logprob, old, advantage, mask):
    """The sum of a minibatch over its count, from the papers, in Python floats with their slopes by torch."""
    rows, total, tokens = len(mask), 0.0, int(mask.sum())
    for b in range(rows):
        inside = [t for t in range(mask.shape[1]) if mask[b, t]]
        ratios = {t: torch.exp(logprob[b, t] - old[b, t]) for t in inside}
        a = {t: float(advantage[b, t]) for t in inside}
        if name == "gspo":
            s = torch.exp(sum(logprob[b, t] - old[b, t] for t in inside) / len(inside))
            a0 = a[inside[0]]
            total = total - torch.minimum(s * a0, s.clamp(1 - 3e-4, 1 + 4e-4) * a0) / rows
        for t in inside:
            r = ratios[t]
            if name == "grpo":
                total = total - torch.minimum(r * a[t], r.clamp(0.8, 1.2) * a[t]) / len(inside) / rows
            elif name == "dapo":
                total = total - torch.minimum(r * a[t], r.clamp(0.8, 1.28) * a[t]) / tokens
            elif name == "dr_grpo":
                total = total - torch.minimum(r * a[t], r.clamp(0.8, 1.2) * a[t]) / 9 / rows
            elif name == "cispo":
                total = total - float(min(r.detach(), torch.tensor(5.0))) * a[t] * logprob[b, t] / tokens
            elif name == "rloo":
                total = total - torch.minimum(r * a[t], r.clamp(0.8, 1.2) * a[t]) / rows
    return total


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo"])
def test_each_relative_against_its_paper(speaker, name):
    rollout = rewarded(told(speaker), per=4)
    config = grpo.kin(name, **({"constant": 9} if name == "dr_grpo" else {}))
    draw = torch.Generator().manual_seed(0)
    old, advantage = rollout.logprob, grpo.advantages(rollout, config)
    now = (old + 0.4 * torch.randn(old.shape, generator=draw)).requires_grad_()
    each, _ = grpo.policy_loss(now, old, advantage, rollout.mask, config)
    share = grpo.shares(rollout.mask, config) / grpo.counted(rollout.mask, config)
    found = (torch.where(rollout.mask, each, 0.0) * share).sum()
    (slope,) = torch.autograd.grad(found, now)
    expected = plain_loss(name, now, old, advantage, rollout.mask)
    assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert_close(slope, torch.autograd.grad(expected, now)[0], rtol=1e-4, atol=1e-6)


def test_on_policy_the_gradient_is_that_of_reinforce(speaker):
    """Where nothing has moved, no clip matters: A grad log pi, summed over tokens, for RLOO and CISPO alike."""
    rollout = rewarded(told(speaker), per=4)
    for name in ("rloo", "cispo"):
        config = grpo.kin(name)
        advantage, now = grpo.advantages(rollout, config), rollout.logprob.clone().requires_grad_()
        each, ratio = grpo.policy_loss(now, rollout.logprob, advantage, rollout.mask, config)
        (slope,) = torch.autograd.grad(torch.where(rollout.mask, each, 0.0).sum(), now)
        assert_close(slope, -advantage)
        assert bool((ratio == 1).all())


def gradients(rollout, config, new_run):
    policy, run, found = Speaker(seed=2), new_run(), []
    run.optimise(config.optimiser, 1, policy=policy)

    def note(**parts):
        found.append(policy.logits.grad.clone())
        policy.zero_grad(set_to_none=True)
        return {name: float(value) for name, value in parts.items()}

    run.step = note
    grpo.update(config, policy, rollout, ppo.Prices(ppo.Config(kl=config.kl)), run)
    return found


@pytest.mark.parametrize("name", list(grpo.KIN))
def test_neither_micro_batches_nor_the_order_of_rows_change_the_gradient(speaker, new_run, name):
    rollout = rewarded(told(speaker), per=4)
    config = grpo.kin(name, minibatches=1)
    ready = replace(rollout, reference=rollout.logprob - 0.1, advantage=grpo.advantages(rollout, config))
    (expected,) = gradients(ready, config, new_run)
    assert float(expected.abs().max()) > 1e-4
    for micro in (1, 40):
        (found,) = gradients(ready, config.model_copy(update={"micro_tokens": micro}), new_run)
        assert_close(found, expected, rtol=1e-4, atol=1e-6)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    assert_close(gradients(ready.rows(order), config, new_run)[0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["grpo", "rloo", "dr_grpo", "dapo"])
def test_the_share_outside_the_clip_is_a_share_whatever_the_tokens_count(speaker, new_run, name):
    rollout = rewarded(told(speaker), per=4)
    config = grpo.kin(name, minibatches=1, epochs=1, **({"constant": 9} if name == "dr_grpo" else {}))
    draw = torch.Generator().manual_seed(3)
    old = rollout.logprob + 0.3 * torch.randn(rollout.logprob.shape, generator=draw)
    ready = replace(rollout, logprob=old, reference=old, advantage=grpo.advantages(rollout, config))
    policy, run = Speaker(seed=2), new_run()
    run.optimise(config.optimiser, 1, policy=policy)
    now = policy.evaluate(ready).logprob.detach()
    of_answers = []
    for b in range(len(old)):
        inside = [t for t in range(old.shape[1]) if ready.mask[b, t]]
        ratios = [math.exp(float(now[b, t] - old[b, t])) for t in inside]
        of_answers.append([not 1 - config.clip_low <= r <= 1 + config.clip_high for r in ratios])
    told_all = [hit for hits in of_answers for hit in hits]
    by_answer = sum(sum(hits) / len(hits) for hits in of_answers) / len(of_answers)
    expected = sum(told_all) / len(told_all) if config.average == "token" else by_answer
    assert 0.1 < expected < 0.9
    found = grpo.update(config, policy, ready, ppo.Prices(ppo.Config(kl=config.kl)), run)
    assert found["clip_fraction"] == pytest.approx(expected, abs=1e-6)


# --- collecting --------------------------------------------------------------------------------------------------


def test_the_filter_takes_only_prompts_that_can_teach_and_keeps_what_is_too_much():
    world, policy, queue = (
        Bandit(BanditConfig(contexts=10, answers=2, arms=2)),
        ToyPolicy(4, 2, "categorical"),
        Queue(),
    )
    taught = gather(policy, world, world.reward, queue, 6)
    outcome = taught.reward.sum(1)
    assert len(taught.observation_length) == 10
    assert all(outcome[m].std() > 0 for m in taught.members())
    assert not queue.stale
    assert world.turn >= 2
    waiting = queue.waiting
    again = gather(policy, world, world.reward, queue, 6)
    assert queue.stale
    assert again.names[: len(waiting)] == waiting.names
    state = queue.state_dict()
    other = Queue()
    other.load_state_dict(state)
    assert other.stale
    assert (other.waiting is None) == (queue.waiting is None)


def test_when_nothing_can_teach_the_last_collection_is_taken_as_it_is():
    world, policy = Bandit(BanditConfig(contexts=4, answers=2)), ToyPolicy(4, 5, "categorical")
    found = gather(policy, world, lambda r: torch.zeros(8, 1), Queue(), 3)
    assert len(found) == 8
    assert world.turn == 3


def test_joined_rollouts_are_their_rows_one_after_the_other(speaker):
    short, long = told(speaker, rows=6, steps=3), told(speaker, rows=8, steps=7, seed=5)
    both = joined([short, long])
    for part, index in ((short, torch.arange(6)), (long, torch.arange(6, 14))):
        back = both.rows(index)
        again = part.rows(torch.arange(len(part)))
        for name, value in again.tensors().items():
            assert_close(getattr(back, name), value)
        assert back.names == part.names


def test_truncated_importance_weights_correct_a_sampler(speaker):
    rollout = rewarded(told(speaker), per=4)
    sampled = rollout.logprob + torch.linspace(-2, 2, 120).view(20, 6)
    plain = grpo.with_advantage(rollout, rollout.logprob, grpo.Config())[0].advantage
    found = grpo.with_advantage(rollout, sampled, grpo.Config(sampler_cap=2.0))[0].advantage
    for b in range(20):
        for t in range(6):
            weight = min(2.0, math.exp(float(rollout.logprob[b, t] - sampled[b, t])))
            assert found[b, t].item() == pytest.approx(float(plain[b, t]) * weight, rel=1e-4, abs=1e-6)
    free = grpo.with_advantage(rollout, sampled, grpo.Config(sampler_cap=None))[0].advantage
    assert_close(free, plain)


def test_cut_answers_teach_nothing_when_masked_but_still_stand_in_their_group(speaker):
    rollout = rewarded(told(speaker), per=4)
    found = grpo.with_advantage(rollout, rollout.logprob, grpo.Config(mask_unfinished=True))[0]
    assert not found.mask[~rollout.finished].any()
    whole = grpo.advantages(rollout, grpo.Config())
    assert_close(found.advantage[rollout.finished], whole[rollout.finished])


def test_length_beyond_the_soft_limit_costs_up_to_one_point(speaker):
    rollout = rewarded(told(speaker))
    config = grpo.Config(soft_length=2, hard_length=4)
    lost = (rollout.reward - less_length(rollout, config)).sum(1)
    own = rollout.mask.sum(1).tolist()  # what others say between is free
    assert own != rollout.length.tolist()
    assert_close(lost, torch.tensor([{0: 0.0, 1: 0.0, 2: 0.0, 3: 0.5}.get(n, 1.0) for n in own]))


def test_the_first_ratio_is_one_and_what_is_missing_is_said(new_run):
    world, policy = Bandit(), ToyPolicy(4, 5, "categorical")
    with pytest.raises(ValueError, match="needs a reference"):
        grpo.train(grpo.Config(), policy, world, world.reward, new_run())
    run = new_run()
    grpo.train(grpo.kin("dapo", iterations=2, mask_unfinished=False), policy, world, world.reward, run)
    assert all(row["first_ratio"] < 1e-6 for row in read_log(run.folder / "log.jsonl"))
    with pytest.raises(SettingsError, match="clip_hihg"):
        grpo.kin("grpo", clip_hihg=1)
