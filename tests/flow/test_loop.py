"""The circle: made once, the same after any kill, and patient with people."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from accord import build
from accord.cli import main
from accord.config import SettingsError
from accord.feedback.answering import answer, unanswered
from accord.loop import Waiting, loop, simulated
from accord.project import Project
from accord.recipe import recipe
from accord.records import Demonstration, Feedback, Preference, Prompt, Question, Sample, Version
from accord.run import read_log
from tests.flow.circle import STAGES, figures, kept, weights, write_recipe
from tests.flow.kill import KILLS, command, finished, killed_and_resumed

KINDS = (Prompt, Sample, Question, Feedback, Preference, Demonstration, Version)


@pytest.fixture(scope="module")
def calm(quick_shelf: Path) -> Path:
    """A project that went round undisturbed; beside it `before-NAME`, as it was before each stage."""
    folder, first = quick_shelf / "calm", build.train
    chosen = recipe(write_recipe(quick_shelf / "tiny.yaml"))

    def shelved(project: Project, method: str, name: str, **given: object) -> Version:
        shutil.copytree(folder, quick_shelf / f"before-{name}")
        return first(project, method, name, **given)

    build.train = shelved
    try:
        begun = time.monotonic()
        loop(Project(folder, chosen))
        (quick_shelf / "seconds").write_text(str(time.monotonic() - begun))
    finally:
        build.train = first
    return folder


def test_going_round_again_makes_nothing_again(calm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> Version:
        raise AssertionError("a stage was made again")

    before = weights(calm), kept(calm), {p: p.stat().st_mtime_ns for p in calm.rglob("*") if "versions" in p.parts}
    counts = _counts(calm)
    for name in build.TRAIN:
        monkeypatch.setitem(build.TRAIN, name, never)
    first, rounds = loop(Project(calm, recipe(calm / "project.yaml")))
    after = weights(calm), kept(calm), {p: p.stat().st_mtime_ns for p in calm.rglob("*") if "versions" in p.parts}
    assert after == before
    assert _counts(calm) == counts
    assert set(before[0]) == set(STAGES)
    assert len(set(before[0].values())) == len(STAGES)
    assert (first.name, rounds[0].policy.name, rounds[0].reward.name) == ("sft", "round1-ppo", "round1-reward")


def test_another_folder_and_the_same_seed_give_the_same_weights_and_another_seed_others(
    calm: Path, quick_folder: Path
) -> None:
    loop(Project(quick_folder / "same", recipe(calm / "project.yaml")))
    loop(Project(quick_folder / "other", recipe(calm / "project.yaml").model_copy(update={"seed": 1})))
    assert weights(quick_folder / "same") == weights(calm)
    assert kept(quick_folder / "same") == kept(calm)
    other = weights(quick_folder / "other")
    assert not set(other.values()) & set(weights(calm).values())


def test_a_second_round_learns_from_both_rounds(quick_folder: Path) -> None:
    project = Project(quick_folder, recipe(write_recipe(quick_folder / "two.yaml", rounds=2)))
    before, (one, two) = loop(project)
    assert two.policy.parent == one.policy.id
    assert one.policy.parent == before.id
    assert two.reward.parent == before.id
    assert set(one.reward.data) < set(two.reward.data) == {belief.id for belief in two.beliefs}
    assert not {q.prompt for q in one.questions} & {q.prompt for q in two.questions}
    assert {sample.version for _, sample in two.answers} == {one.policy.id}
    taught = project.store.trace_version(two.policy.id)
    people = {said.annotator for queue in ("round1", "round2") for said in project.store.feedback(project=queue)}
    assert set(taught.annotators) == people


def test_it_waits_for_people_and_goes_on_when_they_have_answered(
    calm: Path, quick_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_recipe(
        quick_folder / "people.yaml", collect={"prompts": 20, "answers": 3, "people": 4, "source": "people"}
    )
    words = ["loop", str(file), "--project", str(quick_folder / "p")]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "still wanted in queue 'round1'" in said
    assert "round1-reward" not in weights(quick_folder / "p")

    project = Project(quick_folder / "p", recipe(file))
    questions = list(project.store.all(Question, project="round1"))
    answer(project.store, questions[:5], simulated(project))
    assert unanswered(project.store, questions) == len(questions) - 5
    with pytest.raises(Waiting, match=f"{len(questions) - 5} answers to {len(questions)} questions"):
        loop(project)
    answer(project.store, questions, simulated(project))
    assert main(words) == 0
    assert (quick_folder / "p" / "report.html").is_file()
    # Who asked, and when, decides nothing: these are the very weights of the circle that was never interrupted.
    assert weights(quick_folder / "p") == weights(calm)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("data: {kind: files}", "collect.source=simulated needs the lab's data"),
        ("draw: {top_k: 1}", "draw.top_k=1 and draw.min_p=0 only the likeliest token is drawn: all 4 answers"),
        ("draw: {min_p: 1}", "draw.min_p=1 only the likeliest token is drawn"),
    ],
)
def test_what_nobody_could_be_asked_is_missed_before_any_work(
    given: str, told: str, quick_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, project = quick_folder / "some.yaml", quick_folder / "p"
    file.write_text(given)
    assert main(["loop", str(file), "--project", str(project)]) == 2
    assert told in capsys.readouterr().err
    assert not (project / "runs").exists()


@pytest.mark.parametrize("name", STAGES)
def test_a_killed_stage_ends_bit_identical(name: str, calm: Path, quick_folder: Path) -> None:
    smooth, rough = quick_folder / "smooth", quick_folder / "rough"
    for folder in (smooth, rough):
        shutil.copytree(calm.parent / f"before-{name}", folder)
    method, *given = STAGES[name]
    assert main(["train", method, "--project", str(smooth), "--name", name, *given]) == 0
    log = smooth / "runs" / name / "log.jsonl"
    rows = read_log(log)
    spent = rows[-1]["time"] - rows[0]["time"]
    rough_words = command("train", method, "--project", rough, "--name", name, *given)
    killed_and_resumed(rough_words, KILLS, seed=11, folder=rough / "runs" / name, span=0.6 * spent / KILLS)
    assert weights(rough)[name] == weights(smooth)[name]
    assert kept(rough) == kept(smooth)
    assert figures(rough / "runs" / name / "log.jsonl") == figures(log)


def test_a_killed_circle_ends_bit_identical(calm: Path, quick_folder: Path) -> None:
    rough, seconds = quick_folder / "rough", float((calm.parent / "seconds").read_text())
    words = command("loop", calm.parent / "tiny.yaml", "--project", rough)
    killed_and_resumed(words, KILLS, seed=3, folder=rough, span=seconds / KILLS)
    assert weights(rough) == weights(calm)
    assert kept(rough) == kept(calm)


@pytest.mark.parametrize("share", [i / (4 * KILLS) for i in range(4 * KILLS)])
def test_a_circle_that_dies_at_a_write_ends_bit_identical(share: float, calm: Path, quick_folder: Path) -> None:
    """Between two writes nothing is lost, so the instants that matter are those just before one of them."""
    settings, rough = recipe(calm / "project.yaml"), quick_folder / "rough"
    if not (count := calm.parent / "writes").exists():
        aside = quick_folder / "counted"
        count.write_text(str(_writes(lambda: loop(Project(aside, settings)), None, count.with_suffix(".draft"))))
        assert weights(aside) == weights(calm)
    total = int(count.read_text())
    fatal = 1 + round(share * (total - 1))
    died = _writes(lambda: loop(Project(rough, settings)), fatal, quick_folder / "n")
    assert died == fatal
    loop(Project(rough, settings))
    assert weights(rough) == weights(calm)
    assert kept(rough) == kept(calm)
    assert not list(rough.rglob("project.yaml?*"))


def _writes(act: object, fatal: int | None, told: Path) -> int:
    """Do something in a forked process that ends without a word at its `fatal`-th write; how many it came to."""
    child = os.fork()
    if child == 0:
        try:
            _count_writes(act, fatal, told)  # type: ignore[arg-type]
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (0 if fatal is None else 9)
    return int(told.read_text())


def _count_writes(act, fatal, told):  # type: ignore[no-untyped-def]
    seen = 0

    def counted(real):  # type: ignore[no-untyped-def]
        def write(*given, **options):  # type: ignore[no-untyped-def]
            nonlocal seen
            seen += 1
            if seen == fatal:
                told.write_text(str(seen))
                os._exit(9)
            return real(*given, **options)

        return write

    for name in ("fsync", "replace", "rename"):
        setattr(os, name, counted(getattr(os, name)))
    act()
    told.write_text(str(seen))
    os._exit(0)


def _counts(project: Path) -> list[int]:
    store = Project(project, recipe(project / "project.yaml")).store
    return [len(list(store.all(kind))) for kind in KINDS]


def test_a_round_that_is_done_does_not_change_its_questions(calm: Path) -> None:
    chosen = recipe(calm / "project.yaml")
    more = chosen.collect.model_copy(update={"answers": 4})
    with pytest.raises(SettingsError, match=r"collect\.answers"):
        Project(calm, chosen.model_copy(update={"collect": more}))
    Project(calm, chosen.model_copy(update={"rounds": 2}))  # a further round may always be wanted
    Project(calm, chosen)


def test_a_stage_is_told_by_the_command_that_makes_it(calm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is finished is not made again by `accord train` either."""
    assert main(["train", "sft", "--project", str(calm), "--name", "sft", "--start", "pretrained"]) == 0
    assert capsys.readouterr().out.startswith("sft: loss ")
    assert finished(command("--version")).strip()
