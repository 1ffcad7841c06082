"""Take out of a text what points at a person: e-mail, telephone, ids, cards, addresses of machines, names.

Pure functions on strings, English and Chinese. What has a checksum is checked (cards, bank accounts, Chinese resident
ids), so that a long number in a sum stays. Nothing is found for certain and not all is found: read the counts, and
add the names that a project knows. `presidio` is a door to a finder that also reads the grammar.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.store.errors import StoreError
from accord.store.names import FIRST_NAMES, SURNAMES


@dataclass(frozen=True)
class Mark:
    """A place in a text, in code points, and what stands there."""

    start: int
    """First code point."""
    end: int
    """One past the last."""
    kind: str
    """EMAIL, PHONE, CARD, ACCOUNT, ID, ADDRESS, NAME, or another finder's word."""


Finder = Callable[[str], Iterable[Mark]]


@dataclass(frozen=True)
class Scrubbed:
    """A text without what was found in it."""

    text: str
    """The text, with `[EMAIL]` and the like in place of what was found."""
    marks: tuple[Mark, ...]
    """Places in the text as it was; the words themselves are not kept."""

    def counts(self) -> dict[str, int]:
        """Kind -> how many."""
        return dict(Counter(mark.kind for mark in self.marks))

    def moved(self, at: int) -> int:
        """Where a code point of the old text stands in the new one; within what was taken out: its beginning."""
        shift = 0
        for mark in self.marks:
            if at < mark.end:
                return min(at, mark.start) + shift
            shift += len(mark.kind) + 2 - (mark.end - mark.start)
        return at + shift


def scrub(text: str, names: Sequence[str] = (), finders: Sequence[Finder] = ()) -> Scrubbed:
    """The text without e-mail addresses, telephone numbers, ids, cards, accounts, machine addresses and names.

    names: words that a project knows to be names, whole words in any case. finders: others that are asked too, as
    `presidio()`. Where places overlap the longer one counts. Scrubbing again changes nothing.
    """
    found = [*find(text, names), *(mark for finder in finders for mark in finder(text))]
    taken, kept = bytearray(len(text)), list[Mark]()
    for one in _MASK.finditer(text):
        taken[one.start() : one.end()] = b"\1" * (one.end() - one.start())
    for mark in sorted(found, key=lambda mark: (mark.start - mark.end, mark.start)):
        if mark.start < mark.end and not any(taken[mark.start : mark.end]):
            taken[mark.start : mark.end] = b"\1" * (mark.end - mark.start)
            kept.append(mark)
    kept.sort(key=lambda mark: mark.start)
    parts, at = list[str](), 0
    for mark in kept:
        parts += [text[at : mark.start], f"[{mark.kind}]"]
        at = mark.end
    return Scrubbed("".join([*parts, text[at:]]), tuple(kept))


def find(text: str, names: Sequence[str] = ()) -> list[Mark]:
    """All places, overlapping ones too."""
    plain = _plain(text)
    found = [
        Mark(*one.span("it" if "it" in pattern.groupindex else 0), kind)
        for kind, pattern, holds in _RULES
        for one in pattern.finditer(plain)
        if holds(one["it"] if "it" in pattern.groupindex else one.group())
    ]
    found += [Mark(*one.span("name"), "NAME") for pattern in _NAMED for one in pattern.finditer(plain)]
    for name in names:
        known = _plain(name.strip())
        if known:
            word = rf"(?<!\w){re.escape(known)}(?!\w)" if known.isascii() else re.escape(known)
            found += [Mark(*one.span(), "NAME") for one in re.finditer(word, plain, re.IGNORECASE)]
    return found


def pseudonym(key: bytes, name: str) -> str:
    """Another name for somebody, by a key that each export has for itself: HMAC-SHA-256, 16 hexadecimal digits.

    Without the key it cannot be made, and two exports with different keys cannot be joined by it.
    """
    return hmac.new(key, name.encode(), hashlib.sha256).hexdigest()[:16]


def presidio(language: str = "en", least: float = 0.5, engine: Any = None) -> Finder:
    """A finder that asks presidio (extra `presidio`), by an `AnalyzerEngine` of yours or its default one.

    The default engine needs a model of spaCy: `python -m spacy download en_core_web_lg`. Raises StoreError without it.
    """
    if engine is None:
        try:
            from presidio_analyzer import AnalyzerEngine
        except ImportError as error:
            raise StoreError("presidio is absent: pip install 'accord[presidio]' (or scrub without it)") from error
        engine = AnalyzerEngine(supported_languages=[language])

    def finder(text: str) -> list[Mark]:
        found = engine.analyze(text=text, language=language, score_threshold=least)
        return [Mark(one.start, one.end, _OURS.get(one.entity_type, one.entity_type)) for one in found]

    return finder


def luhn(digits: str) -> bool:
    """Whether a card's number is one: every second digit from the right doubled, the sum of digits ends with 0."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def resident(number: str) -> bool:
    """Whether a Chinese resident id is one: GB 11643, weighted sum of 17 digits mod 11 gives the last sign."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(weight * int(digit) for weight, digit in zip(weights, number[:17], strict=True))
    return "10X98765432"[total % 11] == number[17].upper()


def account(number: str) -> bool:
    """Whether an IBAN is one: ISO 13616, country and check digits moved to the end, letters as numbers, mod 97 is 1."""
    signs = number.replace(" ", "").upper()
    if not 15 <= len(signs) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])) % 97 == 1


