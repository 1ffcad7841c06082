"""The door: every verb explains itself, mistakes get one clear message, and nothing heavy is opened for a greeting."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from accord import cli
from accord.cli import VERBS, Place, main, settled
from accord.config import SettingsError, save
from accord.recipe import recipe
from accord.records import Demonstration, Feedback, Preference
from accord.store import Store
from accord.warned import plainly
from tests.flow.circle import write_recipe


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small circle gone round through the door."""
    folder = tmp_path_factory.mktemp("cli")
    assert main(["loop", str(write_recipe(folder / "tiny.yaml")), "--project", str(folder / "p")]) == 0
    return folder / "p"


def said(capsys: pytest.CaptureFixture[str], words: list[str], status: int) -> str:
    """What the program prints to the one or the other side, when it ends with this status."""
    try:
        found = main(words)
    except SystemExit as stop:
        found = int(stop.code or 0)
    told = capsys.readouterr()
    assert found == status, told
    return told.out + told.err


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["help"]])
def test_help_names_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, words, 0)
    assert [verb for verb in VERBS if f"  accord {verb}" not in told] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, [verb, "--help"], 0)
    assert f"accord {verb}" in told
    assert len(told.split()) > 20
    assert "Traceback" not in told


def test_help_is_quick_and_opens_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "tyro", "sqlalchemy", "matplotlib", "pydantic")
    code = (
        "import sys; from accord.cli import main; rc = main(['--help']); "
        f"assert rc == 0; print('loaded', [m for m in {heavy!r} if m in sys.modules])"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded []"
    assert time.monotonic() - begun < 5  # 0.1 s on an idle machine


def test_threads_spin_for_a_short_time_only_unless_the_user_says_so() -> None:
    code = "import os, sys; from accord.cli import main; main(['--version']); print(os.environ['GOMP_SPINCOUNT'])"
    for given, wanted in ((None, "20000"), ("77", "77")):
        around = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
        told = around if given is None else {**around, "GOMP_SPINCOUNT": given}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=told, check=True)
        assert done.stdout.split()[-1] == wanted


