"""Trees of messages, as OpenAssistant has them: grown from single messages, and read as pairs of ranked replies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

LEAF = ("message_id", "parent_id", "text", "role")
"""What a data set of single messages has in each row."""
_KEPT = ("message_id", "text", "role", "lang", "rank", "deleted", "review_result")
_ROLES = {"prompter": "user", "assistant": "assistant"}


def grown(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Whole trees, each as `{message_tree_id, prompt}` with `replies` in every message, in the order of their roots.

    rows: single messages with the names of `LEAF`, in any order. A message whose parent is not there is left out.
    """
    nodes: dict[str, dict[str, Any]] = {}
    above: dict[str, str | None] = {}
    for row in rows:
        name, parent = str(row["message_id"]), row.get("parent_id")
        nodes[name] = {**{key: row.get(key) for key in _KEPT}, "replies": []}
        above[name] = None if parent is None else str(parent)
    for name, node in nodes.items():
        if (over := above[name]) is not None and over in nodes:
            nodes[over]["replies"].append(node)
    for name, node in nodes.items():
        if above[name] is None:
            yield {"message_tree_id": name, "prompt": node}


def choices(root: Mapping[str, Any], more: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A pair of each two neighbouring ranks among the assistant's replies to the same turn, with what stood before it.

    more: what each pair says besides, such as its source. Replies that were deleted, failed review, are empty or have
    no rank are passed over, and so is all that follows a turn that cannot be read. Raises ValueError when there is no
    pair.
    """
    found: list[dict[str, Any]] = []
    open_turns: list[tuple[list[dict[str, str]], Mapping[str, Any]]] = [([], root)]
    while open_turns:
        before, node = open_turns.pop()
        if not _good(node):
            continue
        turns = [*before, {"role": _ROLES[str(node["role"])], "content": str(node["text"])}]
        replies = [reply for reply in node.get("replies") or () if isinstance(reply, Mapping)]
        ranked = [reply for reply in replies if _good(reply) and reply["role"] == "assistant" and _rank(reply) >= 0]
        if node["role"] == "prompter":
            for better, worse in pairwise(sorted(ranked, key=_rank)):
                if better["text"] != worse["text"] and _rank(better) < _rank(worse):
                    said = {"prompt": turns, "chosen": better["text"], "rejected": worse["text"]}
                    found.append({**more, **said, **({"lang": node["lang"]} if node.get("lang") else {})})
        open_turns += [(turns, reply) for reply in reversed(replies)]
    if not found:
        raise ValueError("a tree of messages without two ranked replies to the same turn")
    return found


def _good(node: Mapping[str, Any]) -> bool:
    """Whether a message can be read and was not taken back."""
    text = node.get("text")
    kept = not node.get("deleted") and node.get("review_result") is not False
    return kept and str(node.get("role")) in _ROLES and isinstance(text, str) and bool(text.strip())


def _rank(node: Mapping[str, Any]) -> int:
    """The place among its neighbours, 0 for the best; -1 where nobody ranked it."""
    rank = node.get("rank")
    return int(rank) if isinstance(rank, int | float) and not isinstance(rank, bool) and rank >= 0 else -1
