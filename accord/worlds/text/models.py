"""Models: any causal language model or scorer, new, pretrained or adapted; the door to transformers and PEFT."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import torch
import transformers
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from pydantic import Field
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS

from accord.config import Settings, SettingsError
from accord.worlds.text.folder import HEAD, digest, normaliser, note, noted, quiet, save, with_normaliser

__all__ = [
    "LoraSettings",
    "MeanScorer",
    "ModelSettings",
    "digest",
    "is_encoder",
    "language_model",
    "normaliser",
    "note",
    "noted",
    "parts",
    "reference",
    "save",
    "scorer_model",
    "with_normaliser",
]

Family = Literal["llama", "qwen3", "gemma3_text", "gpt2", "gpt_neox"]
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
    """Folder or hub name; empty for a new model of the measures below."""
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
    """Dropout everywhere in the model. Anything above 0 makes two looks at one action differ."""
    pooling: Literal["own", "mean"] = "own"
    """How an encoder makes one vector of a text: its own classification head ([CLS] in most), or the mean of all."""
    lora: LoraSettings | None = None
    """Adapters instead of full fine-tuning; needs a `name`."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """Which attention transformers starts with; `auto` for the best that the family has."""


def is_encoder(config: Any) -> bool:
    """Whether a configuration belongs to a two-sided encoder (BERT, ModernBERT, DeBERTa) and not to a decoder."""
    return config.model_type in ENCODERS and not getattr(config, "is_decoder", False)


def language_model(settings: ModelSettings, tokenizer: Any, seed: int = 0) -> nn.Module:
    """A causal language model (AutoModelForCausalLM, or PEFT around one), in eval mode.

    A folder may hold a whole model or an adapter. What has to be initialised is drawn from `seed`. The word table
    grows when the tokenizer has more entries than the model. Raises SettingsError for measures that cannot be built.
    """
    with _seeded(seed):
        if settings.name is None:
            config = _new_config(settings, tokenizer)
            model: Any = cast(Any, AutoModelForCausalLM).from_config(config, dtype=PRECISION[settings.dtype])
        elif _is_adapter(settings.name):
            return _finished(_adapted(settings), settings)
        else:
            model = AutoModelForCausalLM.from_pretrained(settings.name, **_opening(settings, _config(settings)))
        _fit(model, tokenizer)
        if settings.lora is not None:
            model = _with_lora(model, settings, "CAUSAL_LM", None)
    return _finished(model, settings)


def scorer_model(settings: ModelSettings, tokenizer: Any, seed: int = 0, fresh_head: bool = False) -> nn.Module:
    """A model that gives a text one number (AutoModelForSequenceClassification, `num_labels` = 1), in eval mode.

    From a causal language model the trunk is taken over and the head starts at N(0, 1/sqrt(width + 1)) drawn from
    `seed` (Huang et al. 2024, detail 9; Stiennon et al. 2020). `fresh_head` draws a new head although the folder has
    one. An encoder keeps its own pooling, or gets the mean over all tokens with `pooling="mean"`.
    """
    with _seeded(seed):
        config = _new_config(settings, tokenizer) if settings.name is None else _config(settings)
        config.num_labels = 1
        config.get_text_config().pad_token_id = tokenizer.pad_token_id
        config.pad_token_id = tokenizer.pad_token_id
        model, missing = _scorer(settings, config)
        _fit(model, tokenizer)
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


def parts(model: nn.Module) -> tuple[nn.Module, nn.Linear]:
    """The trunk that makes hidden states and the last linear layer of a scorer or of a language model.

    With adapters in place both are still the ones that act in the forward pass.
    """
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    trunk = plain.trunk if isinstance(plain, MeanScorer) else getattr(plain, plain.base_model_prefix)
    for name in ("score", "classifier"):
        if isinstance(head := getattr(plain, name, None), nn.Module):
            return trunk, cast(nn.Linear, head)
    return trunk, plain.get_output_embeddings()


@contextlib.contextmanager
def reference(model: nn.Module) -> Iterator[nn.Module]:
    """The model as it was before its adapter: switched off, not copied. Raises ValueError when there is no adapter."""
    if not isinstance(model, PeftModel):
        raise ValueError("only a model with an adapter holds its own reference; load a second copy otherwise")
    with model.disable_adapter():
        yield model


def _new_config(settings: ModelSettings, tokenizer: Any) -> Any:
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


def _config(settings: ModelSettings) -> Any:
    """Configuration in a folder, with our dropout in place of its own."""
    assert settings.name is not None
    name = (
        PeftConfig.from_pretrained(settings.name).base_model_name_or_path
        if _is_adapter(settings.name)
        else settings.name
    )
    return _without_dropout(AutoConfig.from_pretrained(name), settings.dropout)


def _without_dropout(config: Any, rate: float) -> Any:
    """Every dropout of a configuration set to one rate, whatever the family calls it."""
    text = config.get_text_config()
    for name in list(vars(text)):
        if ("dropout" in name or name.endswith("pdrop")) and isinstance(getattr(text, name), (int, float)):
            setattr(text, name, rate)
    return config


def _opening(settings: ModelSettings, config: Any) -> dict[str, Any]:
    """What every `from_pretrained` is told."""
    opening = {"config": config, "dtype": PRECISION[settings.dtype]}
    return opening if settings.attention == "auto" else {**opening, "attn_implementation": settings.attention}


def _scorer(settings: ModelSettings, config: Any) -> tuple[nn.Module, bool]:
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
    if _is_adapter(settings.name):
        whole = _adapted(settings.model_copy(update={"lora": None}))
        if PeftConfig.from_pretrained(settings.name).task_type == "SEQ_CLS":
            return whole, False
        model = cast(Any, AutoModelForSequenceClassification).from_config(config, dtype=opening["dtype"])
        parts(model)[0].load_state_dict(parts(whole.merge_and_unload())[0].state_dict())
        return model, True
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        settings.name, output_loading_info=True, **opening
    )
    head = {f"{n}.weight" for n in ("score", "classifier")}
    return model, bool(head & set(loading["missing_keys"]))


def _mean_scorer(settings: ModelSettings, opening: dict[str, Any]) -> tuple[nn.Module, bool]:
    """An encoder with mean pooling, and whether its head has to be drawn."""
    assert settings.name is not None
    model = MeanScorer(AutoModel.from_pretrained(settings.name, **opening))
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


def _is_adapter(name: str) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (Path(name) / "adapter_config.json").is_file()


def _adapted(settings: ModelSettings) -> PeftModel:
    """A saved adapter on its base, ready to learn on."""
    assert settings.name is not None
    adapter = PeftConfig.from_pretrained(settings.name)
    config = _config(settings)
    kind: Any = AutoModelForCausalLM
    if adapter.task_type == "SEQ_CLS":
        kind = AutoModelForSequenceClassification
        config.num_labels = 1
        told = noted(settings.name)
        config.get_text_config().pad_token_id = told.get("pad", config.get_text_config().pad_token_id)
        config.accord = told
    base = kind.from_pretrained(adapter.base_model_name_or_path, **_opening(settings, config))
    return PeftModel.from_pretrained(base, settings.name, is_trainable=True)


def _with_lora(model: nn.Module, settings: ModelSettings, task: str, heads: list[str] | None) -> PeftModel:
    """The model with fresh adapters; the head of a scorer is trained and saved whole."""
    assert settings.lora is not None
    chosen = settings.lora
    heads = [name for name in heads or () if hasattr(model, name)] or None
    config = LoraConfig(
        r=chosen.rank,
        lora_alpha=cast(int, chosen.alpha),  # PEFT takes any number
        lora_dropout=chosen.dropout,
        target_modules=list(chosen.targets) or "all-linear",
        modules_to_save=heads,
        task_type=task,
        fan_in_fan_out=any(isinstance(part, transformers.pytorch_utils.Conv1D) for part in model.modules()),
        base_model_name_or_path=settings.name,
    )
    if isinstance(model, MeanScorer):
        raise SettingsError("lora with mean pooling is not offered for this family; use pooling='own' or no lora")
    return get_peft_model(model, config)


def _finished(model: nn.Module, settings: ModelSettings) -> nn.Module:
    """Eval mode, and checkpointing where asked."""
    if settings.checkpointing:
        cast(Any, model).gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        if isinstance(model, PeftModel):
            model.enable_input_require_grads()
    return model.eval()


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initial weights depend on the seed alone and leave the run's own randomness as it was."""
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