# --- what is looked for ----------------------------------------------------------------------------------------


def _plain(text: str) -> str:
    """Full-width letters, digits and signs as plain ones; every code point keeps its place."""
    return "".join(
        short if (short := unicodedata.normalize("NFKC", sign)) and len(short) == 1 else sign for sign in text
    )


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _is_card(text: str) -> bool:
    digits = _digits(text)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def _is_phone(text: str) -> bool:
    """Enough digits for a telephone; a date or a plain number is none."""
    digits = _digits(text)
    if re.fullmatch(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{4}", text):
        return False
    return 7 <= len(digits) <= 15


def _is_address(text: str) -> bool:
    return all(int(part) < 256 for part in text.split("."))


def _always(_: str) -> bool:
    return True


_MASK = re.compile(r"\[[A-Z][A-Z_]{1,30}\]")
_RULES: tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...] = (
    ("EMAIL", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])"), _always),
    ("CARD", re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])"), _is_card),
    ("ACCOUNT", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b"), account),
    ("ID", re.compile(r"(?<!\d)[1-9]\d{16}[\dXx](?![\dA-Za-z])"), resident),
    ("ID", re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"), _always),
    (
        "ID",
        re.compile(
            r"(?i:\b(?:passport|licen[cs]e|ssn|social security|national insurance|id|student|employee)"
            r"(?: (?:no|number|card|id))?\.?\s*(?:[:#]|is)?\s*)(?P<it>(?=[A-Z]*\d)[A-Z0-9]{6,14})\b"
        ),
        _always,
    ),
    (
        "ID",
        re.compile(r"(?:护照|身份证|学号|工号|证件)(?:号码?|编号)?\s*[:是为]?\s*(?P<it>[A-Za-z0-9]{6,18})"),
        _always,
    ),
    ("PHONE", re.compile(r"(?<![\w.+-])\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){5,12}(?![\w-])"), _is_phone),
    ("PHONE", re.compile(r"(?<![\w.+-])(?:\(\d{2,4}\) ?|\d{3}[ .-])\d{3,4}[ .-]\d{3,4}(?![\w-])"), _is_phone),
    ("PHONE", re.compile(r"(?<![\d.+-])(?:(?:\+?86|0086)[ -]?)?1[3-9]\d(?:[ -]?\d{4}){2}(?![\d.-])"), _is_phone),
    ("PHONE", re.compile(r"(?<![\d.+-])0\d{2,3}[ -]\d{7,8}(?![\d-])"), _is_phone),
    (
        "PHONE",
        re.compile(
            r"(?i:(?:phone|mobile|cell|tel|call me (?:at|on)|电话|手机)\D{0,6})(?P<it>\d(?:[ .()-]{0,2}\d){6,14})(?!\d)"
        ),
        _is_phone,
    ),
    ("ADDRESS", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])"), _is_address),
    ("ADDRESS", re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![\w:])"), _always),
)
"""Kind, where it may stand, and whether it holds. Repeats are bounded, so a hostile text costs little."""

_WORD = r"(?:[A-Z]['’])?[A-Z][a-z'’]{1,20}(?:-[A-Z][a-z]{1,20})?"
_FIRST = "|".join(sorted(name.capitalize() for name in FIRST_NAMES))
_SURNAME = "|".join(sorted(SURNAMES, key=len, reverse=True))
_NAMED = (
    re.compile(rf"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Madam)\.? (?P<name>{_WORD}(?: {_WORD}){{0,2}})"),
    re.compile(
        rf"(?i:\b(?:my name is|my name['’]s|i am called|call me|signed|sincerely|regards),?)\s+"
        rf"(?P<name>{_WORD}(?: {_WORD}){{0,2}})"
    ),
    re.compile(rf"\b(?P<name>(?:{_FIRST}) (?:[A-Z]\.? )?(?!And\b|Or\b|The\b){_WORD})\b"),
    re.compile(
        rf"(?P<name>(?:{_SURNAME})[\u4e00-\u9fff]{{0,2}}?)"
        r"(?=先生|女士|小姐|太太|老师|医生|大夫|教授|博士|同学|经理|主任|总监)"
    ),
    re.compile(
        rf"(?:我叫|名叫|叫做|我的名字是|姓名[:是]?|联系人[:是]?|收件人[:是]?)\s*(?P<name>(?:{_SURNAME})[\u4e00-\u9fff]{{1,2}}?)"
        r"(?=$|[^\u4e00-\u9fff]|[的是在和与,。])"
    ),
)
_OURS = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "CREDIT_CARD": "CARD",
    "IBAN_CODE": "ACCOUNT",
    "US_BANK_NUMBER": "ACCOUNT",
    "IP_ADDRESS": "ADDRESS",
    "PERSON": "NAME",
    "US_SSN": "ID",
    "US_PASSPORT": "ID",
    "US_DRIVER_LICENSE": "ID",
}
"""presidio's words for what we have words for."""


def looked_for(names: Path | None, presidio_in: str) -> tuple[Sequence[str], Sequence[Finder]]:
    """Names in a file, one a line, and finders that are asked beside our own: presidio in a language, or none."""
    known = names.read_text(encoding="utf-8").splitlines() if names else ()
    return known, [presidio(presidio_in)] if presidio_in else []


def told(counts: Counter[str]) -> str:
    """What was taken out, in a line."""
    return "taken out: " + (", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "nothing")
