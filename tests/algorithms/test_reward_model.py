"""The reward model: the pairwise loss by hand and at its minimum, ties, the mean over weights, the normaliser."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.testing import assert_close

from accord.algorithms import reward_model
from accord.batches import Comparisons
from accord.run import OptimiserConfig, read_log
from tests.algorithms.conftest import WORDS, Speaker, told

number = st.floats(-8, 8)


class Taste(nn.Module):
    """The sum of what each word is worth."""

    def __init__(self) -> None:
        super().__init__()
        self.worth = nn.Embedding(WORDS, 1)
        nn.init.normal_(self.worth.weight, generator=torch.Generator().manual_seed(0))

    def score(self, segment):
        return torch.where(segment.present, self.worth(segment.action)[..., 0], 0.0).sum(1)


def pairs(probability=0.9, weight=None, margin=0.0):
    """Of the two answers to each prompt, one; the words' true worth is their number."""
    segment = told(Speaker(), gaps=False)
    worth = torch.where(segment.present, segment.action - 3.0, 0.0).sum(1)
    better = [2 * g + int(worth[2 * g + 1] > worth[2 * g]) for g in range(10)]
    return Comparisons(
        segment=segment,
        better=torch.tensor(better),
        worse=torch.tensor([4 * g + 1 - b for g, b in enumerate(better)]),
        probability=torch.full((10,), probability),
        weight=weight if weight is not None else torch.ones(10),
        margin=torch.full((10,), margin),
        names=tuple(f"pair{g}" for g in range(10)),
    )


@given(number, number, st.floats(0.5, 1), st.floats(0, 2))
def test_the_pairwise_loss_is_the_cross_entropy_of_a_belief(better, worse, probability, margin):
    z = better - worse - margin
    wins = 1 / (1 + math.exp(-z))
    expected = -(probability * math.log(wins) + (1 - probability) * math.log(1 - wins))
    one, two, p = (torch.tensor([v], dtype=torch.float64) for v in (better, worse, probability))
    assert reward_model.pairwise(one, two, p, margin).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@given(number, number, st.floats(0.5, 1))
def test_its_slope_by_differences(better, worse, probability):
    def loss(x):
        one, two, p = (torch.tensor([v], dtype=torch.float64) for v in (x, worse, probability))
        return reward_model.pairwise(one, two, p).item()

    one = torch.tensor([better], dtype=torch.float64, requires_grad=True)
    two, p = (torch.tensor([v], dtype=torch.float64) for v in (worse, probability))
    reward_model.pairwise(one, two, p).sum().backward()
    assert one.grad.item() == pytest.approx((loss(better + 1e-5) - loss(better - 1e-5)) / 2e-5, abs=1e-6)


@pytest.mark.parametrize(("probability", "at"), [(0.5, 0.0), (0.7, math.log(7 / 3)), (0.9, math.log(9))])
def test_its_minimum_is_at_the_log_odds_and_a_tie_is_at_equal_scores(probability, at):
    z = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    each = reward_model.pairwise(z, torch.zeros_like(z), torch.full_like(z, probability))
    assert z[each.argmin()].item() == pytest.approx(at, abs=2e-4)


def test_a_certain_belief_stays_finite_however_wrong_the_scores():
    far = reward_model.pairwise(torch.tensor([-1e4]), torch.tensor([1e4]), torch.tensor([1.0]))
    assert far.item() == 2e4


def test_equal_scores_are_half_right():
    assert reward_model.correct(torch.tensor([2.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 2.0])).tolist() == [1, 0.5, 0]


@pytest.mark.parametrize("micro", [1, 7, 10_000])
def test_a_step_moves_down_the_weighted_mean_over_all_pairs(micro, new_run):
    batch, scorer, run = pairs(weight=torch.linspace(0.1, 2, 10), margin=1.5), Taste(), new_run()
    worth = scorer.worth.weight[:, 0]
    scores = [sum(worth[w] for w in batch.segment.action[b, : batch.segment.length[b]]) for b in range(20)]
    total = torch.zeros(())
    for n in range(10):
        one, two = scores[int(batch.better[n])], scores[int(batch.worse[n])]
        wins = torch.sigmoid(one - two - 0.5 * 1.5)
        each = -(0.9 * wins.log() + 0.1 * (1 - wins).log()) + 0.3 * ((one + two) / 2) ** 2
        total = total + batch.weight[n] * each
    (total / batch.weight.sum()).backward()
    expected = scorer.worth.weight.grad.clone()
    scorer.zero_grad(set_to_none=True)
    found, real = {}, run.step

    def noted(**parts):
        found["gradient"] = scorer.worth.weight.grad.clone()
        return real(**parts)

    run.step = noted
    reward_model.train(reward_model.Config(batch=10, margin=0.5, centring=0.3, micro_tokens=micro), scorer, batch, run)
    assert_close(found["gradient"], expected, rtol=1e-4, atol=1e-6)


