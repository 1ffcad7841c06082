"""Tokenizers: train a byte-level BPE or list whole words, with our own turn marks; open anybody else's."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from accord.config import SettingsError
from accord.run.online import asking_the_hub
from accord.worlds.text.architecture import located

PAD, BOS, EOS, UNKNOWN = "<pad>", "<bos>", "<eos>", "<unk>"
ROLES = {"user": "<user>", "assistant": "<assistant>", "system": "<system>", "tool": "<tool>"}
SPECIAL = (PAD, BOS, EOS, *ROLES.values())
BYTES = 256

TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<' + message['role'] + '>' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
"""Ours: `<bos><user>...<eos><assistant>...<eos>`; each turn is closed by the same end-of-text."""

PLAIN = (
    "{{ bos_token if bos_token else '' }}"
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
"""For a foreign model without a template: turns are named in words and closed by its end-of-text."""


def train_bpe(
    texts: Iterable[str], vocabulary: int, special: Sequence[str] = (), digits: str = "joined"
) -> PreTrainedTokenizerFast:
    """A byte-level BPE learned from plain text (Sennrich et al. 2016 on bytes): any string goes in and out whole.

    texts: anything that yields strings. vocabulary: most entries in all, bytes and marks included. special: further
    marks beside ours. digits: `single` joins no digit to anything, so that a number is its digits, each a token.
    The same texts give the same tokenizer. Raises ValueError when the vocabulary is too small.
    """
    marks = [*SPECIAL, *special]
    if vocabulary < BYTES + len(marks):
        least = BYTES + len(marks)
        raise ValueError(
            f"vocabulary={vocabulary} does not hold {BYTES} bytes and {len(marks)} marks; use {least} or more"
        )
    engine = Tokenizer(models.BPE())
    cut: Any = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alone = pre_tokenizers.Digits(individual_digits=True)
    engine.pre_tokenizer = pre_tokenizers.Sequence([alone, cut]) if digits == "single" else cut
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=marks,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    engine.train_from_iterator(texts, trainer)
    if engine.get_vocab_size() == BYTES + len(marks):
        warnings.warn(
            f"the tokenizer knows single bytes alone ({BYTES} and {len(marks)} marks): there were no texts to learn "
            "longer pieces from (data.texts), or vocabulary leaves no room; each byte of a text will be a token",
            stacklevel=2,
        )
    return _dressed(engine, special)


def word_level(words: Sequence[str], special: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """One token per word, for the lab: lossless for known words with single spaces between them.

    Unknown words become `<unk>`. Raises ValueError for a word that is empty, holds a space, comes twice or is a mark.
    """
    marks = [*SPECIAL, *special, UNKNOWN]
    bad = [word for word in words if not word or " " in word or word in marks]
    if bad or len(set(words)) != len(words):
        twice = sorted({word for word in words if list(words).count(word) > 1}) if not bad else []
        raise ValueError(f"words must be different, without spaces and no marks of ours; at fault: {bad or twice}")
    # The marks are laid over the words, not listed among them: a user who types "<eos>" gets <unk>.
    engine = Tokenizer(models.WordLevel({UNKNOWN: 0, **{w: i + 1 for i, w in enumerate(words)}}, unk_token=UNKNOWN))
    engine.pre_tokenizer = pre_tokenizers.Split(" ", behavior="removed")
    engine.add_special_tokens([*SPECIAL, *special])
    return _dressed(engine, special, unknown=UNKNOWN)


def open_tokenizer(name: str | Path) -> PreTrainedTokenizerFast:
    """Any tokenizer by folder, hub name or `package:NAME`, with a pad token that is not its end-of-text.

    A pad that equals the end hides the real end from every tool that masks by pad, so such a tokenizer is given a
    `<pad>` of its own. Raises SettingsError when there is none, or it has no fast form, or no end-of-text and no [SEP].
    """
    none = f"{name} brings no tokenizer, so it knows no words; save the model's own beside it"
    with asking_the_hub(place := located(str(name))):
        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(place)
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{none} ({str(error).splitlines()[0][:120]})") from error
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise SettingsError(none)  # transformers makes an empty one of the model's family where a folder brings none
    if not tokenizer.is_fast:
        raise SettingsError(f"the tokenizer of {name} has no fast form (`tokenizer.json`); convert it first")
    if tokenizer.eos_token_id is None and tokenizer.sep_token_id is None:
        raise SettingsError(f"the tokenizer of {name} has no end-of-text; set `eos_token` in tokenizer_config.json")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.add_special_tokens({"pad_token": PAD})
    return cast(PreTrainedTokenizerFast, tokenizer)


def unprefixed(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A private copy of the engine that reads every string as plain text.

    Marks inside a string are spelt out as ordinary tokens, nothing is cut or padded, and no space is put before a
    string that does not start the text.
    """
    plan = json.loads(tokenizer.backend_tokenizer.to_str())
    engine = Tokenizer.from_str(json.dumps(_without_prefix(plan)))
    engine.no_truncation()
    engine.no_padding()
    engine.encode_special_tokens = True
    return engine


def _dressed(engine: Tokenizer, special: Sequence[str], unknown: str | None = None) -> PreTrainedTokenizerFast:
    """The engine in the clothes of transformers, with our template."""
    tokenizer = cast(Any, PreTrainedTokenizerFast)(
        tokenizer_object=engine,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=unknown,
        additional_special_tokens=[*ROLES.values(), *special],
        clean_up_tokenization_spaces=False,
        padding_side="right",
    )
    tokenizer.chat_template = TEMPLATE
    return cast(PreTrainedTokenizerFast, tokenizer)


def _without_prefix(plan: object) -> object:
    """The same plan without the steps that put a space before the text (SentencePiece's dummy prefix)."""
    if isinstance(plan, list):
        return [_without_prefix(p) for p in plan if not (isinstance(p, dict) and p.get("type") == "Prepend")]
    if isinstance(plan, dict):
        changed = {key: _without_prefix(value) for key, value in plan.items() if key != "vocab"}
        if "vocab" in plan:
            changed["vocab"] = plan["vocab"]
        if plan.get("type") == "Metaspace":
            changed["prepend_scheme"] = "never"
        return changed
    return plan
