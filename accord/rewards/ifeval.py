"""Instructions that can be checked (Zhou et al. 2023, IFEval): each a function of the answer and its arguments.

Ours: written from the paper's description. Languages are told by script (see `rules.script`); sentences and words are
counted by plain rules, so a count may differ from NLTK's where abbreviations end in a full stop.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from accord.rewards.rules import ALONE, LONGEST, Rule, script, words

Check = Callable[..., bool]


def compare(count: int, relation: str | None, limit: int) -> bool:
    """`at least` or `less than` so many. Raises ValueError for another relation."""
    if relation in (None, "at least"):
        return count >= limit
    if relation == "less than":
        return count < limit
    raise ValueError(f"relation {relation!r}: IFEval knows 'at least' and 'less than'")


def occurrences(text: str, keyword: str) -> int:
    """How often a keyword stands in the text as words of its own, whatever its case; Chinese and Japanese leave no
    blanks between words, so there it may stand anywhere.
    """
    inside = f"[{ALONE}]"
    before = "" if re.match(inside, keyword[:1]) else r"(?<!\w)"
    after = "" if re.match(inside, keyword[-1:]) else r"(?!\w)"
    return len(re.findall(before + re.escape(keyword) + after, text, re.IGNORECASE))


def paragraphs(text: str) -> list[str]:
    """Parts between `***`, without an empty first or last one."""
    parts = [part.strip() for part in text.split("***")]
    return parts[bool(parts and not parts[0]) : len(parts) - bool(len(parts) > 1 and not parts[-1])]


def sentences(text: str) -> int:
    """Runs that end in . ! ? or their Chinese and Hindi likes, or with the text."""
    parts = re.split(r"(?<![.!?])[.!?]++[\"')\]*]*+(?=\s|$)|[。！？।]|\n\n", text)
    return sum(bool(part.strip(" \t\n\"')]*.!?")) for part in parts)


def nth_paragraph(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """So many paragraphs, two line ends apart, and one of them begins with this word."""
    parts = [part.strip() for part in text.split("\n\n") if part.strip()]
    if len(parts) != num_paragraphs or not 1 <= nth_paragraph <= len(parts):
        return False
    begun = re.sub(r"^[\"'*_(\[]+", "", parts[nth_paragraph - 1]).split()
    return bool(begun) and re.sub(r"\W+$", "", begun[0]).casefold() == first_word.casefold()


def is_json(text: str) -> bool:
    """The whole answer, perhaps in a fence, is one JSON value."""
    plain = re.sub(r"\n?```$", "", re.sub(r"^```(?:json|JSON|Json)?\s*", "", text.strip())).strip()
    try:
        json.loads(plain)
    except (ValueError, RecursionError):
        return False
    return True


def highlights(text: str, num_highlights: int) -> bool:
    """At least so many *parts* or **parts** between stars on one line."""
    found = re.findall(r"\*\*([^*\n]+)\*\*|\*([^*\n]+)\*", text)
    return sum(bool("".join(both).strip()) for both in found) >= num_highlights


def repeats(text: str, prompt_to_repeat: str) -> bool:
    """Begins with the request itself, word for word."""
    return text.strip().casefold().startswith(prompt_to_repeat.strip().casefold())


def two_responses(text: str) -> bool:
    """Two different answers, six stars between them."""
    parts = [part.strip() for part in text.split("******")]
    parts = parts[bool(parts and not parts[0]) : len(parts) - bool(len(parts) > 1 and not parts[-1])]
    return len(parts) == 2 and all(parts) and parts[0] != parts[1]


def postscript(text: str, postscript_marker: str) -> bool:
    """A postscript with this marker; points and blanks inside the marker are free."""
    letters = [re.escape(c) for c in postscript_marker if c.isalnum()]
    return bool(re.search(r"(?<!\w)" + r"\.?\s?".join(letters) + r"\.?(?!\w)", text, re.IGNORECASE))


CHECKS: dict[str, Check] = {
    "change_case:capital_word_frequency": lambda text, capital_relation, capital_frequency: compare(
        sum(word.isupper() for word in re.findall(r"\w+(?:[-']\w+)*", text)), capital_relation, capital_frequency
    ),
    "change_case:english_capital": lambda text: text.isupper() and script("en")(text) == 1,
    "change_case:english_lowercase": lambda text: text.islower() and script("en")(text) == 1,
    "combination:repeat_prompt": repeats,
    "combination:two_responses": two_responses,
    "detectable_content:number_placeholders": lambda text, num_placeholders: (
        len(re.findall(r"\[[^\[\]]*\]", text)) >= num_placeholders
    ),
    "detectable_content:postscript": postscript,
    "detectable_format:constrained_response": lambda text: any(
        f"My answer is {word}." in text for word in ("yes", "no", "maybe")
    ),
    "detectable_format:json_format": is_json,
    "detectable_format:multiple_sections": lambda text, section_spliter, num_sections: (
        len(re.findall(rf"(?<!\w){re.escape(section_spliter)}\s?\d+", text)) >= num_sections
    ),
    "detectable_format:number_bullet_lists": lambda text, num_bullets: (
        len(re.findall(r"^[ \t]*(?:\*[^*\n]|-[^\n])", text, re.MULTILINE)) == num_bullets
    ),
    "detectable_format:number_highlighted_sections": highlights,
    "detectable_format:title": lambda text: any(part.strip() for part in re.findall(r"<<([^<>\n]+)>>", text)),
    "keywords:existence": lambda text, keywords: all(occurrences(text, word) for word in keywords),
    "keywords:forbidden_words": lambda text, forbidden_words: not any(occurrences(text, w) for w in forbidden_words),
    "keywords:frequency": lambda text, keyword, frequency, relation=None: compare(
        occurrences(text, keyword), relation, frequency
    ),
    "keywords:letter_frequency": lambda text, letter, let_frequency, let_relation=None: compare(
        text.casefold().count(letter.casefold()), let_relation, let_frequency
    ),
    "language:response_language": lambda text, language: script(language)(text) == 1,
    "length_constraints:nth_paragraph_first_word": nth_paragraph,
    "length_constraints:number_paragraphs": lambda text, num_paragraphs: (
        len(found := paragraphs(text)) == num_paragraphs and all(found)
    ),
    "length_constraints:number_sentences": lambda text, num_sentences, relation=None: compare(
        sentences(text), relation, num_sentences
    ),
    "length_constraints:number_words": lambda text, num_words, relation=None: compare(
        len(words(text)), relation, num_words
    ),
    "punctuation:no_comma": lambda text: "," not in text,
    "startend:end_checker": lambda text, end_phrase: (
        text.strip().strip('"').casefold().endswith(end_phrase.strip().casefold())
    ),
    "startend:quotation": lambda text: len(t := text.strip()) > 1 and t[0] == t[-1] == '"',
}
"""By IFEval's own name; the arguments have IFEval's names too."""


def followed(text: str, instructions: Sequence[str], arguments: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Which instructions an answer follows; an empty answer follows none.

    Raises ValueError when there is no check of that name, or its arguments do not fit.
    """
    if not (isinstance(instructions, Sequence) and isinstance(arguments, Sequence)) or isinstance(instructions, str):
        raise ValueError(f"instructions {instructions!r:.40}, arguments {arguments!r:.40}: both should be lists")
    if odd := [one for one in arguments if not isinstance(one, Mapping)]:
        raise ValueError(f"arguments {odd[0]!r:.40}: each instruction has its own by name, such as {{}}")
    if unknown := [name for name in instructions if name not in CHECKS]:
        raise ValueError(f"no check for {', '.join(map(repr, unknown))}; there are {', '.join(CHECKS)}")
    if not instructions or len(instructions) != len(arguments):
        raise ValueError(
            f"{len(arguments)} arguments for {len(instructions)} instructions; give one (or {{}}) for each, and at "
            "least one instruction"
        )
    if not text.strip():
        return [False] * len(instructions)
    found = []
    for name, given in zip(instructions, arguments, strict=True):
        lists = [key for key in ("keywords", "forbidden_words") if isinstance(given.get(key), str)]
        if lists:
            raise ValueError(f"{name}: {lists[0]} is {given[lists[0]]!r:.40}, and a list of words is needed")
        try:
            found.append(bool(CHECKS[name](text[:LONGEST], **{k: v for k, v in given.items() if v is not None})))
        except TypeError as error:
            raise ValueError(f"{name} cannot be checked with {dict(given)}: {error}") from error
    return found


def follows(instructions: Sequence[str], arguments: Sequence[Mapping[str, Any]], strict: bool = False) -> Rule:
    """Share of the instructions that an answer follows; `strict`: 1 for all of them and else 0."""
    followed("?", instructions, arguments)

    def rule(text: str) -> float:
        kept = followed(text, instructions, arguments)
        return float(all(kept)) if strict else sum(kept) / len(kept)

    return rule
