"""Configurations of our own modules: what transformers wrote into config.json, read and written as it does.

Its own classes for them import the code of models, and with it 100 MB of other libraries.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers

from accord.run import ranks
from accord.run.online import asking_the_hub
from accord.worlds.text.adapters import is_adapter

NEEDED = {
    "llama": {
        "attention_bias", "attention_dropout", "head_dim", "hidden_act", "hidden_size", "initializer_range",
        "intermediate_size", "max_position_embeddings", "mlp_bias", "num_attention_heads", "num_hidden_layers",
        "num_key_value_heads", "pad_token_id", "pretraining_tp", "rms_norm_eps", "rope_parameters",
        "tie_word_embeddings", "vocab_size",
    },
    "bert": {
        "add_cross_attention", "attention_probs_dropout_prob", "classifier_dropout", "hidden_act",
        "hidden_dropout_prob", "hidden_size", "initializer_range", "intermediate_size", "is_decoder",
        "layer_norm_eps", "max_position_embeddings", "num_attention_heads", "num_hidden_layers", "pad_token_id",
        "type_vocab_size", "vocab_size",
    },
}  # fmt: skip
"""What the file of a family always holds when transformers of this version wrote it."""
ODD = ("auto_map", "quantization_config", "torch_dtype", "rope_theta", "rope_scaling", "num_labels", "text_config")
"""What transformers would read in a way of its own."""
LEFT_OUT: dict[str, Any] = {
    "architectures": None, "chunk_size_feed_forward": 0, "is_encoder_decoder": False, "output_attentions": False,
    "output_hidden_states": False, "problem_type": None, "return_dict": True,
}  # fmt: skip
"""What every configuration has and no file tells where it stands as it is here."""


class Config:
    """The values of a config.json as attributes."""

    _attn_implementation = "accord"

    def __init__(self, values: dict[str, Any], folder: Path) -> None:
        self._folder = folder
        self._changed: dict[str, Any] = {}
        self.__dict__.update({**LEFT_OUT, **values})

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            self._changed[name] = value
        if name == "num_labels":
            labels = {number: f"LABEL_{number}" for number in range(value)}
            self.__dict__.update(id2label=labels, label2id={label: n for n, label in labels.items()})
            return
        self.__dict__[name] = value

    @property
    def num_labels(self) -> int:
        """How many numbers a model for scoring gives."""
        return len(self.__dict__.get("id2label", "01"))

    def get_text_config(self) -> Config:
        """These models read nothing but text."""
        return self

    def theirs(self) -> Any:
        """The same as transformers reads it, with what was changed since."""
        with asking_the_hub(str(self._folder)):
            found = transformers.AutoConfig.from_pretrained(self._folder)
        for name, value in self._changed.items():
            setattr(found, name, value)
        return found

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json as transformers would."""
        values = {n: v for n, v in vars(self).items() if not n.startswith("_")}
        told = {n: v for n, v in values.items() if n not in LEFT_OUT or v != LEFT_OUT[n]}
        text = json.dumps({**told, "transformers_version": transformers.__version__}, indent=2, sort_keys=True)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def read(settings: Any) -> Config | None:
    """The configuration of a folder, if its model could be one of ours as these settings want it; None for the others.

    Nothing is said of what is wrong with it: transformers will.
    """
    folder = Path(str(settings.name))
    plain = (
        settings.lora is None
        and not (settings.checkpointing or settings.compile)
        and settings.dtype == "float32"
        and settings.attention == "auto"
        and settings.pooling == "own"
        and folder.is_dir()
        and not is_adapter(str(folder))
        and not torch.cuda.is_available()
        and ranks.count() == 1
    )
    if not plain:
        return None
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    known = isinstance(values, dict) and isinstance(values.get("model_type"), str)
    needed = NEEDED.get(values["model_type"]) if known else None
    fits = (
        needed is not None
        and values.get("transformers_version") == transformers.__version__
        and needed <= values.keys()
        and not values.keys() & set(ODD)
        and (values.get("accord") or {}).get("pooling") != "mean"
    )
    return Config(values, folder) if fits else None
