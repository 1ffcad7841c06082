"""Architectures: the settings of a model, and the configuration that transformers builds it from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS

from accord.config import Settings, SettingsError
from accord.run.online import asking_the_hub
from accord.worlds.text.adapters import base_of, is_adapter
from accord.worlds.text.attention import keep_the_compiler_out

Family = Literal["llama", "qwen3", "gemma3_text", "gpt2", "gpt_neox"]
PACKAGE = "package:"
PRECISION = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class LoraSettings(Settings):
    """Low-rank adapters (Hu et al. 2021): the base stays as it is and small matrices beside it learn."""

    rank: int = Field(8, ge=1)
    """Width of the added matrices. Higher learns more and costs more."""
    alpha: float = Field(16.0, gt=0)
    """The added product is multiplied by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the way into the adapter; leave at 0 for anything that compares log-probabilities."""
    targets: tuple[str, ...] = ()
    """Names of the linear layers that get an adapter; empty for all of them but the head."""


class ModelSettings(Settings):
    """Which model: an existing one by `name`, or a new one by its measures."""

    name: str | None = None
    """Folder, hub name, or `package:NAME` for the weights that an installed Python package ships; empty for a new
    model of the measures below."""
    family: Family = "llama"
    """Architecture of a new model."""
    width: int = Field(128, ge=2)
    """Numbers per token in a new model."""
    layers: int = Field(4, ge=1)
    """Blocks of a new model."""
    heads: int = Field(4, ge=1)
    """Attention heads of a new model; must divide `width`."""
    kv_heads: int | None = None
    """Heads that hold keys and values (fewer than `heads` saves memory); empty for as many as heads."""
    inner: int | None = None
    """Width inside the feed-forward part of a new model; empty for 4 times the width (llama-like: 8/3)."""
    context: int = Field(512, ge=2)
    """Longest text in tokens that a new model can read."""
    tie: bool = True
    """Whether a new model reads and writes words with one table."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights. bfloat16 halves the memory and is less exact."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, far less memory."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout in the layers while the model learns, but not on attention weights (the packed pass has none). Anything
    above 0 makes two looks at one action differ."""
    pooling: Literal["own", "mean"] = "own"
    """How an encoder makes one vector of a text: its own classification head ([CLS] in most), or the mean of all."""
    lora: LoraSettings | None = None
    """Adapters instead of full fine-tuning; needs a `name`."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """Which attention transformers starts with; `auto` for the best that the family has."""
    compile: bool = False
    """Let torch compile the layers at their first use, for rows of any length: that costs ten seconds and more, and
    gains a few hundredths of the time after it (docs/pass.md). Needs a compiler of C++."""


def located(name: str) -> str:
    """Where a model is: `package:NAME` becomes the folder in that package, any other name stays as it is.

    The package is looked up and not run. Raises SettingsError when it is not installed or holds no model, and for a
    folder that is not there.
    """
    package = name.removeprefix(PACKAGE)
    if package == name:
        if name.startswith((".", "/", "~")) and not Path(name).is_dir():
            raise SettingsError(f"{name}: there is no such folder, and no model of the hub is called so")
        return name
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or found.origin is None:
        raise SettingsError(
            f"{name}: no package {package!r} is installed here; "
            f"pip install {package.replace('_', '-')}, or name a folder with a model"
        )
    inside = sorted(Path(found.origin).parent.rglob("config.json"), key=lambda path: (len(path.parts), path))
    if not inside:
        raise SettingsError(f"{name}: the package in {Path(found.origin).parent} holds no config.json, so no model")
    return str(inside[0].parent)


def compiled(model: nn.Module, wanted: bool) -> nn.Module:
    """The model, where wanted with each layer compiled at its first use; names and weights stay as they are."""
    if not wanted:
        return model
    keep_the_compiler_out()
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList) and len(part)]
    for layer in max(lists, key=lambda part: sum(weight.numel() for weight in part.parameters()), default=[]):
        layer.compile(dynamic=True)
    return model


def is_encoder(config: Any) -> bool:
    """Whether a configuration belongs to a two-sided encoder (BERT, ModernBERT, DeBERTa) and not to a decoder."""
    return config.model_type in ENCODERS and not getattr(config, "is_decoder", False)


def new_config(settings: ModelSettings, tokenizer: Any) -> Any:
    """Configuration of a new model from its measures."""
    if settings.lora is not None:
        raise SettingsError("lora needs a `name`: an adapter belongs to a saved model; save the new model first")
    if settings.width % settings.heads or (settings.width // settings.heads) % 2:
        raise SettingsError(
            f"width={settings.width} over heads={settings.heads} must give an even whole number per head; "
            f"try width={2 * settings.heads * max(1, round(settings.width / settings.heads / 2))}"
        )
    kv = settings.kv_heads or settings.heads
    if settings.heads % kv:
        raise SettingsError(f"kv_heads={kv} does not divide heads={settings.heads}")
    inner = settings.inner or (8 * settings.width // 3 + 7) // 8 * 8
    shared: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": settings.tie,
    }
    if settings.family == "gpt2":
        measures = {
            "n_embd": settings.width,
            "n_layer": settings.layers,
            "n_head": settings.heads,
            "n_inner": settings.inner,
            "n_positions": settings.context,
        }
    else:
        measures = {
            "hidden_size": settings.width,
            "num_hidden_layers": settings.layers,
            "num_attention_heads": settings.heads,
            "intermediate_size": settings.inner or (4 * settings.width if settings.family == "gpt_neox" else inner),
            "max_position_embeddings": settings.context,
        }
        if settings.family != "gpt_neox":
            measures |= {"num_key_value_heads": kv, "head_dim": settings.width // settings.heads}
    config = AutoConfig.for_model(settings.family, **shared, **measures)
    return _without_dropout(config, settings.dropout)


def saved_config(settings: ModelSettings) -> Any:
    """Configuration in a folder, with our dropout in place of its own."""
    assert settings.name is not None
    name = base_of(settings.name) if is_adapter(settings.name) else settings.name
    with asking_the_hub(name):
        found = AutoConfig.from_pretrained(name)
    return _without_dropout(found, settings.dropout)


def _without_dropout(config: Any, rate: float) -> Any:
    """Every dropout of a configuration set to one rate, whatever the family calls it."""
    text = config.get_text_config()
    for name in list(vars(text)):
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(getattr(text, name), (int, float)):
            setattr(text, name, rate)
    return config
