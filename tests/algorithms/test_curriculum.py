"""Orders of data: what comes when, all once before any twice, the same after a resume; and random as the control."""

import math

import pytest
import torch

from accord.algorithms import curriculum, reward_model
from accord.batches import Comparisons
from accord.judged import Kind
from accord.run import OptimiserConfig, Run, RunConfig, seed_of
from tests.algorithms.said import Taste, answers, judged, pairs, worth


class At:
    """As much of a run as an order looks at."""

    def __init__(self, at, total, seed=0):
        self.at, self.total_steps, self.config = at, total, RunConfig(seed=seed)

    def generator(self, *name):
        return torch.Generator().manual_seed(seed_of(self.at, *name))


HARD = torch.tensor([3.0, 1.0, 2.0, 1.0, 5.0, 4.0, 0.0])


def dealt(schedule, steps=7, size=3, **more):
    order = curriculum.Curriculum(curriculum.Config(schedule=schedule, **more), HARD)
    return [order(At(t, steps), 7, size).tolist() for t in range(steps)]


@pytest.mark.parametrize("schedule", ["easy", "hard", "random"])
def test_three_rounds_deal_each_thing_three_times(schedule):
    flat = [n for step in dealt(schedule) for n in step]
    rounds = [flat[7 * r : 7 * r + 7] for r in range(3)]
    assert all(sorted(part) == list(range(7)) for part in rounds)
    levels = [[float(HARD[n]) for n in part] for part in rounds]
    if schedule == "random":
        assert len({tuple(part) for part in rounds}) == 3
    else:
        assert levels == [sorted(HARD.tolist(), reverse=schedule == "hard")] * 3
        order = curriculum.Curriculum(curriculum.Config(schedule=schedule), torch.zeros(7))
        equal = {tuple(order(At(t, 9), 7, 7).tolist()) for t in range(4)}
        assert len(equal) == 4, "what is equally hard comes in another order each time"


def test_the_control_is_what_a_run_deals_without_an_order(tmp_path):
    run = Run(tmp_path, RunConfig(device="cpu", trackers=(), progress=False))
    found = []
    for at in range(6):
        run.at = at
        run.order = None
        plain = run.deal(7, 3)
        run.order = curriculum.Curriculum(curriculum.Config(), HARD)
        found.append(torch.equal(plain, run.deal(7, 3)))
    assert all(found)


def test_competence_draws_from_the_easiest_part_that_grows_as_in_the_paper():
    config = curriculum.Config(schedule="competence", start=0.2, whole_at=0.5, power=2.0)
    order = curriculum.Curriculum(config, torch.arange(100.0).flip(0))
    for t in range(20):
        part = min(1.0, math.sqrt(min(1.0, t / 10) * (1 - 0.2**2) + 0.2**2))
        found = order(At(t, 20), 100, 10)
        assert len(set(found.tolist())) == 10
        assert int((99 - found).max()) < math.ceil(100 * part - 1e-9) + 1
        assert order.grown(t, 20, 10) == pytest.approx(100 * part, abs=1)
    late = {n for t in range(10, 20) for n in order(At(t, 20), 100, 10).tolist()}
    assert min(late) < 10
    assert max(late) > 90
    assert len(order(At(0, 20), 100, 50)) == 50, "a batch is never smaller than asked"


def test_a_step_comes_alike_whenever_it_is_asked_for():
    for schedule in ("easy", "hard", "competence"):
        order = curriculum.Curriculum(curriculum.Config(schedule=schedule), HARD)
        before = [order(At(t, 9), 7, 2) for t in range(9)]
        again = curriculum.Curriculum(curriculum.Config(schedule=schedule), HARD)
        assert all(torch.equal(again(At(t, 9), 7, 2), before[t]) for t in reversed(range(9)))


def compared(prompts, seed=0):
    """Pairs of planted worth, some of them swapped by mistake, with their own probabilities and weights."""
    segment = answers(prompts, 2, seed)
    said = pairs(segment, worth(segment))
    rows = torch.tensor([[row for row, _ in about] for _, about in said])
    draw = torch.Generator().manual_seed(seed)
    p, w = 0.5 + torch.rand(prompts, generator=draw) / 2, 0.5 + torch.rand(prompts, generator=draw)
    names = tuple(f"pair{g}" for g in range(prompts))
    return Comparisons(segment, rows[:, 0], rows[:, 1], p, w, torch.zeros(prompts), names)


@pytest.mark.parametrize("measure", ["length", "disagreement", "margin"])
def test_the_difficulty_of_a_prompt_is_the_weighted_mean_over_its_pairs(measure):
    plain = compared(6)
    twice = torch.tensor([0, 1, 2, 3, 5, 2, 5])  # one prompt without a pair, two with two
    batch, score = plain.pairs(twice), torch.arange(10.0).square()
    found = curriculum.of_prompts(batch, measure, score)
    groups = batch.groups()
    assert len(found) == len(groups) == 5
    for g, members in enumerate(groups):
        top = down = 0.0
        for n in members.tolist():
            i, j, p = int(batch.better[n]), int(batch.worse[n]), float(batch.probability[n])
            hard = {
                "length": (int(batch.segment.mask[i].sum()) + int(batch.segment.mask[j].sum())) / 2,
                "disagreement": -(p * math.log(p) + (1 - p) * math.log(1 - p)),
                "margin": float(score[j] - score[i]),
            }[measure]
            top, down = top + hard * float(batch.weight[n]), down + float(batch.weight[n])
        assert found[g].item() == pytest.approx(top / down, rel=1e-6)


