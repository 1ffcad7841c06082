"""Prices of drift and of lost entropy stay prices, whatever the settings."""

import pytest

from accord.algorithms import ppo
from accord.algorithms.prices import Prices


@pytest.mark.parametrize("answers", [1, 50, 100, 10_000])
def test_a_price_never_falls_below_nothing(answers):
    """Ten thousand answers over a horizon of one would have turned the price of drift into a prize for it."""
    prices = Prices(ppo.Config(kl=ppo.KL(coefficient=0.2, target=6.0, horizon=1)))
    for _ in range(30):
        before = prices.kl
        prices.adapt(0.0, 1.0, answers)
        assert 0 < prices.kl < before
    for _ in range(30):
        before = prices.kl
        prices.adapt(600.0, 1.0, answers)
        assert before < prices.kl <= 1.2 * before + 1e-12


def test_a_horizon_of_answers_moves_a_price_by_a_fifth():
    prices = Prices(ppo.Config(kl=ppo.KL(coefficient=1.0, target=6.0, horizon=1000)))
    prices.adapt(100.0, 1.0, 1000)
    assert prices.kl == pytest.approx(1.2)
