"""What a collection can teach."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch

from accord.algorithms import best_of_n, dpo, grpo, online_dpo, ppo
from accord.algorithms.gathering import Queue, flat_groups, gather, teaching
from accord.batches import Rollout, at_end
from accord.run import NonFinite, read_log
from tests.algorithms.conftest import Speaker, told

PENALISED = grpo.Config(missing_end_penalty=-2.0)


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
    assert flat_groups(paid(groups, earned)) == flat


@pytest.mark.parametrize(
    ("finished", "config", "flat"),
    [
        ([1, 1, 1, 1], PENALISED, 0.0),
        ([0, 0, 1, 1], PENALISED, 0.5),
        ([0, 0, 0, 0], PENALISED, 1.0),
        ([0, 0, 0, 0], grpo.Config(), 0.0),
        ([0, 0, 0, 1], grpo.Config(mask_unfinished=True), 0.5),
        ([0, 0, 0, 0], grpo.kin("dapo"), 1.0),
    ],
)
def test_answers_that_were_all_cut_earned_the_same_penalty_or_are_masked(finished, config, flat):
    """Two prompts whose answers would earn differently had they ended."""
    rollout = paid([0, 0, 1, 1], [1.0, 2.0, 3.0, 4.0], finished)
    assert flat_groups(rollout, config) == flat


@pytest.mark.parametrize("method", ["grpo", "dapo"])
def test_a_run_in_which_no_answer_ends_logs_that_no_prompt_teaches(method, new_run):
    world, run = Cut(), new_run()
    config = grpo.kin(method, iterations=2, minibatches=2, missing_end_penalty=-2.0, kl={"place": "none"})
    grpo.train(config, Speaker(), world, lambda rollout: rollout.reward, run)
    rows = read_log(run.folder / "log.jsonl")
    assert [row["flat_groups"] for row in rows] == [1.0, 1.0]
    assert [row["gradient_norm"] for row in rows] == [0.0, 0.0]
    assert world.turn == 2 * (config.collects if config.filter else 1), "the filter looks for prompts that teach"


def test_the_filter_takes_no_prompt_whose_answers_were_all_cut():
    config = grpo.kin("dapo", missing_end_penalty=-2.0)
    taken = gather(
        Speaker(), Cut([1, 0, 0, 0]), lambda rollout: rollout.reward, Queue(), 2, partial(teaching, config=config)
    )
    assert len(taken.observation_length) == 2, "one of each of two collections"
    assert taken.finished.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("finished", "penalty", "worth", "said"),
    [
        ((0, 0, 0, 0), -2.0, 1.0, "none ended, so each got missing_end_penalty; raise draw.max_tokens"),
        ((1, 0, 1, 0), -2.0, 1.0, ""),
        ((0, 0, 0, 0), None, 1.0, ""),
        ((1, 1, 1, 1), None, 0.0, "look at the reward"),
    ],
)
def test_ppo_says_when_every_answer_was_paid_the_same(finished, penalty, worth, said, new_run):
    config = ppo.Config(iterations=2, minibatches=1, kl=ppo.KL(place="none"), missing_end_penalty=penalty)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        ppo.train(config, Speaker(), Cut(finished), lambda rollout: worth * rollout.reward, new_run())
    told = [str(one.message) for one in heard if "paid the same" in str(one.message)]
    assert len(told) == bool(said)
    assert all(f"in all 2 iterations every answer was paid the same ({said})" in one for one in told)


METHODS = {
    "ppo": lambda *given: ppo.train(ppo.Config(iterations=1, minibatches=1, kl=ppo.KL(place="none")), *given),
    "grpo": lambda *given: grpo.train(grpo.kin("dr_grpo", iterations=1), *given),
    "dapo": lambda *given: grpo.train(grpo.kin("dapo", iterations=1), *given),
    "online_dpo": lambda *given: online_dpo.train(
        online_dpo.Config(iterations=1, objective=dpo.Config(loss="simpo")), *given
    ),
    "best_of_n": lambda *given: best_of_n.train(best_of_n.Config(iterations=1), *given),
}


@pytest.mark.parametrize("worth", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("method", list(METHODS))
def test_a_reward_that_is_no_number_stops_every_method_and_names_the_answer(method, worth, new_run):
    """What a filter, a comparison or a maximum makes of such a number would be learned from, or passed over unheard."""

    def reward(rollout):
        return rollout.reward + torch.tensor([0.0, 0.0, worth, 0.0])[:, None]

    speaker = Speaker()
    before = speaker.logits.detach().clone()
    with pytest.raises(NonFinite, match=r"reward of 1 of 4 answers is no finite number \(row2: -?(nan|inf)\)"):
        METHODS[method](speaker, Cut(), reward, new_run())
    assert torch.equal(speaker.logits, before)


@pytest.mark.parametrize("method", list(METHODS))
def test_a_reward_of_another_shape_is_told_which_is_wanted(method, new_run):
    with pytest.raises(ValueError, match=r"a tensor of \(4, 2\), and this one gave \(4,\); .*at_end"):
        METHODS[method](Speaker(), Cut(), lambda rollout: torch.ones(4), new_run())
    with pytest.raises(ValueError, match="this one gave list"):
        METHODS[method](Speaker(), Cut(), lambda rollout: [1.0] * 4, new_run())


class Cut:
    """A world of two prompts; which of the four answers end is said, and none does unless it is."""

    def __init__(self, finished=(0, 0, 0, 0)):
        self.finished, self.turn = finished, 0

    def collect(self, policy):
        self.turn += 1
        return paid([0, 0, 1, 1], [1.0, 2.0, 3.0, 4.0], self.finished)

    def state_dict(self):
        return {"turn": self.turn}

    def load_state_dict(self, state):
        self.turn = state["turn"]


def paid(groups, earned, finished=None) -> Rollout:
    """Answers of two tokens that earn so much at their end."""
    base, count = told(Speaker(), rows=8, steps=2, gaps=False), max(groups) + 1
    rows = base.rows(torch.arange(len(groups)))
    return replace(
        rows,
        group=torch.tensor(groups),
        observation=base.observation[:count],
        observation_length=base.observation_length[:count],
        reward=at_end(torch.tensor(earned), rows.length, rows.action.shape[1]),
        finished=rows.finished if finished is None else torch.tensor(finished) > 0,
    )
