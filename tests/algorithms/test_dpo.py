"""Preference losses against plain Python from the papers, their identities, and the loop's one mean."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from accord.algorithms import dpo
from accord.algorithms.referred import whole, whole_of, with_reference
from accord.batches import Comparisons
from accord.run import Average, OptimiserConfig, read_log
from tests.algorithms.conftest import Speaker, told


def pairs(probability=1.0, margin=0.0, gaps=True):
    """Two answers to each of ten prompts, compared both ways in three of them, with differing weights."""
    segment = told(Speaker(), gaps=gaps)
    better = torch.tensor([2 * g for g in range(10)] + [1, 3, 5])
    worse = torch.tensor([2 * g + 1 for g in range(10)] + [0, 2, 4])
    count = len(better)
    return Comparisons(
        segment=segment,
        better=better,
        worse=worse,
        probability=torch.full((count,), probability),
        weight=torch.linspace(0.2, 2, count),
        margin=torch.full((count,), margin),
        names=tuple(f"pair{n}" for n in range(count)),
    )


def start(segment):
    with torch.no_grad():
        return Speaker(seed=9).evaluate(segment).logprob


def s(x):
    return 1 / (1 + math.exp(-x))


def certain(name, c, beta, gap, e):
    """One pair of a certain label, from the papers. c: (logprob, reference, length) of better and of worse."""
    (lw, rw, nw), (ll, rl, nl) = c
    z = beta * ((lw - rw) - (ll - rl)) - gap
    if name == "dpo":
        return -(1 - e) * math.log(s(z)) - e * math.log(s(-z))
    if name == "robust":
        return (-(1 - e) * math.log(s(z)) + e * math.log(s(-z))) / (1 - 2 * e)
    if name == "ipo":
        return (z / beta - 1 / (2 * beta)) ** 2
    if name == "hinge":
        return max(0.0, 1 - z)
    if name == "simpo":
        return -math.log(s(beta * lw / nw - beta * ll / nl - gap))
    if name == "cpo":
        return -math.log(s(beta * (lw - ll) - gap)) - lw / nw
    pw, pl = math.exp(lw / nw), math.exp(ll / nl)
    return -math.log(pw) - beta * math.log(s(math.log(pw / (1 - pw)) - math.log(pl / (1 - pl))))


CASES = [
    ("dpo", 0.0), ("dpo", 0.1), ("robust", 0.0), ("robust", 0.2), ("ipo", 0.0), ("hinge", 0.0), ("simpo", 0.0),
    ("orpo", 0.0), ("cpo", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "smoothing"), CASES)
def test_each_loss_and_its_gradient_against_the_paper(name, smoothing):
    batch, config = pairs(margin=2.0), dpo.Config(loss=name, beta=0.7, label_smoothing=smoothing, offset=0.1, gap=0.05)
    asked = whole_of(start, batch.segment, 10_000)
    batch = replace(batch, segment=with_reference(batch.segment, asked))
    logprob = whole(Speaker(seed=2).evaluate(batch.segment).logprob.detach(), batch.segment.mask).double()
    length = batch.segment.mask.sum(1).tolist()

    def plain(values, n):
        b, w = int(batch.better[n]), int(batch.worse[n])
        rows = [(values[i], float(asked[i]), length[i]) for i in (b, w)]
        gap = 0.0 if name == "orpo" else 0.05 + 0.1 * 2.0
        return certain(name, rows, 0.7, gap, smoothing)

    at = logprob.clone().requires_grad_()
    found = dpo.loss_of(dpo.pairs_of(batch, at, config), config)
    assert_close(found.tolist(), [plain(logprob.tolist(), n) for n in range(len(batch))], rtol=1e-5, atol=1e-6)
    found.sum().backward()
    for row in range(len(logprob)):
        slope = 0.0
        for sign in (1, -1):
            moved = logprob.tolist()
            moved[row] += sign * 1e-5
            slope += sign * sum(plain(moved, n) for n in range(len(batch))) / 2e-5
        assert at.grad[row].item() == pytest.approx(slope, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", list(dpo.LOSSES))
def test_a_belief_is_the_mean_over_both_orders(name):
    """p L(better, worse) + (1 - p) L(worse, better), where no distance is asked for."""
    config = dpo.Config(loss=name, beta=0.4)
    batch = pairs(probability=0.7)
    batch = replace(batch, segment=with_reference(batch.segment, whole_of(start, batch.segment, 10_000)))
    logprob = whole(Speaker(seed=2).evaluate(batch.segment).logprob.detach(), batch.segment.mask)

    def of(belief):
        return dpo.loss_of(dpo.pairs_of(belief, logprob, config), config)

    one = replace(batch, probability=torch.ones(len(batch)))
    other = replace(one, better=batch.worse, worse=batch.better)
    assert_close(of(batch), 0.7 * of(one) + 0.3 * of(other))


@pytest.mark.parametrize("name", list(dpo.LOSSES))
def test_a_tie_asks_for_no_distance(name):
    """Which answer of a tie is called the better one is chance, so turning it round changes nothing."""
    config = dpo.Config(loss=name, beta=0.4, gap=1.0, offset=0.5)
    batch = pairs(probability=0.5, margin=2.0)
    batch = replace(batch, segment=with_reference(batch.segment, whole_of(start, batch.segment, 10_000)))
    logprob = whole(Speaker(seed=2).evaluate(batch.segment).logprob.detach(), batch.segment.mask)
    turned = replace(batch, better=batch.worse, worse=batch.better)
    one, other = (dpo.loss_of(dpo.pairs_of(belief, logprob, config), config) for belief in (batch, turned))
    assert_close(one, other)


def test_a_tie_is_no_test_of_accuracy(new_run):
    """Of a tie neither answer is the better one: it is half a hit in a batch, and no held-out pair."""
    config, policy = dpo.Config(batch=10), Speaker(seed=2)
    ties, sure = pairs(probability=0.5), pairs()
    last = replace(sure, probability=torch.tensor([1.0, *[0.5] * (len(sure) - 1)]))
    asked = whole_of(start, ties.segment, 10_000)
    ties, last = (replace(part, segment=with_reference(part.segment, asked)) for part in (ties, last))
    assert math.isnan(dpo.accuracy_on(policy, ties, config))
    assert dpo.accuracy_on(policy, last, config) in (0.0, 1.0)
    logprob = whole(policy.evaluate(ties.segment).logprob.detach(), ties.segment.mask)
    seen = dpo.looked(dpo.pairs_of(ties, logprob, config), ties, logprob, config)
    assert seen["accuracy"].tolist() == [0.5] * len(ties)
    assert "held_out_accuracy" not in dpo.train(config, policy, pairs(), new_run(), held_out=pairs(probability=0.5))


def test_robust_is_unbiased_under_flipped_labels():
    """Its mean over labels that are flipped with the rate it was told is DPO's loss under the right ones."""
    batch = pairs()
    batch = replace(batch, segment=with_reference(batch.segment, whole_of(start, batch.segment, 10_000)))
    logprob = whole(Speaker(seed=2).evaluate(batch.segment).logprob.detach(), batch.segment.mask)
    flipped = replace(batch, better=batch.worse, worse=batch.better)
    robust, plain = dpo.Config(loss="robust", label_smoothing=0.2), dpo.Config()
    right, wrong = (dpo.loss_of(dpo.pairs_of(b, logprob, robust), robust) for b in (batch, flipped))
    assert_close(0.8 * right + 0.2 * wrong, dpo.loss_of(dpo.pairs_of(batch, logprob, plain), plain))


