"""Adapters: small matrices beside a frozen model; the one door to PEFT, which is needed for nothing else."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from torch import nn

from accord.config import SettingsError

CONFIG = "adapter_config.json"


def is_adapter(name: str) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (Path(name) / CONFIG).is_file()


def base_of(name: str) -> str:
    """Name of the model that an adapter stands on: a folder beside it when the recorded place is not there any more."""
    base = str(_told(name).get("base_model_name_or_path"))
    beside = Path(name).parent / Path(base).name
    return str(beside) if not Path(base).exists() and beside.is_dir() else base


def task_of(name: str) -> str | None:
    """What an adapter's model is for, in PEFT's words: CAUSAL_LM, SEQ_CLS, ..."""
    return _told(name).get("task_type")


def has_adapter(model: Any) -> bool:
    """Whether a model stands in PEFT's wrapping. Without PEFT in this process none does."""
    peft: Any = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def without(model: nn.Module) -> Any:
    """The model inside PEFT's wrapping, its adapters still at work; any other model as it is."""
    return model.get_base_model() if has_adapter(model) else model  # type: ignore[operator]


def saved(base: nn.Module, folder: str) -> Any:
    """The adapter of a folder on its base, ready to learn on. Raises SettingsError without PEFT."""
    return _peft(folder).PeftModel.from_pretrained(base, folder, is_trainable=True)


def fresh(model: nn.Module, **options: Any) -> Any:
    """The model with a new adapter; options are those of PEFT's LoraConfig. Raises SettingsError without PEFT."""
    peft = _peft("lora")
    return peft.get_peft_model(model, peft.LoraConfig(**options))


def _peft(asked: str) -> Any:
    """PEFT itself, on first need."""
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise SettingsError(
            f"{asked}: adapters need the package `peft`, which is not installed; pip install 'accord[lora]', "
            "or train the whole model (leave `lora` out)"
        ) from error


def _told(name: str) -> dict[str, Any]:
    """What PEFT wrote beside an adapter."""
    try:
        return dict(json.loads((Path(name) / CONFIG).read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise SettingsError(
            f"{Path(name) / CONFIG}: not the settings of an adapter ({error}); save it again"
        ) from error
