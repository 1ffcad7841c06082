"""A stand-in for vLLM with its signatures, slow and plain: it holds a model of its own and knows only what it is given.

After the source of vLLM 0.33.0, and the pages of 0.22 to 0.32: `LLM(model, ...)` with `generate`, `apply_model` and
`reset_prefix_cache`, `SamplingParams`, `RequestOutput`, `CompletionOutput`, `Logprob`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM


@dataclass
class Logprob:
    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: Sequence[int]
    cumulative_logprob: float | None
    logprobs: list[dict[int, Logprob]] | None
    routed_experts: Any = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    prompt_logprobs: Any
    outputs: list[CompletionOutput]
    finished: bool


@dataclass
class SamplingParams:
    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True


class Inside:
    """A model as vLLM's workers hold it: its weights come by `load_weights` alone."""

    def __init__(self, folder: str, dtype: str) -> None:
        config = AutoConfig.from_pretrained(folder)
        assert config.architectures
        self.plain = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()

    def load_weights(self, weights: Any) -> set[str]:
        own = dict(self.plain.named_parameters())
        given = dict(weights)
        assert set(given) == set(own), set(given) ^ set(own)
        with torch.no_grad():
            for name, weight in given.items():
                own[name].copy_(weight)
        return set(given)


@dataclass
class LLM:
    model: str
    tokenizer: str | None = None
    skip_tokenizer_init: bool = False
    trust_remote_code: bool = False
    tensor_parallel_size: int = 1
    dtype: str = "auto"
    seed: int = 0
    gpu_memory_utilization: float = 0.92
    enforce_eager: bool = False
    load_format: str = "auto"
    enable_prefix_caching: bool | None = None
    logprobs_mode: str = "raw_logprobs"
    max_model_len: int | None = None
    resets: int = 0
    resettable: bool = True
    aborts: tuple[int, ...] = ()
    inside: Inside = field(init=False)

    def __post_init__(self) -> None:
        assert self.load_format == "dummy", "nothing but a configuration lies in the folder"
        assert self.skip_tokenizer_init
        self.inside = Inside(self.model, self.dtype)

    def apply_model(self, func: Callable[[Any], Any]) -> list[Any]:
        return [func(self.inside)]

    def reset_prefix_cache(self, reset_running_requests: bool = False, reset_connector: bool = False) -> bool:
        self.resets += 1
        return self.resettable

    def generate(
        self,
        prompts: Any,
        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
        *,
        use_tqdm: bool | Callable[..., Any] = True,
        lora_request: Any = None,
        priority: int | Sequence[int] | None = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        mm_processor_kwargs: dict[str, Any] | None = None,
    ) -> list[RequestOutput]:
        assert isinstance(sampling_params, Sequence)
        assert len(sampling_params) == len(prompts)
        return [
            self._one(n, p["prompt_token_ids"], s)
            for n, (p, s) in enumerate(zip(prompts, sampling_params, strict=True))
        ]

    @torch.no_grad()
    def _one(self, number: int, prompt: list[int], asked: SamplingParams) -> RequestOutput:
        assert asked.n == 1
        assert asked.max_tokens
        assert not 0 < asked.temperature < 0.01, "vLLM would take another temperature"
        assert asked.seed is None or -(1 << 63) <= asked.seed < 1 << 63
        chance = torch.Generator().manual_seed(asked.seed) if asked.seed is not None else None
        ids, said, seen, reason = list(prompt), [], [], "length"
        for _ in range(asked.max_tokens):
            logits = self.inside.plain(torch.tensor([ids])).logits[0, -1].float()
            warm = logits / (asked.temperature or 1)
            share = torch.softmax(warm, -1)
            if asked.top_k:
                share = torch.where(share >= share.topk(asked.top_k).values[-1], share, 0.0)
            token = (
                int(share.argmax()) if asked.temperature == 0 else int(torch.multinomial(share, 1, generator=chance))
            )
            raw = self.logprobs_mode == "raw_logprobs"
            seen.append(
                {token: Logprob(float((torch.log_softmax(logits, -1) if raw else (share / share.sum()).log())[token]))}
            )
            said.append(token)
            ids.append(token)
            if token in (asked.stop_token_ids or []):
                reason = "stop"
                break
        reason = "abort" if number in self.aborts else reason
        return RequestOutput(
            str(number), None, prompt, None, [CompletionOutput(0, "", said, None, seen, None, reason)], True
        )


def module(**more: Any) -> types.ModuleType:
    """What `import vllm` would give; `made` has the engines that were begun."""
    made: list[LLM] = []

    def begun(**given: Any) -> LLM:
        made.append(LLM(**given, **more))
        return made[-1]

    found = types.ModuleType("vllm")
    found.LLM, found.SamplingParams, found.made = begun, SamplingParams, made  # type: ignore[attr-defined]
    return found
