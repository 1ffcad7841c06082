"""Rewards that can be checked: an exact answer, a length, a form, a language; functions of text and nothing else.

Answers are hostile text. Patterns come from settings, but a pattern that can take exponential time on a hostile text
is refused before it is ever used, and only the first `LONGEST` characters of an answer are looked at.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import torch
from torch import Tensor

from accord.batches import Rollout, at_end
from accord.records import Prompt, Sample, Text

LONGEST = 100_000
"""Characters of an answer that rules look at."""
FITTED, WAYS = 4000, 20_000_000
"""The longest answer that is fitted to a pattern, and in how many ways the pattern may read it."""
GROUPS = r"\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)"
"""Digits with commas between thousands, or as in India between lakhs; 3,5 is none: to half of the world it is 3.5."""
NUMBER = re.compile(rf"(?:(?<![\w)\]])[-+])?\$?(?:(?:{GROUPS}|\d+)(?:\.\d+)?|\.\d+)(?:/\d+)?")
"""A number in a text. A minus behind a letter, a digit or a bracket is a hyphen or takes away: 15-3 holds 15 and 3."""
MINUS = dict.fromkeys(map(ord, "\u2212\u2013\ufe63\uff0d"), "-")
"""Other signs that are written for a minus."""
ALONE = (
    r"\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
"""Letters of which each counts as a word, for no blanks stand between words: Chinese and Japanese."""
WORD = re.compile(rf"[{ALONE}]|[^\W{ALONE}]+")
Rule = Callable[[str], float]
"""What an answer's text is worth."""


class Rules:
    """The worth of each answer by a rule, at its last step. Implements protocols.Reward."""

    def __init__(
        self, keep: Callable[[Rollout], Sequence[tuple[Prompt, Sample]]], judge: Callable[[Prompt, Sample], float]
    ) -> None:
        """keep: a world's rollout as records. judge: what an answer to a prompt is worth; see `by_prompt`."""
        self.keep = keep
        self.judge = judge

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: 0 but at the last step of each answer."""
        outcome = [float(self.judge(prompt, sample)) for prompt, sample in self.keep(rollout)]
        return at_end(torch.tensor(outcome).to(rollout.logprob), rollout.length, rollout.action.shape[1])


def said(sample: Sample) -> str:
    """The answer's text: what the assistant said last. Raises TypeError when the sample is no text."""
    if not isinstance(sample.content, Text):
        raise TypeError(f"sample {sample.id} is a {sample.content.kind}; rules read texts")
    return next((m.content for m in reversed(sample.content.messages) if m.role == "assistant"), "")[:LONGEST]


def by_prompt(rules: Mapping[str, Rule], otherwise: Rule | None = None) -> Callable[[Prompt, Sample], float]:
    """A judge that has a rule of its own for each prompt id.

    Raises KeyError for a prompt without one, unless `otherwise` says what holds there.
    """

    def judge(prompt: Prompt, sample: Sample) -> float:
        rule = rules.get(prompt.id, otherwise)
        if rule is None:
            raise KeyError(f"no rule for prompt {prompt.id}; there are {len(rules)}. Give one, or an `otherwise`")
        return rule(said(sample))

    return judge


def number(text: str) -> Decimal | None:
    """A number as people write it: commas between thousands, a currency or percent sign, a fraction, a full stop after
    it. None when it is none; `3,5` is none.
    """
    plain = text.translate(MINUS).strip().rstrip(".").replace("$", "").removesuffix("%").strip()
    top, bar, below = plain.partition("/")
    if any("," in part and not re.fullmatch(rf"[-+]?{GROUPS}(?:\.\d+)?", part.strip()) for part in (top, below)):
        return None
    try:
        found = Decimal(top.replace(",", ""))
        found = found / Decimal(below.replace(",", "")) if bar else found
    except ArithmeticError:  # no number, nothing divided by 0, or one too large
        return None
    return found if found.is_finite() else None


def final_answer(text: str, marker: str = "####", loose: bool = False) -> str | None:
    """What stands behind the last marker, to the end of its line; None when there is no marker.

    loose: without a marker, the last number of the text.
    """
    _, there, after = text.rpartition(marker)
    if there:
        return after.strip().split("\n", 1)[0].strip()
    found = NUMBER.findall(text[-2000:].translate(MINUS)) if loose else []
    return found[-1] if found else None


def exact(answer: str, marker: str = "####", loose: bool = False) -> Rule:
    """1 when the final answer is the right one, as a number when both are numbers, else as text; 0 when not.

    Raises ValueError for a right answer of nothing, which every empty answer would give.
    """
    if not answer.strip():
        raise ValueError("the right answer is empty; leave out what has none")
    wanted = number(answer)

    def rule(text: str) -> float:
        given = final_answer(text, marker, loose)
        if given is None:
            return 0.0
        read = number(given)
        if read is None and wanted is not None and len(there := NUMBER.findall(given[:200].translate(MINUS))) == 1:
            read = number(there[0])  # "42 apples"
        if wanted is not None or read is not None:
            return float(wanted is not None and read is not None and wanted == read)
        return float(spelt(given) == spelt(answer))

    return rule


