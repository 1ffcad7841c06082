"""The recipe whose reward is the right answer: through the door, with no reward model at all, and its report."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from accord.cli import main
from accord.project import text_of
from accord.records import Prompt, Version
from accord.run import read_log
from accord.store import Store
from tests.flow.test_hh import small, words

TINY = ("--grpo.iterations", "2", "--grpo.minibatches", "2", "--best-of-n.iterations", "2", "--best-of", "2")


def test_sums_are_learned_from_right_answers_alone(quick_folder: Path) -> None:
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


def parted(data: Path) -> str:
    """Put every fourth row of the beginning, which is all of the train side, on the test side. Returns the first test
    question, which is one that models' solutions are about, as in the whole files."""
    files = (data / "gsm8k.jsonl.gz", data / "gsm8k_solutions.jsonl.gz")
    rows, (solved, *_) = (list(map(json.loads, gzip.decompress(file.read_bytes()).splitlines())) for file in files)
    rows[0]["prompt"] = solved["prompt"]
    for row in rows[::4]:
        row["split"] = "test"
    files[0].write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return str(solved["prompt"])


def test_a_circle_of_sums_is_judged_by_right_answers(quick_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, project = small("gsm8k", quick_folder), quick_folder / "p"
    first = parted(data)
    assert main(["loop", *words("gsm8k", data, project, *TINY, "--judging.answers", "3")]) == 0
    assert "Nothing was learned that can be told from chance" in " ".join(capsys.readouterr().out.split())
    told = json.loads((project / "summary.json").read_text())
    assert set(told["rules"]) == {"pass@1", "pass@2", "pass@3", "final answer given"}
    assert [one["stage"] for one in told["faults"] if "In 3 tries the start passes" in one["text"]] == ["sft"]
    with Store.open(project / "store.db") as store:
        assert {version.name for version in store.all(Version)} == {"pretrained", "sft", "round1-grpo"}
        about = [one for one in store.all(Prompt) if text_of(one).messages[-1].content == first]
        assert [(one.split, "answer" in one.checks) for one in about] == [("test", True)]
    assert main(["loop", *words("gsm8k", data, quick_folder / "q", *TINY, "--judging.by", "reward")]) == 2
    assert "to learn by" in capsys.readouterr().err
