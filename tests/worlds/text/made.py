"""Tokenizers, templates and conversations that the tests of this room are made of."""

from functools import cache

from transformers import PreTrainedTokenizerFast

from accord.records import Message, Prompt, Sample, Text
from accord.worlds.text.tokenizer import train_bpe

STOCK_MARKS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
)
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim "
    "+ '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
STOCK = {"chatml": CHATML, "llama3": LLAMA3, "gemma": GEMMA}
ENDS = {"chatml": "<|im_end|>", "llama3": "<|eot_id|>", "gemma": "<end_of_turn>", "ours": "<eos>"}
WORDS = ["the quick brown fox jumps over it", "system user assistant model", "where is the lazy dog ? here , says he ."]


@cache
def tokenizer(template: str = "ours") -> PreTrainedTokenizerFast:
    """A small BPE with our template or a stock one."""
    made = train_bpe(WORDS * 5, 320, STOCK_MARKS)
    if template != "ours":
        made.chat_template = STOCK[template]
    if template == "llama3":
        made.bos_token = "<|begin_of_text|>"
    return made


def talk(*turns: tuple[str, str]) -> Text:
    return Text(messages=tuple(Message(role=role, content=content) for role, content in turns))


def asked(*contents: str, id: str | None = None) -> Prompt:
    """Turns by user and assistant in alternation, the last one the user's."""
    turns = [("assistant" if i % 2 else "user", c) for i, c in enumerate(contents)]
    return Prompt(content=talk(*turns), **({"id": id} if id else {}))


def said(prompt: Prompt, *contents: str, finished: bool = True, id: str | None = None) -> Sample:
    turns = [("user" if i % 2 else "assistant", c) for i, c in enumerate(contents)]
    return Sample(prompt=prompt.id, content=talk(*turns), finished=finished, **({"id": id} if id else {}))
