"""Several turns in every family of chat templates: only the assistant's tokens are learned, and sampling sees the same.

Written against the text that the template itself draws, decoded token by token, never against our own frame.
"""

import pytest
import torch

from accord.algorithms import dpo, sft
from accord.records import Preference
from accord.run import Run, RunConfig
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.models import ModelSettings, language_model
from accord.worlds.text.policy import Policy
from accord.worlds.text.template import Template
from accord.worlds.text.tokenizer import train_bpe

from .made import STOCK, STOCK_MARKS, WORDS, asked, said, talk

MARKS = (*STOCK_MARKS, "<s>", "</s>", "<|user|>", "<|assistant|>", "<|end|>", "<think>", "</think>")
QWEN3 = (
    "{% set seen = namespace(last=-1) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set seen.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
    "{% if m.role == 'assistant' and loop.index0 > seen.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{% endif %}"
)
FAMILIES = {
    "ours": None,
    **STOCK,
    "llama2": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ '<s>[INST] ' + m.content | trim + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content | trim + ' </s>' }}{% endif %}{% endfor %}"
    ),
    "mistral": (
        "{{ '<s>' }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}"
        "{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}"
    ),
    "phi3": (
        "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    ),
    "zephyr": (
        "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + eos_token + '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
    ),
    "deepseek": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ 'User: ' + m.content + '\\n\\n' }}"
        "{% else %}{{ 'Assistant: ' + m.content + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    ),
    "vicuna": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ 'USER: ' + m.content + ' ' }}"
        "{% else %}{{ 'ASSISTANT: ' + m.content + eos_token }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
    ),
}
ENDS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "phi3": "<|end|>"}
SPACED = {"llama2", "deepseek", "vicuna"}
"""Families that write a space before the assistant's words which the generation prompt leaves to the assistant."""
TALK = (
    ("user", "where is the fox ?"),
    ("assistant", "here"),
    ("user", "and the dog ?"),
    ("assistant", "gone"),
    ("user", "who says it ?"),
    ("assistant", "he"),
)


def dressed(source):
    made = train_bpe(WORDS * 5, 340, MARKS)
    if source is not None:
        made.chat_template = source
    if source is not None and source.startswith(("{{ '<|begin_of_text|>'", "{{ '<s>'")):
        made.bos_token = "<s>" if "<s>" in source else "<|begin_of_text|>"
    return made


TOKENIZERS = {name: dressed(source) for name, source in FAMILIES.items()}
TEMPLATES = {name: Template(made) for name, made in TOKENIZERS.items()}


def learned(name, spans=TALK, first=1):
    """What the template draws, with the assistant's part of it: by hand, from the text."""
    drawn = TOKENIZERS[name].apply_chat_template([{"role": r, "content": c} for r, c in spans], tokenize=False)
    space, end = " " if name in SPACED else "", ENDS.get(name, "</s>" if name in ("llama2", "mistral") else "<eos>")
    own = [space + c + (" " if name == "llama2" else "") + end for r, c in spans[first:] if r == "assistant"]
    return drawn, own


@pytest.mark.parametrize("name", list(FAMILIES))
def test_the_tokens_are_the_templates_and_the_mask_is_the_assistants(name):
    turns = talk(*TALK).messages
    prompt = TEMPLATES[name].prompt(turns[:1])
    answer, mask = TEMPLATES[name].answer(turns[:1], turns[1:], True)
    drawn, own = learned(name)
    made, tokenizer = prompt + answer, TOKENIZERS[name]
    text = tokenizer.decode(made)
    assert drawn.startswith(text)
    assert drawn[len(text) :].strip() == ""
    assert tokenizer.decode([i for i, ours in zip(answer, mask, strict=True) if ours]) == "".join(own)
    runs = sum(ours and not (at and mask[at - 1]) for at, ours in enumerate(mask))
    assert runs == 3
    assert not mask[len(tokenizer(own[0], add_special_tokens=False)["input_ids"])]


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_talk_that_is_sampled_turn_by_turn_is_the_one_that_is_learned_from(name):
    """The prompt of each later turn is the beginning of the row, so what was sampled and what is learned agree."""
    template, turns = TEMPLATES[name], talk(*TALK).messages
    answer, mask = template.answer(turns[:1], turns[1:], True)
    row = [*template.prompt(turns[:1]), *answer]
    assert template.appends()
    for at in (3, 5):
        before = template.prompt(turns[:at])
        assert row[: len(before)] == before
    grown = template.prompt(turns[:1])
    for at in (1, 3, 5):
        grown += template.answer(turns[:at], turns[at : at + 1], True)[0]
        grown += template.between(turns[: at + 1], turns[at + 1].content) if at < 5 else []
    assert grown == row
    theirs = [i for i, ours in zip(answer, mask, strict=True) if not ours]
    assert theirs == [*template.between(turns[:2], turns[2].content), *template.between(turns[:4], turns[4].content)]