def test_a_loop_learns_in_the_order_and_each_order_s_gain_is_measured_against_the_control(new_run):
    """One epoch over 200 prompts. The orders are held to be harmless, not to help: that is for measurement."""
    batch, unseen = compared(200), compared(300, seed=1)
    config = reward_model.Config(batch=10, optimiser=OptimiserConfig(learning_rate=0.05))
    hard = curriculum.of_prompts(batch, "disagreement")
    accuracy = {}
    for schedule in ("random", "easy", "hard", "competence"):
        run, scorer, seen = new_run(), Taste(width=8), []
        run.order = curriculum.Curriculum(curriculum.Config(schedule=schedule), hard)
        real = run.share
        run.share = lambda part, seen=seen, real=real: seen.append(part.names) or real(part)
        reward_model.train(config, scorer, batch, run)
        accuracy[schedule] = reward_model.accuracy_on(scorer, unseen, 10_000)
        came = [float(hard[int(name[4:])]) for names in seen for name in names]
        assert len(came) == 200
        if schedule in ("easy", "hard"):
            assert came == sorted(came, reverse=schedule == "hard")
    assert accuracy["random"] > 0.65
    assert max(accuracy.values()) - min(accuracy.values()) < 0.2


def test_tries_that_fail_are_hard_and_few_tries_say_little():
    found = curriculum.by_pass_rate(torch.tensor([0, 1, 4, 8]), torch.tensor([1, 1, 4, 8]))
    assert found.tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 6, 1 / 10])


def test_what_cannot_be_ordered_is_said():
    with pytest.raises(ValueError, match="1 no numbers"):
        curriculum.Curriculum(curriculum.Config(), torch.tensor([1.0, math.nan]))
    with pytest.raises(ValueError, match="9 things are dealt, and the difficulty of 7 is known"):
        curriculum.Curriculum(curriculum.Config(schedule="easy"), HARD)(At(0, 1), 9, 3)
    with pytest.raises(ValueError, match="a reward model's score"):
        curriculum.of_prompts(compared(3), "margin")


def test_a_world_asks_each_prompt_once_in_a_collection_and_all_in_their_order():
    for schedule in ("easy", "hard", "competence", "random"):
        order = curriculum.Curriculum(curriculum.Config(schedule=schedule), HARD).prompts(3, steps=7, size=5)
        asked = [order(turn) for turn in range(7)]
        assert all(len(set(numbers)) == len(numbers) == 5 for numbers in asked), schedule
        assert [order(turn) for turn in reversed(range(7))] == asked[::-1]
    ranks = curriculum.Curriculum(curriculum.Config(schedule="easy"), HARD).prompts(3, steps=7, size=3)
    assert [float(HARD[n]) for turn in (0, 1) for n in ranks(turn)] == sorted(HARD.tolist())[:6]
    grown = curriculum.Curriculum(curriculum.Config(schedule="competence", start=0.2), HARD).prompts(3, 10, 2)
    assert {n for turn in range(2) for n in grown(turn)} < {n for turn in range(40) for n in grown(turn)}
    assert {float(HARD[n]) for n in grown(0)} == {0.0, 1.0}


def test_prompts_with_judgements_are_as_hard_as_what_was_said_of_them():
    segment = answers(4, 3, seed=2)
    pair, ranking = Kind("pair"), Kind("ranking")
    said = [
        (pair, [(0, 1.0), (1, 0.0)]), (pair, [(0, 1.0), (1, 0.0)]), (pair, [(0, 0.0), (1, 1.0)]),  # two to one
        (pair, [(3, 1.0), (4, 0.0)]), (pair, [(3, 0.0), (4, 1.0)]),  # one to one
        (ranking, [(9, 0.0), (10, 1.0), (11, 2.0)]),  # nobody disagreed; of the third prompt nothing is said
    ]  # fmt: skip
    told = judged(segment, said)
    third = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)
    split = [float(-(third * third.log()).sum()), math.log(2), 0.0]
    assert curriculum.of_judged(told, "disagreement").tolist() == pytest.approx(split)
    size = segment.length.double()
    assert curriculum.of_judged(told, "length").tolist() == pytest.approx(
        [float(size[3 * g : 3 * g + 3].mean()) for g in (0, 1, 3)]
    )
    score = torch.randn(12, generator=torch.Generator().manual_seed(0))
    gap = [
        (score[1] - score[0]) / 3,
        torch.zeros(()),
        2 * (score[11] - score[9]) / 3,
    ]  # of the six sides of three pairs
    assert curriculum.of_judged(told, "margin", score).tolist() == pytest.approx([float(one) for one in gap], abs=1e-6)
    with pytest.raises(ValueError, match="a reward model's score"):
        curriculum.of_judged(told, "margin")
