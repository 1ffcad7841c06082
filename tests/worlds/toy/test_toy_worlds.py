"""The toy worlds: stateless randomness, true rewards, records and back, and the policy's own numbers."""

import hashlib
import json
import math

import pytest
import torch
from torch.testing import assert_close

from accord.batches import minibatches
from accord.records import Demonstration, Preference
from accord.worlds.toy import Bandit, BanditConfig, Control, ControlConfig, ToyPolicy


def bandit(seed=0):
    return Bandit(BanditConfig(contexts=5, answers=3, seed=seed)), ToyPolicy(4, 5, "categorical")


def control(seed=0):
    return Control(ControlConfig(episodes=4, steps=6, seed=seed)), ToyPolicy(3, 1, "gaussian")


WORLDS = pytest.mark.parametrize("make", [bandit, control])


@WORLDS
def test_a_turn_depends_on_seed_and_turn_alone(make):
    world, policy = make()
    torch.manual_seed(1)
    first, second = world.collect(policy), world.collect(policy)
    other, _ = make()
    other.load_state_dict({"turn": 1})
    torch.manual_seed(2)
    again = other.collect(policy)
    assert again.names == second.names
    assert all(torch.equal(again.tensors()[k], v) for k, v in second.tensors().items())
    assert other.state_dict() == world.state_dict() == {"turn": 2}
    assert not torch.equal(first.observation, second.observation)
    assert not torch.equal(make(seed=1)[0].collect(policy).observation, first.observation)
    assert len(set(first.names)) == len(first)


@WORLDS
def test_the_trainer_sees_the_samplers_numbers_in_any_batch(make):
    world, policy = make()
    rollout = world.collect(policy)
    now = policy.evaluate(rollout)
    assert_close(now.logprob, rollout.logprob)
    assert now.value.shape == now.entropy.shape == rollout.mask.shape
    for part in [*minibatches(rollout, 3, torch.Generator()), *rollout.split(13)]:
        assert_close(policy.evaluate(part).logprob, part.logprob)
        assert_close(
            world.reward(part).sum(), sum(world.reward(rollout)[rollout.names.index(n)].sum() for n in part.names)
        )


def test_the_categorical_policy_draws_what_it_says():
    policy, draw = ToyPolicy(4, 5, "categorical"), torch.Generator().manual_seed(0)
    features = torch.randn(1, 4, generator=draw).expand(40_000, 4)
    action, logprob = policy.act(features, draw)
    shares = torch.bincount(action, minlength=5) / 40_000
    told = torch.stack([logprob[action == arm][0].exp() for arm in range(5)])
    assert told.sum().item() == pytest.approx(1, abs=1e-5)
    assert_close(shares, told, atol=0.01, rtol=0)


def test_the_gaussian_policys_density_and_entropy():
    policy, draw = ToyPolicy(3, 2, "gaussian"), torch.Generator().manual_seed(0)
    features = torch.randn(1, 3, generator=draw).expand(40_000, 3)
    action, logprob = policy.act(features, draw)
    assert_close(action.std(0), policy.log_std.exp().detach(), rtol=0.02, atol=0)
    mean, std = policy.actor(features[:1])[0].tolist(), math.exp(-0.5)
    by_hand = sum(
        -((float(a) - m) ** 2) / (2 * std**2) - math.log(std * math.sqrt(2 * math.pi))
        for a, m in zip(action[0], mean, strict=True)
    )
    assert logprob[0].item() == pytest.approx(by_hand, abs=1e-5)
    rollout = control()[0].collect(ToyPolicy(3, 1, "gaussian"))
    entropy = ToyPolicy(3, 1, "gaussian").evaluate(rollout).entropy
    assert entropy[0, 0].item() == pytest.approx(-float(rollout.logprob.mean()), abs=0.4)
    _, many = ToyPolicy(3, 1, "gaussian").act(torch.zeros(40_000, 3), draw)
    assert entropy[0, 0].item() == pytest.approx(-float(many.mean()), abs=0.02)


def test_the_critic_has_a_trunk_of_its_own():
    policy = ToyPolicy(4, 5, "categorical")
    mine = {id(p) for p in policy.critic.parameters()}
    assert not mine & {id(p) for p in policy.actor.parameters()}
    rollout = bandit()[0].collect(policy)
    policy.evaluate(rollout).value.sum().backward()
    assert all(p.grad is None for p in policy.actor.parameters())


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    one = ToyPolicy(4, 5, "categorical", seed=3).state_dict()
    torch.manual_seed(2)
    two = ToyPolicy(4, 5, "categorical", seed=3).state_dict()
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not torch.equal(one["actor.0.weight"], ToyPolicy(4, 5, "categorical").state_dict()["actor.0.weight"])


