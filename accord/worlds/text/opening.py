"""Weights as they come from a folder or the hub: all of them there and all of them numbers, or a clear word."""

from __future__ import annotations

import re
from typing import Any

import torch
from safetensors import SafetensorError

from accord.config import SettingsError
from accord.run.online import asking_the_hub

OF_A_SCORER = re.compile(r"(^|\.)(score|classifier|pre_classifier|pooler|head)\.")
"""Weights that a model for scoring may lack, since they are drawn and learned with it."""


def opened(kind: Any, name: str, opening: dict[str, Any], head: bool = False) -> tuple[Any, set[str]]:
    """The model that `kind.from_pretrained` makes of a name, and the names of the weights that its files lack.

    head: whether what stands on the trunk may be missing. Raises SettingsError when the files cannot be read, belong
    to another kind of model, lack other weights (transformers would take random ones), or hold what is no number.
    """
    with asking_the_hub(name):
        try:
            model, told = kind.from_pretrained(name, output_loading_info=True, **opening)
        except (SafetensorError, ValueError, RuntimeError, KeyError, EOFError) as error:
            why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise SettingsError(f"the model {name} cannot be opened: {why}") from error
    missing = set(told["missing_keys"])
    if lost := sorted(key for key in missing if not (head and OF_A_SCORER.search(key))):
        raise SettingsError(
            f"the files of the model {name} lack {len(lost)} of its weights ({', '.join(lost[:3])}...): they would be "
            "random numbers. Save the whole model again, or name another"
        )
    checked(model, name)
    return model, missing


def checked(model: torch.nn.Module, name: str) -> None:
    """Raises SettingsError when a weight is no finite number: nothing could be learned from there."""
    for place, weight in model.named_parameters():
        if not weight.is_meta and not bool(torch.isfinite(weight).all()):
            bad = int((~torch.isfinite(weight)).sum())
            raise SettingsError(
                f"the model {name} holds weights that are no numbers ({bad} in {place}): "
                "it was broken before it was saved. Name an older one"
            )
