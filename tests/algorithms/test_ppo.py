"""PPO: each named setting against loops and by hand; what must not matter does not."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from accord.algorithms import ppo
from accord.batches import minibatches
from accord.run import Average, NonFinite, OptimiserConfig, read_log, read_state
from accord.worlds.toy import Bandit, BanditConfig, Control, ControlConfig, ToyPolicy
from tests.algorithms.conftest import Speaker, told

FREE = ppo.KL(place="none")


def outcome(rollout):
    """A reward at the last real step of each row: 1, 2, 3, ..."""
    table = torch.zeros_like(rollout.logprob)
    for b in range(len(rollout)):
        table[b, int(rollout.length[b]) - 1] = b + 1.0
    return table


def other(segment):
    with torch.no_grad():
        return Speaker(seed=9).evaluate(segment).logprob


def looked(rollout, policy, config):
    return ppo.look_again(rollout, policy, other, config)[0]


def prepared(rollout, policy, config):
    """A rollout that is ready to be learned from."""
    scored, _ = ppo.with_reward(looked(rollout, policy, config), outcome, 0.1, config)
    return ppo.with_advantage(replace(scored, reward=scored.reward / 10), config)


def gradients(policy, rollout, config, new_run, prices=None, warming=False):
    """The gradient of each optimiser step of an update, without taking any."""
    run = new_run()
    run.optimise(config.optimiser, 1, policy=policy)
    found = []

    def note(**parts):
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in policy.parameters()]
        found.append(torch.cat([g.flatten().clone() for g in grads]))
        policy.zero_grad(set_to_none=True)
        return {name: float(value) for name, value in parts.items()}

    run.step = note
    figures = ppo.update(config, policy, rollout, prices or ppo.Prices(config), run, warming)
    return found, figures


# --- the losses --------------------------------------------------------------------------------------------------


def test_the_surrogate_against_a_loop_and_its_slope_by_differences():
    draw = torch.Generator().manual_seed(0)
    now, old, advantage = torch.randn(3, 5, 4, generator=draw, dtype=torch.float64)
    now = (old + 0.4 * now).requires_grad_()
    found = ppo.surrogate(now, old, advantage, 0.2)
    found.sum().backward()
    for i in range(5):
        for t in range(4):

            def loss(logprob, old=float(old[i, t]), a=float(advantage[i, t])):
                ratio = math.exp(logprob - old)
                if a >= 0:  # a good action earns no more once it is 1.2 times as likely
                    return -a * min(ratio, 1.2)
                return -a * max(ratio, 0.8)

            x = now[i, t].item()
            assert found[i, t].item() == pytest.approx(loss(x))
            assert now.grad[i, t].item() == pytest.approx((loss(x + 1e-6) - loss(x - 1e-6)) / 2e-6, abs=1e-6)


def test_the_clipped_value_loss_is_the_worse_of_two():
    value, old, target = torch.tensor([0.0, 1.0, 1.0, -1.0]), torch.zeros(4), torch.tensor([1.0, 1.0, -1.0, 0.1])
    assert ppo.value_loss(value, old, target, None).tolist() == pytest.approx([0.5, 0.0, 2.0, 0.605])
    # second: the value leapt to the target, the clip sees only .2 of the leap; third: away from it, and pays in full
    assert ppo.value_loss(value, old, target, 0.2).tolist() == pytest.approx([0.5, 0.32, 2.0, 0.605])


def test_a_value_beyond_its_clip_on_the_way_to_the_target_gets_no_pull():
    value = torch.tensor([0.5], requires_grad=True)
    ppo.value_loss(value, torch.zeros(1), torch.ones(1), 0.2).sum().backward()
    assert value.grad.item() == 0
    ppo.value_loss(value, torch.zeros(1), torch.ones(1), None).sum().backward()
    assert value.grad.item() == pytest.approx(-0.5)


# --- what an answer earns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_kl_in_the_reward_is_paid_at_each_own_token_and_the_outcome_at_the_last(rollout, speaker, estimator):
    config = ppo.Config(kl=ppo.KL(place="reward", estimator=estimator))
    seen = looked(rollout, speaker, config)
    found, figures = ppo.with_reward(seen, outcome, 0.3, config)
    for b in range(len(rollout)):
        for t in range(rollout.action.shape[1]):
            x = float(seen.logprob[b, t] - seen.reference[b, t])
            drift = {"k1": x, "k2": x * x / 2, "k3": math.exp(-x) - 1 + x}[estimator] if rollout.mask[b, t] else 0.0
            last = b + 1.0 if t == int(rollout.length[b]) - 1 else 0.0
            assert found.reward[b, t].item() == pytest.approx(last - 0.3 * drift, abs=1e-4)
    assert figures["reward"] == pytest.approx(sum(range(1, 21)) / 20)


@pytest.mark.parametrize("place", ["loss", "none"])
def test_elsewhere_the_kl_leaves_the_reward_alone(rollout, speaker, place):
    config = ppo.Config(kl=ppo.KL(place=place))
    found, _ = ppo.with_reward(looked(rollout, speaker, config), outcome, 0.3, config)
    assert_close(found.reward, outcome(rollout))


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_kl_in_the_loss_adds_its_own_gradient(speaker, new_run, estimator):
    rollout = told(speaker)
    base = ppo.Config(kl=FREE, epochs=1, minibatches=1)
    config = ppo.Config(kl=ppo.KL(place="loss", estimator=estimator, coefficient=0.3), epochs=1, minibatches=1)
    ready = prepared(rollout, speaker, base)
    (without,), _ = gradients(speaker, ready, base, new_run)
    (within,), _ = gradients(speaker, ready, config, new_run)
    now = speaker.evaluate(rollout).logprob
    x = now - ready.reference
    term = x.square() / 2 if estimator == "k2" else (-x).exp() - 1 + x
    speaker.zero_grad()
    (0.3 * term[rollout.mask].sum() / rollout.mask.sum()).backward()
    assert_close((within - without)[:49], speaker.logits.grad.flatten(), rtol=1e-4, atol=1e-6)
    assert_close(within[49:], without[49:])


def test_without_a_reference_the_kl_must_be_switched_off(new_run):
    world, policy = Bandit(), ToyPolicy(4, 5, "categorical")
    with pytest.raises(ValueError, match=r"kl.place='reward' needs a reference.*kl.place=none"):
        ppo.train(ppo.Config(), policy, world, world.reward, new_run())


def test_reward_clip_cuts_the_outcome_before_the_drift_is_paid(rollout, speaker):
    config = ppo.Config(reward_clip=5.0)
    seen = looked(rollout, speaker, config)
    found, figures = ppo.with_reward(seen, outcome, 0.1, config)
    plain, _ = ppo.with_reward(seen, outcome, 0.1, ppo.Config())
    assert_close((found.reward - plain.reward).sum(1), torch.tensor([min(b + 1.0, 5.0) - (b + 1.0) for b in range(20)]))
    assert figures["reward"] == 10.5, "the log tells what was earned, not what was left of it"


def test_reward_clip_cuts_the_score_of_an_answer_wherever_it_is_paid(rollout, speaker):
    """Sentences earn differences of scores: each cut alone, an answer worth 1 that was once worth 9 earned -2."""
    config = ppo.Config(reward_clip=5.0, kl=FREE)
    seen = looked(rollout, speaker, config)
    draw = torch.Generator().manual_seed(4)
    worth = 4 * torch.randn(seen.logprob.shape, generator=draw) * seen.present
    found = ppo.with_reward(seen, lambda _: worth, 0.0, config)[0].reward
    runs = 0
    for row, (mask, paid) in enumerate(zip(seen.mask.tolist(), worth.tolist(), strict=True)):
        score = last = 0.0
        for t, value in enumerate(paid):  # by hand: the score begins anew where an answer of a dialogue does
            if mask[t] and t and (not mask[t - 1] or seen.done[row, t - 1]):
                score, last, runs = 0.0, 0.0, runs + 1
            score += value
            now = max(-5.0, min(5.0, score))
            assert found[row, t].item() == pytest.approx(now - last, abs=1e-4)
            last = now
    assert runs > 3, "some rows have several answers"
    assert not torch.equal(found, worth)
    small = worth / 100
    assert ppo.with_reward(seen, lambda _: small, 0.0, config)[0].reward.equal(small)
    ended = torch.zeros_like(worth).scatter(1, seen.length[:, None] - 1, 8.0)
    at_end = ppo.with_reward(seen, lambda _: ended, 0.0, config)[0].reward
    assert at_end.sum(1).tolist() == [5.0] * len(seen)


def test_missing_end_penalty_replaces_the_reward_of_cut_answers_alone(rollout, speaker):
    config = ppo.Config(missing_end_penalty=-3.0, kl=FREE)
    found, _ = ppo.with_reward(looked(rollout, speaker, config), outcome, 0.0, config)
    expected = [b + 1.0 if rollout.finished[b] else -3.0 for b in range(20)]
    assert found.reward.sum(1).tolist() == expected
    assert [found.reward[b, int(rollout.length[b]) - 1].item() for b in range(20)] == expected
    assert {True, False} == set(rollout.finished.tolist())


def test_whitened_rewards_have_unit_spread_and_keep_their_mean(rollout, speaker):
    config = ppo.Config(whiten_reward=True, kl=FREE)
    found, _ = ppo.with_reward(looked(rollout, speaker, config), outcome, 0.0, config)
    before, after = outcome(rollout)[rollout.present], found.reward[rollout.present]
    assert after.std(unbiased=False).item() == pytest.approx(1, rel=1e-4)
    assert after.mean().item() == pytest.approx(before.mean().item(), rel=1e-4)
    assert not found.reward[~rollout.present].any()


def test_advantages_are_whitened_in_each_minibatch_where_that_is_wanted(rollout, speaker, new_run):
    alone = {"epochs": 1, "value_coefficient": 0.0, "kl": FREE}
    whole = ppo.Config(minibatches=1, **alone)
    ready = prepared(rollout, speaker, whole)
    once, _ = gradients(speaker, ready, whole, new_run)
    again, _ = gradients(speaker, ready, whole.model_copy(update={"whiten_over": "minibatch"}), new_run)
    assert torch.allclose(once[0], again[0], rtol=1e-4, atol=1e-7), "one minibatch is the whole rollout"

    config = ppo.Config(minibatches=2, whiten_over="minibatch", **alone)
    found, _ = gradients(speaker, ready, config, new_run)
    run = new_run()
    run.at = 0
    for part, gradient in zip(minibatches(ready, 2, run.generator("minibatches", 0)), found, strict=True):
        told = part.advantage[part.mask]
        white = (told - told.mean()) / told.std(unbiased=False)
        now = speaker.evaluate(part).logprob[part.mask]
        speaker.zero_grad(set_to_none=True)
        (-(now * white).mean()).backward()  # the ratio is 1, so its slope is that of the log-probability
        plain = [p.grad if p.grad is not None else torch.zeros_like(p) for p in speaker.parameters()]
        speaker.zero_grad(set_to_none=True)
        assert torch.allclose(torch.cat([g.flatten() for g in plain]), gradient, rtol=1e-3, atol=1e-6)


def test_whitening_keeps_a_reward_that_comes_in_anothers_turn(speaker):
    rollout = told(speaker, rows=4, steps=3, gaps=False)
    last = torch.arange(3) == rollout.length[:, None] - 1
    rollout = replace(rollout, mask=rollout.mask & (~last | (rollout.length[:, None] == 1)))
    config = ppo.Config(whiten_reward=True, kl=FREE)
    found, _ = ppo.with_reward(looked(rollout, speaker, config), lambda r: 100.0 * outcome(r), 0.0, config)
    assert bool((found.reward[last & rollout.present] != 0).all())
    assert found.reward[rollout.present].std(unbiased=False).item() == pytest.approx(1, rel=1e-3)


def test_whitened_advantages_leave_the_targets_of_the_critic_alone(rollout, speaker):
    plain = prepared(rollout, speaker, ppo.Config(whiten_advantage=False))
    white = prepared(rollout, speaker, ppo.Config(whiten_advantage=True))
    assert_close(white.target, plain.target)
    assert_close(plain.target[rollout.mask], (plain.advantage + plain.value)[rollout.mask])
    inside = white.advantage[rollout.mask]
    assert inside.mean().item() == pytest.approx(0, abs=1e-5)
    assert inside.std(unbiased=False).item() == pytest.approx(1, rel=1e-4)


def test_a_row_that_was_cut_goes_on_in_the_critics_view(speaker):
    rollout = told(speaker, gaps=False)
    config = ppo.Config(whiten_advantage=False, kl=FREE)
    with_more = replace(rollout, next_value=torch.full((20,), 50.0))
    plain, more = prepared(rollout, speaker, config), prepared(with_more, speaker, config)
    last = torch.arange(6) == rollout.length[:, None] - 1
    gain = (more.advantage - plain.advantage)[last]
    full = rollout.length == 6
    assert_close(gain[rollout.finished], torch.zeros(int(rollout.finished.sum())))
    assert_close(gain[~rollout.finished & full], torch.full((int((~rollout.finished & full).sum()),), 50.0))


# --- prices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drift", "factor"), [(6.0, 1.0), (6.6, 1 + 0.1 * 50 / 1000), (60.0, 1 + 0.2 * 0.05), (0.0, 1 - 0.2 * 0.05)]
)
def test_the_adaptive_price_of_drift_follows_its_controller(drift, factor):
    prices = ppo.Prices(ppo.Config(kl=ppo.KL(coefficient=0.2, target=6.0, horizon=1000)))
    prices.adapt(drift, 1.0, 50)
    assert prices.kl == pytest.approx(0.2 * factor)


def test_a_rollout_longer_than_the_horizon_counts_as_one_of_the_horizon():
    """Else 6,000 answers without any drift would make the price negative, and drift would be paid for."""
    prices = ppo.Prices(ppo.Config(kl=ppo.KL(coefficient=0.2, target=6.0, horizon=1000)))
    prices.adapt(0.0, 1.0, 6000)
    assert prices.kl == pytest.approx(0.2 * 0.8)


def test_a_fixed_price_stays():
    prices = ppo.Prices(ppo.Config(kl=ppo.KL(coefficient=0.2)))
    prices.adapt(100.0, 1.0, 500)
    assert prices.kl == 0.2


def test_the_entropy_bonus_grows_below_its_target_and_shrinks_above():
    prices = ppo.Prices(ppo.Config(entropy=0.01, entropy_target=1.0))
    prices.adapt(0.0, 0.5, 8)
    assert prices.entropy == pytest.approx(0.012)
    prices.adapt(0.0, 1.1, 8)
    assert prices.entropy == pytest.approx(0.0108)
    asleep = ppo.Prices(ppo.Config(entropy_target=1.0))
    for _ in range(60):
        asleep.adapt(0.0, 0.1, 8)
    assert asleep.entropy > 0.1, "a bonus that starts at nothing must be able to wake up"


def test_both_prices_are_in_the_checkpoint(new_run):
    world, policy = Bandit(BanditConfig(contexts=4)), ToyPolicy(4, 5, "categorical")
    config = ppo.Config(iterations=3, kl=ppo.KL(target=0.01, horizon=10), entropy=0.1, entropy_target=1.0)
    run = new_run(checkpoint_seconds=0)
    start = ToyPolicy(4, 5, "categorical", seed=3)
    ppo.train(config, policy, world, world.reward, run, lambda s: start.evaluate(s).logprob.detach())
    _, state = read_state(sorted((run.folder / "checkpoints").glob("step-*"))[-1])
    row = read_log(run.folder / "log.jsonl")[-1]
    assert state["tracked"]["prices"] == {"kl": row["kl_price"], "entropy": row["entropy_price"]}
    assert row["kl_price"] != 0.05
    assert state["tracked"]["world"] == {"turn": 3}


# --- the update --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("micro", [1, 7, 23])
def test_the_gradient_does_not_depend_on_micro_batches(speaker, new_run, micro):
    kl = ppo.KL(place="loss", estimator="k3")
    whole = ppo.Config(kl=kl, entropy=0.01, epochs=1, minibatches=3)
    ready = prepared(told(speaker), speaker, whole)
    expected, _ = gradients(speaker, ready, whole, new_run)
    found, _ = gradients(speaker, ready, whole.model_copy(update={"micro_tokens": micro}), new_run)
    assert len(found) == 3
    for one, two in zip(found, expected, strict=True):
        assert_close(one, two, rtol=1e-5, atol=1e-7)


def test_the_gradient_does_not_depend_on_the_order_of_rows_nor_on_padding(speaker, new_run):
    config = ppo.Config(epochs=1, minibatches=1, micro_tokens=30)
    ready = prepared(told(speaker), speaker, config)
    (expected,), _ = gradients(speaker, ready, config, new_run)
    (found,), _ = gradients(speaker, ready.rows(torch.randperm(20)), config, new_run)
    assert_close(found, expected, rtol=1e-5, atol=1e-7)
    wider = told(speaker)
    padded = {
        name: torch.nn.functional.pad(getattr(wider, name), (0, 4)) for name in ("action", "mask", "logprob", "done")
    }
    (found,), _ = gradients(speaker, prepared(replace(wider, **padded), speaker, config), config, new_run)
    assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_the_whole_loss_is_one_mean_over_the_tokens_of_a_minibatch(speaker, new_run):
    config = ppo.Config(epochs=1, minibatches=1, micro_tokens=5, entropy=0.02, kl=FREE)
    ready = prepared(told(speaker), speaker, config)
    (found,), _ = gradients(speaker, ready, config, new_run)
    now = speaker.evaluate(ready)
    total = torch.zeros(())
    for b in range(20):
        for t in range(6):
            if ready.mask[b, t]:  # at the first update the ratio is 1 and nothing is clipped
                total = total - (now.logprob[b, t] - ready.logprob[b, t]).exp() * ready.advantage[b, t]
                total = total - 0.02 * now.entropy[b, t]
                total = total + 0.5 * (now.value[b, t] - ready.target[b, t]) ** 2 / 2
    speaker.zero_grad()
    (total / ready.mask.sum()).backward()
    by_hand = torch.cat([p.grad.flatten() for p in speaker.parameters()])
    assert_close(found, by_hand, rtol=1e-4, atol=1e-6)


def test_each_pass_shows_each_row_once_in_so_many_minibatches(speaker, new_run):
    config = ppo.Config(epochs=3, minibatches=5, kl=FREE)
    seen = []
    ready = prepared(told(speaker), speaker, config)
    real = speaker.evaluate

    def watched(segment):
        seen.extend(segment.names)
        return real(segment)

    speaker.evaluate = watched
    found, figures = gradients(speaker, ready, config, new_run)
    assert len(found) == figures["updates"] == 15
    assert all(sorted(seen[i : i + 20]) == sorted(ready.names) for i in (0, 20, 40))
    assert seen[:20] != seen[20:40]


@pytest.mark.parametrize("micro", [9, 10_000])
def test_the_ratio_starts_at_one(new_run, micro):
    world, policy = Control(ControlConfig(episodes=8, steps=8)), ToyPolicy(3, 1, "gaussian")
    run = new_run()
    ppo.train(ppo.Config(iterations=3, kl=FREE, micro_tokens=micro), policy, world, world.reward, run)
    for row in read_log(run.folder / "log.jsonl"):
        assert row["first_ratio"] < 1e-5
        assert row["first_clipped"] == 0
        assert row["sampler_drift"] < 1e-5
        assert row["moved"] > 0, "later in the same update it has moved"


def test_while_the_critic_warms_up_the_policy_is_bit_identical(new_run):
    world, policy = Bandit(BanditConfig(contexts=8)), ToyPolicy(4, 5, "categorical")
    config = ppo.Config(
        iterations=3, critic_warmup=2, kl=FREE, entropy=0.1, optimiser=OptimiserConfig(weight_decay=0.1)
    )
    seen = []

    class Watched:
        def __getattr__(self, name):
            return getattr(world, name)

        def collect(self, actor):
            seen.append({name: value.clone() for name, value in policy.state_dict().items()})
            return world.collect(actor)

    ppo.train(config, policy, Watched(), world.reward, new_run())
    seen.append(policy.state_dict())
    for name in seen[0]:
        if name.startswith("critic"):
            assert not torch.equal(seen[2][name], seen[0][name])
        elif policy.get_parameter(name).requires_grad:
            assert torch.equal(seen[2][name], seen[0][name])
            assert not torch.equal(seen[3][name], seen[2][name])


def test_early_stop_leaves_the_rollout_when_the_policy_moved_too_far(speaker, new_run):
    world, policy = Bandit(BanditConfig(contexts=8)), ToyPolicy(4, 5, "categorical")
    fast = OptimiserConfig(learning_rate=0.05, warmup=0)
    figures = {}
    for limit in (None, 0.01):
        config = ppo.Config(iterations=1, epochs=8, minibatches=2, kl=FREE, stop_kl=limit, optimiser=fast)
        figures[limit] = ppo.train(config, policy, world, world.reward, new_run())
    assert figures[None]["updates"] == 16
    assert 1 < figures[0.01]["updates"] < 16


def test_a_rollout_left_early_leaves_the_schedule_where_it_would_have_been(new_run):
    world = Bandit(BanditConfig(contexts=8))
    rates = {}
    for limit in (None, 1e-9):
        decay = OptimiserConfig(learning_rate=0.05, schedule="linear", final=0.0, warmup=0)
        config = ppo.Config(iterations=3, epochs=2, minibatches=2, kl=FREE, stop_kl=limit, optimiser=decay)
        run = new_run()
        figures = ppo.train(config, ToyPolicy(4, 5, "categorical"), world, world.reward, run)
        rates[limit] = run.last_figures()["learning_rate"]
    assert figures["updates"] < 4
    # The last iteration begins at 8 of 12 updates either way: 1/3 of the rate, and the mean of 4 updates is lower.
    assert rates[1e-9] == pytest.approx(0.05 * (1 - 8 / 12) if figures["updates"] == 1 else 0.05 * (1 - 8.5 / 12))
    assert rates[None] == pytest.approx(0.05 * (1 - 9.5 / 12))


def test_value_coefficient_scales_the_critics_gradient_alone(speaker, new_run):
    config = ppo.Config(epochs=1, minibatches=1, kl=FREE, value_coefficient=0.1)
    ready = prepared(told(speaker), speaker, config)
    (small,), _ = gradients(speaker, ready, config, new_run)
    (large,), _ = gradients(speaker, ready, config.model_copy(update={"value_coefficient": 1.0}), new_run)
    assert_close(large[:49], small[:49])
    assert_close(large[49:], 10 * small[49:])


def test_the_critic_may_have_a_learning_rate_of_its_own(new_run):
    world = Bandit(BanditConfig(contexts=8))
    moved = {}
    for rate in (None, 1e-5):
        policy = ToyPolicy(4, 5, "categorical")
        before = {name: value.clone() for name, value in policy.state_dict().items()}
        config = ppo.Config(iterations=1, epochs=1, kl=FREE, critic_learning_rate=rate)
        figures = ppo.train(config, policy, world, world.reward, new_run())
        moved[rate] = [
            max(
                float((value - before[name]).abs().max()) for name, value in policy.state_dict().items() if part in name
            )
            for part in ("actor", "critic")
        ]
        assert figures["learning_rate"] > 1e-4, "the log names the policy's rate"
    assert moved[1e-5][1] < 0.1 * moved[None][1]
    assert moved[1e-5][0] > 0.5 * moved[None][0]


def test_adams_epsilon_damps_tiny_gradients(new_run):
    assert ppo.Config().optimiser.epsilon == 1e-5
    moved = {}
    for epsilon in (1e-5, 1e-12):
        module = torch.nn.Linear(1, 1, bias=False)
        before = module.weight.item()
        run = new_run()
        run.optimise(OptimiserConfig(learning_rate=0.1, warmup=0, epsilon=epsilon), 1, module=module)
        run.backward(1e-5 * module.weight.sum())
        run.step()
        moved[epsilon] = abs(module.weight.item() - before)
    assert moved[1e-12] == pytest.approx(0.1, rel=1e-3)
    assert moved[1e-5] == pytest.approx(0.05, rel=1e-3)


# --- gates -------------------------------------------------------------------------------------------------------


def test_a_sampler_that_differs_from_the_trainer_stops_the_run_with_the_numbers(rollout, speaker):
    off = replace(rollout, logprob=rollout.logprob - 0.25)
    with pytest.raises(ArithmeticError, match=r"0\.2500 nats per token.*drift_limit=0\.05"):
        ppo.look_again(off, speaker, None, ppo.Config(kl=FREE))
    ppo.look_again(off, speaker, None, ppo.Config(kl=FREE, drift_limit=0.3))
    empty = replace(rollout, logprob=rollout.logprob * float("nan"))
    with pytest.raises(ArithmeticError, match="nan nats"):
        ppo.look_again(empty, speaker, None, ppo.Config(kl=FREE))


def test_a_loss_that_is_no_number_names_its_rows(speaker, new_run):
    config = ppo.Config(epochs=1, minibatches=10, kl=FREE)
    ready = prepared(told(speaker), speaker, config)
    ready.advantage[7, 0] = float("nan")
    with pytest.raises(NonFinite, match=r"loss is nan.*\brow[67], row[67]\b"):
        gradients(speaker, ready, config, new_run)


def test_the_figures_of_a_look_again_are_sums_per_answer(rollout, speaker):
    seen, figures = ppo.look_again(rollout, speaker, other, ppo.Config(micro_tokens=17))
    x = (seen.logprob - seen.reference)[rollout.mask]
    assert figures["kl"] == pytest.approx(float(x.sum()) / 20, rel=1e-4)
    assert figures["length"] == pytest.approx(int(rollout.mask.sum()) / 20)
    assert figures["finished"] == pytest.approx(sum(rollout.finished.tolist()) / 20)
    assert_close(seen.value[rollout.present], speaker.evaluate(rollout).value[rollout.present].detach())


@pytest.mark.parametrize("decay", [0.0, 0.8, 1.0])
def test_drift_from_a_moving_average_of_the_policy(new_run, decay):
    """At 0 it is the policy itself, at 1 the start; between them less drift than from the start."""
    found = {}
    for name in ("fixed", "ema"):
        world, policy = Bandit(BanditConfig(contexts=8)), ToyPolicy(4, 5, "categorical")
        start, run = ToyPolicy(4, 5, "categorical"), new_run()
        average = Average(policy.actor, decay)

        def asked(segment, policy=policy, average=average):
            with average.inside():
                return policy.evaluate(segment).logprob

        if name == "ema":
            run.track(anchor=average)
        reference = asked if name == "ema" else lambda segment, start=start: start.evaluate(segment).logprob
        config = ppo.Config(iterations=4, kl=ppo.KL(place="loss", estimator="k2", coefficient=0.0))
        ppo.train(config, policy, world, world.reward, run, reference)
        found[name] = [row["kl_k3"] for row in read_log(run.folder / "log.jsonl")]
    if decay == 0:
        assert found["ema"] == pytest.approx([0.0] * 4, abs=1e-9)
    elif decay == 1:
        assert found["ema"] == pytest.approx(found["fixed"], rel=1e-4, abs=1e-7)
    else:
        assert found["ema"][0] == pytest.approx(0.0, abs=1e-9)
        assert all(0 < near < far for near, far in zip(found["ema"][1:], found["fixed"][1:], strict=True))
