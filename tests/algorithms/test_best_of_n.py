"""Best of n against enumeration; choosing, remembering, and imitating what was chosen."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from accord.algorithms import best_of_n
from accord.run import OptimiserConfig
from accord.worlds.toy import Bandit, BanditConfig, ToyPolicy
from tests.algorithms.conftest import Speaker, told

few = st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=7, unique_by=lambda pair: pair[0])


@settings(max_examples=40, deadline=None)
@given(few)
def test_the_curve_is_the_mean_over_all_choices_of_n(scored):
    total = len(scored)
    proxy, gold = torch.tensor(scored, dtype=torch.float64).T[:, None]
    found = best_of_n.curve(proxy, gold, range(1, total + 1))
    for n in range(1, total + 1):
        every = [max(c)[1] for c in itertools.combinations(scored, n)]
        assert found[n - 1, 0].item() == pytest.approx(sum(every) / len(every), abs=1e-9)


def test_ties_of_the_proxy_share_their_places():
    proxy, gold = torch.tensor([[1.0, 2.0, 2.0]]), torch.tensor([[5.0, 1.0, 3.0]])
    assert best_of_n.curve(proxy, gold, [1, 2, 3])[:, 0].tolist() == pytest.approx([3, 2, 2])
    assert_close(best_of_n.curve(proxy.flip(1), gold.flip(1), [1, 2, 3]), best_of_n.curve(proxy, gold, [1, 2, 3]))


def test_the_curve_refuses_what_was_not_drawn():
    with pytest.raises(ValueError, match="best of 4 from 3"):
        best_of_n.curve(torch.zeros(1, 3), torch.zeros(1, 3), [4])
    with pytest.raises(ValueError, match=r"\(1, 3\) and gold \(2, 3\)"):
        best_of_n.curve(torch.zeros(1, 3), torch.zeros(2, 3), [1])
    with pytest.raises(ValueError, match="1 of 3 scores of the proxy are no numbers"):
        best_of_n.curve(torch.tensor([[1.0, math.nan, 0.0]]), torch.zeros(1, 3), [1])


def exact_kl(chance, n):
    """Enumerated: answers in order of their score; the best of n is i when none is above and not all below."""
    below, total = 0.0, 0.0
    for p in chance:
        best = (below + p) ** n - below**n
        total += best * math.log(best / p)
        below += p
    return total


@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_the_divergence_is_exact_for_many_answers_and_a_bound_for_few(n):
    assert best_of_n.kl(n) == pytest.approx(exact_kl([1 / 200_000] * 200_000, n), abs=1e-4)
    few = exact_kl([0.5, 0.2, 0.2, 0.1], n)
    assert few <= best_of_n.kl(n) + 1e-12
    assert n == 1 or few < best_of_n.kl(n) - 0.01


def test_the_best_of_each_group_is_the_first_of_the_highest():
    outcome, group = torch.tensor([1.0, 3.0, 3.0, -2.0, -5.0]), torch.tensor([1, 0, 0, 1, 2])
    assert best_of_n.best(outcome, group, 3).tolist() == [1, 0, 4]
    with pytest.raises(ValueError, match="1 of 4 groups"):
        best_of_n.best(outcome, group, 4)


def test_all_rounds_are_remembered_and_only_a_better_answer_displaces():
    rollout, chosen = told(Speaker(), rows=6), best_of_n.Chosen()
    first, again = rollout.rows(torch.tensor([0, 2])), rollout.rows(torch.tensor([1, 3, 4]))
    chosen.add(first, torch.tensor([1.0, 5.0]), 0)
    chosen.add(again, torch.tensor([2.0, 4.0, 0.0]), 1)
    assert sorted(zip(chosen.kept.names, chosen.earned.tolist(), strict=True)) == [
        ("row1", 2),
        ("row2", 5),
        ("row4", 0),
    ]
    other = best_of_n.Chosen()
    other.load_state_dict(chosen.state_dict())
    assert other.kept.names == chosen.kept.names
    brief = best_of_n.Chosen(rounds=1)
    brief.add(first, torch.tensor([1.0, 5.0]), 0)
    brief.add(again, torch.tensor([2.0, 4.0, 0.0]), 1)
    assert sorted(brief.kept.names) == ["row1", "row3", "row4"]


def test_what_is_forgotten_makes_room_for_the_best_of_the_rounds_that_are_remembered():
    rollout, rounds, rows = told(Speaker(), rows=8), 3, list(range(8))
    earned = torch.randint(0, 4, (30, 8), generator=torch.Generator().manual_seed(2)).float()
    earned[20:26] = -1.0  # six rounds in which nothing was good enough
    chosen = best_of_n.Chosen(rounds)
    for turn in range(30):
        came = [row for row in rows if (turn + row) % 3 and earned[turn, row] >= 0]
        chosen.add(rollout.rows(torch.tensor(came, dtype=torch.long)), earned[turn, came], turn)
        again = best_of_n.Chosen(rounds)
        again.load_state_dict(chosen.state_dict())
        # By hand: of each prompt (two rows have one) the highest of the last three rounds, the first of equals.
        expected = {}
        for at in range(max(0, turn + 1 - rounds), turn + 1):
            for row in rows:
                if (at + row) % 3 and earned[at, row] >= 0:
                    g = int(rollout.group[row])
                    if g not in expected or earned[at, row] > expected[g][0]:
                        expected[g] = (float(earned[at, row]), rollout.names[row])
        for one in (chosen, again):
            assert sorted(zip(one.earned.tolist(), one.kept.names, strict=True)) == sorted(expected.values())
        if 22 < turn < 26:
            assert not len(chosen.kept)
        chosen = again


def test_the_first_step_imitates_the_best_of_each_prompt(new_run):
    world = Bandit(BanditConfig(contexts=8, answers=4))
    policy, twin = ToyPolicy(4, 5, "categorical"), ToyPolicy(4, 5, "categorical")
    seen = Bandit(BanditConfig(contexts=8, answers=4)).collect(twin)
    earned = world.reward(seen)[:, 0].tolist()
    rows = [max(range(4 * g, 4 * g + 4), key=lambda b: earned[b]) for g in range(8)]
    (-twin.evaluate(seen).logprob[rows].mean()).backward()
    run, found = new_run(), {}

    def note(**parts):
        found["gradient"] = policy.actor[0].weight.grad.clone()
        policy.zero_grad(set_to_none=True)
        return {name: float(value) for name, value in parts.items()}

    run.step = note
    figures = best_of_n.train(
        best_of_n.Config(iterations=1, updates=1, batch=8, micro_tokens=11), policy, world, world.reward, run
    )
    assert_close(found["gradient"], twin.actor[0].weight.grad)
    assert figures["best_reward"] == pytest.approx(sum(earned[b] for b in rows) / 8, rel=1e-5)


def test_an_answer_that_was_cut_earns_the_penalty_in_place_of_its_reward():
    rollout, penalty = told(Speaker()), -7.0
    worth = torch.rand(rollout.logprob.shape, generator=torch.Generator().manual_seed(3)) * rollout.mask

    class Told:
        def collect(self, _policy):
            return rollout

    config = best_of_n.Config(missing_end_penalty=penalty)
    chosen = best_of_n.choose(Told(), Speaker(), lambda _: worth, config)
    earned = torch.where(rollout.finished, worth.sum(1), torch.tensor(penalty))
    best = [max((2 * g, 2 * g + 1), key=lambda row: (float(earned[row]), -row)) for g in range(10)]
    assert chosen.names == tuple(rollout.names[row] for row in best)
    assert_close(chosen.reward.sum(1), earned[best])
    assert penalty in chosen.reward.sum(1).tolist(), "both answers of some prompt were cut"


class Cut(Bandit):
    """Answers to the first half of the contexts are all cut; of the others the first answer is."""

    every = False

    def collect(self, policy):
        rollout = super().collect(policy)
        rows, row = len(rollout.observation_length) // 2, torch.arange(len(rollout))
        finished = (rollout.group >= rows) & (row % 4 != 0) & (not self.every)
        return replace(rollout, finished=finished)


def test_no_answer_that_was_cut_is_imitated_and_who_is_left_out_is_counted(new_run):
    """All answers to a prompt were cut: imitating one of them taught the policy not to end."""
    world, policy, learned = Cut(BanditConfig(contexts=8, answers=4)), ToyPolicy(4, 5, "categorical"), []
    evaluate = policy.evaluate

    def noted(segment):
        learned.append(segment)
        return evaluate(segment)

    policy.evaluate = noted
    config = best_of_n.Config(iterations=2, updates=2, batch=8, missing_end_penalty=-9.0)
    figures = best_of_n.train(config, policy, world, world.reward, new_run())
    assert (figures["found"], figures["cut"]) == (4.0, 4.0)
    assert len(learned) == 4
    assert all(bool(part.finished.all()) for part in learned)
    taken = best_of_n.Config(iterations=1, updates=1, batch=8, micro_tokens=99)
    learned.clear()
    figures = best_of_n.train(taken, policy, world, world.reward, new_run())
    assert figures["found"] == 8.0, "without a penalty they are like all others"
    assert "cut" not in figures
    assert not all(bool(part.finished.all()) for part in learned)


def test_where_all_answers_were_cut_it_is_said(new_run):
    world, policy = Cut(BanditConfig(contexts=8, answers=4)), ToyPolicy(4, 5, "categorical")
    world.every, before = True, policy.actor[0].weight.clone()
    with pytest.warns(
        UserWarning, match=r"in 2 rounds the best answer to each prompt was cut, .* raise draw.max_tokens"
    ):
        figures = best_of_n.train(
            best_of_n.Config(iterations=2, missing_end_penalty=-9.0), policy, world, world.reward, new_run()
        )
    assert figures == {"found": 0.0, "cut": 8.0}
    assert torch.equal(policy.actor[0].weight, before)


def test_nothing_is_learned_from_answers_that_earned_too_little(new_run):
    world, policy = Bandit(BanditConfig(contexts=8)), ToyPolicy(4, 5, "categorical")
    before = policy.actor[0].weight.clone()
    config = best_of_n.Config(iterations=2, least=99.0, optimiser=OptimiserConfig())
    with pytest.warns(UserWarning, match="in 2 rounds no answer earned best_of_n.least=99.0"):
        figures = best_of_n.train(config, policy, world, world.reward, new_run())
    assert figures == {"found": 0.0}, "a best of nothing earns nothing, and not 0"
    assert torch.equal(policy.actor[0].weight, before)
