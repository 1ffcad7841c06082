"""The door to vLLM: the promise of our own sampler, kept by its engine on a GPU, where it is installed.

    living model -- weights, LoRA added in --> engine -- token ids, log-probabilities --> Completion

The engine holds a copy of the model. Before each call it is given the weights as they are then, so what a learner did
is in the next answer, as with `worlds.text.generate.Sampler`. Each answer is a request of its own with a seed of its
own; the engine reads a prompt once for all of them by its prefix cache. What it does not promise: the same answer
whatever shares its batch (its kernels add up in an order that depends on the batch), so runs with it are not repeated
bit for bit. What it says of log-probabilities is in its own precision; learners look again (`drift_limit`).
"""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accord.config import SettingsError
from accord.protocols import Completion, Sampling
from accord.run import ranks, seed_of

APART = "VLLM_ENABLE_V1_MULTIPROCESSING"
"""The variable by which vLLM's engine works in a process of its own."""
COLDEST = 0.01
"""The least temperature above 0 with which vLLM draws."""


class Vllm:
    """Answers of a living model, drawn by vLLM (Kwon et al. 2023); a `protocols.Generator`."""

    def __init__(self, model: nn.Module, memory: float = 0.3) -> None:
        """model: a causal language model of `transformers`, adapted by PEFT or not. memory: share of the GPU's memory
        that the engine may take for its copy of the weights and for keys and values.

        Raises SettingsError where vLLM is not installed, and for several processes: weights in shares, or a copy of
        the engine for each, are not what this door can do.
        """
        self._module = installed()
        if ranks.count() > 1:
            raise SettingsError(
                f"engine.name=vllm works in one process, and there are {ranks.count()}; take engine.name=own"
            )
        self.model, self.memory = model, memory
        self.version = ""
        self._engine: Any = None
        self._said = ""
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def load(self, weights: Mapping[str, Tensor], version: str) -> None:
        """Put weights into the living model, in place. Raises ValueError for names that it does not know."""
        own = self.model.state_dict()
        if unknown := [name for name in weights if name not in own]:
            raise ValueError(
                f"version {version!r} does not fit: {len(unknown)} unknown names ({', '.join(unknown[:3])})"
            )
        with torch.no_grad():
            for name, weight in weights.items():
                own[name].copy_(weight)
        self.version = version

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """`sampling.count` answers to each prompt, in the order of the prompts.

        Raises ValueError for an empty prompt, for settings that cannot be used, and for a temperature beside 0 and 1
        together with top-k, top-p or min-p: vLLM tells log-probabilities before the temperature or after the cut, and
        ours are those between the two.
        """
        if sampling.numbers and len(sampling.numbers) != len(prompts):
            raise ValueError(f"{len(sampling.numbers)} numbers for {len(prompts)} prompts; give each one, or none")
        if empty := [i for i, prompt in enumerate(prompts) if not len(prompt)]:
            raise ValueError(
                f"prompt {empty[0]} is empty: nothing predicts its first token; begin it with that of text"
            )
        if sampling.stop_text:
            raise ValueError(f"stop_text={sampling.stop_text}: this engine knows no text; take engine.name=own")
        said = told(sampling)
        if not prompts:
            return []
        engine = self._begun(said)
        engine.apply_model(partial(_given, weights=list(plain_weights(self.model))))
        if not engine.reset_prefix_cache():
            raise RuntimeError(
                "vLLM kept what it had read with older weights: answers are still under way in this engine"
            )
        numbers = sampling.numbers or range(len(prompts))
        asked = [(p, a) for p in range(len(prompts)) for a in range(sampling.count)]
        made = engine.generate(
            [{"prompt_token_ids": list(prompts[p])} for p, _ in asked],
            [self._settings(sampling, seed_of("vllm", sampling.seed, numbers[p], a)) for p, a in asked],
            use_tqdm=False,
        )
        if len(made) != len(asked):
            raise RuntimeError(f"vLLM gave {len(made)} answers to {len(asked)} requests")
        return [_completion(p, a, one) for (p, a), one in zip(asked, made, strict=True)]

    def _begun(self, said: str) -> Any:
        """The engine, made at its first use from the model's configuration alone; weights come later.

        said: which log-probabilities it tells; fixed from then on.
        """
        if self._engine is None:
            self._folder = tempfile.TemporaryDirectory(prefix="accord-vllm-")
            base = unadapted(self.model)
            config = {**base.config.to_dict(), "architectures": [type(base).__name__]}
            Path(self._folder.name, "config.json").write_text(json.dumps(config, default=str), encoding="utf-8")
            self._engine = self._module.LLM(
                model=self._folder.name,
                load_format="dummy",
                skip_tokenizer_init=True,
                dtype=str(next(base.parameters()).dtype).removeprefix("torch."),
                gpu_memory_utilization=self.memory,
                enable_prefix_caching=True,
                logprobs_mode=said,
            )
            self._said = said
        if said != self._said:
            raise ValueError(
                f"this engine was begun for {self._said}, and these settings need {said}; make another one"
            )
        return self._engine

    def _settings(self, sampling: Sampling, seed: int) -> Any:
        """One answer's, in vLLM's words. Its own end of text is switched off: what ends an answer is in `stop`."""
        return self._module.SamplingParams(
            n=1,
            temperature=sampling.temperature,
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            min_p=sampling.min_p,
            max_tokens=sampling.max_tokens,
            stop_token_ids=[token for token in sampling.stop if token >= 0],
            ignore_eos=True,
            seed=seed,
            logprobs=0,
            detokenize=False,
        )