def test_an_unknown_verb_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'report'?" in said(capsys, ["repport"], 2)
    told = said(capsys, ["xyzzy"], 2)
    assert "no verb 'xyzzy'" in told
    assert "did you mean" not in told
    assert main(["--version"]) == 0


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("ppo: {clop: 0.1}", ("ppo.clop", "clip", "value_clip")),
        ("ppo: {clip: 7}", ("ppo.clip", "less than 1", "7")),
        ("sead: 3", ("sead", "seed", "rounds")),
        ("data: {kind: books}", ("data", "books", "lab", "files")),
        ("- 1", ("list",)),
        ("a: [", ("not YAML",)),
    ],
)
def test_a_bad_recipe_is_refused_by_field_with_the_known_ones(
    content: str, names: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    told = said(capsys, ["loop", str(tmp_path / "bad.yaml"), "--project", str(tmp_path / "p")], 2)
    assert [name for name in names if name not in told] == []
    assert "bad.yaml" in told
    assert not (tmp_path / "p").exists()


def test_a_bad_setting_on_the_command_line_is_refused_with_the_nearest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = ["--project", str(tmp_path / "p")]
    told = said(capsys, ["loop", *at, "--ppo.clop", "0.1"], 2)
    assert "--ppo.clop" in told
    assert "--ppo.clip" in told
    assert "less than 1" in said(capsys, ["train", "ppo", *at, "--ppo.clip", "3"], 2)
    assert "--project needs a folder" in said(capsys, ["loop", "--project"], 2)
    assert "cannot read settings" in said(capsys, ["loop", str(tmp_path / "nothing.yaml")], 2)
    assert not (tmp_path / "p").exists()


def test_train_names_the_methods_and_teaches_each(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, ["train"], 2)
    assert all(method in told for method in ("pretrain", "sft", "reward_model", "ppo"))
    assert said(capsys, ["train", "--help"], 0) == told
    ppo = said(capsys, ["train", "ppo", "--help"], 0)
    for part in ("Schulman", "--ppo.clip", "How far an action", "--ppo.kl.coefficient", "--ppo.optimiser.epsilon"):
        assert part in ppo
    assert "Bradley and Terry" in said(capsys, ["train", "reward_model", "--help"], 0)
    for name in ("project", "start", "reward", "name", "reference", "beside", "cost", "group"):  # all that it takes
        assert f"--{name} " in told


def test_the_help_of_the_circle_says_what_it_is_and_where_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    told = " ".join(said(capsys, ["loop", "--help"], 0).split())
    for part in ("accord loop [RECIPE] [--project DIR]", "RECIPE is a YAML file", "projects/NAME", "command goes on"):
        assert part in told


def test_the_settings_that_the_help_of_a_stage_shows_can_be_given_so(capsys: pytest.CaptureFixture[str]) -> None:
    """It once listed --epochs, where --sft.epochs is what the command takes."""
    listed = said(capsys, ["train", "sft", "--help"], 0).split("usage:")[1]
    shown = re.findall(r"^\W*\s(--\w[\w.-]*)", listed, re.MULTILINE)
    assert "--sft.epochs" in shown
    assert [flag for flag in shown if not flag.startswith("--sft.")] == []


def test_names_and_values_may_stand_in_one_word(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As settings may: `--start=sft`, `--project=FOLDER`."""
    words = ["train", "dpo", f"--project={project}", "--start=nobody", "--name=x=y", "--dpo.beta=0.2"]
    assert "no such version 'nobody'" in said(capsys, words, 2)
    assert "--start needs a name" in said(capsys, ["train", "dpo", "--start", "--reward", "worth"], 2)
    assert "--project needs a folder" in said(capsys, ["train", "dpo", "--project"], 2)


def test_a_stage_without_what_it_needs_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--project", str(project)]
    assert "--start" in said(capsys, ["train", "ppo", *at, "--name", "new"], 2)
    assert "--start" in said(capsys, ["train", "reward_model", *at, "--name", "new"], 2)
    told = said(capsys, ["train", "ppo", *at, "--start", "nobody", "--reward", "round1-reward"], 2)
    assert "there are: pretrained, sft, round1-reward, round1-ppo" in told
    assert "--name needs" in said(capsys, ["train", "sft", *at, "--name"], 2)


def test_a_version_answers_and_the_same_seed_answers_the_same(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["sample", "round1-ppo", "--prompt", "what colour is it ?", "--project", str(project), "--count", "3"]
    first = said(capsys, ask, 0)
    assert len(first.splitlines()) == 3
    assert said(capsys, ask, 0) == first
    assert said(capsys, [*ask, "--seed", "1"], 0) != first
    assert "there are: pretrained" in said(capsys, ["sample", "nobody", *ask[2:]], 2)
    assert "it scores answers; one that gives answers is wanted" in said(
        capsys, ["sample", "round1-reward", *ask[2:]], 2
    )


def test_the_best_of_several_answers_is_what_the_reward_model_says(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["sample", "sft", "--prompt", "what colour is it ?", "--project", str(project), "--reward", "round1-reward"]
    every = said(capsys, [*ask, "--count", "6"], 0).splitlines()
    best = said(capsys, [*ask, "--count", "2", "--best-of", "3"], 0).splitlines()
    worth = [float(line.split()[1]) for line in every]
    assert [float(line.split()[1]) for line in best[:2]] == [max(worth[:3]), max(worth[3:])]
    assert set(best[:2]) <= set(every)
    assert "at most 0.43 nats from sft" in best[2]
    assert "give --reward NAME" in said(capsys, [*ask[:-2], "--best-of", "3"], 2)
    assert "sft is a policy model" in said(capsys, [*ask[:-1], "sft", "--best-of", "3"], 2)


def test_a_version_is_traced_to_its_teachers_and_a_person_to_what_they_taught(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(project / "store.db") as store:
        everybody = list(store.feedback(project="round1"))
        words = sum(one.annotator == everybody[0].annotator for one in store.all(Feedback))
    told = said(capsys, ["trace", "round1-ppo", "--project", str(project)], 0)
    assert f"feedback: {len(everybody)}" in told
    assert all(one.annotator in told for one in everybody)
    person = everybody[0].annotator
    taught = said(capsys, ["trace", person, "--project", str(project)], 0)
    assert f"feedback: {words}\n" in taught
    assert "round1-reward" in taught
    assert "round1-ppo" in taught
    assert "pretrained" not in taught
    assert "nobody of that name" in said(capsys, ["trace", "nobody", "--project", str(project)], 2)
    assert "data set of round1-reward: " in taught
    assert "no store.db" in said(capsys, ["trace", person, "--project", str(project / "not")], 2)


def test_the_report_can_be_made_again(project: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = json.loads((project / "summary.json").read_text())
    (project / "report.html").unlink()
    said(capsys, ["report", str(project)], 0)
    after = json.loads((project / "summary.json").read_text())
    assert (project / "report.html").stat().st_size > 10_000
    assert {k: v for k, v in after.items() if k != "seconds"} == {k: v for k, v in before.items() if k != "seconds"}
    begun = ["train", "pretrain", str(project.parent / "tiny.yaml"), "--project", str(tmp_path / "young")]
    said(capsys, begun, 0)
    assert "no round1-ppo yet (there are: pretrain)" in said(capsys, ["report", str(tmp_path / "young")], 2)


def test_files_go_in_and_come_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": f"question {i} ?", "chosen": f"yes {i}", "rejected": f"no {i}"} for i in range(10)]
    with gzip.open(tmp_path / "pairs.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    shown = [json.dumps({"prompt": "hello", "completion": "hello you"}), "{not json", json.dumps({"colour": "red"})]
    (tmp_path / "shown.jsonl").write_text("\n".join(shown) + "\n")
    at = ["--project", str(tmp_path / "p")]

    told = said(capsys, ["import", str(tmp_path / "pairs.jsonl.gz"), *at], 0)
    assert "10 of 10 rows used" in told
    again = said(capsys, ["import", str(tmp_path / "pairs.jsonl.gz"), *at], 0)
    assert "0 records new" in again
    with gzip.open(tmp_path / "pairs.jsonl.gz", "rt") as file:
        (tmp_path / "copy.jsonl").write_text(file.read().rstrip())
    copy = ["import", str(tmp_path / "copy.jsonl"), *at]
    assert "its rows came as 'pairs' before; nothing was added" in said(capsys, copy, 0)
    told = said(capsys, ["import", str(tmp_path / "shown.jsonl"), *at], 1)
    assert "1 of 3 rows used" in told
    assert "line 2: " in told
    assert "line 3: " in told
    with Store.open(tmp_path / "p" / "store.db") as store:
        assert len(list(store.all(Preference))) == 10
        assert len(list(store.all(Demonstration))) == 1
        assert len(list(store.all(Feedback))) == 0
    both = ["import", str(tmp_path / "copy.jsonl"), str(tmp_path / "pairs.jsonl.gz"), "--again"]
    told = said(capsys, [*both, "--project", str(tmp_path / "p2")], 0)
    assert "40 records new" in told
    assert "pairs.jsonl.gz: 10 of 10 rows used, 10 records new" in told  # as asked for: each belief twice

    assert "10 rows" in said(capsys, ["export", str(tmp_path / "out.jsonl"), "--form", "preference", *at], 0)
    out = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert sorted(row["chosen"][-1]["content"] for row in out) == [f"yes {i}" for i in range(10)]
    assert main(["export", str(tmp_path / "all.jsonl.gz"), *at]) == 0
    assert main(["import", str(tmp_path / "all.jsonl.gz"), "--project", str(tmp_path / "other")]) == 0
    with Store.open(tmp_path / "other" / "store.db") as store:
        assert len(list(store.all(Preference))) == 10
    absent = str(tmp_path / "absent.jsonl")
    assert absent in said(capsys, ["import", absent, *at], 2)
    slip = ["--project", str(tmp_path / "mistyped")]
    assert "no store.db" in said(capsys, ["export", str(tmp_path / "slip.jsonl"), *slip], 2)
    assert not (tmp_path / "mistyped").exists()
    assert not (tmp_path / "slip.jsonl").exists()


@pytest.mark.parametrize(
    ("verb", "told"),
    [("loop", "goes on from the last checkpoint"), ("evaluate", "the same command goes on; nothing is left half done")],
)
def test_control_c_ends_with_130_and_a_word(
    verb: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.VERBS, verb, stopped)
    assert told in said(capsys, [verb], 130)


@pytest.mark.parametrize(("start", "reward"), [("round1-reward", "round1-reward"), ("sft", "sft")])
def test_a_reward_model_is_not_taken_for_a_policy_nor_a_policy_for_a_reward_model(
    project: Path, capsys: pytest.CaptureFixture[str], start: str, reward: str
) -> None:
    words = ["train", "ppo", "--project", str(project), "--name", "mixed", "--start", start, "--reward", reward]
    assert "is wanted" in said(capsys, words, 2)
    assert not (project / "runs" / "mixed").exists()


def test_files_without_one_example_end_in_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "text.txt").write_text("One short text, and nothing beside it.\n" * 60, encoding="utf-8")
    recipe = tmp_path / "empty.yaml"
    recipe.write_text(
        f"name: empty\ndata: {{kind: files, root: {tmp_path}, texts: [text.txt], demonstrations: [empty.jsonl]}}\n"
        "vocabulary: 300\nmodel: {width: 16, layers: 1, heads: 2, context: 128}\ncollect: {source: none}\n"
        "run: {progress: false, trackers: []}\n",
        encoding="utf-8",
    )
    words = [str(recipe), "--project", str(tmp_path / "p")]
    assert "0 prompts to learn by and 0 to judge by" in said(capsys, ["loop", *words], 2)
    assert "not one example to learn from" in said(capsys, ["train", "sft", *words], 2)
    (tmp_path / "text.txt").write_bytes(b"fine\n\xff\xfe\n")
    told = said(capsys, ["train", "pretrain", str(recipe), "--project", str(tmp_path / "other")], 2)
    assert "text.txt line 2: not UTF-8" in told


def test_a_setting_that_stays_with_the_project_is_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ["train", "sft", "--project", str(project), "--start", "pretrained", "--name", "sft"]
    told = said(capsys, [*made, "--dpo.loss", "ipo", "--dpo.imitation", "0.5"], 0)
    assert "dpo.loss 'ipo' (was 'dpo'); dpo.imitation 0.5 (was None)" in told
    assert "for later commands too" in told
    assert "for later commands" not in said(capsys, [*made, "--dpo.loss", "ipo"], 0), "it says ipo already"
    back = said(capsys, [*made, "--dpo.loss", "dpo", "--dpo.imitation", "None"], 0)
    assert "dpo.loss 'dpo' (was 'ipo')" in back


def test_a_setting_that_is_refused_does_not_stay(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (project / "project.yaml").read_text()
    for words, why in (
        (["train", "dpo", "--start", "nobody", "--dpo.loss", "ipo"], "no such version 'nobody'"),
        (["train", "grpo", "--start", "sft", "--worth.exact", "1", "--worth.learned", "0"], "something to check"),
        (["loop", "--worth.exact", "1", "--collect.source", "none"], "other settings|other recipe|another recipe"),
    ):
        told = said(capsys, [*words, "--project", str(project)], 2)
        assert re.search(why, told), told
        assert "is as it was before" in told
        assert (project / "project.yaml").read_text() == before
    other = recipe(project / "project.yaml", {"seed": 0, "dpo": {"loss": "ipo"}})

    def refused() -> None:
        with settled(Place(recipe(project / "project.yaml"), project, [], [])):
            save(other, project / "project.yaml")  # another command, at the same time
            raise SettingsError("refused")

    with pytest.raises(SettingsError):
        refused()
    assert "loss: ipo" in (project / "project.yaml").read_text()
    (project / "project.yaml").write_text(before)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_that_is_none_is_no_setting(value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("--ppo.missing-end-penalty", "--dpo.beta", "--worth.length"):
        assert "finite number" in said(capsys, ["train", "ppo", "--project", str(tmp_path / "p"), name, value], 2)
    (tmp_path / "odd.yaml").write_text(f"reward_heads: {{strengths: {{a: .{value.lstrip('-')}}}}}\n")
    told = said(capsys, ["loop", str(tmp_path / "odd.yaml"), "--project", str(tmp_path / "p")], 2)
    assert "reward_heads.strengths.a: Input should be a finite number" in told
    assert not (tmp_path / "p").exists()


def test_a_mistake_in_a_setting_sends_nobody_to_a_page_elsewhere(tmp_path: Path) -> None:
    """In a process of its own: pydantic looks once whether it shall name its pages."""
    words = [sys.executable, "-m", "accord", "train", "dpo", "--project", str(tmp_path), "--dpo.beta", "-1"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 2
    told = done.stdout + done.stderr
    assert "greater than 0" in told
    assert "http" not in told


def test_a_warning_of_ours_is_a_sentence_and_that_of_others_keeps_its_place() -> None:
    def warned(place: str) -> str:
        return warnings.formatwarning("two rows left out", UserWarning, place, 7)

    before = warned("elsewhere.py")
    with plainly():
        assert warned(str(Path(cli.__file__).parent / "encode.py")) == "accord: two rows left out\n"
        assert warned("elsewhere.py") == before
        assert "elsewhere.py:7" in before
    assert warned(cli.__file__) != "accord: two rows left out\n"
