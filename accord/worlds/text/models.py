"""Models: any causal language model or scorer, new, pretrained or adapted; the door to transformers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from accord.config import SettingsError
from accord.worlds.text import adapters
from accord.worlds.text.adapters import base_of, has_adapter, is_adapter
from accord.worlds.text.architecture import (
    PRECISION,
    LoraSettings,
    ModelSettings,
    compiled,
    is_encoder,
    located,
    new_config,
    saved_config,
)
from accord.worlds.text.folder import HEAD, digest, normaliser, note, noted, quiet, save, whole, with_normaliser
from accord.worlds.text.opening import opened

__all__ = [
    "LoraSettings",
    "MeanScorer",
    "ModelSettings",
    "digest",
    "is_encoder",
    "language_model",
    "located",
    "normaliser",
    "note",
    "noted",
    "parts",
    "reference",
    "save",
    "scale",
    "scorer_model",
    "whole",
    "with_normaliser",
    "with_reference",
]


def language_model(settings: ModelSettings, tokenizer: Any, seed: int = 0) -> nn.Module:
    """A causal language model (AutoModelForCausalLM, or PEFT around one), in eval mode.

    A folder may hold a whole model or an adapter. What has to be initialised is drawn from `seed`. The word table
    grows when the tokenizer has more entries than the model. Raises SettingsError for measures that cannot be built.
    """
    settings = _here(settings)
    with _seeded(seed):
        if settings.name is None:
            config = new_config(settings, tokenizer)
            model: Any = cast(Any, AutoModelForCausalLM).from_config(config, dtype=PRECISION[settings.dtype])
        elif is_adapter(settings.name):
            return _finished(_adapted(settings, tokenizer), settings)
        else:
            config = saved_config(settings)
            if is_encoder(config):
                kind = f"{settings.name} is an encoder ({config.model_type})"
                raise SettingsError(f"{kind} and writes no answers; name a decoder, and it as reward_backbone")
            model, _ = opened(AutoModelForCausalLM, settings.name, _opening(settings, config))
        _fit(model, tokenizer)
        if settings.lora is not None:
            model = _with_lora(model, settings, "CAUSAL_LM", None)
    return _finished(model, settings)


def scorer_model(settings: ModelSettings, tokenizer: Any, seed: int = 0, fresh_head: bool = False) -> nn.Module:
    """A model that gives a text one number (AutoModelForSequenceClassification, `num_labels` = 1), in eval mode.

    From a causal language model the trunk is taken over and the head starts at N(0, 1/sqrt(width + 1)) drawn from
    `seed` (Stiennon et al. 2020; Huang et al. 2024). `fresh_head` draws a new head although the folder has
    one. An encoder keeps its own pooling, or gets the mean over all tokens with `pooling="mean"`.
    """
    settings = _here(settings)
    with _seeded(seed):
        config = new_config(settings, tokenizer) if settings.name is None else saved_config(settings)
        config.num_labels = 1
        _pads(config, tokenizer.pad_token_id)
        model, missing = _scorer(settings, config, tokenizer)
        _fit(model, tokenizer)
        _pads(cast(Any, model).config, tokenizer.pad_token_id)
        if missing or fresh_head:
            head = parts(model)[1]
            torch.manual_seed(seed)  # again, so that the head is the same whatever was drawn before it
            nn.init.normal_(head.weight, std=1 / math.sqrt(head.in_features + 1))
            if head.bias is not None:
                nn.init.zeros_(head.bias)
            note(model, normaliser=None)
        if settings.lora is not None:
            model = _with_lora(model, settings, "SEQ_CLS", ["score", "classifier"])
    return _finished(model, settings)


class MeanScorer(nn.Module):
    """An encoder whose text vector is the mean over its real tokens, with one linear head.

    Saved as the plain encoder in the Hugging Face layout (AutoModel opens it) with the head in `head.safetensors`
    beside it and `pooling: mean` in config.json.
    """

    def __init__(self, trunk: Any) -> None:
        super().__init__()
        self.trunk = trunk
        self.classifier = nn.Linear(trunk.config.hidden_size, 1, dtype=trunk.dtype)

    @property
    def config(self) -> Any:
        """The encoder's configuration."""
        return self.trunk.config

    @property
    def base_model(self) -> Any:
        """The encoder, by the name that transformers gives it."""
        return self.trunk

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **rest: Any) -> Any:
        """Logits [B, 1] like every model for sequence classification."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        hidden = self.trunk(input_ids=input_ids, attention_mask=mask, **rest).last_hidden_state
        return transformers.modeling_outputs.SequenceClassifierOutput(logits=self.classifier(self.pooled(hidden, mask)))

    @staticmethod
    def pooled(hidden: Tensor, mask: Tensor) -> Tensor:
        """[B, D] mean of hidden [B, T, D] where mask [B, T] is true."""
        share = mask.to(hidden.dtype)[..., None]
        return (hidden * share).sum(1) / share.sum(1).clamp(min=1)

    def gradient_checkpointing_enable(self, *args: Any, **options: Any) -> None:
        """As in transformers."""
        self.trunk.gradient_checkpointing_enable(*args, **options)


@torch.no_grad()
def scale(model: nn.Module, gain: float) -> None:
    """Multiply the head of a scorer, and with it the spread of its scores."""
    head = parts(model)[1]
    head.weight.mul_(gain)
    if head.bias is not None:
        head.bias.mul_(gain)


def parts(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The trunk that makes hidden states and the last linear layer of a scorer or of a language model.

    With adapters in place both are still the ones that act in the forward pass.
    """
    plain = adapters.without(model)
    trunk = plain.trunk if isinstance(plain, MeanScorer) else getattr(plain, plain.base_model_prefix)
    for name in ("score", "classifier"):
        if isinstance(head := getattr(plain, name, None), nn.Module):
            return trunk, cast(nn.Linear, head)
    return trunk, plain.get_output_embeddings()


