"""Tiny random models, segments, and the plainest way to read them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    Qwen3Config,
)

from accord.batches import Segment, padded

SIZE = {"vocab_size": 47, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZE |= {
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
CONFIGS = {
    "llama": lambda: LlamaConfig(num_key_value_heads=2, **SIZE),
    "qwen3": lambda: Qwen3Config(num_key_value_heads=2, head_dim=8, **SIZE),
    "gemma3": lambda: Gemma3TextConfig(
        num_key_value_heads=1, head_dim=8, sliding_window=4, query_pre_attn_scalar=8, final_logit_softcapping=3.0,
        layer_types=["sliding_attention", "full_attention"], **SIZE
    ),
    "gpt2": lambda: GPT2Config(
        vocab_size=47, n_embd=32, n_layer=2, n_head=4, n_positions=128, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        bos_token_id=0, eos_token_id=1, pad_token_id=2,
    ),
    "neox": lambda: GPTNeoXConfig(hidden_dropout=0, attention_dropout=0, **SIZE),
}  # fmt: skip


def model(family: str, seed: int = 0, scorer: bool = False, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Weights larger than usual, so that attention has something to choose."""
    torch.manual_seed(seed)
    config = CONFIGS[family]()
    if scorer:
        config.num_labels = 1
    kind = AutoModelForSequenceClassification if scorer else AutoModelForCausalLM
    made = kind.from_config(config, attn_implementation="sdpa")
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.ndim > 1 and "norm" not in name:
                weight.normal_(0, 0.25)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1)
    return made.to(dtype)


def segment(groups: list[tuple[list[int], list[list[int]]]]) -> Segment:
    """From (prompt, answers) pairs of token ids."""
    observation, seen = padded([prompt for prompt, _ in groups], fill=3)
    rows = [(g, answer) for g, (_, answers) in enumerate(groups) for answer in answers]
    action, length = padded([answer for _, answer in rows], fill=3)
    return Segment(
        observation=observation,
        observation_length=seen,
        group=torch.tensor([g for g, _ in rows], dtype=torch.long),
        action=action,
        length=length,
        mask=torch.arange(action.shape[1]) < length[:, None],
        weight=torch.ones(len(rows)),
        names=tuple(f"row {i}" for i in range(len(rows))),
    )


def drawn(shape: list[tuple[int, list[int]]], seed: int = 0) -> Segment:
    """A segment of random tokens from (prompt length, answer lengths) pairs."""
    torch.manual_seed(seed)

    def some(n: int) -> list[int]:
        return torch.randint(3, 47, (n,)).tolist()

    return segment([(some(p), [some(t) for t in answers]) for p, answers in shape])


def texts(seg: Segment) -> list[tuple[list[int], int]]:
    """Each row as one list of ids, and how many of them are prompt."""
    found = []
    for b, g in enumerate(seg.group.tolist()):
        prompt = seg.observation[g, : seg.observation_length[g]].tolist()
        found.append((prompt + seg.action[b, : seg.length[b]].tolist(), len(prompt)))
    return found


def slow(made: nn.Module, seg: Segment, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy [B, T], one row at a time, through the model's own forward."""
    logprob, entropy = [], []
    width = seg.action.shape[1]
    for ids, own in texts(seg):
        logits = made(input_ids=torch.tensor([ids]), use_cache=False).logits[0] / temperature
        table = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)
        at = range(max(own, 1), len(ids))
        spent = [torch.zeros(())] * (own == 0 and len(ids) > 0)
        logprob.append([*spent, *(table[i - 1, ids[i]] for i in at)])
        entropy.append([*spent, *(-(table[i - 1].exp() * table[i - 1]).sum() for i in at)])

    def tabled(rows: list[list[Tensor]]) -> Tensor:
        zero = torch.zeros((), dtype=table.dtype)
        return torch.stack([torch.stack([*row, *[zero] * (width - len(row))]) for row in rows])

    return tabled(logprob), tabled(entropy)