def installed() -> Any:
    """The module `vllm`. Raises SettingsError where it cannot be imported, with its own reason.

    Its engine is asked to work in this process, so that weights are handed over without a copy between processes.
    """
    if (elsewhere := os.environ.setdefault(APART, "0")) != "0":
        raise SettingsError(
            f"{APART}={elsewhere} puts vLLM's engine into a process of its own, which weights cannot be handed to; "
            f"unset it, or set {APART}=0"
        )
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise SettingsError(
            f"vLLM cannot be imported ({error}). It needs a GPU and brings its own torch: pip install vllm in an "
            "environment of its own, or take engine.name=own"
        ) from error


def told(sampling: Sampling) -> str:
    """Which of vLLM's log-probabilities are those of softmax(logits / temperature) before anything is cut.

    Raises ValueError where neither is, and for temperatures that vLLM would raise.
    """
    if 0 < sampling.temperature < COLDEST:
        raise ValueError(
            f"temperature={sampling.temperature}: vLLM takes {COLDEST} for everything between 0 and that; use 0, or at "
            f"least {COLDEST}, or take engine.name=own"
        )
    if sampling.temperature in (0, 1):
        return "raw_logprobs"
    if sampling.top_k > 0 or sampling.top_p < 1 or sampling.min_p > 0:
        raise ValueError(
            f"temperature={sampling.temperature} with top_k={sampling.top_k}, top_p={sampling.top_p}, "
            f"min_p={sampling.min_p}: vLLM cannot tell the log-probabilities before the cut; use temperature=1, cut "
            "nothing, or take engine.name=own"
        )
    return "processed_logprobs"


def unadapted(model: nn.Module) -> Any:
    """The transformers model inside; its adapted layers stay in it."""
    inner: Any = model
    return inner.get_base_model() if hasattr(model, "get_base_model") else model


@torch.no_grad()
def plain_weights(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and weights as the plain model has them: what active adapters add is added, and the model not changed."""
    base = unadapted(model)
    adapted = {name: part for name, part in base.named_modules() if hasattr(part, "get_delta_weight")}
    for name, part in adapted.items():
        weight = part.base_layer.weight.detach()
        if not part.merged and not part.disable_adapters:
            for adapter in part.active_adapters:
                if adapter in part.lora_A or adapter in part.lora_embedding_A:
                    weight = weight + part.get_delta_weight(adapter)
        yield f"{name}.weight", weight
        if getattr(part.base_layer, "bias", None) is not None:
            yield f"{name}.bias", part.base_layer.bias.detach()
    inside = tuple(f"{name}." for name in adapted)
    for name, weight in base.named_parameters():
        if not name.startswith(inside):
            yield name, weight.detach()


def _given(model: Any, weights: list[tuple[str, Tensor]]) -> None:
    """What the engine's worker does with them."""
    model.load_weights(weights)


def _completion(prompt: int, index: int, made: Any) -> Completion:
    """Raises RuntimeError for a request that ended neither by a stop token nor by its length."""
    one = made.outputs[0]
    if one.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM ended answer {index} to prompt {prompt} with {one.finish_reason!r}")
    tokens = tuple(int(token) for token in one.token_ids)
    logprobs = tuple(float(seen[token].logprob) for token, seen in zip(tokens, one.logprobs, strict=True))
    return Completion(prompt, index, tokens, logprobs, finished=one.finish_reason == "stop")
