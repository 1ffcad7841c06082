"""The shared formulas against plain Python, exact sums and Monte Carlo."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from accord.algorithms.functional import explained_variance, gae, kl, mean, whiten

number = st.floats(-5, 5, allow_nan=False, width=32)
step = st.tuples(number, number, st.booleans(), st.booleans())  # reward, value, acted, done


def plain_gae(row: list[tuple[float, float, bool, bool]], bootstrap: float, discount: float, smoothing: float):
    """Cut the row into episodes, forget the steps of others, then the recursion of the paper over what is left."""
    episodes: list[list[int]] = [[]]
    for t, (_, _, _, done) in enumerate(row):
        episodes[-1].append(t)
        if done:
            episodes.append([])
    advantages = [0.0] * len(row)
    for number_, episode in enumerate(episodes):
        acted = [t for t in episode if row[t][2]]
        goes_on = number_ == len(episodes) - 1
        for i in reversed(range(len(acted))):
            here = acted[i]
            until = acted[i + 1] if i + 1 < len(acted) else (episode[-1] + 1)
            reward = sum(row[t][0] for t in range(here, until))
            last = i + 1 == len(acted)
            ahead = (bootstrap if goes_on else 0.0) if last else row[acted[i + 1]][1]
            later = 0.0 if last else advantages[acted[i + 1]]
            delta = reward + discount * ahead - row[here][1]
            advantages[here] = delta + discount * smoothing * later
    return advantages


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(step, min_size=1, max_size=9), min_size=1, max_size=4),
    bootstrap=number,
    discount=st.floats(0.1, 1),
    smoothing=st.floats(0, 1),
)
def test_gae_equals_the_recursion_row_by_row(rows, bootstrap, discount, smoothing):
    steps = max(len(row) for row in rows)
    table = [row + [(0.0, 9.0, False, False)] * (steps - len(row)) for row in rows]
    reward, value = (torch.tensor([[s[i] for s in row] for row in table], dtype=torch.float64) for i in (0, 1))
    mask, done = (torch.tensor([[s[i] for s in row] for row in table]) for i in (2, 3))
    after = torch.full((len(rows),), bootstrap, dtype=torch.float64)
    found = gae(reward, value, after, done, mask, discount, smoothing)
    for i, row in enumerate(rows):
        expected = plain_gae(row, bootstrap, discount, smoothing)
        assert_close(found[i, : len(row)], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-9)
        assert not found[i, len(row) :].any()


def test_gae_without_smoothing_is_the_td_error_and_with_all_of_it_the_return():
    reward, value = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[0.5, 1.5, 2.5]])
    mask, done = torch.ones(1, 3, dtype=torch.bool), torch.tensor([[False, False, True]])
    td = gae(reward, value, torch.zeros(1), done, mask, 0.5, 0.0)
    assert_close(td, torch.tensor([[1 + 0.75 - 0.5, 2 + 1.25 - 1.5, 4 - 2.5]]))
    whole = gae(reward, value, torch.zeros(1), done, mask, 0.5, 1.0)
    assert_close(whole, torch.tensor([[1 + 1 + 1 - 0.5, 2 + 2 - 1.5, 4 - 2.5]]))


def test_a_time_limit_is_no_death():
    reward, value, mask = torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)
    cut = gae(reward, value, torch.tensor([3.0]), torch.tensor([[False]]), mask, 0.9, 0.95)
    dead = gae(reward, value, torch.tensor([3.0]), torch.tensor([[True]]), mask, 0.9, 0.95)
    assert cut.item() == pytest.approx(2.7)
    assert dead.item() == 0


@pytest.fixture(scope="module")
def distributions():
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(6, generator=draw, dtype=torch.float64).log_softmax(-1) for _ in range(2)]


def exact_kl(p, q):
    return float((p.exp() * (p - q)).sum())


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_k1_and_k3_are_unbiased(distributions, estimator):
    p, q = distributions
    drawn = torch.multinomial(p.exp(), 200_000, replacement=True, generator=torch.Generator().manual_seed(1))
    each = kl(p[drawn], q[drawn], estimator)
    error = float(each.std()) / math.sqrt(len(each))
    assert abs(float(each.mean()) - exact_kl(p, q)) < 4 * error
    assert error < 0.01 * exact_kl(p, q)  # sharp enough that a bias of 5 % would be seen


def test_k2_is_biased_where_the_policies_are_far_apart_and_hardly_where_they_are_near(distributions):
    p, q = distributions
    other = (4 * q).log_softmax(-1)
    far = float((p.exp() * kl(p, other, "k2")).sum())
    assert abs(far / exact_kl(p, other) - 1) > 0.2
    near = (p + 0.02 * q).log_softmax(-1)
    assert abs(float((p.exp() * kl(p, near, "k2")).sum()) / exact_kl(p, near) - 1) < 0.05


def test_gradients_of_the_estimators_in_a_loss(distributions):
    """The mean gradient of k2 is that of the KL; of k1 it is zero; of k3 it is that of the KL turned round."""
    p, q = distributions

    def mean_gradient(estimator):
        logits = p.clone().requires_grad_()
        (p.exp() * kl(logits.log_softmax(-1), q, estimator)).sum().backward()  # actions are drawn, not differentiated
        return logits.grad

    logits = p.clone().requires_grad_()
    now = logits.log_softmax(-1)
    (forward,) = torch.autograd.grad((now.exp() * (now - q)).sum(), logits)
    now = logits.log_softmax(-1)
    (backward,) = torch.autograd.grad((q.exp() * (q - now)).sum(), logits)
    assert_close(mean_gradient("k2"), forward)
    assert_close(mean_gradient("k1"), torch.zeros_like(p), atol=1e-12, rtol=0)
    assert_close(mean_gradient("k3"), backward)


@given(st.lists(st.tuples(number, number), min_size=1, max_size=20))
def test_k2_and_k3_are_never_negative_and_zero_only_for_equal(pairs):
    p, q = torch.tensor(pairs, dtype=torch.float64).T
    for estimator in ("k2", "k3"):
        each = kl(p, q, estimator)
        assert bool((each >= -1e-12).all())
        assert bool((each[p == q] == 0).all())


def test_k3_keeps_its_digits_where_the_policies_nearly_agree():
    x = torch.tensor([1e-4], dtype=torch.float32)
    assert kl(x, torch.zeros(1), "k3").item() == pytest.approx(5e-9, rel=0.05)


@settings(deadline=None)
@given(st.lists(number, min_size=2, max_size=30), st.integers(0, 5))
def test_whitened_values_have_no_mean_and_unit_spread(values, padding):
    if max(values) - min(values) < 0.1:
        values = [*values, values[0] + 1.0]
    table = torch.tensor([values + [77.0] * padding], dtype=torch.float64)
    mask = torch.arange(table.shape[1])[None] < len(values)
    found = whiten(table, mask)
    inside = found[mask].tolist()
    assert sum(inside) / len(inside) == pytest.approx(0, abs=1e-6)
    assert sum(v * v for v in inside) / len(inside) == pytest.approx(1, rel=1e-3)
    assert not found[~mask].any()
    centre = sum(values) / len(values)
    assert_close(whiten(table, mask, shift=False)[mask], found[mask] + centre)


def test_explained_variance_of_a_perfect_an_average_and_a_contrary_critic():
    target, mask = torch.tensor([[1.0, 2.0, 3.0, 50.0]]), torch.tensor([[True, True, True, False]])
    assert explained_variance(target, target, mask).item() == 1
    assert explained_variance(torch.full_like(target, 2.0), target, mask).item() == 0
    assert explained_variance(-target, target, mask).item() == pytest.approx(-3)


def test_a_mean_counts_what_the_mask_shows_and_nothing_is_zero():
    values = torch.tensor([[1.0, 3.0, float("nan")]])
    assert mean(values, torch.tensor([[True, True, False]])).item() == 2
    assert mean(values, torch.zeros(1, 3, dtype=torch.bool)).item() == 0
