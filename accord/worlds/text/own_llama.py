"""Llama as modules of our own: the names, classes and numbers of transformers, without the import of its models.

The layers are here as they would be read one by one; learning and sampling read them as functions (llama.py,
layers.py, prepared.py), which know them by the same names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from accord.worlds.text.attention import Layout, Rule, additive, attended
from accord.worlds.text.layers import normed, turned
from accord.worlds.text.own_files import table, write


@dataclass(frozen=True)
class States:
    """What a trunk gives."""

    last_hidden_state: Tensor
    """[R, N, D]."""


@dataclass(frozen=True)
class Said:
    """What a model with a head gives."""

    logits: Tensor
    """[R, N, V], or [R, labels] of a scorer."""


def fits(config: Any) -> bool:
    """Whether a configuration is a plain Llama's."""
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type == "llama"
        and rope.get("rope_type") == "default"
        and config.hidden_act == "silu"
        and not config.attention_dropout
        and getattr(config, "pretraining_tp", 1) == 1
        and getattr(config, "quantization_config", None) is None
    )


class LlamaRMSNorm(nn.Module):
    """Root mean square norm (Zhang and Sennrich 2019)."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.variance_epsilon = epsilon

    def forward(self, state: Tensor) -> Tensor:
        return normed(self, state)


class LlamaRotaryEmbedding(nn.Module):
    """Rotary positions (Su et al. 2021)."""

    inv_freq: Tensor

    def __init__(self, config: Any) -> None:
        super().__init__()
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        places = torch.arange(0, size, 2, dtype=torch.float, device="cpu")
        turns = 1.0 / (config.rope_parameters["rope_theta"] ** (places / size))
        self.register_buffer("inv_freq", turns, persistent=False)

    @torch.no_grad()
    def forward(self, like: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [R, N, d] at positions [R, N], in the precision of `like`."""
        angle = position_ids[..., None].float() * self.inv_freq.to(device=like.device, dtype=torch.float)
        both = torch.cat((angle, angle), -1)
        return both.cos().to(like.dtype), both.sin().to(like.dtype)


class LlamaMLP(nn.Module):
    """The gated layer (Shazeer 2020)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)
        self.act_fn = nn.SiLU()

    def forward(self, state: Tensor) -> Tensor:
        made: Tensor = self.down_proj(self.act_fn(self.gate_proj(state)) * self.up_proj(state))
        return made


class LlamaAttention(nn.Module):
    """Attention with grouped queries."""

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.layer_idx = layer_idx
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        width, bias = config.hidden_size, config.attention_bias
        asked, known = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(width, asked, bias=bias)
        self.k_proj = nn.Linear(width, known, bias=bias)
        self.v_proj = nn.Linear(width, known, bias=bias)
        self.o_proj = nn.Linear(asked, width, bias=bias)

    def forward(self, state: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, layout: Layout | None) -> Tensor:
        """state [R, N, D]; turn: cos and sin [R, N, 1, d]; mask: added, None for causal; layout: who sees whom."""
        query, key, value = (
            part(state).view(*state.shape[:-1], -1, self.head_dim) for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        query, key, value = (t.transpose(1, 2) for t in (turned(query, *turn), turned(key, *turn), value))
        if layout is not None:
            found = layout.attend(query, key, value, Rule(self.layer_idx, self.scaling))
        else:
            found = attended(query, key, value, mask, self.scaling, None).transpose(1, 2)
        made: Tensor = self.o_proj(found.reshape(*state.shape[:-1], -1))
        return made


class LlamaDecoderLayer(nn.Module):
    """One layer."""

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = LlamaAttention(config, layer_idx)
        self.mlp = LlamaMLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, state: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None, layout: Layout | None) -> Tensor:
        state = state + self.self_attn(self.input_layernorm(state), turn, mask, layout)
        made: Tensor = state + self.mlp(self.post_attention_layernorm(state))
        return made


class LlamaModel(nn.Module):
    """The trunk."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = table(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(LlamaDecoderLayer(config, at) for at in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = LlamaRotaryEmbedding(config)

    def get_input_embeddings(self) -> nn.Embedding:
        """The word table."""
        return self.embed_tokens

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        layout: Layout | None = None,
        use_cache: bool = False,
    ) -> States:
        """ids [R, N]; attention_mask [R, N]: which are no padding (asked for nothing where a layout is given)."""
        length = input_ids.shape[1]
        place = torch.arange(length, device=input_ids.device)[None] if position_ids is None else position_ids
        state: Tensor = self.embed_tokens(input_ids)
        cos, sin = (t[:, :, None] for t in self.rotary_emb(state, position_ids=place))
        mask = None
        if layout is None and attention_mask is not None:
            past = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()
            mask = additive(past & attention_mask.bool()[:, None, None], state.dtype)
        for layer in self.layers:
            state = layer(state, (cos, sin), mask, layout)
        return States(self.norm(state))


class LlamaForCausalLM(nn.Module):
    """A trunk and an output layer over tokens."""

    base_model_prefix = "model"

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.tied = bool(config.tie_word_embeddings)
        self.generation = ""
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie()

    @property
    def base_model(self) -> LlamaModel:
        """The trunk."""
        return self.model

    def tie(self) -> None:
        """One table for reading and writing, where the configuration says so."""
        if self.tied:
            self.lm_head.weight = self.model.embed_tokens.weight

    def get_input_embeddings(self) -> nn.Embedding:
        """The word table."""
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Linear:
        """The output layer."""
        return self.lm_head

    def forward(self, input_ids: Tensor, **rest: Any) -> Said:
        return Said(self.lm_head(self.model(input_ids, **rest).last_hidden_state))

    def save_pretrained(self, folder: str | Path) -> None:
        """As transformers would."""
        write(self, folder)


class LlamaForSequenceClassification(nn.Module):
    """A trunk and a layer that gives its last state one number."""

    base_model_prefix = "model"
    tied = False

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.model = LlamaModel(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)

    @property
    def base_model(self) -> LlamaModel:
        """The trunk."""
        return self.model

    def tie(self) -> None:
        """Nothing is."""

    def get_input_embeddings(self) -> nn.Embedding:
        """The word table."""
        return self.model.embed_tokens

    def get_output_embeddings(self) -> None:
        """There is none."""

    def forward(self, input_ids: Tensor, **rest: Any) -> Said:
        """The score stands at the last token that is no padding."""
        logits = self.score(self.model(input_ids, **rest).last_hidden_state)
        pad = self.config.pad_token_id
        real = torch.ones_like(input_ids) if pad is None else (input_ids != pad).long()
        last = (torch.arange(input_ids.shape[1], device=input_ids.device) * real).argmax(-1)
        return Said(logits[torch.arange(len(input_ids), device=input_ids.device), last])

    def save_pretrained(self, folder: str | Path) -> None:
        """As transformers would."""
        write(self, folder)
