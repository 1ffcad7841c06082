"""KTO against plain Python from the paper, its baseline, and the loop's one mean."""

import math

import pytest
import torch
from torch.testing import assert_close

from accord.algorithms import kto
from accord.algorithms.referred import whole
from accord.run import OptimiserConfig, read_log
from tests.algorithms.conftest import Speaker, told

GOOD = torch.arange(20) % 3 == 0


def start(segment):
    with torch.no_grad():
        return Speaker(seed=9).evaluate(segment).logprob


def test_the_loss_and_its_slope_against_the_paper():
    config = kto.Config(beta=0.6, desirable_weight=1.2, undesirable_weight=0.8)
    change = torch.linspace(-3, 3, 20, dtype=torch.float64, requires_grad=True)
    expected = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    found = kto.kto(change, GOOD, expected, config)
    found.sum().backward()
    for i, x in enumerate(change.tolist()):

        def plain(x, good=bool(GOOD[i])):
            value = 1 / (1 + math.exp(-(0.6 * (x - 0.4) if good else 0.6 * (0.4 - x))))
            return (1.2 if good else 0.8) * (1 - value)

        assert found[i].item() == pytest.approx(plain(x), rel=1e-6)
        assert change.grad[i].item() == pytest.approx((plain(x + 1e-5) - plain(x - 1e-5)) / 2e-5, rel=1e-5)
    assert expected.grad is None


def gradient(config, new_run, order=None, policy=None):
    policy, run, found = Speaker(seed=2), new_run(), {}
    rows, good = told(Speaker()), GOOD
    if order is not None:
        rows, good = rows.rows(order), good[order]

    def note(**parts):
        found["gradient"] = policy.logits.grad.clone()
        policy.zero_grad(set_to_none=True)
        return {name: float(value) for name, value in parts.items()}

    run.step = note
    return kto.train(config, policy, rows, good, run, start), found["gradient"]


def test_a_step_against_the_sum_written_out(new_run):
    """The baseline is the mean drift on answers to other prompts, all of them, and never below 0."""
    rows, policy, config = told(Speaker()), Speaker(seed=2), kto.Config(batch=20, beta=0.5)
    figures, found = gradient(config, new_run)
    other = kto.mismatched(rows, 0)
    crossed = []
    with torch.no_grad():
        for b in range(20):
            if other[b] < 0:
                continue
            first = rows.observation[other[b], rows.observation_length[other[b]] - 1]
            seen = [int(first), *rows.action[b, :-1].tolist()]
            lean = [
                float(m.logits[seen[t]].log_softmax(-1)[rows.action[b, t]] * sign)
                for m, sign in ((policy, 1), (Speaker(seed=9), -1))
                for t in range(6)
                if rows.mask[b, t]
            ]
            crossed.append(sum(lean))
    expected = max(0.0, sum(crossed) / len(crossed))
    assert figures["expected"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    change = whole(policy.evaluate(rows).logprob - start(rows), rows.mask)
    sign = torch.where(GOOD, 1.0, -1.0)
    (1 - torch.sigmoid(sign * 0.5 * (change - expected))).mean().backward()
    assert_close(found, policy.logits.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("micro", [1, 30])
def test_micro_batches_do_not_change_the_gradient(micro, new_run):
    for baseline in ("mismatched", "none"):
        config = kto.Config(batch=20, baseline=baseline)
        expected = gradient(config, new_run)[1]
        assert_close(gradient(config.model_copy(update={"micro_tokens": micro}), new_run)[1], expected)


def test_neither_does_the_order_of_rows(new_run):
    config = kto.Config(batch=20, baseline="none")
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    assert_close(gradient(config, new_run, order)[1], gradient(config, new_run)[1])


def test_a_foreign_prompt_is_foreign_and_never_makes_a_row_too_long():
    rows = told(Speaker(), rows=40)
    other = kto.mismatched(rows, 5)
    longest = int((rows.observation_length[rows.group] + rows.length).max())
    assert bool((other != rows.group).all())
    there = other >= 0
    assert there.float().mean() > 0.8
    assert int((rows.observation_length[other] + rows.length)[there].max()) <= longest
    assert not torch.equal(other, kto.mismatched(rows, 6))


def test_the_first_loss_is_a_half_and_it_learns(new_run):
    policy = Speaker(seed=2)
    config = kto.Config(epochs=120, batch=20, optimiser=OptimiserConfig(learning_rate=0.03))
    run = new_run()
    figures = kto.train(config, policy, told(Speaker()), GOOD, run)
    assert read_log(run.folder / "log.jsonl")[0]["first_loss"] == pytest.approx(0.5, abs=1e-6)
    assert figures["loss"] < 0.45
    assert figures["better_change"] > 0.5
    assert figures["worse_change"] < -1
    assert figures["accuracy"] > 0.8


def test_an_answer_that_is_worth_just_what_is_expected_is_half_right():
    change, good = torch.tensor([1.0, 1.0, 2.0, 0.0, 0.0, 2.0]), torch.tensor([True, False, True, False, True, False])
    found = kto.looked(change, good, torch.tensor(1.0))
    assert found["accuracy"] == pytest.approx((0.5 + 0.5 + 1 + 1 + 0 + 0) / 6)
    assert found["better_change"] == pytest.approx(1.0)
    assert set(kto.looked(change[good], good[good], torch.tensor(1.0))) & {"better_change", "worse_change"} == {
        "better_change"
    }


def test_both_kinds_are_needed(new_run, speaker):
    with pytest.raises(ValueError, match="20 of 20 labels for 20 answers"):
        kto.train(kto.Config(), speaker, told(speaker), torch.ones(20, dtype=torch.bool), new_run())
