"""Messages of a tree, in any order, become the pairs that its ranks say."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from accord.records import Preference, Prompt, Sample
from accord.store import read
from accord.store.trees import choices, grown


def message(name: str, parent: str | None, text: str, rank: int | None = None, **more: Any) -> dict[str, Any]:
    role = "prompter" if rank is None and "role" not in more else "assistant"
    said = {"message_id": name, "parent_id": parent, "text": text, "role": role, "rank": rank, "lang": "zh"}
    return {**said, "deleted": False, "review_result": True, "tree_state": "ready_for_export", **more}


TREE = [
    message("root", None, "问题?"),
    message("second", "root", "好的。", 1),
    message("best", "root", "最好。", 0),
    message("last", "root", "不好。", 2),
    message("more", "best", "然后?"),
    message("x", "more", "one", 3),
    message("y", "more", "two", 7),
    message("gone", "more", "gone", 5, deleted=True),
    message("refused", "more", "refused", 6, review_result=False),
    message("same", "more", "one", 4),
    message("unranked", "last", "warum?", None, role="assistant"),
    message("orphan", "nobody", "lost", 0),
]
PAIRS = [
    (["问题?"], "最好。", "好的。"),
    (["问题?"], "好的。", "不好。"),
    (["问题?", "最好。", "然后?"], "one", "two"),
]


def said(rows: list[dict[str, Any]]) -> list[tuple[list[str], str, str]]:
    return [([turn["content"] for turn in row["prompt"]], row["chosen"], row["rejected"]) for row in rows]


def test_neighbouring_ranks_are_pairs_at_every_turn() -> None:
    for seed in range(5):
        rows = random.Random(seed).sample(TREE, len(TREE))
        (tree,) = grown(rows)
        found = choices(tree["prompt"], {"source": "s"})
        assert sorted(said(found)) == sorted(PAIRS)
        assert all((row["source"], row["lang"]) == ("s", "zh") for row in found)
        assert [turn["role"] for turn in max((row["prompt"] for row in found), key=len)] == [
            "user",
            "assistant",
            "user",
        ]


def test_a_tree_in_a_file_is_its_pairs(tmp_path: Path) -> None:
    two = [*TREE, message("other", None, "Who?"), message("a", "other", "I.", 0), message("b", "other", "You.", 1)]
    lone = [message("lone", None, "Anybody?"), message("c", "lone", "No.", 0)]
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps(tree, ensure_ascii=False) + "\n" for tree in grown([*two, *lone])), "utf-8")
    found = read(file)
    assert (found.report.rows, found.report.good) == (3, 2)
    assert found.report.bad[0].reason == "a tree of messages without two ranked replies to the same turn"
    count = {kind: sum(isinstance(one, kind) for one in found.records) for kind in (Prompt, Sample, Preference)}
    assert count == {Prompt: 3, Sample: 7, Preference: 4}
    assert {prompt.tags for prompt in found.records if isinstance(prompt, Prompt)} == {("lang:zh",)}


def test_what_follows_a_turn_that_cannot_be_read_is_passed_over() -> None:
    (tree,) = grown([{**row, "text": " "} if row["message_id"] == "best" else row for row in TREE])
    assert said(choices(tree["prompt"], {})) == [(["问题?"], "好的。", "不好。")]
    (tree,) = grown([{**TREE[0], "deleted": True}, *TREE[1:]])
    with pytest.raises(ValueError, match="without two ranked replies"):
        choices(tree["prompt"], {})
