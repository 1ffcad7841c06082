"""Adapters where a tokenizer has no pad but its end, as GPT-2 and Llama: the word table grows, and comes back."""

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from accord.config import SettingsError
from accord.worlds.text.models import LoraSettings, ModelSettings, language_model, parts, save, scorer_model
from accord.worlds.text.tokenizer import open_tokenizer

IDS = torch.tensor([[1, 5, 40, 50, 60, 9, 2], [1, 80, 81, 2, 0, 0, 0]])
REAL = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
SIZES = {"width": 32, "layers": 2, "heads": 4, "context": 64}


@pytest.fixture(params=["llama", "gpt2"])
def grown(request, tmp_path):
    """A folder whose tokenizer has no pad but its end, and that tokenizer as it is opened: with one entry more."""
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    engine.train_from_iterator([], trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=["<end>"]))
    words = PreTrainedTokenizerFast(tokenizer_object=engine, eos_token="<end>", pad_token="<end>")
    save(language_model(ModelSettings(family=request.param, **SIZES), words, seed=3), words, tmp_path / "m")
    opened = open_tokenizer(tmp_path / "m")
    assert opened.pad_token_id == len(words) == len(opened) - 1
    return tmp_path, opened


def learned(model):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_()
    return model


def test_an_adapter_on_a_grown_table_opens_here_and_in_peft(grown):
    folder, words = grown
    made = learned(language_model(ModelSettings(name=str(folder / "m"), lora=LoraSettings(rank=2)), words, seed=4))
    save(made, words, folder / "a")
    ids = torch.cat([IDS, torch.full((2, 1), words.pad_token_id)], dim=1)
    with torch.no_grad():
        now = made(ids).logits
        assert now.shape[-1] == len(words)
        torch.testing.assert_close(language_model(ModelSettings(name=str(folder / "a")), words)(ids).logits, now)
        torch.testing.assert_close(AutoPeftModelForCausalLM.from_pretrained(folder / "a").eval()(ids).logits, now)
        scorer = scorer_model(ModelSettings(name=str(folder / "a")), words, seed=1)
        state = made.get_base_model().base_model(ids).last_hidden_state
        torch.testing.assert_close(parts(scorer)[0](ids).last_hidden_state, state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
def test_a_scorer_on_a_grown_table_comes_back(grown, lora):
    folder, words = grown
    made = learned(scorer_model(ModelSettings(name=str(folder / "m"), lora=lora), words, seed=4))
    save(made, words, folder / "s")
    again = scorer_model(ModelSettings(name=str(folder / "s")), words)
    assert made.config.pad_token_id == again.config.pad_token_id == words.pad_token_id
    with torch.no_grad():
        scores = made(IDS, attention_mask=REAL).logits
        torch.testing.assert_close(again(IDS, attention_mask=REAL).logits, scores)
        if lora is None:
            plain = AutoModelForSequenceClassification.from_pretrained(folder / "s").eval()
            torch.testing.assert_close(plain(IDS, attention_mask=REAL).logits, scores)


@pytest.mark.parametrize("family", ["bert", "modernbert", "deberta-v2"])
def test_an_encoder_is_not_taken_for_a_model_that_writes(family, tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    AutoModel.from_config(AutoConfig.for_model(family, vocab_size=50400, **sizes)).save_pretrained(tmp_path / "e")
    with pytest.raises(SettingsError, match=rf"is an encoder \({family}\) and writes no answers"):
        language_model(ModelSettings(name=str(tmp_path / "e")), None)
