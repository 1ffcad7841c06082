"""The door to vLLM keeps the sampler's promise, tried on a stand-in that has vLLM's signatures."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from types import ModuleType

import peft
import pytest
import torch

from accord.config import SettingsError
from accord.engines import vllm
from accord.engines.vllm import Vllm
from accord.protocols import Generator, Sampling
from accord.recipe import Recipe
from accord.run import ranks
from accord.terms import Engine
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy
from tests.engines import stand_in
from tests.worlds.text.tiny import model, segment

PROMPTS = [[5, 6, 7, 8], [9], [10, 11, 12]]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    found = stand_in.module()
    monkeypatch.setitem(sys.modules, "vllm", found)
    return found


def test_greedy_answers_are_those_of_our_own_sampler(engine: ModuleType) -> None:
    living = model("llama")
    free = Sampler(living).generate(PROMPTS, Sampling(temperature=0, max_tokens=9))
    sampling = Sampling(temperature=0, max_tokens=9, count=2, stop=(free[0].tokens[3], 46))
    other: Generator = Vllm(living)
    ours, theirs = Sampler(living).generate(PROMPTS, sampling), other.generate(PROMPTS, sampling)
    for mine, its in zip(ours, theirs, strict=True):
        assert (mine.prompt, mine.index, mine.tokens, mine.finished) == (
            its.prompt,
            its.index,
            its.tokens,
            its.finished,
        )
        assert its.logprobs == pytest.approx(mine.logprobs, abs=1e-5)
    assert {one.finished for one in theirs} == {True, False}, "some answers end, some are cut"


@pytest.mark.parametrize("sampling", [
    Sampling(max_tokens=7, count=3, seed=4), Sampling(temperature=1.7, max_tokens=7, count=3),
    Sampling(max_tokens=7, count=3, top_k=5),
])  # fmt: skip
def test_log_probabilities_are_those_that_the_trainer_computes(engine: ModuleType, sampling: Sampling) -> None:
    living = model("qwen3")
    drawn = Vllm(living).generate(PROMPTS, sampling)
    rows = segment([(p, [list(one.tokens) for one in drawn if one.prompt == n]) for n, p in enumerate(PROMPTS)])
    seen = Policy(living, sampling.temperature).evaluate(rows).logprob
    for row, one in enumerate(drawn):
        assert seen[row, : len(one.tokens)].tolist() == pytest.approx(one.logprobs, abs=1e-5)


def test_an_answer_belongs_to_its_seed_prompt_and_number(engine: ModuleType) -> None:
    door, sampling = Vllm(model("llama")), Sampling(max_tokens=12, count=2, seed=7)
    both = door.generate(PROMPTS, sampling)
    alone = door.generate(PROMPTS[2:], Sampling(max_tokens=12, count=2, seed=7, numbers=(2,)))
    assert [one.tokens for one in both[4:]] == [one.tokens for one in alone]
    assert both[4].tokens != both[5].tokens, "each answer has a chance of its own"
    assert door.generate(PROMPTS, Sampling(max_tokens=12, count=2, seed=8))[4].tokens != both[4].tokens


def test_what_a_learner_did_is_in_the_next_answer(engine: ModuleType) -> None:
    living = model("llama")
    door, sampling = Vllm(living), Sampling(temperature=0, max_tokens=8)
    before = door.generate(PROMPTS, sampling)
    with torch.no_grad():
        for weight in living.parameters():
            weight.neg_()
    after = door.generate(PROMPTS, sampling)
    assert [one.tokens for one in after] == [one.tokens for one in Sampler(living).generate(PROMPTS, sampling)]
    assert [one.tokens for one in after] != [one.tokens for one in before]
    door.load(model("llama").state_dict(), "as it was")
    assert [one.tokens for one in door.generate(PROMPTS, sampling)] == [one.tokens for one in before]
    assert (len(engine.made), engine.made[0].resets, door.version) == (1, 3, "as it was")


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_adapters_are_added_to_the_weights_and_the_model_stays_as_it_is(engine: ModuleType, family: str) -> None:
    names = {"llama": ["q_proj", "down_proj"], "gpt2": ["c_attn"]}[family]
    living = peft.get_peft_model(model(family), peft.LoraConfig(r=2, lora_alpha=8, target_modules=names))
    with torch.no_grad():
        for name, weight in living.named_parameters():
            if "lora_" in name:
                weight.normal_(0, 0.3)
    before = {name: weight.clone() for name, weight in living.state_dict().items()}
    sampling = Sampling(temperature=0, max_tokens=8)
    theirs = Vllm(living).generate(PROMPTS, sampling)
    assert [one.tokens for one in theirs] == [one.tokens for one in Sampler(living).generate(PROMPTS, sampling)]
    with living.disable_adapter():
        plain = Vllm(living).generate(PROMPTS, sampling)
        assert [one.tokens for one in plain] == [one.tokens for one in Sampler(living).generate(PROMPTS, sampling)]
    assert [one.tokens for one in plain] != [one.tokens for one in theirs]
    assert all(torch.equal(weight, before[name]) for name, weight in living.state_dict().items())


def test_what_it_cannot_do_is_said_before_any_work(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Vllm(model("llama"))
    with pytest.raises(ValueError, match=r"temperature=0\.7 with top_k=4"):
        door.generate(PROMPTS, Sampling(temperature=0.7, top_k=4))
    with pytest.raises(ValueError, match=r"temperature=0\.005: vLLM takes 0\.01"):
        door.generate(PROMPTS, Sampling(temperature=0.005))
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        door.generate([[1], []], Sampling())
    with pytest.raises(ValueError, match="knows no text"):
        door.generate(PROMPTS, Sampling(stop_text=("a",)))
    with pytest.raises(ValueError, match="2 numbers for 3 prompts"):
        door.generate(PROMPTS, Sampling(numbers=(1, 2)))
    with pytest.raises(ValueError, match="1 unknown names"):
        door.load({"nobody": torch.zeros(1)}, "v")
    assert door.generate([], Sampling()) == []
    assert engine.made == []
    door.generate(PROMPTS, Sampling(max_tokens=2))
    with pytest.raises(ValueError, match="begun for raw_logprobs"):
        door.generate(PROMPTS, Sampling(temperature=0.7, max_tokens=2))
    monkeypatch.setattr(ranks, "count", lambda: 2)
    with pytest.raises(SettingsError, match="there are 2"):
        Vllm(model("llama"))


def test_a_request_that_was_aborted_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", stand_in.module(aborts=(1,)))
    with pytest.raises(RuntimeError, match="answer 0 to prompt 1 with 'abort'"):
        Vllm(model("llama")).generate(PROMPTS, Sampling(max_tokens=2))


def test_what_was_read_with_older_weights_is_never_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", stand_in.module(resettable=False))
    with pytest.raises(RuntimeError, match="read with older weights"):
        Vllm(model("llama")).generate(PROMPTS, Sampling(max_tokens=2))


def test_an_engine_in_a_process_of_its_own_is_refused(engine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vllm.APART, "1")
    with pytest.raises(SettingsError, match=r"VLLM_ENABLE_V1_MULTIPROCESSING=1 puts .* unset it"):
        Vllm(model("llama"))


def test_without_vllm_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # what `import vllm` finds nothing by
    with pytest.raises(SettingsError, match=r"vLLM cannot be imported .*engine\.name=own"):
        Vllm(model("llama"))
    assert vllm.__doc__


def test_the_recipe_chooses_who_draws_and_a_run_remembers_another_engine(engine: ModuleType) -> None:
    living = model("llama")
    assert type(Engine().over(living)) is Sampler
    assert Engine().decides() == {}
    chosen = Recipe(engine=Engine(name="vllm", memory=0.5)).engine
    door = chosen.over(living)
    assert isinstance(door, Vllm)
    assert chosen.decides() == {"engine": "vllm"}
    door.generate(PROMPTS, Sampling(max_tokens=1))
    assert engine.made[0].gpu_memory_utilization == 0.5


def test_the_stand_in_has_the_signatures_of_the_real_one() -> None:
    real = pytest.importorskip("vllm", reason="vLLM is not installed here; it brings a torch of its own")
    for ours, theirs in ((stand_in.LLM.generate, real.LLM.generate), (stand_in.LLM.apply_model, real.LLM.apply_model),
                         (stand_in.LLM.reset_prefix_cache, real.LLM.reset_prefix_cache)):  # fmt: skip
        assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    known = inspect.signature(real.SamplingParams).parameters
    for field in dataclasses.fields(stand_in.SamplingParams):
        assert known[field.name].default == field.default, field.name


@pytest.mark.gpu
def test_the_real_engine_draws_what_the_trainer_expects() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed here; it wants a GPU and a torch of its own")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here, and vLLM needs one")
    living = model("llama").cuda()
    drawn = Vllm(living).generate(PROMPTS, Sampling(max_tokens=16, count=4))
    rows = segment([(p, [list(one.tokens) for one in drawn if one.prompt == n]) for n, p in enumerate(PROMPTS)])
    seen = Policy(living).evaluate(rows.to("cuda")).logprob.cpu()
    apart = [abs(a - float(seen[r, t])) for r, one in enumerate(drawn) for t, a in enumerate(one.logprobs)]
    assert sum(apart) / len(apart) < 0.01