def test_an_empty_thought_that_the_template_writes_is_learned_in_each_last_turn():
    made = dressed(QWEN3)
    turns = talk(*TALK[:4]).messages
    answer, mask = Template(made).answer(turns[:1], turns[1:], True)
    assert made.decode([i for i, ours in zip(answer, mask, strict=True) if ours]) == (
        "here<|im_end|><think>\n\n</think>\n\ngone<|im_end|>"
    )
    alone, ours = Template(made).answer(turns[:3], turns[3:], True)
    assert made.decode(alone) == "<think>\n\n</think>\n\ngone<|im_end|>"
    assert all(ours)


def test_a_template_that_rewrites_earlier_turns_is_known():
    made = dressed(QWEN3)
    assert not Template(made).appends()
    assert not Template(made, {"enable_thinking": False}).appends()
    kept = dressed(QWEN3.replace(" and loop.index0 > seen.last", ""))
    assert Template(kept, {"enable_thinking": False}).appends()


def test_without_any_mark_every_turn_of_the_assistant_still_ends():
    made = dressed(
        "{% for m in messages %}{{ 'Human: ' if m.role == 'user' else 'Assistant: ' }}{{ m.content + '\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
    )
    turns = talk(*TALK[:4]).messages
    answer, mask = Template(made).answer(turns[:1], turns[1:], True)
    assert made.decode(answer) == "here<eos>\nHuman: and the dog ?\nAssistant: gone<eos>"
    assert made.decode([i for i, ours in zip(answer, mask, strict=True) if ours]) == "here<eos>gone<eos>"


def test_a_cut_last_turn_has_no_end_and_the_turns_before_it_have_theirs():
    turns = talk(*TALK[:4]).messages
    answer, mask = TEMPLATES["chatml"].answer(turns[:1], turns[1:], False)
    tokens = TOKENIZERS["chatml"].decode([i for i, ours in zip(answer, mask, strict=True) if ours])
    assert tokens == "here<|im_end|>gone"


# --- what methods learn ----------------------------------------------------------------------------------------


def talked(name, *contents):
    ask = asked(TALK[0][1], id="p")
    return ask, said(ask, *contents, id=" ".join(contents))


def made_policy(name, seed=0):
    return Policy(language_model(ModelSettings(width=16, layers=1, heads=2, context=128), TOKENIZERS[name], seed))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_imitation_learns_no_word_of_the_user(name, tmp_path):
    """The loss is the mean over the assistant's tokens alone, counted one by one with the model's own forward."""
    encoder, policy = Encoder(TOKENIZERS[name], EncoderSettings(limit=120)), made_policy(name)
    rows = encoder.segment([talked(name, "here", "and the dog ?", "gone")])
    quiet = RunConfig(device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9)
    figures = sft.train(sft.Config(batch=1, epochs=1), policy, rows, Run(tmp_path, quiet))
    ids = [*rows.observation[0].tolist(), *rows.action[0].tolist()]
    fresh = made_policy(name).model
    with torch.no_grad():
        table = torch.log_softmax(fresh(input_ids=torch.tensor([ids])).logits[0], -1)
    _, own = learned(name, (*TALK[:4],))
    tokens = TOKENIZERS[name]
    lost, at = [], rows.observation.shape[1]
    for text in own:
        wanted = tokens(text, add_special_tokens=False)["input_ids"]
        while ids[at : at + len(wanted)] != wanted:
            at += 1
        lost += [-float(table[at + i - 1, token]) for i, token in enumerate(wanted)]
        at += len(wanted)
    assert figures["loss"] == pytest.approx(sum(lost) / len(lost), abs=1e-5)


@pytest.mark.parametrize("name", ["ours", "chatml", "llama2", "gemma"])
def test_dpo_compares_what_the_assistant_said_alone(name, tmp_path):
    """Two talks with other words of the user and the same of the assistant differ by what follows the words alone."""
    encoder, policy = Encoder(TOKENIZERS[name], EncoderSettings(limit=120)), made_policy(name, 1)
    ask, one = talked(name, "here", "and the dog ?", "gone")
    _, two = talked(name, "here", "who ?", "it is he")
    pair = Preference(prompt=ask.id, chosen=one.id, rejected=two.id)
    rows = encoder.comparisons([pair], {ask.id: ask}, {one.id: one, two.id: two})
    for row, sample in enumerate((one, two)):
        mask, ids = rows.segment.mask[row], rows.segment.action[row]
        _, own = learned(name, (TALK[0], *[(m.role, m.content) for m in sample.content.messages]))
        assert TOKENIZERS[name].decode(ids[mask].tolist()) == "".join(own)
    quiet = RunConfig(device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9)
    figures = dpo.train(dpo.Config(batch=1, epochs=1), policy, rows, Run(tmp_path, quiet))
    assert figures["loss"] == pytest.approx(0.693147, abs=1e-5)
    with torch.no_grad():
        moved = policy.evaluate(rows.segment).logprob - made_policy(name, 1).evaluate(rows.segment).logprob
    assert torch.where(rows.segment.mask, moved, 0.0).sum(1).diff() < 0  # chosen rose against rejected