@pytest.mark.parametrize(("p", "at"), [(1.0, 2.5), (0.75, 1.25), (0.5, 0.0)])
def test_ipo_has_a_target_and_a_tie_wants_no_difference(p, at):
    h = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    zero = torch.zeros_like(h)
    each = dpo.ipo(dpo.Pairs(h, zero, h, zero, torch.full_like(h, p), zero), dpo.Config(loss="ipo", beta=0.2))
    assert h[each.argmin()].item() == pytest.approx(at, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "first"), [("dpo", math.log(2)), ("hinge", 1.0), ("ipo", 25.0), ("robust", math.log(2))]
)
def test_the_first_loss_is_known(name, first, new_run, speaker):
    """The reference is the policy as it comes, so every first log-ratio is 0."""
    run = new_run()
    dpo.train(dpo.Config(loss=name, batch=10), speaker, pairs(), run)
    row = read_log(run.folder / "log.jsonl")[0]
    assert row["first_loss"] == pytest.approx(first, rel=1e-6)
    assert (row["margin"], row["drift"], row["accuracy"]) == pytest.approx((0, 0, 0.5), abs=1e-6)


def gradient(batch, config, new_run):
    policy, run, found = Speaker(seed=2), new_run(), {}

    def note(**parts):
        found["gradient"] = policy.logits.grad.clone()
        policy.zero_grad(set_to_none=True)
        return {name: float(value) for name, value in parts.items()}

    run.step = note
    dpo.train(config, policy, batch, run, start)
    return found["gradient"]


