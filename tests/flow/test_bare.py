"""A bare machine: the circle and its report need no extra, and what needs one says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flow.bare import furnish, run
from tests.flow.circle import write_recipe


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("machine") / "packages")


@pytest.fixture(scope="module")
def project(machine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    done = run(machine, "loop", write_recipe(folder / "tiny.yaml"), "--project", folder / "p")
    assert done.returncode == 0, done.stderr
    return folder / "p"


def test_no_extra_is_in_sight(machine: Path) -> None:
    there = {one.name for one in machine.iterdir()}
    assert {"torch", "transformers", "rich", "yaml"} <= there
    assert not {"peft", "accelerate", "fastapi", "pyarrow", "psycopg", "pytest", "hypothesis"} & there


def test_the_whole_circle_runs_and_ends_with_a_report(machine: Path, project: Path) -> None:
    assert (project / "report.html").stat().st_size > 10_000
    for words in (["--help"], ["methods"], ["people", "--project", project], ["trace", "sft", "--project", project]):
        done = run(machine, *words)
        assert done.returncode == 0, (words, done.stderr)
    done = run(machine, "export", project.parent / "all.jsonl.gz", "--project", project)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("train sft {r} --project {p} --name small --model.name {p}/versions/sft --model.lora.rank 2", "accord[lora]"),
        ("export {p}/out.parquet --project {p}", "accord[parquet]"),
        ("serve --project {p}", "accord[web]"),
        ("serve --project {p} --store postgresql+psycopg://nobody@localhost/none", "accord["),
    ],
)
def test_what_needs_an_extra_says_which(machine: Path, project: Path, words: str, extra: str) -> None:
    recipe = project.parent / "tiny.yaml"
    done = run(machine, *words.format(p=project, r=recipe).split())
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert extra in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr
