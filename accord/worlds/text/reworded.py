"""A text in other words: by its surface, or by paraphrases that a file gives; and pairs of answers asked about so.

What is put anew is the last turn that the user said. Surface changes keep every word: a polite frame, marks at the end
and between, capitals, gaps. They are weak paraphrases; a file of written ones teaches more.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from accord.batches import Comparisons
from accord.config import SettingsError
from accord.records import Message, Preference, Prompt, Sample, Text, named_id
from accord.run import seed_of
from accord.worlds.text.encode import Encoder

Reword = Callable[[Text, random.Random], str]
"""A conversation -> its last turn in other words; the same words where there are none."""
FRAMES = ("Please answer: {}", "I have a question. {}", "Hi! {}", "{} Thank you.", "Could you help me with this? {}",
          "{} Please tell me.")  # fmt: skip
"""Polite frames that change nothing of what is asked."""
HAN = ("请回答：{}", "我有一个问题。{}", "你好！{}", "{}谢谢。", "请帮我看一下：{}", "{}请告诉我。")
"""The same for Chinese."""
MOST = 1_000_000
"""Rows that a file of paraphrases may have."""


def template(text: str, draw: random.Random) -> str:
    """In a polite frame, English around Latin letters and Chinese around Han; as it is in any other script."""
    frames = frames_of(text)
    return draw.choice(frames).replace("{}", text) if frames else text


def frames_of(text: str) -> Sequence[str]:
    """Polite frames in the script that most letters of a text are of; none where that is another one."""
    letters = [letter for letter in text if letter.isalpha()]
    han = sum("\u4e00" <= letter <= "\u9fff" for letter in letters)
    kana = sum("\u3040" <= letter <= "\u30ff" for letter in letters)
    latin = sum(letter < "\u0250" for letter in letters)
    if 2 * han > len(letters) and not kana:
        return HAN
    return FRAMES if 2 * latin >= len(letters) else ()


def punctuation(text: str, draw: random.Random) -> str:
    """With another end, or without commas. What stands in a line of its own is left alone."""
    bare = text.rstrip()
    if bare.endswith(("?", ".", "!", "？", "。", "！")) and draw.random() < 0.5:
        return bare[:-1].rstrip() or text
    if draw.random() < 0.5:
        return re.sub(r"(?<=\w),(?= \w)", "", re.sub(r"(?<=\w)，(?=\w)", " ", text))
    return bare + draw.choice(("……", "！", "~") if frames_of(text) is HAN else ("..", " ...", "!"))


def case(text: str, draw: random.Random) -> str:
    """All small, or the first letter turned."""
    return text.lower() if draw.random() < 0.5 else text[:1].swapcase() + text[1:]


def space(text: str, draw: random.Random) -> str:
    """With a blank more at some gaps, or a line's end behind."""
    wider = re.sub(r"(?<=\S) (?=\S)", lambda _: "  " if draw.random() < 0.2 else " ", text)
    return wider if wider != text else text + "\n"


WAYS: dict[str, Callable[[str, random.Random], str]] = {
    "template": template, "punctuation": punctuation, "case": case, "space": space,
}  # fmt: skip
"""By the names of the setting `consistency.ways`."""


def surface(ways: Sequence[str]) -> Reword:
    """One to all of these ways, drawn anew for each text, in their order."""

    def reword(content: Text, draw: random.Random) -> str:
        text = content.messages[-1].content
        if not ways:
            return text
        chosen = set(draw.sample(range(len(ways)), draw.randint(1, len(ways))))
        for number, way in enumerate(ways):
            text = WAYS[way](text, draw) if number in chosen else text
        return text

    return reword


def written(path: Path, otherwise: Reword) -> Reword:
    """One of the paraphrases that a file has for a text; `otherwise` for texts that it does not have.

    Each row of the file (JSON Lines, `.gz` too) has `text`, the last turn as it stands, and `paraphrases`, a list of
    texts. Raises SettingsError for a file that cannot be read, naming the row.
    """
    table: dict[str, list[Any]] = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                row = json.loads(line)
                said = row.get("paraphrases") if isinstance(row, dict) else None
                texts = [row.get("text"), *said] if isinstance(row, dict) and isinstance(said, list) else [None]
                if number > MOST or len(texts) < 2 or not all(isinstance(one, str) and one.strip() for one in texts):
                    raise ValueError(f"row {number} is not {{'text': ..., 'paraphrases': [...]}} with texts in both, "
                                     f"or one of more than {MOST:,}")  # fmt: skip
                table.setdefault(row["text"].strip(), []).extend(texts[1:])
    except (OSError, ValueError, EOFError) as error:
        raise SettingsError(f"consistency.file={path}: {error}") from error

    def reword(content: Text, draw: random.Random) -> str:
        found = table.get(content.messages[-1].content.strip())
        return draw.choice(found) if found else otherwise(content, draw)

    return reword


def reworded(content: Text, reword: Reword, draw: random.Random) -> Text | None:
    """The conversation with its last turn in other words; None where the words are the same."""
    last = content.messages[-1]
    said = reword(content, draw)
    if said.strip() == "" or said == last.content:
        return None
    return Text(messages=(*content.messages[:-1], Message(role=last.role, content=said)))


def in_other_words(
    encoder: Encoder,
    beliefs: Sequence[Preference],
    prompts: Mapping[str, Prompt],
    samples: Mapping[str, Sample],
    reword: Reword,
    seed: int,
    answers: bool = False,
) -> Comparisons | None:
    """The same pairs, by the same names, where their prompt can be put in other words; None where none can.

    A prompt is put in the same words for all its pairs, drawn by `seed` and its id. answers: put answers anew as well,
    where that can be done.
    """
    asked: dict[str, Prompt] = {}
    said: dict[str, Sample] = {}
    kept: list[Preference] = []

    def anew(content: object, name: str) -> Text | None:
        draw = random.Random(seed_of(seed, "words", name))
        return reworded(content, reword, draw) if isinstance(content, Text) else None

    for belief in beliefs:
        if not {belief.chosen, belief.rejected} <= samples.keys() or belief.prompt not in prompts:
            continue
        name = named_id("words", seed, belief.prompt)
        if name not in asked:
            content = anew(prompts[belief.prompt].content, belief.prompt)
            if content is None:
                continue
            asked[name] = prompts[belief.prompt].model_copy(update={"id": name, "content": content})
        both = []
        for sample in (samples[belief.chosen], samples[belief.rejected]):
            put = (anew(sample.content, sample.id) if answers else None) or sample.content
            own = named_id("words", seed, sample.id)
            said[own] = sample.model_copy(update={"id": own, "prompt": name, "content": put})
            both.append(own)
        kept.append(belief.model_copy(update={"prompt": name, "chosen": both[0], "rejected": both[1]}))
    return encoder.comparisons(kept, asked, said) if kept else None