@contextlib.contextmanager
def reference(model: nn.Module) -> Iterator[nn.Module]:
    """The model as it was before its adapter: switched off, not copied. Raises ValueError when there is no adapter."""
    if not has_adapter(model):
        raise ValueError("only a model with an adapter holds its own reference; load a second copy otherwise")
    with cast(Any, model).disable_adapter():
        yield model


def with_reference(model: nn.Module, folder: str | Path) -> bool:
    """Whether the model of a folder can be had from this one without a copy of its weights.

    It can when that is what this model's adapter stands on (then the adapter is switched off), or another adapter on
    the same base (then it is loaded beside, frozen, under the name "reference"). See Policy.reference.
    """
    if not has_adapter(model):
        return False
    wrapped: Any = model
    base = str(wrapped.peft_config["default"].base_model_name_or_path)
    if _same(base, str(folder)):
        return True
    if not is_adapter(str(folder)) or not _same(base, base_of(str(folder))):
        return False
    with quiet():
        wrapped.load_adapter(str(folder), "reference", is_trainable=False)
        wrapped.set_adapter("default")
    return True


def _here(settings: ModelSettings) -> ModelSettings:
    """The same settings with a package's name turned into its folder."""
    return settings if settings.name is None else settings.model_copy(update={"name": located(settings.name)})


def _same(one: str, other: str) -> bool:
    """Whether two names lead to one model."""
    return one == other or Path(one).resolve() == Path(other).resolve()


def _opening(settings: ModelSettings, config: Any) -> dict[str, Any]:
    """What every `from_pretrained` is told."""
    opening = {"config": config, "dtype": PRECISION[settings.dtype]}
    return opening if settings.attention == "auto" else {**opening, "attn_implementation": settings.attention}


