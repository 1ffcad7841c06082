"""Who said what: turns of a conversation as data sets write them, as lists or as one text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from accord.records import Message, Prompt, Role, Text

_HH = re.compile(r"\n\n(Human|Assistant): ?")
_ROLES = get_args(Role)


def answer_turns(given: Any, name: str, prompt: Prompt) -> tuple[Message, ...]:
    """The turns of an answer; when they repeat the prompt, those after it."""
    if isinstance(given, str):
        return (spoken("assistant", given, name),)
    turns = messages(given, name)
    assert isinstance(prompt.content, Text)
    before = prompt.content.messages
    return turns[len(before) :] if turns[: len(before)] == before and len(turns) > len(before) else turns


def messages(given: Any, name: str) -> tuple[Message, ...]:
    """A list of {role, content}."""
    if not isinstance(given, list | tuple) or not given:
        raise ValueError(f"{name} should be a string or a list of messages, not {str(given)[:40]!r}")
    found = []
    for turn in given:
        if not isinstance(turn, Mapping) or turn.get("role") not in _ROLES:
            raise ValueError(
                f"{name}: a message has a role ({', '.join(_ROLES)}) and a content; got {str(turn)[:60]!r}"
            )
        found.append(spoken(turn["role"], turn.get("content"), name))
    return tuple(found)


def spoken(role: Role, content: Any, name: str) -> Message:
    """One turn. Nothing said is a fault of the data: there would be nothing to judge or to learn."""
    if not isinstance(content, str):
        raise ValueError(f"{name}: content should be a string, not {type(content).__name__}")
    if not content.strip() and role != "system":
        raise ValueError(f"{name} is empty")
    return Message(role=role, content=content)


def cut_prompt(chosen: Any, rejected: Any) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """Find the prompt in two whole conversations: what they share at the beginning."""
    if isinstance(chosen, str) and isinstance(rejected, str):
        if _HH.match(chosen) and _HH.match(rejected):
            chosen, rejected = _conversation(chosen), _conversation(rejected)
        else:
            return _cut_strings(chosen, rejected)
    left, right = messages(chosen, "chosen"), messages(rejected, "rejected")
    shared = 0
    while shared < min(len(left), len(right)) - 1 and left[shared] == right[shared]:
        shared += 1
    # An answer begins with the assistant, so shared turns after the last question belong to the answers.
    while shared and left[shared - 1].role == "assistant":
        shared -= 1
    if not shared:
        raise ValueError("no prompt: chosen and rejected share no first turn")
    return left[:shared], left[shared:], right[shared:]


def _cut_strings(chosen: str, rejected: str) -> tuple[tuple[Message, ...], tuple[Message, ...], tuple[Message, ...]]:
    """The shared beginning of two plain texts, back to the last white space: words are not cut."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    cut = max((match.end() for match in re.finditer(r"\s", chosen[:shared])), default=0)
    if not chosen[:cut].strip():
        raise ValueError("no prompt: chosen and rejected share no first words")
    answers = (spoken("assistant", text[cut:], name) for text, name in ((chosen, "chosen"), (rejected, "rejected")))
    first, second = answers
    return (spoken("user", chosen[:cut].rstrip(), "prompt"),), (first,), (second,)


def _conversation(text: str) -> list[dict[str, str]]:
    """Turns of the HH manner of writing (Human: ... Assistant: ...)."""
    pieces = _HH.split(text)[1:]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": said} for who, said in zip(pieces[::2], pieces[1::2], strict=True)]