def test_an_arm_pays_its_direction_along_the_context():
    world, policy = bandit()
    rollout = world.collect(policy)
    for b in range(len(rollout)):
        context = rollout.observation[rollout.group[b]].tolist()
        pays = [sum(c * d for c, d in zip(context, arm, strict=True)) for arm in world.directions.tolist()]
        assert world.reward(rollout)[b].tolist() == pytest.approx([pays[int(rollout.action[b, 0])]])
        assert world.best(rollout)[b].tolist() == pytest.approx([max(pays)])
    assert rollout.group.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert bool(rollout.done.all())


def test_the_point_mass_moves_as_it_is_pushed_and_a_time_limit_is_no_death():
    world, policy = control()
    rollout = world.collect(policy)
    for b in range(4):
        p, v, target = rollout.observation[b, 0].tolist()
        assert v == 0
        for t in range(6):
            assert rollout.observation[b, t].tolist() == pytest.approx([p, v, target], abs=1e-5)
            push = max(-1.0, min(1.0, float(rollout.action[b, t, 0])))
            v += 0.2 * push
            p += 0.2 * v
            assert world.reward(rollout)[b, t].item() == pytest.approx(-((p - target) ** 2) - 0.01 * push**2, abs=1e-5)
        expected = policy.critic(torch.tensor([p, v, target])).item()
        assert rollout.next_value[b].item() == pytest.approx(expected, abs=1e-4)
    assert not rollout.done.any()
    assert not rollout.finished.any()


@WORLDS
def test_what_is_kept_can_be_shown_and_learned_from_again(make):
    world, policy = make()
    rollout = world.collect(policy)
    kept = world.keep(rollout)
    assert [sample.id for _, sample in kept] == list(rollout.names)
    for b, (prompt, sample) in enumerate(kept):
        content = world.episodes.content(sample.content.sha256)
        assert hashlib.sha256(content).hexdigest() == sample.content.sha256
        episode = json.loads(content)
        assert_close(torch.tensor(episode["action"]), rollout.action[b])
        assert sample.prompt == prompt.id
        assert (prompt.content.env, prompt.content.seed) == (episode["env"], episode["start"])
        again = world.contexts([prompt.content.seed]) if make is bandit else world.starts([prompt.content.seed])
        seen = rollout.observation[rollout.group[b]]
        assert_close(again[0], seen if make is bandit else seen[0])
    assert world.keep(rollout) == kept, "keeping twice is keeping once"
    ids = [sample.id for _, sample in kept]
    shown = world.shown([Demonstration(prompt="p", sample=ids[i], weight=i + 1.0) for i in (2, 0)])
    assert shown.names == (ids[2], ids[0])
    assert shown.weight.tolist() == [3.0, 1.0]
    assert_close(policy.evaluate(shown).logprob, rollout.logprob[[2, 0]])


def test_beliefs_become_comparisons_with_each_episode_once():
    world, policy = bandit()
    rollout = world.collect(policy)
    ids = [sample.id for _, sample in world.keep(rollout)]
    beliefs = [
        Preference(prompt="p", chosen=ids[0], rejected=ids[1], probability=0.8, margin=2),
        Preference(prompt="p", chosen=ids[0], rejected=ids[2], weight=0.5),
    ]
    batch = world.compared(beliefs)
    assert batch.segment.names == (ids[0], ids[1], ids[2])
    assert len(batch.segment.observation) == 1, "three answers to one context share it"
    assert (batch.better.tolist(), batch.worse.tolist()) == ([0, 0], [1, 2])
    assert batch.probability.tolist() == pytest.approx([0.8, 1.0])
    assert (batch.weight.tolist(), batch.margin.tolist()) == ([1.0, 0.5], [2.0, 0.0])
    with pytest.raises(KeyError, match="1 of 2 samples were not kept by this bandit world"):
        world.compared([Preference(prompt="p", chosen=ids[0], rejected="elsewhere")])


def test_only_a_toy_policy_acts_here():
    with pytest.raises(TypeError, match="acted in by a ToyPolicy, not by a Linear"):
        Bandit().collect(torch.nn.Linear(1, 1))
