"""What is learned beside the reward: against plain sums, whatever the micro-batch, each row once before any twice."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from accord.algorithms import beside, best_of_n, grpo, ppo
from accord.batches import Segment
from accord.run import newest
from tests.algorithms.conftest import WORDS, told
from tests.algorithms.test_ppo import FREE, gradients, prepared


def texts(rows=10, steps=7, seed=4):
    """Texts with a weight each, of several lengths."""
    draw = torch.Generator().manual_seed(seed)
    length = torch.randint(1, steps + 1, (rows,), generator=draw)
    length[0] = steps
    present = torch.arange(steps) < length[:, None]
    return Segment(
        observation=torch.randint(0, WORDS, (rows, 1), generator=draw),
        observation_length=torch.ones(rows, dtype=torch.long),
        group=torch.arange(rows),
        action=torch.randint(0, WORDS, (rows, steps), generator=draw) * present,
        length=length,
        mask=present,
        weight=torch.rand(rows, generator=draw) + 0.5,
        names=tuple(f"text{b}" for b in range(rows)),
    )


def plain_loss(policy, rows):
    """Mean over weighted tokens, one token after the other."""
    lost, counted = torch.zeros(()), 0.0
    for b in range(len(rows)):
        word = int(rows.observation[b, 0])
        for t in range(int(rows.length[b])):
            following = int(rows.action[b, t])
            lost = lost - float(rows.weight[b]) * policy.logits[word].log_softmax(-1)[following]
            counted += float(rows.weight[b])
            word = following
    return lost / counted


def flat(policy):
    return torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in policy.parameters()])


def rehearsal(policy, run, micro=8192, **settings):
    config = beside.Config(**{"weight": 0.7, "rows": 4, **settings})
    return beside.Rehearsal(config, texts(), policy.evaluate, run, micro)


@pytest.mark.parametrize("micro", [1, 9, 8192])
def test_the_loss_and_its_gradient_are_those_of_a_loop_over_tokens(speaker, new_run, micro):
    run = new_run()
    run.optimise(ppo.Config().optimiser, 1, policy=speaker)
    found = rehearsal(speaker, run, micro, rows=10)()
    gradient = flat(speaker)
    speaker.zero_grad(set_to_none=True)
    expected = plain_loss(speaker, texts())
    (0.7 * expected).backward()
    assert found == {"beside_loss": pytest.approx(float(expected.detach()), rel=1e-5)}
    assert_close(gradient, flat(speaker), rtol=1e-5, atol=1e-7)


def test_each_row_comes_once_before_any_comes_twice(speaker, new_run):
    run, seen = new_run(seed=5), []
    run.optimise(ppo.Config().optimiser, 1, policy=speaker)

    def noting(segment):
        seen.extend(segment.names)
        return speaker.evaluate(segment)

    one = beside.Rehearsal(beside.Config(weight=1.0, rows=5), texts(), noting, run)
    for _ in range(4):
        one()
    assert sorted(seen[:10]) == sorted(seen[10:]) == sorted(texts().names)
    assert seen[:10] != seen[10:]


def test_what_comes_next_is_in_the_checkpoint_and_other_rows_are_refused(speaker, new_run):
    run = new_run(checkpoint_seconds=0)
    run.optimise(ppo.Config().optimiser, 1, policy=speaker)
    one = rehearsal(speaker, run)
    for _ in run.steps(2):
        one()
        run.step()
    _, state = newest(run.folder / "checkpoints")
    assert state["tracked"]["beside"] == {"turn": 2, "rows": 10, "words": one.words}
    again = rehearsal(speaker, new_run())
    again.load_state_dict(state["tracked"]["beside"])
    assert again.turn == 2
    fewer = beside.Rehearsal(beside.Config(weight=1.0), texts(8), speaker.evaluate, new_run())
    with pytest.raises(ValueError, match="10 rows beside, there are 8"):
        fewer.load_state_dict(state["tracked"]["beside"])
    for other in (replace(texts(), weight=2 * texts().weight), texts(seed=5)):
        changed = beside.Rehearsal(beside.Config(weight=1.0), other, speaker.evaluate, new_run())
        with pytest.raises(ValueError, match="10 rows beside, there are as many others now"):
            changed.load_state_dict(state["tracked"]["beside"])
    older = rehearsal(speaker, new_run())
    older.load_state_dict({"turn": 3, "rows": 10})
    assert older.turn == 3


def test_rows_without_a_token_are_refused(speaker, new_run):
    empty = replace(texts(), mask=torch.zeros(10, 7, dtype=torch.bool))
    with pytest.raises(ValueError, match="none of the 10 rows"):
        beside.Rehearsal(beside.Config(weight=1.0), empty, speaker.evaluate, new_run())


# --- in the methods ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("micro", [7, 8192])
def test_ppo_adds_it_to_each_update_and_in_warm_up_takes_nothing_along(speaker, new_run, micro):
    config = ppo.Config(kl=FREE, epochs=1, minibatches=2, micro_tokens=micro)
    rollout = prepared(told(speaker), speaker, config)
    without, _ = gradients(speaker, rollout, config, new_run)

    def with_it(warming):
        run = new_run()
        taken = beside.Rehearsal(beside.Config(weight=0.7, rows=10), texts(), speaker.evaluate, run, micro)
        run.optimise(config.optimiser, 1, policy=speaker)
        found = []

        def note(**parts):
            found.append(flat(speaker))
            speaker.zero_grad(set_to_none=True)
            return {name: float(value) for name, value in parts.items()}

        run.step = note
        return found, ppo.update(config, speaker, rollout, ppo.Prices(config), run, warming, taken)

    found, figures = with_it(warming=False)
    expected = plain_loss(speaker, texts())
    (0.7 * expected).backward()
    for one, other in zip(found, without, strict=True):
        assert_close(one, other + flat(speaker), rtol=1e-4, atol=1e-6)
    assert figures["beside_loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    speaker.zero_grad(set_to_none=True)
    warmed, told_of = with_it(warming=True)
    assert "beside_loss" not in told_of
    assert max(float(part[: WORDS * WORDS].abs().max()) for part in warmed) == 0.0


def test_grpo_and_best_of_n_add_it_too(speaker, new_run):
    rollout = told(speaker)
    expected = plain_loss(speaker, texts())
    (0.7 * expected).backward()
    more = flat(speaker)
    speaker.zero_grad(set_to_none=True)
    config = grpo.kin("dr_grpo", epochs=1, minibatches=1)
    ready = replace(rollout, advantage=torch.ones_like(rollout.logprob))
    choosing = best_of_n.Config(updates=1, batch=20)

    def step(which, taking):
        run, found = new_run(seed=3), []
        run.optimise(config.optimiser, 1, policy=speaker)
        with_it = rehearsal(speaker, run, rows=10) if taking else beside.nothing

        def note(**parts):
            found.append(flat(speaker))
            speaker.zero_grad(set_to_none=True)
            return {name: float(value) for name, value in parts.items()}

        run.step = note
        if which == "grpo":
            figures = grpo.update(config, speaker, ready, ppo.Prices(ppo.Config(kl=config.kl)), run, with_it)
        else:
            figures = best_of_n.imitate(choosing, speaker, rollout, run, with_it)
        return found[0], figures

    for which in ("grpo", "best_of_n"):
        (alone, plain), (together, figures) = step(which, False), step(which, True)
        assert_close(together, alone + more, rtol=1e-4, atol=1e-6)
        assert set(figures) - set(plain) == {"beside_loss"}
        assert figures["beside_loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
