"""A recipe begun from a model of one's own, as transformers saves one: no books first, and its own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from accord.cli import main
from tests.flow.test_hh import small, words


def base(folder: Path) -> Path:
    """A small Llama and its byte-level tokenizer, without a template and without a pad token, as base models come."""
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    engine.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    engine.train_from_iterator(["where is the fox, there it is"] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=engine, bos_token="<s>", eos_token="</s>")
    measures = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=1, **measures)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_recipe_begins_with_a_model_of_ones_own(quick_folder: Path) -> None:
    data, project, mine = small("ultrafeedback", quick_folder), quick_folder / "p", base(quick_folder / "mine")
    given = words("ultrafeedback", data, project, "--model.name", str(mine), "--dpo.batch", "8", "--pretrain", "None")
    at = given.index("--pretrain.batch")  # naming a setting of a section that is empty would begin it
    assert main(["loop", *given[:at], *given[at + 2 :]]) == 0
    made = {folder.name for folder in (project / "versions").iterdir()}
    assert made == {"sft", "round1-reward", "round1-dpo"}
    assert json.loads((project / "versions/sft/config.json").read_text())["hidden_size"] == 16
    before, after = (
        AutoModelForCausalLM.from_pretrained(folder).get_input_embeddings().weight
        for folder in (mine, project / "versions/round1-dpo")
    )
    assert len(after) == len(before) + 1  # a pad token of its own
    drift = (after[: len(before)] - before).abs().max()
    assert 0 < drift < 0.05  # the model that was named, a few steps on, and not a new one