def spelt(text: str) -> list[str]:
    """Words whatever their case, without a full stop at the end."""
    return text.casefold().rstrip(". ").split()


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores, without the marks on them; each Chinese or Japanese letter by itself.

    Thai and others that leave no blanks between words are counted by their runs.
    """
    if not text.isascii():
        text = "".join(c for c in text if unicodedata.category(c)[0] != "M")
    return WORD.findall(text)


def length(least: int = 0, most: int = 10**9, soft: int = 0) -> Rule:
    """1 when the answer has `least` to `most` words; with `soft`, falling in a line to 0 so many words further on.

    Raises ValueError when no answer can have so many.
    """
    if least > most:
        raise ValueError(f"no answer has at least {least} and at most {most} words; turn the two round")

    def rule(text: str) -> float:
        count = len(words(text))
        away = max(least - count, count - most, 0)
        return float(away == 0) if soft == 0 else max(0.0, 1 - away / soft)

    return rule


def form(pattern: str, whole: bool = True) -> Rule:
    """1 when the (whole) answer fits a regular expression; a full stop stands for line ends too, 0 when not.

    An answer of more than `FITTED` characters fits nothing. Raises ValueError when the pattern could take too long.
    """
    compiled = re.compile(safe(pattern, whole), re.DOTALL)
    fits = compiled.fullmatch if whole else compiled.search
    return lambda text: float(len(text) <= FITTED and bool(fits(text)))


def safe(pattern: str, whole: bool = True) -> str:
    """The pattern, when it can be used on hostile text.

    Counted are the ways in which a text can be read: an unlimited repetition has `FITTED`, a limited one most - least
    + 1, a choice as many as it has parts; they multiply, and a search begins at `FITTED` places. More than `WAYS`, any
    of these inside a repetition, and references to groups are refused. Raises ValueError saying which.
    """
    try:
        parsed = parser.parse(pattern)
        re.compile(pattern)  # a look-behind of no fixed width is found only here
    except (re.error, OverflowError) as error:
        raise ValueError(f"{pattern!r:.99} is no regular expression: {error}") from error
    except RecursionError as error:
        raise ValueError(f"{pattern!r:.99} is nested too deeply to be a regular expression") from error
    ways = readings(parsed, pattern, False) * (1 if whole else FITTED)
    if ways > WAYS:
        raise ValueError(
            f"{pattern!r:.99} can be read in {min(ways, 10**99):.1e} ways, more than {WAYS:.0e}; use fewer or shorter "
            "repetitions" + ("" if whole else ", or fit the whole answer")
        )
    return pattern


def readings(part: Any, pattern: str, repeated: bool) -> int:
    """In how many ways a part of a parsed pattern can be read. Raises ValueError when that grows without limit."""
    ways = 1
    for code, value in part:
        name = str(code)
        if name in ("GROUPREF", "GROUPREF_EXISTS"):
            raise ValueError(f"{pattern!r:.99} refers to a group; write out what is meant")
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            least, most, inner = value
            here = FITTED if most == parser.MAXREPEAT else int(most - least) + 1
            deeper = readings(inner, pattern, repeated or most > 1)
        elif name == "BRANCH":
            here, deeper = len(value[1]), math.prod(readings(one, pattern, repeated) for one in value[1])
        else:
            inside = value if isinstance(value, tuple) else (value,)
            here = 1
            deeper = math.prod(readings(one, pattern, repeated) for one in inside if isinstance(one, parser.SubPattern))
        if repeated and here > 1:
            raise ValueError(
                f"{pattern!r:.99} has a repetition or a choice inside a repetition; that can take for ever"
            )
        ways *= here * deeper
    return ways


SCRIPTS: dict[str, tuple[str, ...]] = {
    "ar": ("ARABIC",), "fa": ("ARABIC",), "ur": ("ARABIC",), "bg": ("CYRILLIC",), "ru": ("CYRILLIC",),
    "uk": ("CYRILLIC",), "el": ("GREEK",), "he": ("HEBREW",), "hi": ("DEVANAGARI",), "mr": ("DEVANAGARI",),
    "ne": ("DEVANAGARI",), "bn": ("BENGALI",), "gu": ("GUJARATI",), "pa": ("GURMUKHI",), "kn": ("KANNADA",),
    "ml": ("MALAYALAM",), "ta": ("TAMIL",), "te": ("TELUGU",), "th": ("THAI",), "ko": ("HANGUL",),
    "ja": ("HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "CJK", "IDEOGRAPHIC"), "zh": ("CJK",), "hy": ("ARMENIAN",),
    "ka": ("GEORGIAN",),
}  # fmt: skip
"""Script, as the first word of its letters' Unicode names, by language."""
LATIN = frozenset(
    """
    af az bs ca cs cy da de en eo es et eu fi fil fo fr fy ga gd gl ha hr ht hu id ig is it jv ku la lb lt lv mg mi ms
    mt nb nl nn no oc pl pt qu rm ro rw sk sl sm sn so sq st su sv sw tl tn tr ts vi wo xh yo zu
    """.split()  # noqa: SIM905 - a list of them would take eighty lines
)
"""Languages that are written in Latin letters."""


def written(language: str) -> tuple[str, ...]:
    """The script of a language, by its code: `en`, `zh`, `pt-br`. Raises ValueError for a code that is not known."""
    code = language.split("-")[0].lower()
    if code not in SCRIPTS and code not in LATIN:
        known = ", ".join(sorted({*SCRIPTS, *LATIN}))
        raise ValueError(f"language={language!r} is no code that is known; there are: {known}")
    return SCRIPTS.get(code, ("LATIN",))


def script(language: str, share: float = 0.8) -> Rule:
    """1 when at least this share of the letters is of the language's script.

    It cannot tell apart two languages of one script: English passes as German, Hindi as Marathi. Letters of half or
    full width, bold and the like count as the plain ones. Raises ValueError for a language that is not known.
    """
    wanted = written(language)

    def rule(text: str) -> float:
        letters = [unicodedata.name(c, "").split(" ")[0] for c in unicodedata.normalize("NFKC", text) if c.isalpha()]
        return float(bool(letters) and sum(name in wanted for name in letters) >= share * len(letters))

    return rule
