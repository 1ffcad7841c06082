"""Models that need no code of transformers: a saved Llama or BERT, learned as it is on a CPU.

Its models and configurations import 120 MB of other libraries, and take two seconds for it. What is built here has the
same names, the same numbers to the bit and the same files. Everything else (new models, adapters, other families, other
precisions, a GPU, checkpointing, compiled layers, several processes, files that are not plainly such a model's or that
another version wrote) is theirs as before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from accord.worlds.text import own_bert, own_llama
from accord.worlds.text.opening import checked
from accord.worlds.text.opening import opened as theirs
from accord.worlds.text.own_config import Config
from accord.worlds.text.own_files import GENERATION, filled

HEADS = {
    "score": frozenset({"score.weight"}),
    "classifier": frozenset({"classifier.weight", "classifier.bias"}),
}
"""What a folder of a model without a head lacks, all of it together."""


def opened(kind: Any, name: str, opening: dict[str, Any], tokenizer: Any, head: bool = False) -> tuple[Any, set[str]]:
    """As `opening.opened`: the model of a folder, and the names of the weights that its files lack.

    kind: the class of transformers that opens what is not plain; head: it has one output and not one per token.
    """
    config = opening["config"]
    if not isinstance(config, Config):
        return theirs(kind, name, opening, head=head)
    own = _opened(Path(name), config, tokenizer, head)
    return theirs(kind, name, {**opening, "config": config.theirs()}, head=head) if own is None else own


def _opened(folder: Path, config: Any, tokenizer: Any, head: bool) -> tuple[Any, set[str]] | None:
    """What is plainly ours; None for the others."""
    try:
        kind = _kind(config, head)
        if kind is None or len(tokenizer) > config.vocab_size:
            return None
        with torch.device("meta"):
            model = kind(config)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, ArithmeticError, AssertionError):
        return None  # measures that cannot be built: transformers says what is wrong with them
    if not head:
        try:
            model.generation = (folder / GENERATION).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
    spare = next((names for part, names in HEADS.items() if hasattr(model, part)), frozenset[str]())
    missing = filled(model, folder, spare)
    if missing is None:
        return None
    checked(model, str(folder))
    return model, missing


def _kind(config: Any, head: bool) -> Any:
    """The class of a model; None where there is none of ours."""
    if own_llama.fits(config):
        return own_llama.LlamaForSequenceClassification if head else own_llama.LlamaForCausalLM
    return own_bert.BertForSequenceClassification if head and own_bert.fits(config) else None
