"""What a collection can teach."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from accord.algorithms.gathering import flat_groups
from tests.algorithms.conftest import Speaker, told


@pytest.mark.parametrize(
    ("groups", "earned", "flat"),
    [
        ([0, 0, 1, 1], [1.0, 2.0, 3.0, 4.0], 0.0),
        ([0, 0, 1, 1], [1.0, 2.0, -2.0, -2.0], 0.5),
        ([0, 0, 1, 1], [-2.0, -2.0, -2.0, -2.0], 1.0),
        ([0, 1, 1, 1], [5.0, 3.0, 3.0, 3.0], 1.0),
        ([0, 1, 2], [1.0, 1.0, 1.0], 0.0),
    ],
)
def test_prompts_whose_answers_all_earned_the_same_are_counted(groups, earned, flat):
    """One answer alone is compared with nothing, so it does not count."""
    base, count = told(Speaker(), rows=8, steps=2), max(groups) + 1
    reward = torch.zeros(len(groups), 2)
    reward[:, 1] = torch.tensor(earned)
    rollout = replace(
        base.rows(torch.arange(len(groups))),
        group=torch.tensor(groups),
        observation=base.observation[:count],
        observation_length=base.observation_length[:count],
        reward=reward,
    )
    assert flat_groups(rollout) == flat
