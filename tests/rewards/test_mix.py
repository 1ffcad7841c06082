"""Mixtures and the gate against loops."""

import math

import pytest
import torch

from accord.rewards.mix import Gate, Mix, held
from accord.run import NonFinite
from tests.algorithms.conftest import Speaker, told

ROLLOUT = told(Speaker())


def drawn(seed):
    """A reward at the last step of each row."""
    table = torch.zeros(20, 6)
    values = 3 * torch.randn(20, generator=torch.Generator().manual_seed(seed))
    table[torch.arange(20), ROLLOUT.length - 1] = values
    return lambda rollout: table


def test_a_mix_is_the_weighted_sum_and_shows_its_parts():
    mix = Mix({"a": drawn(0), "b": drawn(1)}, {"a": 2.0, "b": -0.5})
    found, a, b = mix(ROLLOUT), drawn(0)(None), drawn(1)(None)
    for row in range(20):
        for t in range(6):
            assert found[row, t].item() == pytest.approx(2 * float(a[row, t]) - 0.5 * float(b[row, t]), abs=1e-5)
    assert mix.seen == pytest.approx({"worth/a": float(a.sum() / 20), "worth/b": float(b.sum() / 20)}, abs=1e-5)


@pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 1.0, "c": 1.0}, {"a": 1.0, "b": math.nan}])
def test_a_mix_names_each_reward_once(weights):
    with pytest.raises(ValueError, match="should name the same things"):
        Mix({"a": drawn(0), "b": drawn(1)}, weights)


@pytest.mark.parametrize("whiten", [True, False])
def test_the_gate_lets_safety_speak_where_it_is_in_doubt_or_the_prompt_is_risky(whiten):
    risky = torch.arange(20) % 5 == 0
    gate = Gate(drawn(0), drawn(1), 0.15, lambda rollout: risky, whiten)
    helpful, safe = (drawn(seed)(None).sum(1).tolist() for seed in (0, 1))
    closed = [bool(risky[b]) or 1 / (1 + math.exp(-safe[b])) < 0.15 for b in range(20)]
    assert 0 < sum(closed) < 20
    expected = [safe[b] if closed[b] else helpful[b] for b in range(20)]
    if whiten:
        mean = sum(expected) / 20
        spread = math.sqrt(sum((v - mean) ** 2 for v in expected) / 20)
        expected = [(v - mean) / spread for v in expected]
    found = gate(ROLLOUT)
    for b in range(20):
        assert found[b, int(ROLLOUT.length[b]) - 1].item() == pytest.approx(expected[b], abs=1e-4)
        assert found[b].abs().sum().item() == pytest.approx(abs(expected[b]), abs=1e-4)
    assert gate.gated == pytest.approx(sum(closed) / 20)
    unsafe = sum(1 / (1 + math.exp(value)) for value in safe) / 20
    doubtful = [not shut and 1 / (1 + math.exp(value)) >= 0.425 for shut, value in zip(closed, safe, strict=True)]
    assert 0 < sum(doubtful) < 20
    seen = {"reward": sum(helpful) / 20, "cost/safety": unsafe, "gated/safety": gate.gated}
    assert gate.seen == pytest.approx({**seen, "doubtful/safety": sum(doubtful) / 20}, abs=1e-5)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
def test_counted_from_the_gate_on_nothing_that_it_shuts_out_earns_more_than_nothing(threshold):
    plain = Gate(drawn(0), drawn(1), threshold, whiten=False)
    moved, heavy = (
        Gate(drawn(0), drawn(1), threshold, whiten=False, from_gate=True, weight=weight) for weight in (1.0, 2.5)
    )
    before, after = plain(ROLLOUT).sum(1), moved(ROLLOUT).sum(1)
    shut = torch.sigmoid(drawn(1)(None).sum(1)) < threshold
    assert 0 < int(shut.sum()) < 20
    assert torch.equal(before[~shut], after[~shut])
    assert torch.equal(before, after) == (threshold == 0.5)
    assert bool((after[shut] <= 0).all())
    for b in range(20):
        assert float(heavy(ROLLOUT)[b].sum()) == pytest.approx(float(after[b]) * (2.5 if shut[b] else 1.0), rel=1e-5)
    # Odds of being safe, over those of the gate: e to what is paid.
    safe = torch.sigmoid(drawn(1)(None).sum(1))[shut]
    odds = safe / (1 - safe) / (threshold / (1 - threshold))
    assert torch.allclose(after[shut].exp(), odds, rtol=1e-4)


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("share", [True, False])
def test_in_a_dialogue_each_answer_has_its_gate_and_what_is_let_through_is_paid_where_it_was(whiten, share):
    draw = torch.Generator().manual_seed(4)
    places = torch.rand(20, 6, generator=draw) < 0.4
    places[torch.arange(20), ROLLOUT.length - 1] = True
    places &= torch.arange(6) < ROLLOUT.length[:, None]
    helpful = torch.where(torch.arange(6) < ROLLOUT.length[:, None], torch.randn(20, 6, generator=draw), 0.0)
    safe = torch.where(places, 3 * torch.randn(20, 6, generator=draw), 0.0)
    gate = Gate(lambda _: helpful, lambda _: safe, 0.4, None, whiten, "harm", True, 2.0, lambda _: places, share)
    found, level = gate(ROLLOUT), math.log(0.4 / 0.6)
    expected, answers, shut = torch.zeros(20, 6), [], 0
    for b in range(20):
        ends, start = [t for t in range(6) if places[b, t]], 0
        for end in ends:
            odds = float(safe[b, end])
            paid = {t: float(helpful[b, t]) for t in range(start, end + 1)}
            if 1 / (1 + math.exp(-odds)) < 0.4:
                paid, shut = {end: 2 * (odds - level) / (len(ends) if share else 1)}, shut + 1
            answers.append((b, end, paid))
            start = end + 1
    if whiten:
        worth = torch.tensor([sum(paid.values()) for _, _, paid in answers])
        mean, spread = float(worth.mean()), float(worth.std(correction=0))
        answers = [(b, end, {t: (v - mean * (t == end)) / spread for t, v in {end: 0.0, **paid}.items()})
                   for b, end, paid in answers]  # fmt: skip
    for b, _, paid in answers:
        for t, value in paid.items():
            expected[b, t] = value
    assert torch.allclose(found, expected, atol=1e-5)
    assert gate.seen["gated/harm"] == pytest.approx(shut / len(answers))
    assert 20 < len(answers) > shut > 0


def test_what_is_held_at_fault_costs_one_and_all_else_nothing():
    cost = drawn(0)(None).sum(1)
    found = held(cost, 0.7, ROLLOUT.names)
    assert found.tolist() == [float(one >= 0.7) for one in cost.tolist()]
    assert 0 < found.sum() < 20


def test_an_answer_of_which_safety_says_nothing_is_not_let_through():
    def lost(rollout):
        return torch.where(torch.arange(20)[:, None] == 7, math.nan, drawn(1)(rollout))

    with pytest.raises(NonFinite, match=rf"safety \(harm\) of 1 of 20 .*{ROLLOUT.names[7]}"):
        Gate(drawn(0), lost, 0.5, whiten=False, name="harm")(ROLLOUT)
    with pytest.raises(NonFinite, match="cost of 1 of 20"):
        held(lost(ROLLOUT).sum(1), 0.7, ROLLOUT.names)


def test_a_threshold_is_a_probability():
    with pytest.raises(ValueError, match="threshold=1"):
        Gate(drawn(0), drawn(1), 1.0)
