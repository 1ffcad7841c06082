"""Each loss against sums written out from the paper, its slope against differences, and what one is of another."""

import math
import time
from itertools import combinations, permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn.functional import softplus
from torch.testing import assert_close

from accord.algorithms import judgements as losses
from accord.algorithms.reward_model import pairwise

number = st.floats(-6, 6)
DRAW = torch.Generator().manual_seed(0)
FIRST, SECOND = (2 * torch.randn(40, generator=DRAW, dtype=torch.float64) for _ in range(2))
OUTCOME = torch.rand(40, 3, generator=DRAW, dtype=torch.float64)
OUTCOME = OUTCOME / OUTCOME.sum(1, keepdim=True)
MARGIN = torch.rand(40, generator=DRAW, dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def slope_fits(loss, *inputs: torch.Tensor) -> bool:
    """Whether the gradient is that of differences."""
    return gradcheck(loss, [x.clone().requires_grad_() for x in inputs], eps=1e-6, atol=1e-6)


# --- two answers -----------------------------------------------------------------------------------------------


def test_bradley_terry_is_the_house_s_pairwise_loss_with_a_margin_for_the_likelier_side():
    decided = torch.stack([MARGIN, 0 * MARGIN, 1 - MARGIN], 1)
    found = losses.bradley_terry(FIRST, SECOND, decided, 0.4)
    for i in range(40):
        p, one, two = float(MARGIN[i]), FIRST[i : i + 1], SECOND[i : i + 1]
        turned = (one, two, tensor(p)) if p > 0.5 else (two, one, tensor(1 - p))
        assert found[i].item() == pytest.approx(pairwise(*turned, 0.4).item(), rel=1e-9)
    tied = losses.bradley_terry(FIRST, SECOND, tensor(0, 1, 0).expand(40, 3), 0.4)
    assert_close(tied, pairwise(FIRST, SECOND, torch.full_like(FIRST, 0.5)))


@given(number, number, st.floats(-3, 3))
def test_davidson_s_three_shares(first, second, log_tie):
    a, b = math.exp(first), math.exp(second)
    tie = math.exp(log_tie) * math.sqrt(a * b)
    shares = [a / (a + b + tie), tie / (a + b + tie), b / (a + b + tie)]
    found = losses.davidson(tensor(first), tensor(second), tensor(0.2, 0.5, 0.3)[None], tensor(log_tie)[0])
    expected = -sum(w * math.log(s) for w, s in zip((0.2, 0.5, 0.3), shares, strict=True))
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_davidson_without_ties_is_bradley_terry():
    decided = torch.stack([MARGIN, 0 * MARGIN, 1 - MARGIN], 1)
    found = losses.davidson(FIRST, SECOND, decided, tensor(-60.0)[0], 0.7)
    assert_close(found, losses.bradley_terry(FIRST, SECOND, decided, 0.7))


@given(number, number, st.floats(0.01, 3))
def test_rao_and_kupper_s_three_shares(first, second, threshold):
    a, b, theta = math.exp(first), math.exp(second), math.exp(threshold)
    wins, loses = a / (a + theta * b), b / (b + theta * a)
    found = losses.rao_kupper(tensor(first), tensor(second), tensor(0.2, 0.5, 0.3)[None], tensor(threshold))
    expected = -(0.2 * math.log(wins) + 0.5 * math.log(1 - wins - loses) + 0.3 * math.log(loses))
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_a_certain_rao_kupper_verdict_at_no_threshold_is_bradley_terry():
    certain = tensor(1, 0, 0).expand(40, 3)
    found = losses.rao_kupper(FIRST, SECOND, certain, tensor(1e-9))
    assert_close(found, losses.bradley_terry(FIRST, SECOND, certain), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("kind", ["davidson", "rao_kupper"])
def test_a_tie_is_likeliest_between_equals(kind):
    z = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    loss = losses.LOSSES[kind][0](z, torch.zeros_like(z), tensor(0, 1, 0).expand(6001, 3), tensor(0.5))
    assert z[loss.argmin()].item() == pytest.approx(0, abs=1e-3)


@given(number, number, st.floats(-4, 4))
def test_both_bad_is_that_each_is_bad_by_itself(first, second, level):
    bad = sigmoid(level - first) * sigmoid(level - second)
    one, two, at = tensor(first, first), tensor(second, second), tensor(level)[0]
    found = losses.acceptable(one, two, torch.tensor([True, False]), at).tolist()
    assert found == pytest.approx([-math.log(bad), -math.log(1 - bad)], rel=1e-6)


def test_both_bad_pulls_both_scores_down_and_stays_finite_far_out():
    for bad, sign in ((True, 1), (False, -1)):
        one = tensor(0.3, -800.0, 800.0).requires_grad_()
        two = tensor(-0.4, -800.0, 800.0).requires_grad_()
        losses.acceptable(one, two, torch.full((3,), bad), tensor(0.0)[0]).sum().backward()
        assert torch.isfinite(one.grad).all()
        assert sign * one.grad[0] > 0
        assert sign * two.grad[0] > 0


def test_the_slopes_of_losses_of_two():
    assert slope_fits(lambda a, b: losses.bradley_terry(a, b, OUTCOME, MARGIN), FIRST, SECOND)
    assert slope_fits(lambda a, b, t: losses.davidson(a, b, OUTCOME, t, MARGIN), FIRST, SECOND, tensor(0.3)[0])
    assert slope_fits(lambda a, b, t: losses.rao_kupper(a, b, OUTCOME, t, MARGIN), FIRST, SECOND, tensor(0.3))
    bad = torch.arange(40) % 3 == 0
    assert slope_fits(lambda a, b, t: losses.acceptable(a, b, bad, t), FIRST, SECOND, tensor(0.3)[0])


# --- rankings --------------------------------------------------------------------------------------------------


def slow_ranking(score: list[float], place: list[int], log_tie: list[float]) -> float:
    """Turner et al. 2020, section 2: every set that could have come next, one by one."""
    prevalence = [0.0, *log_tie]

    def strength(some):
        product = math.prod(math.exp(score[i]) for i in some)
        return math.exp(prevalence[len(some) - 1]) * product ** (1 / len(some))

    left, loss = set(range(len(place))), 0.0
    for stage in range(max(place) + 1):
        chosen = [i for i in left if place[i] == stage]
        rivals = [set(some) for d in range(1, len(prevalence) + 1) for some in combinations(sorted(left), d)]
        loss -= math.log(strength(chosen) / sum(strength(some) for some in rivals))
        left -= set(chosen)
    return loss


RANKINGS = [[0, 1, 2, 3], [2, 0, 1], [0, 0, 1, 2], [1, 0, 1, 0], [0, 0, 0], [3, 1, 0, 2, 4, 5, 6, 1, 1]]


@pytest.mark.parametrize("order", [3, 4])
def test_a_batch_of_rankings_with_ties_against_all_sets_written_out(order):
    log_tie = torch.linspace(-0.5, 0.4, order - 1, dtype=torch.float64)
    score = torch.randn(len(RANKINGS), 9, generator=DRAW, dtype=torch.float64)
    place = torch.full((len(RANKINGS), 9), -1)
    for n, ranking in enumerate(RANKINGS):
        place[n, : len(ranking)] = torch.tensor(ranking)
    found = losses.plackett_luce(score, place, log_tie)
    for n, ranking in enumerate(RANKINGS):
        assert found[n].item() == pytest.approx(slow_ranking(score[n].tolist(), ranking, log_tie.tolist()), rel=1e-9)
    assert slope_fits(lambda s, t: losses.plackett_luce(s, place, t), score, log_tie)
    single = score.float().requires_grad_()
    losses.plackett_luce(single, place, log_tie.float()).sum().backward()
    assert torch.isfinite(single.grad).all()
    assert bool((single.grad[place < 0] == 0).all())


def test_a_ranking_without_ties_is_one_choice_after_another():
    score = torch.randn(1, 5, generator=DRAW, dtype=torch.float64)
    place = torch.tensor([[3, 0, 4, 1, 2]])
    order = sorted(range(5), key=lambda i: int(place[0, i]))
    expected = sum(
        math.log(sum(math.exp(score[0, j]) for j in order[k:])) - float(score[0, order[k]]) for k in range(5)
    )
    assert losses.plackett_luce(score, place).item() == pytest.approx(expected, rel=1e-9)
    assert slope_fits(lambda s: losses.plackett_luce(s, place), score)


@settings(max_examples=20)
@given(st.lists(number, min_size=3, max_size=4))
def test_all_rankings_together_have_probability_one(score):
    """Over every order with ties of up to two: a model, not merely a cost."""
    size, total = len(score), 0.0
    weak = {tuple(p) for p in permutations(range(size))}
    for i in range(size - 1):
        for p in permutations(range(size)):
            weak.add(tuple(x - (x > i) for x in p))
    if size == 4:
        weak |= {tuple(x // 2 for x in p) for p in permutations(range(4))}
    for place in weak:
        loss = losses.plackett_luce(tensor(*score)[None], torch.tensor([place]), tensor(0.3))
        total += math.exp(-loss.item())
    assert total == pytest.approx(1, abs=1e-6)


def test_a_ranking_of_two_is_bradley_terry_and_davidson():
    score = torch.stack([FIRST, SECOND], 1)
    won = (torch.arange(40) % 2).long()
    place = torch.stack([won, 1 - won], 1)
    decided = torch.stack([1.0 - won, 0.0 * won, 1.0 * won], 1).double()
    assert_close(losses.plackett_luce(score, place), losses.bradley_terry(FIRST, SECOND, decided))
    nu = tensor(0.7)
    assert_close(losses.plackett_luce(score, place, nu), losses.davidson(FIRST, SECOND, decided, nu[0]))
    tied = losses.davidson(FIRST, SECOND, tensor(0, 1, 0).expand(40, 3), nu[0])
    assert_close(losses.plackett_luce(score, torch.zeros_like(place), nu), tied)


def test_a_ranking_of_thirty_that_are_all_tied_is_read_at_once():
    """Each place and each size of a tie by itself took seconds a step."""
    place = torch.stack([torch.zeros(30, dtype=torch.long), torch.randperm(30, generator=DRAW)])
    log_tie = torch.linspace(-1, 1, 29, requires_grad=True)
    score = torch.zeros(2, 30, requires_grad=True)
    begun = time.perf_counter()
    loss = losses.plackett_luce(score, place, log_tie)
    loss.sum().backward()
    assert time.perf_counter() - begun < 2
    rivals = [math.comb(30, d) * math.exp(nu) for d, nu in enumerate([0.0, *log_tie.tolist()], 1)]
    assert loss[0].item() == pytest.approx(math.log(sum(rivals)) - 1, rel=1e-5)
    assert torch.isfinite(score.grad).all()
    assert torch.isfinite(log_tie.grad).all()


def test_what_grows_or_shrinks_without_end_stays_a_number():
    """A threshold of ties beyond 44, two levels whose thresholds met, scores all alike: each ended in no number."""
    start = torch.tensor([60.0], requires_grad=True)
    nought = torch.zeros(3)
    loss = losses.rao_kupper(nought, nought, torch.eye(3), start)
    assert_close(loss.detach(), torch.tensor([60.0, 0.0, 60.0]))
    loss.sum().backward()
    raw = torch.tensor([4.0, -200.0], requires_grad=True)
    rare = losses.ordinal(torch.zeros(1), torch.tensor([1]), losses.rising(raw))
    rare.sum().backward()
    assert rare.item() == pytest.approx(-math.log(1e-4 * math.exp(-4)), abs=0.1)
    score = torch.ones(4, requires_grad=True)
    losses.correlation(score, torch.arange(4.0)).backward()
    assert torch.isfinite(torch.cat([start.grad, raw.grad])).all()
    assert float(score.grad.abs().max()) == 0


def test_a_tie_that_has_no_prevalence_is_refused():
    with pytest.raises(ValueError, match="a tie of 3 answers, and ties of at most 2"):
        losses.plackett_luce(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.long), torch.zeros(1))


# --- single answers --------------------------------------------------------------------------------------------


@given(number, st.lists(st.floats(-3, 3), min_size=1, max_size=6))
def test_the_levels_of_a_scale_share_out_one(score, raw):
    thresholds = losses.rising(tensor(*raw))
    levels = len(raw) + 1
    assert bool((thresholds.diff() > 0).all())
    found = losses.ordinal(tensor(score).expand(levels), torch.arange(levels), thresholds)
    edges = [0.0, *(sigmoid(float(t) - score) for t in thresholds), 1.0]
    for level in range(levels):
        share = edges[level + 1] - edges[level]
        assert math.exp(-found[level].item()) == pytest.approx(share, rel=1e-6, abs=1e-12)


def test_a_level_that_nobody_used_opens_again_when_it_is_used():
    raw = torch.nn.Parameter(torch.tensor([-0.5, 0.5, -8.5]))
    optimiser = torch.optim.Adam([raw], lr=0.05)

    def learn(level, steps):
        for _ in range(steps):
            optimiser.zero_grad()
            losses.ordinal(torch.zeros(len(level)), torch.tensor(level), losses.rising(raw)).mean().backward()
            optimiser.step()

    learn([0, 0, 1, 1, 3, 3], 1500)
    gap = losses.rising(raw).diff()[1].item()
    assert gap == pytest.approx(losses.APART, rel=1e-3)
    assert raw[2] > -11, "what is pressed against the least gap goes no further"
    learn([0, 0, 1, 1, 2, 2, 3, 3], 1500)
    assert_close(losses.rising(raw).detach(), torch.logit(torch.tensor([0.25, 0.5, 0.75])), atol=0.02, rtol=0)


def test_gaps_above_the_least_are_and_learn_as_softplus_has_them():
    raw, twin = (torch.tensor([0.3, -9.0, 2.0, -40.0], requires_grad=True) for _ in range(2))
    slope = torch.tensor([1.0, -2.0, 3.0, 4.0])
    found = losses.rising(raw)
    plain = torch.cat([twin[:1], twin[:1] + softplus(twin[1:]).clamp_min(losses.APART).cumsum(0)])
    assert found.equal(plain)
    (found * slope).sum().backward()
    (plain * slope).sum().backward()
    assert raw.grad.equal(twin.grad)


def test_a_scale_of_two_levels_is_a_flag():
    level = torch.arange(40) % 2
    found = losses.ordinal(FIRST, level, tensor(0.6))
    assert_close(found, losses.bernoulli(FIRST - 0.6, level.double()), rtol=1e-6, atol=1e-9)


def test_the_outer_levels_stay_finite_far_out():
    score = torch.tensor([-500.0, 500.0, 500.0, -500.0], requires_grad=True)
    loss = losses.ordinal(score, torch.tensor([2, 0, 1, 1]), torch.tensor([-1.0, 1.0]))
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.sign(score.grad).tolist() == [-1, 1, 1, -1]


@given(number, number, st.floats(-2, 2))
def test_the_normal_s_density(score, target, log_spread):
    spread = math.exp(log_spread)
    density = math.exp(-(((target - score) / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))
    found = losses.gaussian(tensor(score), tensor(target), tensor(log_spread)).item() + math.log(2 * math.pi) / 2
    assert found == pytest.approx(-math.log(density) if density > 1e-300 else found, rel=1e-6)


@given(number, st.floats(0, 1))
def test_a_flag_is_the_cross_entropy_with_yes(score, yes):
    expected = -(yes * math.log(sigmoid(score)) + (1 - yes) * math.log(1 - sigmoid(score)))
    assert losses.bernoulli(tensor(score), tensor(yes)).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_slopes_of_losses_of_one():
    level = torch.arange(40) % 4
    assert slope_fits(lambda s, t: losses.ordinal(s, level, losses.rising(t)), FIRST, tensor(-1.0, 0.2, 0.5))
    assert slope_fits(lambda s, t: losses.gaussian(s, SECOND, t), FIRST, tensor(0.3))
    assert slope_fits(lambda s: losses.bernoulli(s, MARGIN), FIRST)


# --- beside the judgement --------------------------------------------------------------------------------------


def test_the_centring_of_a_pair_is_the_reward_model_s():
    found = losses.centred(torch.stack([FIRST, SECOND, FIRST], 1), torch.tensor([[True, True, False]]).expand(40, 3))
    assert_close(found, ((FIRST + SECOND) / 2).square())


def test_llama_s_margins_are_those_of_its_table():
    steps = torch.tensor([3.0, 2.0, 1.0, 0.0])
    assert losses.llama_margin(steps, "small").tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert losses.llama_margin(steps, "large").tolist() == [3, 2, 1, 0]
    with pytest.raises(ValueError, match="there are small, large"):
        losses.llama_margin(steps, "huge")


def test_the_correlation_is_pearson_s_and_of_a_constant_0():
    expected = torch.corrcoef(torch.stack([FIRST, SECOND]))[0, 1]
    assert_close(losses.correlation(FIRST, SECOND), expected)
    constant = torch.ones(40, dtype=torch.float64, requires_grad=True)
    losses.correlation(constant, SECOND).backward()
    assert torch.isfinite(constant.grad).all()
    assert losses.correlation(torch.ones(40), SECOND.float()).item() == 0
    for value in (0.3, -7.1, 1e-4, 3e5):  # their mean is rounded, and is not what each of them is
        same = torch.full((7,), value, requires_grad=True)
        losses.correlation(same, torch.arange(7.0)).backward()
        assert float(same.grad.abs().max()) == 0
    close = 1 + 1e-4 * torch.arange(7.0)
    assert losses.correlation(close, torch.arange(7.0)) > 0.99
    assert slope_fits(lambda s: losses.correlation(s, SECOND), FIRST)


def test_every_loss_is_in_the_table_with_its_use():
    assert {name for name, (loss, use) in losses.LOSSES.items() if loss.__name__ == name and use} == set(losses.LOSSES)
