"""A circle that is judged by rules: what can be learned is learned, what cannot is told, and kills change nothing."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from accord.cli import main
from accord.records import Version
from accord.run import read_log
from accord.store import Store
from tests.flow.circle import figures, weights
from tests.flow.kill import KILLS, command, killed_and_resumed

THINGS = ("apple", "book", "chair", "door", "egg", "fork", "glass", "hat", "iron", "jar", "key", "lamp", "map")
WAYS = ("say {0} {0} {0} {0} {1}", "{1} : {0} {0} {0} {0}", "a {1} , {0} {0} {0} {0}", "{0} {0} {0} {0} for {1}")
"""A digit that is said often needs no search: a model this small learns to say it again in seconds."""
RECIPE: dict[str, Any] = {
    "name": "digits",
    "data": {"kind": "files", "texts": ["texts.jsonl"], "demonstrations": ["digits.jsonl"], "test_prompts": 80},
    "vocabulary": 400,
    "model": {"family": "llama", "width": 32, "layers": 1, "heads": 2, "context": 48},
    "encode": {"limit": 48, "answer_limit": 12},
    "pretrain": None,
    "sft": {"epochs": 12, "batch": 16, "optimiser": {"learning_rate": 4e-3}},
    "collect": {"source": "none"},
    "method": "grpo",
    "worth": {"learned": 0, "exact": 1, "loose": False},
    "judging": {"by": "rules", "answers": 4},
    "rollout": 64,
    "rollout_answers": 8,
    "grpo": {
        "iterations": 15,
        "epochs": 1,
        "missing_end_penalty": 0.0,
        "kl": {"place": "none"},
        "optimiser": {"learning_rate": 3e-3, "schedule": "linear", "warmup": 0.0},
    },
    "best_of": 4,
    "best_of_n": {"iterations": 2, "updates": 2, "least": 1.0, "missing_end_penalty": 0.0},
    "draw": {"max_tokens": 10},
    "run": {"device": "cpu", "threads": 1, "trackers": [], "progress": False, "checkpoint_seconds": 0},
}


def world(folder: Path) -> Path:
    """Prompts with a digit in them, which is to be said again; every fourth of the answers that are shown is wrong."""
    draw, rows = random.Random(0), []
    for thing in THINGS:
        for digit in range(10):
            for way in WAYS:
                told = digit if draw.random() < 0.7 else draw.randrange(10)
                answer = f"#### {told}" if draw.random() < 0.8 else f"{told}"
                rows.append({"prompt": way.format(digit, thing), "response": answer, "answer": str(digit)})
    draw.shuffle(rows)
    folder.mkdir(parents=True)
    (folder / "digits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = (json.dumps({"text": f"{row['prompt']} {row['response']}"}) + "\n" for row in rows)
    (folder / "texts.jsonl").write_text("".join(read))
    return folder


def words(shelf: Path, project: Path, **changes: Any) -> list[str]:
    """What `accord loop` is given."""
    file = project.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({**RECIPE, **changes}))
    return [str(file), "--data.root", str(shelf / "data"), "--project", str(project)]


def read(project: Path) -> dict[str, Any]:
    return json.loads((project / "summary.json").read_text())


def made(project: Path) -> dict[str, Version]:
    with Store.open(project / "store.db") as store:
        return {version.name: version for version in store.all(Version)}


@pytest.fixture(scope="module")
def start(quick_shelf: Path) -> Path:
    """A project that was only fine-tuned, with its data in the folder beside it."""
    world(quick_shelf / "data")
    file, *given = words(quick_shelf, quick_shelf / "start")
    assert main(["train", "sft", file, *given, "--name", "sft"]) == 0
    return quick_shelf / "start"


def test_what_can_be_checked_is_learned_and_the_report_says_so(
    start: Path, quick_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = quick_folder / "p"
    shutil.copytree(start, project)
    assert main(["loop", *words(start.parent, project)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "The policy learned: judged by rules that can be checked (the right final answer)" in shown
    told = read(project)
    once, tried = told["rules"]["pass@1"], told["rules"]["pass@4"]
    assert once["before"] < 0.35 < once["after"]
    assert once["change"][0] > 0
    assert once["after"] < tried["after"]
    assert told["rules"]["final answer given"]["after"] > 0.97
    assert told["policy"]["judge"].startswith("rules")
    # One answer meets another: won less lost is the difference of what passes.
    assert told["policy"]["win_rate"] == pytest.approx(0.5 + (once["after"] - once["before"]) / 2, abs=1e-6)
    assert told["reward_model"]["accuracy"] is None
    assert set(made(project)) == {"sft", "round1-grpo"}
    page = (project / "report.html").read_text()
    assert "pass@4" in page
    assert "it learned" in page

    assert main(["report", str(project)]) == 0  # judged again it says the same
    assert read(project)["rules"] == told["rules"]


def test_what_is_not_learned_is_told(start: Path, quick_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = quick_folder / "p"
    shutil.copytree(start, project)
    still = {**RECIPE["grpo"], "iterations": 1, "optimiser": {"learning_rate": 1e-9}}
    assert main(["loop", *words(start.parent, project, grpo=still)]) == 0
    assert "Nothing was learned that can be told from chance" in " ".join(capsys.readouterr().out.split())
    faults = [one["text"] for one in read(project)["faults"] if one["stage"] == "round1-grpo"]
    assert any(text.endswith("nothing was learned that can be seen.") for text in faults)


def test_two_rounds_of_rejection_sampling_are_judged_each(start: Path, quick_folder: Path) -> None:
    project = quick_folder / "p"
    shutil.copytree(start, project)
    assert main(["loop", *words(start.parent, project, method="best_of_n", rounds=2, rollout=16)]) == 0
    assert set(made(project)) == {"sft", "round1-best_of_n", "round2-best_of_n"}
    between = read(project)["figures"]["pass@1 after round 1"]
    assert between["interval"][0] < between["estimate"] < between["interval"][1]


def test_a_rule_that_is_the_same_for_all_prompts_needs_no_answers(start: Path, quick_folder: Path) -> None:
    project = quick_folder / "p"
    shutil.copytree(start, project)
    brief = {"learned": 0, "length": 1, "least": 1, "most": 1, "form": 0.5, "pattern": "[^#]*"}
    few = {**RECIPE["grpo"], "iterations": 2}
    assert main(["loop", *words(start.parent, project, worth=brief, grpo=few, rollout=16)]) == 0
    told = read(project)
    assert told["policy"]["judge"].endswith("(a length within bounds, the form that is wanted)")
    assert "final answer given" not in told["rules"]
    assert read_log(project / "runs/round1-grpo/log.jsonl")[0]["worth/form"] > 0


def test_a_reward_model_is_paid_and_rules_judge(quick_folder: Path) -> None:
    """Best of several by a verifier stands beside what passes; its own pairs are judged as elsewhere."""
    data, project = world(quick_folder / "data"), quick_folder / "p"
    rows = [json.loads(line) for line in (data / "digits.jsonl").read_text().splitlines()]
    pairs = (
        {"prompt": row["prompt"], "chosen": f"#### {row['answer']}", "rejected": "#### none"} for row in rows[:200]
    )
    (data / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    changes = {
        "data": {**RECIPE["data"], "preferences": ["pairs.jsonl"], "test_prompts": 10},
        "worth": {"learned": 1.0},
        "judging": {"by": "rules", "must": ["exact"], "answers": 4},
        "sft": {**RECIPE["sft"], "epochs": 2},
        "grpo": {**RECIPE["grpo"], "iterations": 1},
        "rollout": 8,
    }
    assert main(["loop", *words(quick_folder, project, **changes)]) == 0
    told = read(project)
    assert {"passes, best of 1 by round1-reward", "passes, best of 4 by round1-reward"} <= set(told["figures"])
    assert told["figures"]["passes, best of 1 by round1-reward"]["estimate"] == told["rules"]["pass@1"]["after"]
    assert told["reward_model"]["accuracy"] > 0.9
    assert set(made(project)) == {"sft", "round1-reward", "round1-grpo"}


def test_a_killed_circle_of_rules_ends_bit_identical(start: Path, quick_folder: Path) -> None:
    calm, rough = quick_folder / "calm", quick_folder / "rough"
    small = {"grpo": {**RECIPE["grpo"], "iterations": 12}, "rollout": 16, "rollout_answers": 4}
    small |= {"data": {**RECIPE["data"], "test_prompts": 20}}
    for project in (calm, rough):
        shutil.copytree(start, project)
    assert main(["loop", *words(start.parent, calm, **small)]) == 0
    rows = read_log(calm / "runs/round1-grpo/log.jsonl")
    span = 0.6 * (rows[-1]["time"] - rows[0]["time"]) / KILLS
    again = command("loop", *words(start.parent, rough, **small))
    killed_and_resumed(again, KILLS, seed=5, folder=rough / "runs", span=span)
    assert weights(rough) == weights(calm)
    assert figures(rough / "runs/round1-grpo/log.jsonl") == figures(calm / "runs/round1-grpo/log.jsonl")
    assert read(rough)["rules"] == read(calm)["rules"]
