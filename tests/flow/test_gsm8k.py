"""The recipe whose reward is the right answer: stage by stage through the door, with no reward model at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.cli import main
from accord.records import Prompt, Version
from accord.run import read_log
from accord.store import Store
from tests.flow.test_hh import small, words

TINY = ("--grpo.iterations", "2", "--grpo.minibatches", "2", "--best-of-n.iterations", "2", "--best-of", "2")


def test_sums_are_learned_from_right_answers_alone(quick_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, project = small("gsm8k", quick_folder), quick_folder / "p"
    for stage in (
        "pretrain --name pretrained",
        "sft --start pretrained --name sft",
        "grpo --start sft --name grouped",
        "best_of_n --start sft --name chosen",
    ):
        method, *given = stage.split()
        assert main(["train", method, *words("gsm8k", data, project, *given, *TINY)]) == 0
    with Store.open(project / "store.db") as store:
        made = {version.name: version for version in store.all(Version)}
        prompts = store.get_many(Prompt, made["grouped"].data)
        assert made["grouped"].data == made["chosen"].data
        assert len(prompts) > 20
        assert {prompt.split for prompt in prompts.values()} == {"train"}
        assert all(str(prompt.checks["answer"]) for prompt in prompts.values())
    rows = read_log(project / "runs" / "grouped" / "log.jsonl")
    assert {row["reward"] for row in rows} <= {i / 12 for i in range(13)}  # 6 prompts, 2 answers, each right or wrong
    assert made["chosen"].figures["found"] <= 6  # only right answers are imitated
    capsys.readouterr()
    assert main(["loop", *words("gsm8k", data, project)]) == 2
    assert "to learn by" in capsys.readouterr().err