@pytest.mark.parametrize("name", list(dpo.LOSSES))
def test_neither_micro_batches_nor_the_order_change_the_gradient(name, new_run):
    batch = pairs(probability=0.8)
    config = dpo.Config(loss=name, batch=10)
    expected = gradient(batch, config, new_run)
    assert float(expected.abs().max()) > 1e-4
    for micro in (1, 30):
        assert_close(gradient(batch, config.model_copy(update={"micro_tokens": micro}), new_run), expected)
    turned = torch.randperm(len(batch), generator=torch.Generator().manual_seed(3))
    assert_close(gradient(batch.pairs(turned), config, new_run), expected)


def test_a_prompt_with_more_answers_than_fit_is_split_by_pairs_and_gives_the_same_gradient(new_run):
    batch = pairs(probability=0.8)
    alone = replace(
        batch.segment,
        observation=batch.segment.observation[:1],
        observation_length=batch.segment.observation_length[:1],
        group=torch.zeros(20, dtype=torch.long),
    )
    batch = replace(
        batch,
        segment=alone,
        better=torch.arange(13),
        worse=torch.arange(13) + torch.tensor([7, 1, 3])[torch.arange(13) % 3],
    )
    parts = list(batch.split(24))
    assert len(batch.groups()) == 1 < len(parts)
    assert all(part.segment.tokens <= 24 for part in parts)
    expected = gradient(batch, dpo.Config(batch=10), new_run)
    assert float(expected.abs().max()) > 1e-4
    assert_close(gradient(batch, dpo.Config(batch=10, micro_tokens=24), new_run), expected)


def test_the_gradient_of_a_step_is_that_of_the_weighted_mean_over_all_pairs(new_run):
    batch, policy = pairs(), Speaker(seed=2)
    asked = [float(x) for x in whole(start(batch.segment), batch.segment.mask)]
    table = policy.logits.log_softmax(-1)
    sums = []
    for row in range(20):
        seen = policy.before(batch.segment)[row]
        steps = [t for t in range(6) if batch.segment.mask[row, t]]
        sums.append(sum(table[seen[t], batch.segment.action[row, t]] for t in steps) - asked[row])
    total = sum(
        batch.weight[n] * -torch.log(torch.sigmoid(0.1 * (sums[int(batch.better[n])] - sums[int(batch.worse[n])])))
        for n in range(len(batch))
    )
    (total / batch.weight.sum()).backward()
    assert_close(gradient(batch, dpo.Config(batch=10), new_run), policy.logits.grad, rtol=1e-4, atol=1e-7)


def test_each_answer_is_encoded_once_and_the_reference_asked_once(new_run, speaker):
    asked = []

    def counting(segment):
        asked.extend(segment.names)
        return start(segment)

    dpo.train(dpo.Config(batch=5, epochs=3), speaker, pairs(), new_run(), counting)
    assert sorted(asked) == sorted(pairs().segment.names)


