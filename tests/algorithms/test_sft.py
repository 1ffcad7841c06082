"""Imitation: the likelihood by loops, the mean over tokens, and that it learns."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from accord.algorithms import sft
from accord.protocols import Evaluated
from accord.run import OptimiserConfig, read_log
from tests.algorithms.conftest import Speaker, told


def examples(weights=True):
    rollout = told(Speaker(), gaps=True)
    rollout.weight.copy_(torch.linspace(0.2, 2, 20) if weights else torch.ones(20))
    return rollout


def by_hand(policy, segment):
    """Sum of weighted surprise and of weights, token by token."""
    logits = policy.logits.log_softmax(-1)
    lost, counted = torch.zeros(()), 0.0
    for b in range(len(segment)):
        g = int(segment.group[b])
        before = int(segment.observation[g, int(segment.observation_length[g]) - 1])
        for t in range(int(segment.length[b])):
            now = int(segment.action[b, t])
            if segment.mask[b, t]:
                lost = lost - logits[before, now] * float(segment.weight[b])
                counted += float(segment.weight[b])
            before = now
    return lost, counted


def test_the_loss_against_a_loop(speaker):
    segment = examples()
    lost, counted = by_hand(speaker, segment)
    each = sft.negative_log_likelihood(speaker.evaluate(segment).logprob, segment.mask, segment.weight)
    assert each.sum().item() == pytest.approx(lost.item(), rel=1e-5)
    assert sft.loss_on(speaker, segment, 11) == pytest.approx(lost.item() / counted, rel=1e-5)


@pytest.mark.parametrize("micro", [1, 7, 10_000])
def test_a_step_moves_down_the_mean_over_all_tokens_of_the_batch(micro, new_run):
    segment, policy, run = examples(), Speaker(), new_run()
    lost, counted = by_hand(policy, segment)
    (lost / counted).backward()
    expected = policy.logits.grad.clone()
    policy.zero_grad(set_to_none=True)
    found = {}
    real = run.step

    def noted(**parts):
        found["gradient"] = policy.logits.grad.clone()
        return real(**parts)

    run.step = noted
    figures = sft.train(sft.Config(batch=20, micro_tokens=micro), policy, segment, run)
    assert_close(found["gradient"], expected, rtol=1e-5, atol=1e-7)
    assert figures["loss"] == pytest.approx(lost.item() / counted, rel=1e-5)
    assert figures["tokens"] == int(segment.mask.sum())


def test_tokens_that_others_wrote_are_never_learned(new_run):
    segment = examples(weights=False)
    changed = segment.action.clone()
    last = segment.length - 1
    for b in range(20):
        if not segment.mask[b, last[b]]:
            changed[b, last[b]] = (changed[b, last[b]] + 1) % 7
    assert not torch.equal(changed, segment.action)
    ends = []
    for action in (segment.action, changed):
        policy = Speaker()
        sft.train(sft.Config(batch=20), policy, type(segment)(**{**vars(segment), "action": action}), new_run())
        ends.append(policy.logits.detach().clone())
    assert_close(ends[0], ends[1], rtol=0, atol=0)


def test_it_learns_what_it_is_shown_and_the_held_out_loss_is_logged(new_run):
    segment, policy = examples(), Speaker()
    before = sft.loss_on(policy, segment, 1000)
    config = sft.Config(epochs=20, batch=5, check_every=10, optimiser=OptimiserConfig(learning_rate=0.05))
    run = new_run()
    figures = sft.train(config, policy, segment, run, held_out=segment)
    assert sft.loss_on(policy, segment, 1000) == pytest.approx(figures["held_out_loss"])
    assert figures["held_out_loss"] < before - 0.5
    rows = read_log(run.folder / "log.jsonl")
    assert [row["step"] for row in rows if "held_out_loss" in row] == [9, 19, 29, 39, 49, 59, 69, 79]


def test_a_whole_run_that_is_started_again_says_what_it_said(new_run):
    segment, policy = examples(), Speaker()
    run = new_run(checkpoint_seconds=0)
    first = sft.train(sft.Config(epochs=2, batch=10), policy, segment, run, held_out=segment)
    again = type(run)(run.folder, run.config)
    fresh = Speaker(seed=4)
    assert sft.train(sft.Config(epochs=2, batch=10), fresh, segment, again, held_out=segment) == pytest.approx(first)
    assert torch.equal(fresh.logits, policy.logits)


def test_nothing_to_learn_is_said(new_run):
    segment = examples()
    segment.mask.zero_()
    with pytest.raises(ValueError, match="none of the 20 examples has a token to learn"):
        sft.train(sft.Config(), Speaker(), segment, new_run())


def test_fewer_rows_than_a_batch_are_still_seen_as_often_as_the_epochs_say() -> None:
    assert sft.steps(sft.Config(epochs=3, batch=5000), 300) == 3
    assert sft.steps(sft.Config(epochs=3, batch=100), 300) == 9
    assert sft.steps(sft.Config(epochs=0.1, batch=32), 0) == 1


class Watched(nn.Module):
    """A policy that says in which mode each of its passes was."""

    def __init__(self, seen: list[bool]) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))
        self.seen = seen

    def evaluate(self, segment):
        self.seen.append(self.training)
        logprob = self.level * torch.ones_like(segment.action, dtype=torch.float32)
        return Evaluated(logprob, torch.zeros_like(logprob), None)


def test_dropout_can_act_while_it_learns_and_never_while_it_is_measured(new_run):
    seen: list[bool] = []
    policy, rows = Watched(seen).eval(), examples()
    sft.train(sft.Config(epochs=2, batch=len(rows)), policy, rows, new_run(), rows)
    assert seen == [True, True, False]
    assert not policy.training