def test_it_learns_and_never_beyond_the_log_odds(new_run):
    scorer, batch, run = Taste(), pairs(probability=0.8), new_run()
    config = reward_model.Config(
        epochs=150, batch=10, centring=0.0, optimiser=OptimiserConfig(learning_rate=0.05), check_every=50
    )
    _, figures = reward_model.train(config, scorer, batch, run, held_out=batch)
    assert figures["held_out_accuracy"] >= 0.9
    with torch.no_grad():
        score = scorer.score(batch.segment)
    assert (score[batch.better] - score[batch.worse]).mean().item() == pytest.approx(math.log(4), abs=0.5)
    assert [r["step"] for r in read_log(run.folder / "log.jsonl") if "held_out_accuracy" in r] == [49, 99, 149]


def test_ties_pull_scores_together(new_run):
    scorer, batch = Taste(), pairs(probability=0.5)

    def apart():
        with torch.no_grad():
            score = scorer.score(batch.segment)
        return (score[batch.better] - score[batch.worse]).abs().mean().item()

    before = apart()
    config = reward_model.Config(epochs=100, batch=10, optimiser=OptimiserConfig(learning_rate=0.05))
    reward_model.train(config, scorer, batch, new_run())
    assert apart() < 0.3 * before


def test_the_centring_term_fixes_the_level_that_pairs_leave_free(new_run):
    level = {}
    for weight in (0.0, 0.1):
        scorer, batch = Taste(), pairs()
        scorer.worth.weight.data += 3.0
        config = reward_model.Config(
            epochs=150, batch=10, centring=weight, optimiser=OptimiserConfig(learning_rate=0.05)
        )
        reward_model.train(config, scorer, batch, new_run())
        level[weight] = abs(reward_model.scores_of(scorer, batch.segment, 1000).mean().item())
    assert level[0.1] < 0.5 * level[0.0]


def test_the_normaliser_makes_mean_zero_and_spread_one(new_run):
    scorer, batch = Taste(), pairs()
    normaliser, _ = reward_model.train(reward_model.Config(), scorer, batch, new_run())
    scores = normaliser(reward_model.scores_of(scorer, batch.segment, 9))
    assert scores.mean().item() == pytest.approx(0, abs=1e-5)
    assert scores.std().item() == pytest.approx(1, rel=1e-4)


def test_a_score_does_not_depend_on_its_batch():
    scorer, batch = Taste(), pairs()
    whole = reward_model.scores_of(scorer, batch.segment, 10_000)
    for tokens in (1, 13):
        assert_close(reward_model.scores_of(scorer, batch.segment, tokens), whole)


def test_accuracy_counts_weights():
    scorer, batch = Taste(), pairs(weight=torch.tensor([9.0] + [1.0] * 9))
    score = scorer.score(batch.segment)
    right = [float(score[i] > score[j]) for i, j in zip(batch.better, batch.worse, strict=True)]
    assert reward_model.accuracy_on(scorer, batch, 20) == pytest.approx((9 * right[0] + sum(right[1:])) / 18)


def test_a_tie_is_neither_right_nor_wrong_and_asked_for_no_margin(new_run):
    """It counted as right or wrong by which answer happened to be named first."""
    scorer = Taste()
    batch = replace(pairs(), probability=torch.tensor([0.5] * 9 + [0.9]))
    right = float(scorer.score(batch.segment)[batch.better[9]] > scorer.score(batch.segment)[batch.worse[9]])
    assert reward_model.accuracy_on(scorer, batch, 10_000) == right
    ties = pairs(probability=0.5)
    _, figures = reward_model.train(reward_model.Config(), scorer, ties, new_run(), ties)
    assert figures["accuracy"] == 0.5
    assert "held_out_accuracy" not in figures
    far = pairs(probability=0.5, margin=3.0)
    _, apart = reward_model.train(reward_model.Config(margin=1.0), Taste(), far, new_run())
    assert apart["loss"] == figures["loss"]


def test_no_comparisons_are_said(new_run):
    with pytest.raises(ValueError, match="no comparisons"):
        reward_model.train(reward_model.Config(), Taste(), pairs().pairs(torch.tensor([], dtype=torch.long)), new_run())


def test_fewer_prompts_than_a_batch_are_still_seen_as_often_as_the_epochs_say() -> None:
    assert reward_model.steps(reward_model.Config(epochs=3, batch=5000), 60) == 3
    assert reward_model.steps(reward_model.Config(epochs=3, batch=20), 60) == 9