def test_it_learns_what_is_believed(new_run):
    for name in dpo.LOSSES:
        policy = Speaker(seed=2)
        batch = pairs()
        batch = batch.pairs(torch.arange(10))
        beta = 2.0 if name in ("simpo", "orpo") else 0.1
        config = dpo.Config(loss=name, beta=beta, epochs=60, batch=10, optimiser=OptimiserConfig(learning_rate=0.05))
        figures = dpo.train(config, policy, batch, new_run(), held_out=batch)
        assert figures["held_out_accuracy"] >= 0.85, (name, figures)


def test_what_is_wrong_is_said(new_run, speaker):
    with pytest.raises(ValueError, match="no comparisons"):
        dpo.train(dpo.Config(), speaker, pairs().pairs(torch.zeros(0, dtype=torch.long)), new_run())
    with pytest.raises(TypeError, match="Referred"):
        dpo.pairs_of(pairs(), torch.zeros(20), dpo.Config())


@pytest.mark.parametrize("p", [0.999999, 1.0])
def test_the_log_odds_stay_finite_where_an_answer_is_certain(p):
    at = torch.tensor([math.log(p)], requires_grad=True)
    dpo.log_odds(at).sum().backward()
    assert torch.isfinite(at.grad).all()


# --- a reference that moves --------------------------------------------------------------------------------------


def moved(decay, new_run, steps=4):
    """(policy, rows of the log, weights before each step) with an average for a reference; None is a fixed one."""
    policy, run = Speaker(seed=2), new_run()
    config = dpo.Config(epochs=steps, batch=10, optimiser=OptimiserConfig(learning_rate=0.1, warmup=0))
    before, taken = [], run.step

    def noting(**parts):
        before.append(policy.logits.detach().clone())
        return taken(**parts)

    run.step = noting
    if decay is None:
        dpo.train(config, policy, pairs(), run, held_out=pairs())
        return policy, read_log(run.folder / "log.jsonl"), before
    average = Average(policy, decay)
    run.track(anchor=average)

    def asked(segment):
        with average.inside():
            return policy.evaluate(segment).logprob

    dpo.train(config, policy, pairs(), run, asked, pairs(), moving=True)
    return policy, read_log(run.folder / "log.jsonl"), before


def test_an_average_that_never_follows_is_a_fixed_reference_and_one_that_does_at_once_the_policy(new_run):
    (fixed, told_of, _), (still, rows, _) = moved(None, new_run), moved(1.0, new_run)
    assert_close(still.logits, fixed.logits)
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in told_of], rel=1e-5)
    assert rows[-1]["held_out_accuracy"] == told_of[-1]["held_out_accuracy"] > 0.6
    _, rows, _ = moved(0.0, new_run)
    assert [row["loss"] for row in rows] == pytest.approx([math.log(2)] * 4, rel=1e-5)
    assert [row["drift"] for row in rows] == pytest.approx([0.0] * 4, abs=1e-9)


def test_each_batch_is_held_against_the_average_of_that_step(new_run):
    _, rows, before = moved(0.7, new_run)
    mean = before[0].clone()
    for step, now in enumerate(before):
        mean = mean if step == 0 else 0.7 * mean + 0.3 * now
        policy, old = Speaker(), Speaker()
        policy.logits.data, old.logits.data = now, mean
        batch = pairs()
        change = [float(x.detach()) for x in whole(policy.evaluate(batch.segment).logprob, batch.segment.mask)
                  - whole(old.evaluate(batch.segment).logprob, batch.segment.mask)]  # fmt: skip
        lost = sum(float(w) * -math.log(s(0.1 * (change[b] - change[c])))
                   for w, b, c in zip(batch.weight, batch.better, batch.worse, strict=True))  # fmt: skip
        assert rows[step]["loss"] == pytest.approx(lost / float(batch.weight.sum()), rel=1e-4)
