"""What was asked, beside what could have been: topics, languages, lengths, duplicates, clusters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from accord.feedback import scout
from accord.feedback.select import Floats
from accord.records import Record

MOST = 2000
"""Texts that are clustered; of more an even sample is."""
NEAR, ALIKE = 0.85, 0.4
"""Cosine of two texts' words from which one nearly repeats the other, and from which both speak of one thing."""


class Coverage(Record):
    """How varied a set of questions is."""

    questions: int
    """Questions, or pairs that could be asked."""
    prompts: int
    """Different prompts among them."""
    repeated: float
    """Share of the prompts whose text equals an earlier one but for case and white space."""
    near: float
    """Share of the prompts that nearly repeat an earlier one (cosine of hashed words of .85 or more)."""
    clusters: float
    """Effective number of groups of like prompts: exp of the entropy of their sizes."""
    largest: float
    """Share of the prompts in the largest group."""
    languages: dict[str, float]
    """Language or script -> share of the prompts, most first."""
    topics: dict[str, float]
    """Topic -> share of the questions, most first."""
    prompt_words: tuple[float, float, float]
    """5 %, 50 % and 95 % of the lengths of the prompts, in words."""
    answer_words: tuple[float, float, float]
    """The same of the answers."""


def coverage(prompts: Sequence[str], answers: Sequence[str], topics: Sequence[str]) -> Coverage:
    """Figures of a set of questions. prompts, topics: one of each for each question. answers: all that are shown."""
    texts = list(dict.fromkeys(prompts))
    plain = [" ".join(text.lower().split()) for text in texts]
    kept = plain if len(plain) <= MOST else [plain[i * len(plain) // MOST] for i in range(MOST)]
    rows = scout.features(kept)[:, :-1]
    near, sizes = _groups(rows)
    share = np.array(sizes) / max(1, sum(sizes))
    return Coverage(
        questions=len(prompts),
        prompts=len(texts),
        repeated=1 - len(set(plain)) / len(plain) if plain else 0.0,
        near=near / len(kept) if kept else 0.0,
        clusters=float(np.exp(-(share * np.log(share)).sum())) if sizes else 0.0,
        largest=float(share.max()) if sizes else 0.0,
        languages=_shares([language(text) for text in texts]),
        topics=_shares(topics),
        prompt_words=_lengths(texts),
        answer_words=_lengths(answers),
    )


def topic(tags: Sequence[str], text: str) -> str:
    """The label of a prompt: its first tag, or else its language."""
    return tags[0] if tags else language(text)


def language(text: str) -> str:
    """Language by script, and for Latin letters by common little words; `other` when that tells nothing."""
    counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    if counts["ja"] and counts["ja"] * 10 >= counts["zh"]:
        return "ja"
    name = max(counts, key=lambda name: counts[name])
    # One sign of a script without spaces says about as much as a word of three letters.
    if counts[name] * 3 > len(_LATIN.findall(text)):
        return name
    said = set(re.findall(r"[^\W\d_]+", text.lower()))
    found = {name: len(said & little) for name, little in _LITTLE.items()}
    best = max(found, key=lambda name: found[name])
    return best if found[best] else "other"


def told(asked: Coverage, pool: Coverage) -> list[str]:
    """The two side by side, in lines for a person."""
    rows = [
        ("questions", f"{asked.questions}", f"{pool.questions}"),
        ("different prompts", f"{asked.prompts}", f"{pool.prompts}"),
        ("repeated prompts", f"{asked.repeated:.1%}", f"{pool.repeated:.1%}"),
        ("nearly repeated", f"{asked.near:.1%}", f"{pool.near:.1%}"),
        ("groups of like prompts", f"{asked.clusters:.1f}", f"{pool.clusters:.1f}"),
        ("largest group", f"{asked.largest:.1%}", f"{pool.largest:.1%}"),
        ("languages", _named(asked.languages), _named(pool.languages)),
        ("topics", _named(asked.topics), _named(pool.topics)),
        ("words of a prompt", _range(asked.prompt_words), _range(pool.prompt_words)),
        ("words of an answer", _range(asked.answer_words), _range(pool.answer_words)),
    ]
    width = max(len(row[1]) for row in rows)
    return [f"{'':<24}{'asked':<{width}}  of", *(f"{name:<24}{ours:<{width}}  {all_}" for name, ours, all_ in rows)]


def _groups(rows: Floats) -> tuple[int, list[int]]:
    """How many rows nearly repeat an earlier one, and the sizes of groups: each row joins the first like leader."""
    leaders, sizes, near = np.zeros((0, rows.shape[1])), list[int](), 0
    for i, row in enumerate(rows):
        near += bool(i) and float((rows[:i] @ row).max()) >= NEAR
        like = leaders @ row
        if len(like) and like.max() >= ALIKE:
            sizes[int(like.argmax())] += 1
        else:
            leaders, sizes = np.vstack([leaders, row]), [*sizes, 1]
    return near, sizes


def _shares(labels: Sequence[str]) -> dict[str, float]:
    return {name: count / len(labels) for name, count in Counter(labels).most_common()}


def _lengths(texts: Sequence[str]) -> tuple[float, float, float]:
    low, middle, high = np.quantile([len(scout.words(text)) for text in texts] or [0], [0.05, 0.5, 0.95])
    return float(low), float(middle), float(high)


def _named(shares: dict[str, float], most: int = 5) -> str:
    said = [f"{name} {share:.0%}" for name, share in list(shares.items())[:most]]
    return ", ".join(said) + (f" and {len(shares) - most} more" if len(shares) > most else "")


def _range(lengths: tuple[float, float, float]) -> str:
    return f"{lengths[1]:.0f} ({lengths[0]:.0f} to {lengths[2]:.0f})"


_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")
_SCRIPTS = {
    "zh": re.compile(r"[\u3400-\u9fff]"),
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "ar": re.compile(r"[\u0600-\u06ff]"),
    "he": re.compile(r"[\u0590-\u05ff]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "el": re.compile(r"[\u0370-\u03ff]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
}
"""Scripts, by the language that most often uses them."""
_COMMON = {
    "en": "the of and to is in that it for you what how are do can with why this be my",
    "de": "der die das und ist nicht ich wie was ein eine zu mit den von warum auf für sind kann",
    "fr": "le la les et est une des que pour dans qui comment je vous pas avec sur quel du ce",
    "es": "el los las y es una que por para como con no mi qué cómo del se en un está",
    "pt": "o os as e é uma que por para como com não meu do da em um são você qual",
    "it": "il gli e è una che per come con non mio del della in un sono quale perché di cosa",
}
_LITTLE = {name: frozenset(said.split()) for name, said in _COMMON.items()}