def _scorer(settings: ModelSettings, config: Any, tokenizer: Any) -> tuple[nn.Module, bool]:
    """The scorer and whether its head has to be drawn."""
    opening = _opening(settings, config)
    mean = is_encoder(config) and settings.pooling == "mean"
    if mean or noted(config).get("pooling") == "mean":
        if hasattr(config, "classifier_pooling"):
            config.classifier_pooling = "mean"
        else:
            return _mean_scorer(settings, opening)
    if settings.name is None:
        return cast(Any, AutoModelForSequenceClassification).from_config(config, dtype=opening["dtype"]), True
    if is_adapter(settings.name):
        whole = _adapted(settings.model_copy(update={"lora": None}), tokenizer)
        if adapters.task_of(settings.name) == "SEQ_CLS":
            return whole, False
        model = cast(Any, AutoModelForSequenceClassification).from_config(config, dtype=opening["dtype"])
        _fit(model, tokenizer)
        parts(model)[0].load_state_dict(parts(whole.merge_and_unload())[0].state_dict())
        return model, True
    model, missing = opened(AutoModelForSequenceClassification, settings.name, opening, head=True)
    head = {f"{n}.weight" for n in ("score", "classifier")}
    return model, bool(head & missing)


def _mean_scorer(settings: ModelSettings, opening: dict[str, Any]) -> tuple[nn.Module, bool]:
    """An encoder with mean pooling, and whether its head has to be drawn."""
    assert settings.name is not None
    model = MeanScorer(opened(AutoModel, settings.name, opening, head=True)[0])
    note(model, pooling="mean")
    head = Path(settings.name) / HEAD
    if head.is_file():
        from safetensors.torch import load_file

        model.classifier.load_state_dict(load_file(head))
    return model, not head.is_file()


def _fit(model: nn.Module, tokenizer: Any) -> None:
    """Give every entry of the tokenizer a row in the word table."""
    trunk: Any = parts(model)[0]
    rows = trunk.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        whole: Any = trunk if isinstance(model, MeanScorer) else model
        whole.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        note(model, grown=True)
    elif noted(model).get("grown"):
        note(model, grown=False)


def _pads(config: Any, pad: int | None) -> None:
    """Say which token is no text, as soon as the word table has a row for it: no model is built with one beyond."""
    text = config.get_text_config()
    text.pad_token_id = config.pad_token_id = pad if pad is not None and pad < text.vocab_size else None


def _adapted(settings: ModelSettings, tokenizer: Any) -> Any:
    """A saved adapter on its base, whose word table grows first as it grew when the adapter was made."""
    assert settings.name is not None
    scores = adapters.task_of(settings.name) == "SEQ_CLS"
    config = saved_config(settings)
    kind: Any = AutoModelForCausalLM
    if scores:
        kind = AutoModelForSequenceClassification
        config.num_labels = 1
        told = noted(settings.name)
        _pads(config, told.get("pad", config.get_text_config().pad_token_id))
        config.accord = told
    base, _ = opened(kind, base_of(settings.name), _opening(settings, config), head=scores)
    _fit(base, tokenizer)
    if scores:
        _pads(base.config, told.get("pad", tokenizer.pad_token_id))
    return adapters.saved(base, settings.name)


def _with_lora(model: nn.Module, settings: ModelSettings, task: str, heads: list[str] | None) -> Any:
    """The model with fresh adapters; the head of a scorer is trained and saved whole."""
    assert settings.lora is not None
    chosen = settings.lora
    heads = [name for name in heads or () if hasattr(model, name)] or None
    if isinstance(model, MeanScorer):
        raise SettingsError("lora with mean pooling is not offered for this family; use pooling='own' or no lora")
    return adapters.fresh(
        model,
        r=chosen.rank,
        lora_alpha=chosen.alpha,
        lora_dropout=chosen.dropout,
        target_modules=list(chosen.targets) or "all-linear",
        modules_to_save=heads,
        task_type=task,
        fan_in_fan_out=any(isinstance(part, transformers.pytorch_utils.Conv1D) for part in model.modules()),
        base_model_name_or_path=settings.name,
    )


def _finished(model: nn.Module, settings: ModelSettings) -> nn.Module:
    """Eval mode, and checkpointing and compiled layers where asked."""
    if settings.checkpointing:
        cast(Any, model).gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if has_adapter(model):
            cast(Any, model).enable_input_require_grads()
    return compiled(model, settings.compile).eval()


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initial weights depend on the seed alone and leave the run's own randomness as it was."""
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
