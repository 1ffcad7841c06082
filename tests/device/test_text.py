"""Language models on the claimed GPU: the same numbers as on the CPU, graphs that are played, and no more waiting."""

from __future__ import annotations

from dataclasses import replace
from functools import partialmethod

import pytest
import torch

from accord.algorithms import sft
from accord.protocols import Sampling
from accord.run import OptimiserConfig, Run, RunConfig, read_log
from accord.worlds.text import played, trunk
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy, Scorer
from tests.device.machine import claimed
from tests.device.waits import PROMPTS, SHAPE, table
from tests.worlds.text import tiny

MOST = {
    "a micro-batch: layout, forward": 0,
    "a micro-batch: backward": 0,
    "a token of all answers, step by step": 1,
    "a token of all answers, played": 1,
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


def spelt(tokens: list[int]) -> str:
    """Two letters a token."""
    return "".join(chr(97 + t % 26) + "xyz"[t % 3] for t in tokens)


ASKED = Sampling(max_tokens=12, count=4, stop=(1, 8))
MANY = replace(ASKED, count=9, max_tokens=20, stop=(1, 8, 30))
ASKS = {
    "ends": (ASKED, 1024),
    "waiting": (MANY, 5),  # prompts wait until slots are free
    "idling": (MANY, 1024),
    "limit": (replace(ASKED, max_tokens=5, stop=()), 7),  # all of a prompt's answers end together
    "one": (replace(ASKED, max_tokens=1), 3),
    "text": (replace(MANY, stop_text=("ya", "tz")), 11),
    "likeliest": (replace(MANY, temperature=0, count=3), 1024),
    "cut": (replace(MANY, top_k=9, top_p=0.9, min_p=0.01), 8),
}


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("kind", ASKS)
def test_answers_are_those_of_the_cpu_with_steps_from_a_recording(family, kind, monkeypatch):
    """What is recorded is filled with nan until it is played, so nothing of the recording itself can be read; and a
    token is none before it was waited for."""
    asked, slots = ASKS[kind]
    wanted = Sampler(tiny.model(family), slots, spell=spelt).generate(PROMPTS, asked)
    monkeypatch.setattr(played, "STEADY", 1)
    plays: list[int] = []
    play = played.Recorded.__call__
    monkeypatch.setattr(played.Recorded, "__call__", lambda self, *given: plays.append(1) or play(self, *given))
    with claimed():
        found = Sampler(tiny.model(family).to("cuda"), slots, spell=spelt).generate(PROMPTS, asked)
    assert [(one.tokens, one.finished) for one in found] == [(one.tokens, one.finished) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-4)
    assert len(plays) >= 2 or kind == "one", "steps were played"


def test_a_family_without_a_layout_answers_there_as_here(monkeypatch):
    monkeypatch.setattr(trunk, "_shares", lambda base, found: False)
    wanted = Sampler(tiny.model("llama"), 5).generate(PROMPTS, ASKED)
    with claimed():
        found = Sampler(tiny.model("llama").to("cuda"), 5).generate(PROMPTS, ASKED)
    assert [one.tokens for one in found] == [one.tokens for one in wanted]


def test_the_next_token_is_asked_for_before_one_is_waited_for():
    """Of each step: its layout, forward pass and draw lie between the copy of the token before and the wait for it."""
    steps, pairs = 9, len(PROMPTS) * 2
    with claimed() as device:
        sampler = Sampler(tiny.model("llama").to("cuda"))
        device.forget()
        found = sampler.generate(PROMPTS, Sampling(max_tokens=steps, count=2, stop=(-1,)))
        assert sum(len(one.tokens) for one in found) == pairs * steps
        assert len(device.since) == steps, "one wait for each token"
        assert min(device.since[:-1]) > 10
        assert device.since[-1] < 10, "nothing is asked for behind the last one"


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
