"""Answers of pairs as demonstrations: each answer once, on its prompt's side, the same ones again the second time."""

import json
from pathlib import Path

import pytest

from accord.project import Project
from accord.recipe import recipe
from accord.records import Demonstration, Preference, Prompt
from accord.store.examples import examples, spelt


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Twelve prompts with two pairs that share their better answer, and one demonstration."""
    rows = [
        {"prompt": f"question {n} ?", "chosen": f"please {n}", "rejected": f"{word} {n}"}
        for n in range(12)
        for word in ("no", "never")
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "shown.jsonl").write_text(json.dumps({"prompt": "and you ?", "response": "well"}) + "\n")
    return tmp_path


def project(files: Path, which: str) -> Project:
    data = {"kind": "files", "root": str(files), "preferences": ["pairs.jsonl"], "demonstrations": ["shown.jsonl"]}
    made = Project(files / which, recipe(None, {"data": {**data, "imitate": which, "test_share": 0.4}}))
    made.prepare()
    return made


@pytest.mark.parametrize(("which", "each"), [("none", 0), ("chosen", 1), ("both", 3)])
def test_each_answer_is_shown_once_and_on_the_side_of_its_prompt(files: Path, which: str, each: int) -> None:
    made = project(files, which)
    shown = list(made.store.all(Demonstration))
    assert len(shown) == 1 + 12 * each == len({one.sample for one in shown})
    prompts = {prompt.id: prompt for prompt in made.store.all(Prompt)}
    for split in ("train", "test"):
        mine = {one.id for one in shown if prompts[one.prompt].split == split}
        assert {one.id for one in made.store.all(Demonstration, split=split)} == mine
        assert which == "none" or len(mine) > each
    if which != "none":
        answers = {belief.chosen for belief in made.store.all(Preference)}
        answers |= {belief.rejected for belief in made.store.all(Preference)} if which == "both" else set()
        assert answers < {one.sample for one in shown}
        assert examples(made.store, "chosen" if which == "chosen" else "both") == examples(
            made.store, "chosen" if which == "chosen" else "both"
        )
    made.prepare()
    assert len(list(made.store.all(Demonstration))) == len(shown)


def test_pieces_are_learned_from_what_is_said_only_where_that_is_asked(files: Path) -> None:
    (files / "books.txt").write_text("books say nothing of it. " * 20)
    rows = [{"prompt": f"question {n} ?", "chosen": "鲸鱼鲸鱼鲸鱼", "rejected": "no"} for n in range(12)]
    (files / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = {}
    for spelling in ("texts", "all"):
        data = {"kind": "files", "root": str(files), "preferences": ["pairs.jsonl"], "texts": ["books.txt"]}
        data |= {"spelling": spelling, "test_share": 0.4}
        made = Project(files / spelling, recipe(None, {"data": data, "vocabulary": 400}))
        made.prepare()
        counts[spelling] = len(made.tokenizer().encode("鲸鱼鲸鱼鲸鱼"))
        hidden = {turn.content for p in made.store.all(Prompt, split="test") for turn in p.content.messages}
        assert hidden
        assert not hidden & set(spelt(made.documents, made.store, spelling))
    assert counts["texts"] == 18
    assert counts["all"] <= 3


def test_digits_stand_alone_where_that_is_asked(files: Path) -> None:
    (files / "books.txt").write_text("in 2024 and in 2024 again. " * 20)
    counts = {}
    for digits in ("joined", "single"):
        data = {"kind": "files", "root": str(files), "texts": ["books.txt"], "digits": digits}
        made = Project(files / digits, recipe(None, {"data": data, "vocabulary": 300}))
        counts[digits] = len(made.tokenizer().encode(" 2024"))
    assert counts == {"joined": 1, "single": 5}
