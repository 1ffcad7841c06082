"""Useful bits against orders counted one by one."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy import optimize

from accord.proofs.bits import useful_bits


def counted(places: int, right: float) -> float:
    """Over all orders one by one: log2(k!) less the entropy of exp(-theta * wrong pairs), theta by its mean."""
    wrong = np.array([sum(a > b for a, b in combinations(order, 2)) for order in permutations(range(places))])
    pairs = places * (places - 1) / 2

    def chance(theta):
        weight = np.exp(-theta * wrong)
        return weight / weight.sum()

    theta = optimize.brentq(lambda at: 1 - chance(at) @ wrong / pairs - right, 0, 60)
    p = chance(theta)
    return math.log2(len(wrong)) + float(p @ np.log2(np.maximum(p, 1e-300)))


@pytest.mark.parametrize("places", [2, 3, 4, 6])
@pytest.mark.parametrize("right", [0.55, 0.7, 0.9, 0.99])
def test_bits_are_those_of_all_orders(places, right):
    assert useful_bits(places, right) == pytest.approx(counted(places, right), abs=1e-6)


def test_a_pair_is_a_channel_with_two_ends():
    for right in (0.6, 0.75, 0.95):
        entropy = -right * math.log2(right) - (1 - right) * math.log2(1 - right)
        assert useful_bits(2, right) == pytest.approx(1 - entropy)
    assert useful_bits(2, 1.0) == 1
    assert useful_bits(9, 1.0) == pytest.approx(math.log2(362880))
    assert useful_bits(9, 0.5) == useful_bits(4, 0.3) == 0
    for places, right in ((1, 0.7), (4, 1.1), (4, -0.1)):
        with pytest.raises(ValueError, match="needs two places"):
            useful_bits(places, right)


def test_more_places_tell_more_and_less_than_their_pairs_together():
    for right in (0.6, 0.7, 0.8, 0.9):
        pair, four, nine = (useful_bits(places, right) for places in (2, 4, 9))
        assert pair < four < 6 * pair
        assert four < nine < 36 * pair
