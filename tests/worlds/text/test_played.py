"""Steps that are played back are the steps as they come; on a CPU a function stands in for the recording of a GPU."""

from __future__ import annotations

from dataclasses import replace

import pytest
import tiny
import torch

from accord.protocols import Completion, Sampling
from accord.worlds.text import generate, played
from accord.worlds.text.generate import Sampler
from accord.worlds.text.slots import Writing

PROMPTS = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16], [3, 4], [9]]
SAMPLING = Sampling(max_tokens=24, count=8, stop=(1, 8, 30))


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Makes players able on a CPU; tells of each recording how often it was played."""
    made: list[list[int]] = []

    def recorded(once):
        answer, played_ = once().clone(), [0]
        made.append(played_)

        def play() -> None:
            played_[0] += 1
            answer.copy_(once())

        return play, answer

    begin = played.Player.__init__

    def able(self, *given) -> None:
        begin(self, *given)
        self.able = True

    monkeypatch.setattr(played, "recorded", recorded)
    monkeypatch.setattr(played, "STEADY", 1)
    monkeypatch.setattr(played.Player, "__init__", able)
    return made


def same(found: list[Completion], wanted: list[Completion]) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert replace(one, logprobs=()) == replace(other, logprobs=())
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


@pytest.mark.parametrize("family", list(tiny.CONFIGS))
@pytest.mark.parametrize("slots", [11, 64])
def test_played_answers_are_those_of_every_step_as_it_comes(family, slots, recordings, monkeypatch):
    """With answers that end early and idle, prompts that wait, and windows (Gemma 3 sees four tokens)."""
    made = tiny.model(family, seed=3)
    idled: list[int] = []
    say = generate._Work._say

    def watched(self, *given):
        idled.append(self.idling)
        say(self, *given)

    monkeypatch.setattr(generate._Work, "_say", watched)
    found = Sampler(made, slots=slots).generate(PROMPTS, SAMPLING)
    assert sum(count for (count,) in recordings) > 5, "steps were played"
    assert slots < 64 or max(idled) > 0, "slots idled"
    monkeypatch.undo()
    wanted = Sampler(made, slots=slots).generate(PROMPTS, SAMPLING)
    assert len({len(one.tokens) for one in wanted}) > 3, "answers end at different times"
    same(found, wanted)


def test_what_cannot_be_recorded_is_read_step_by_step(recordings, monkeypatch):
    made, tries = tiny.model("llama", seed=3), []

    def refused(once):
        tries.append(once)
        raise RuntimeError("operation not permitted when stream is capturing")

    wanted = Sampler(made).generate(PROMPTS, SAMPLING)
    monkeypatch.setattr(played, "recorded", refused)
    same(Sampler(made).generate(PROMPTS, SAMPLING), wanted)
    assert len(tries) == 1


def test_nothing_of_a_steady_step_depends_on_numbers(monkeypatch):
    """Shapes are the same whatever was spoken, and no number is fetched: that would stop a recording."""
    made = tiny.model("gemma3", seed=3)
    seen, attend = [], Writing.attend

    def watched(self, query, key, value, rule):
        with monkeypatch.context() as patch:
            for name in ("item", "__bool__", "__int__", "tolist", "nonzero"):
                patch.setattr(torch.Tensor, name, lambda *_, name=name: pytest.fail(f"asked the device: {name}"))
            seen.append(attend(self, query, key, value, rule).shape)
            return attend(self, query, key, value, rule)

    monkeypatch.setattr(Writing, "attend", watched)
    monkeypatch.setattr(played, "recorded", lambda once: (lambda: None, once()))
    monkeypatch.setattr(played, "STEADY", 0)
    player = played.Player
    monkeypatch.setattr(player, "step", lambda self, ids, position, spoken, _: played.Recorded(
        self.slots, self.read, ids, position, spoken).logits)  # fmt: skip
    Sampler(made).generate(PROMPTS, replace(SAMPLING, max_tokens=4, stop=()))
    assert len(set(seen)) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_on_a_gpu_recordings_say_what_the_cpu_says(family):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here: recordings are made of its kernels")
    made, sampling = tiny.model(family, seed=3), replace(SAMPLING, temperature=0, count=2)
    wanted = Sampler(made).generate(PROMPTS, sampling)
    found = Sampler(made.cuda()).generate(PROMPTS, sampling)
    assert [one.tokens for one in found] == [one.tokens for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-3)
