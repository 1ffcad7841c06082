"""Language models on the claimed GPU: the same numbers as on the CPU, graphs that are played, and no more waiting."""

from __future__ import annotations

from functools import partialmethod

import pytest
import torch

from accord.algorithms import sft
from accord.protocols import Sampling
from accord.run import OptimiserConfig, Run, RunConfig, read_log
from accord.worlds.text import played
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy, Scorer
from tests.device.machine import claimed
from tests.device.waits import PROMPTS, SHAPE, table
from tests.worlds.text import tiny

MOST = {
    "a micro-batch: layout, forward": 0,
    "a micro-batch: backward": 0,
    "a token of all answers, step by step": 6,
    "a token of all answers, played": 4,
}
"""Waits that are known; fewer are welcome."""


KINDS = [(family, torch.float32) for family in tiny.CONFIGS] + [("llama", torch.bfloat16)]


@pytest.mark.parametrize(("family", "dtype"), KINDS, ids=str)
def test_a_packed_pass_and_its_gradients_are_those_of_the_cpu(family, dtype):
    segment = tiny.drawn(SHAPE)
    there, here = tiny.model(family, dtype=dtype), tiny.model(family, dtype=dtype)
    found = Policy(here, critic="shared").evaluate(segment)
    (found.logprob.sum() + found.entropy.sum() + found.value.sum()).backward()
    with claimed():
        policy = Policy(there.to("cuda"), critic="shared")
        assert policy.trunk.shares
        seen = policy.evaluate(segment.to("cuda"))
        (seen.logprob.sum() + seen.entropy.sum() + seen.value.sum()).backward()
        loose = 1e-5 if dtype == torch.float32 else 3e-2
        torch.testing.assert_close(seen.logprob.detach().cpu(), found.logprob.detach(), rtol=loose, atol=loose)
        for one, other in zip(there.parameters(), here.parameters(), strict=True):
            scale = float(other.grad.abs().max())
            torch.testing.assert_close(one.grad.cpu(), other.grad, rtol=loose, atol=loose * scale)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_scores_and_values_are_those_of_the_cpu(family):
    segment = tiny.drawn(SHAPE)
    here = Scorer(tiny.model(family, scorer=True))
    wanted = [here.score(segment), here.values(segment), here.each(segment)]
    with claimed():
        there = Scorer(tiny.model(family, scorer=True).to("cuda"))
        found = [ask(segment.to("cuda")) for ask in (there.score, there.values, there.each)]
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one.detach().cpu(), other.detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_answers_are_those_of_the_cpu_with_steps_from_a_recording(family, monkeypatch):
    """What is recorded is filled with nan until it is played, so nothing of the recording itself can be read."""
    asked = Sampling(max_tokens=12, count=4, stop=(1, 8))
    wanted = Sampler(tiny.model(family)).generate(PROMPTS, asked)
    monkeypatch.setattr(played, "STEADY", 1)
    plays: list[int] = []
    play = played.Recorded.__call__
    monkeypatch.setattr(played.Recorded, "__call__", lambda self, *given: plays.append(1) or play(self, *given))
    with claimed():
        found = Sampler(tiny.model(family).to("cuda")).generate(PROMPTS, asked)
    assert [one.tokens for one in found] == [one.tokens for one in wanted]
    assert len(plays) >= 2, "steps were played"


def test_nobody_waits_more_than_is_known():
    found = {name: waits for name, (waits, _) in table().items()}
    assert found.keys() == MOST.keys()
    assert {name: waits for name, waits in found.items() if waits > MOST[name]} == {}


def counting(run, begun, steps, total):
    """The steps of a run, noted."""
    for step in steps(run, total):
        begun.append(step)
        yield step


def test_a_run_there_goes_on_from_its_checkpoint_bit_for_bit(tmp_path, monkeypatch):
    rows = tiny.drawn([(4, [5]), (3, [6]), (2, [4]), (5, [3])])

    def learned(folder: str, epochs: int) -> tuple[int, list[torch.Tensor]]:
        settings = RunConfig(device="cuda", trackers=(), progress=False, checkpoint_seconds=1e9)
        policy, run = Policy(tiny.model("llama").to("cuda")), Run(tmp_path / folder, settings)
        steady = OptimiserConfig(schedule="constant", warmup=0)
        sft.train(sft.Config(batch=2, epochs=epochs, optimiser=steady), policy, rows, run)
        taken = len(read_log(run.folder / "log.jsonl"))
        return taken, [weight.detach().cpu() for weight in policy.parameters()]

    with claimed():
        steps, whole = learned("whole", 2)
        assert learned("cut", 1)[0] == steps // 2
        monkeypatch.setattr(Run, "steps", partialmethod(counting, begun := [], Run.steps))
        _, again = learned("cut", 2)
        assert begun == list(range(steps // 2, steps)), "it went on and did not begin anew"
        for one, other in zip(again, whole, strict=True):
            assert torch.equal(one, other)
