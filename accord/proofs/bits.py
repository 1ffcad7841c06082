"""How many bits of the true order an answer tells: the least that its share of rightly ordered pairs leaves.

Of all noises with the same mean number of wrongly ordered pairs Mallows' model, P(order) ~ exp(-theta * wrong pairs),
has the most entropy. So log2(k!) less its entropy is the least that an order of k answers, all k! equally likely, can
tell; of one pair it is 1 - H(share right), the capacity of a channel that is right so often (Mallows 1957; Shannon).
"""

from __future__ import annotations

import math

import numpy as np
import scipy


def useful_bits(places: int, right: float) -> float:
    """Bits of an order of `places` answers whose pairs are ordered truly with this share; 0 at one half or below.

    The wrong pairs of Mallows' model are a sum of independent parts V_j, j = 2 .. k, with P(V_j = v) ~ exp(-theta v)
    for v < j (Fligner and Verducci 1986). Raises ValueError for fewer than two places or a share outside 0 .. 1.
    """
    if places < 2 or not 0 <= right <= 1:
        raise ValueError(f"{places} places and a share of {right}: needs two places or more, and a share from 0 to 1")
    wrong = (1 - right) * places * (places - 1) / 2
    if right <= 0.5:
        return 0.0
    if right == 1:
        return math.log2(math.factorial(places))
    theta = scipy.optimize.brentq(lambda at: _parts(places, at)[0] - wrong, 0.0, 200.0)
    return math.log2(math.factorial(places)) - _parts(places, float(theta))[1]


def _parts(places: int, theta: float) -> tuple[float, float]:
    """(expected wrong pairs, entropy in bits)."""
    mean = entropy = 0.0
    for size in range(2, places + 1):
        chance = np.exp(-theta * np.arange(size))
        chance /= chance.sum()
        mean += float(chance @ np.arange(size))
        entropy -= float(chance @ np.log2(np.maximum(chance, 1e-300)))
    return mean, entropy
