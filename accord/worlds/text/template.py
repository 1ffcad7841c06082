"""Turns and tokens: the chat template gives the frame, and what people wrote never passes through it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from accord.config import SettingsError
from accord.records import Message
from accord.worlds.text.tokenizer import BOS, PLAIN, ROLES, TEMPLATE, unprefixed

SPACE = "\u2003"
SLOT = re.compile(f"({SPACE}?)\ue000(\\d+)\ue001({SPACE}?)")
JOINT = "\n\n"


class EncodingError(SettingsError):
    """Text that cannot become tokens; says which rows, why, and the way out."""


@dataclass(frozen=True)
class Slot:
    """Where the template puts the words of one turn, and whether it trims them."""

    turn: int
    left: bool
    right: bool

    def filled(self, content: str, cut: bool = False) -> str:
        """The words as the template would put them; what was cut keeps its end as it is."""
        content = content.lstrip() if self.left else content
        return content.rstrip() if self.right and not cut else content


class Template:
    """A chat template, taken apart once for each order of roles.

    The template is run on stand-ins instead of the words, which gives the frame around them. Marks (special tokens)
    are recognised in the frame only, so `<eos>` or `<|im_end|>` in somebody's words stays ordinary text, and no
    template can be steered by what a turn contains.
    """

    def __init__(self, tokenizer: Any, options: Mapping[str, JsonValue] | None = None) -> None:
        """options: names that the template knows, as in `enable_thinking`."""
        self.tokenizer = tokenizer
        self.options = dict(options or {})
        known = set(tokenizer.get_vocab())
        ours = TEMPLATE if {BOS, *ROLES.values()} <= known else PLAIN
        self.source = tokenizer.chat_template or ours
        self.engine = unprefixed(tokenizer)
        self.marks = {t.content: i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        self._mark = re.compile("|".join(map(re.escape, sorted(self.marks, key=len, reverse=True))) or "(?!)")
        self._frames: dict[tuple[tuple[str, ...], bool], tuple[str | Slot, ...]] = {}
        plain = tokenizer("a")["input_ids"]
        bos = tokenizer.bos_token_id
        self.bos = bos if bos is not None and (self.source == PLAIN or plain[0] == bos) else None
        self._takes_system = self._try_system()
        self.end = self._find_end()

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation and of the marks after which the assistant speaks, with one BOS."""
        messages = self.folded(messages)
        frame = self._frame(tuple(m.role for m in messages), True)
        atoms: list[tuple[str, int | None]] = []
        for piece in frame:
            if isinstance(piece, Slot):
                atoms.append((piece.filled(messages[piece.turn].content), None))
            else:
                atoms += self._split(piece)
        ids = self._spelt(atoms)
        if self.bos is not None and ids[:1] != [self.bos]:
            ids = [self.bos, *ids]
        if self.tokenizer.bos_token_id is not None and ids[:2] == [self.tokenizer.bos_token_id] * 2:
            raise EncodingError(f"the chat template begins with two {self.tokenizer.bos_token!r}; remove one from it")
        return ids

    def answer(
        self, before: Sequence[Message], said: Sequence[Message], finished: bool
    ) -> tuple[list[int], list[bool]]:
        """Token ids of the turns after a prompt, and which of them the assistant wrote (its ends of turn included).

        The boundary before each of the assistant's turns is a boundary between tokens, as it is in sampling; what the
        template writes after that place but before the words (an empty thought) is the assistant's to write.
        """
        before = self.folded(before)
        first, turns = len(before), [*before, *said]
        roles = tuple(m.role for m in turns)
        frame = self._frame(roles, False)
        places = {piece.turn: at for at, piece in enumerate(frame) if isinstance(piece, Slot)}
        ids: list[int] = []
        mask: list[bool] = []
        waiting: list[tuple[str, int | None]] = []
        rest = str(frame[places[first] - 1])
        rest = self._closing(rest)[1] if roles[first - 1] == "assistant" else rest
        for turn in range(first, len(turns)):
            own, last = turns[turn].role == "assistant", turn == len(turns) - 1
            slot, after = frame[places[turn]], str(frame[places[turn] + 1])
            assert isinstance(slot, Slot)
            lead = self._lead(rest, roles[:turn]) if own or turn == first else ""
            waiting += self._split(rest.removesuffix(lead)) if turn > first else []
            words = [*self._split(lead), (slot.filled(turns[turn].content, last and not finished), None)]
            if not own:
                waiting, rest = waiting + words, after
                continue
            closing, rest = self._closing(after)
            if finished or not last:
                words += closing or [("", self.end)]
            for atoms, ours in ((waiting, False), (words, True)):
                spelt = self._spelt(atoms)
                ids += spelt
                mask += [ours] * len(spelt)
            waiting = []
        theirs = self._spelt(waiting)  # of a conversation that somebody else ends
        return ids + theirs, mask + [False] * len(theirs)

    def between(self, before: Sequence[Message], words: str) -> list[int]:
        """Token ids from behind the end of the assistant's last turn to where it speaks again, a user's words between.

        before: the conversation up to that end. These are the ids that `answer` finds there, so a conversation that is
        sampled turn by turn is, id by id, the one that is learned from.
        """
        turns = [*self.folded(before), Message(role="user", content=words)]
        frame = self._frame(tuple(m.role for m in turns), True)
        slot = frame[-2]
        assert isinstance(slot, Slot)
        _, rest = self._closing(str(frame[-3]))
        return self._spelt([*self._split(rest), (slot.filled(words), None), *self._split(str(frame[-1]))])

    def appends(self) -> bool:
        """Whether a conversation that goes on keeps its beginning as it was written; some templates drop thoughts."""
        roles = ("user", "assistant", "user", "assistant")
        whole, spoken, asked = self._frame(roles, False), self._frame(roles[:3], True), self._frame(roles[:1], True)
        (one, first), (two, then) = (str(whole[2]), str(asked[-1])), (str(whole[6]), str(spoken[-1]))
        same = whole[:5] == spoken[:5] and whole[:2] == asked[:2]
        return same and one.startswith(first) and two.startswith(then) and one[len(first) :] == two[len(then) :]

    def plain(self, text: str) -> list[int]:
        """Token ids of words that stand alone; marks in them are ordinary text."""
        return list(self.engine.encode(text, add_special_tokens=False).ids)

    def folded(self, messages: Sequence[Message]) -> list[Message]:
        """The conversation as the template can take it: where it knows no system turn, that opens the user's first."""
        messages = list(messages)
        if self._takes_system or messages[0].role != "system" or len(messages) < 2 or messages[1].role != "user":
            return messages
        joined = Message(role="user", content=messages[0].content + JOINT + messages[1].content)
        return [joined, *messages[2:]]

    def _frame(self, roles: tuple[str, ...], generation: bool) -> tuple[str | Slot, ...]:
        """Text and slots in turn, beginning and ending with text (which may be empty)."""
        if (roles, generation) not in self._frames:
            stand_ins = [{"role": r, "content": f"{SPACE}\ue000{i}\ue001{SPACE}"} for i, r in enumerate(roles)]
            try:
                drawn = self.tokenizer.apply_chat_template(
                    stand_ins,
                    chat_template=self.source,
                    tokenize=False,
                    add_generation_prompt=generation,
                    **self.options,
                )
            except Exception as error:
                raise EncodingError(f"the chat template refuses turns by {', '.join(roles)}: {error}") from error
            cut = SLOT.split(drawn)
            pieces: list[str | Slot] = [cut[0]]
            for left, turn, right, text in zip(cut[1::4], cut[2::4], cut[3::4], cut[4::4], strict=True):
                pieces += [Slot(int(turn), not left, not right), text]
            found = [piece.turn for piece in pieces if isinstance(piece, Slot)]
            if found != list(range(len(roles))):
                raise EncodingError(
                    f"the chat template shows turns {found} of {len(roles)} ({', '.join(roles)}); each must "
                    "stand once, in order. Give the tokenizer another `chat_template`"
                )
            self._frames[roles, generation] = tuple(pieces)
        return self._frames[roles, generation]

    def _lead(self, written: str, before: tuple[str, ...]) -> str:
        """What of the text before the assistant's words is behind the place where it is asked to speak.

        written: that text, from behind the end of the turn before it or from the words of that turn on.
        """
        opening = str(self._frame(before, True)[-1])
        _, opening = self._closing(opening) if before[-1] == "assistant" else ([], opening)
        return written[len(opening) :] if written.startswith(opening) else ""

    def _split(self, text: str) -> list[tuple[str, int | None]]:
        """A piece of the frame as words and marks."""
        atoms: list[tuple[str, int | None]] = []
        at = 0
        for found in self._mark.finditer(text):
            atoms += [(text[at : found.start()], None), ("", self.marks[found.group()])]
            at = found.end()
        return [*atoms, (text[at:], None)]

    def _closing(self, after: str) -> tuple[list[tuple[str, int | None]], str]:
        """What follows a turn, parted behind the first mark: that much closes the turn."""
        found = self._mark.search(after)
        if found is None:
            return [], after
        return self._split(after[: found.end()]), after[found.end() :]

    def _spelt(self, atoms: Sequence[tuple[str, int | None]]) -> list[int]:
        """Token ids; words that touch are read as one string, as the template's own text would be."""
        ids: list[int] = []
        words = ""
        for text, mark in [*atoms, ("", -1)]:
            words += text
            if mark is not None:
                ids += self.plain(words) if words else []
                words = ""
                ids += [mark] if mark >= 0 else []
        return ids

    def _try_system(self) -> bool:
        """Whether the template takes a system turn and shows it."""
        try:
            self._frame(("system", "user"), True)
        except EncodingError:
            return False
        return True

    def _find_end(self) -> int:
        """The mark that closes the assistant's turn; the tokenizer's end-of-text where the template has none."""
        closing, _ = self._closing(str(self._frame(("user", "assistant"), False)[-1]))
        marks = [mark for _, mark in closing if mark is not None]
        if marks:
            return marks[0]
        if self.tokenizer.eos_token_id is None:
            raise EncodingError("neither the chat template nor the tokenizer has an end-of-text; set `eos_token`")
        return int(self.tokenizer.eos_token_id)
