"""Our own modules beside those of transformers: the same names, numbers and files to the bit, and no import of them."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from made import tokenizer
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, BertModel

from accord.config import SettingsError
from accord.worlds.text import own_config
from accord.worlds.text.models import ModelSettings, language_model, save, scorer_model
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import open_tokenizer

HEAVY = ("torch._dynamo", "sympy", "scipy", "transformers.modeling_utils", "torch.distributed.tensor", "peft")
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def bert(folder: Path, headed: bool) -> Path:
    torch.manual_seed(5)
    config = BertConfig(vocab_size=len(tokenizer()), max_position_embeddings=64, num_labels=1, **BERT)
    (BertForSequenceClassification if headed else BertModel)(config).save_pretrained(folder)
    return folder


def small(**more: object) -> ModelSettings:
    return ModelSettings(**{"width": 32, "layers": 2, "heads": 2, "context": 64, **more})


def llama(folder: Path, tie: bool = True, **more: object) -> Path:
    return save(language_model(small(tie=tie, **more), tokenizer(), seed=4), tokenizer(), folder, {"kept": [1, "two"]})


def both(open_it: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch) -> tuple[nn.Module, nn.Module]:
    """The same model as ours and as theirs."""
    own = open_it()
    monkeypatch.setattr(own_config, "read", lambda settings: None)
    theirs = open_it()
    assert type(own).__module__.startswith("accord.")
    assert type(theirs).__module__.startswith("transformers.")
    return own, theirs


def same(own: nn.Module, theirs: nn.Module, folder: Path) -> None:
    """Weights by name and order, files by byte, logits, and what a packed pass learns."""
    assert [name for name, _ in own.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    mine, other = own.state_dict(), theirs.state_dict()
    assert list(mine) == list(other)
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    for name, model in (("own", own), ("theirs", theirs)):
        save(model, None, folder / name)
    files = sorted(file.name for file in (folder / "theirs").iterdir())
    assert sorted(file.name for file in (folder / "own").iterdir()) == files
    for file in files:
        assert (folder / "own" / file).read_bytes() == (folder / "theirs" / file).read_bytes(), file
    ids = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 0, 0]])
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    with torch.no_grad():
        a, b = (model(input_ids=ids, attention_mask=real).logits for model in (own, theirs))
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    learned = []
    for model in (own, theirs):
        scores, rows = hasattr(model, "score") or hasattr(model, "classifier"), tiny.drawn([(9, [4, 7]), (3, [5])])
        said = Scorer(model).score(rows) if scores else Policy(model).evaluate(rows).logprob
        said.square().sum().backward()
        learned.append([said.detach(), *(weight.grad for weight in model.parameters())])
    for one, two in zip(*learned, strict=True):
        assert (one is None and two is None) or torch.equal(one, two)


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("scores", [False, True])
def test_a_saved_llama_is_the_same_to_the_bit(tie, scores, tmp_path, monkeypatch):
    start = ModelSettings(name=str(llama(tmp_path / "m", tie, kv_heads=1)))
    model = scorer_model if scores else language_model
    same(*both(lambda: model(start, tokenizer(), seed=3), monkeypatch), tmp_path)


@pytest.mark.parametrize("headed", [True, False])
def test_a_saved_bert_is_the_same_to_the_bit(headed, tmp_path, monkeypatch):
    start = ModelSettings(name=str(bert(tmp_path / "m", headed)))
    same(*both(lambda: scorer_model(start, tokenizer(), seed=3), monkeypatch), tmp_path)


def test_how_a_model_would_sample_is_handed_on(tmp_path):
    folder = llama(tmp_path / "m")
    told = {**json.loads((folder / "generation_config.json").read_text()), "temperature": 0.25}
    (folder / "generation_config.json").write_text(json.dumps(told))
    save(language_model(ModelSettings(name=str(folder)), tokenizer()), tokenizer(), tmp_path / "n")
    assert json.loads((tmp_path / "n" / "generation_config.json").read_text()) == told


def changed(folder: Path, **values: object) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))
    return folder


@pytest.mark.parametrize(
    ("values", "settings"),
    [
        ({"transformers_version": "4.8.2"}, {}),
        ({"rope_parameters": {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}}, {}),
        ({}, {"dtype": "bfloat16"}),
        ({}, {"checkpointing": True}),
        ({}, {"dropout": 0.1}),
        ({}, {"lora": {"rank": 2}}),
        ({}, {"attention": "eager"}),
    ],
)
def test_whatever_is_not_plain_is_opened_by_transformers(values, settings, tmp_path):
    folder = changed(llama(tmp_path / "m"), **values)
    model = language_model(ModelSettings(name=str(folder), **settings), tokenizer())
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    assert type(inner).__module__.startswith("transformers.")


def test_a_word_table_that_must_grow_is_opened_by_transformers(tmp_path):
    more = copy.deepcopy(tokenizer())
    more.add_tokens(["<new>"])
    model = language_model(ModelSettings(name=str(llama(tmp_path / "m"))), more)
    assert model.get_input_embeddings().num_embeddings == len(more)


@pytest.mark.parametrize("broken", [{"hidden_size": -4}, {"num_hidden_layers": "two"}, {"num_hidden_layers": 9}])
def test_what_is_wrong_with_a_folder_is_said_as_before(broken, tmp_path, monkeypatch):
    folder = changed(llama(tmp_path / "m"), **broken)
    cut = llama(tmp_path / "n") / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:-40])
    said = []
    for _ in ("own", "theirs"):
        for place in (folder, cut.parent):
            with pytest.raises(Exception) as error:
                language_model(ModelSettings(name=str(place)), tokenizer())
            said.append((type(error.value), str(error.value)))
        monkeypatch.setattr(own_config, "read", lambda settings: None)
    assert said[:2] == said[2:]
    assert said[1][0] is SettingsError


def test_a_tokenizer_is_the_one_that_transformers_finds(tmp_path):
    for at, folder in enumerate((llama(tmp_path / "m"), tmp_path / "alone")):
        tokenizer().save_pretrained(folder)
        for name, made in (("own", open_tokenizer(folder)), ("theirs", AutoTokenizer.from_pretrained(folder))):
            made.save_pretrained(tmp_path / f"{name}{at}")
        for file in (tmp_path / f"theirs{at}").iterdir():
            assert (tmp_path / f"own{at}" / file.name).read_bytes() == file.read_bytes(), file.name


def test_to_open_learn_from_and_save_a_plain_model_imports_nothing_heavy(tmp_path):
    code = f"""
import sys, torch
from accord.run import OptimiserConfig, make_optimiser
from accord.worlds.text.models import ModelSettings, language_model, save
from accord.worlds.text.policy import Policy
from accord.worlds.text.tokenizer import open_tokenizer
from accord.batches import Segment
words = open_tokenizer({str(tmp_path / "m")!r})
policy = Policy(language_model(ModelSettings(name={str(tmp_path / "m")!r}), words))
one = torch.ones(1, dtype=torch.long)
rows = Segment(observation=torch.tensor([[5, 6]]), observation_length=2 * one, group=0 * one,
               action=torch.tensor([[7, 8, 9]]), length=3 * one, mask=torch.ones(1, 3, dtype=torch.bool),
               weight=torch.ones(1), names=("0",))
optimiser = make_optimiser({{"policy": policy}}, OptimiserConfig(), {{}})
policy.evaluate(rows).logprob.sum().backward()
optimiser.step()
save(policy.model, words, {str(tmp_path / "n")!r})
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    llama(tmp_path / "m")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "n" / "model.safetensors").is_file()
