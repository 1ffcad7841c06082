"""Model folders that are broken are refused in plain words, before anything is learned from them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from accord.config import SettingsError
from accord.worlds.text.models import ModelSettings, language_model, save, scorer_model
from accord.worlds.text.tokenizer import open_tokenizer

from .made import tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tokenizer()
    plain = language_model(ModelSettings(width=16, layers=1, heads=2, context=32), made)
    return save(plain, made, tmp_path / "m")


def _changed(folder: Path, change) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


@pytest.mark.parametrize("make", [language_model, scorer_model])
def test_weights_that_are_no_numbers_are_told_with_their_place(folder, make):
    def spoil(weights):
        next(value for name, value in weights.items() if "down_proj" in name)[0, 0] = float("nan")

    _changed(folder, spoil)
    with pytest.raises(SettingsError, match=r"no numbers \(1 in .*down_proj"):
        make(ModelSettings(name=str(folder)), tokenizer())


@pytest.mark.parametrize("make", [language_model, scorer_model])
def test_weights_that_are_missing_are_not_drawn_at_random(folder, make):
    _changed(folder, lambda weights: weights.pop(next(name for name in weights if "down_proj" in name)))
    with pytest.raises(SettingsError, match=r"lack 1 of its weights \(.*down_proj"):
        make(ModelSettings(name=str(folder)), tokenizer())


def test_a_file_that_was_cut_is_told(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(SettingsError, match="cannot be opened"):
        language_model(ModelSettings(name=str(folder)), tokenizer())


def test_a_model_of_another_kind_is_told(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(SettingsError, match="cannot be opened"):
        language_model(ModelSettings(name=str(folder)), tokenizer())


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3"])
def test_a_folder_without_a_tokenizer_is_told(family, tmp_path):
    """transformers would make an empty one, by which every text is nothing."""
    measures = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    measures = {"n_embd": 16, "n_layer": 1, "n_head": 2} if family == "gpt2" else measures
    config = AutoConfig.for_model(family, vocab_size=300, **measures)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match="brings no tokenizer"):
        open_tokenizer(tmp_path)
