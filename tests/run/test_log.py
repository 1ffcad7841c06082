"""The log: one line a step, also after a crash; TensorBoard files; a bar where nobody looks."""

import json
import math
import warnings

import pytest
import torch

from accord.config import SettingsError
from accord.run import Log, OptimiserConfig, Run, RunConfig, progress, read_log


def test_one_line_per_step_and_what_is_no_number_is_null(tmp_path):
    log = Log(tmp_path, (), 0, {})
    log.write(0, {"loss": 1.5, "std": math.nan, "far": math.inf})
    log.write(1, {"loss": 1.25})
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(r["step"], r["loss"]) for r in rows] == [(0, 1.5), (1, 1.25)]
    assert (rows[0]["std"], rows[0]["far"]) == (None, None)
    assert rows[0]["time"] > 1.7e9


def test_a_line_is_on_the_disk_as_soon_as_it_is_written(tmp_path):
    log = Log(tmp_path, (), 0, {})
    log.write(0, {"loss": 1.0})
    assert len(read_log(tmp_path / "log.jsonl")) == 1


def test_steps_that_are_made_again_and_a_torn_line_are_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 0, "a": 1}\n{"step": 1, "a": 2}\n{"step": 2, "a": 3}\n{"step": 3, "a"')
    assert [row["step"] for row in read_log(path)] == [0, 1, 2]
    log = Log(tmp_path, (), 2, {})
    log.write(2, {"a": 4})
    log.close()
    assert [(row["step"], row["a"]) for row in read_log(path)] == [(0, 1), (1, 2), (2, 4)]
    assert [p.name for p in tmp_path.iterdir()] == ["log.jsonl"]


def test_tensorboard_gets_the_same_numbers(tmp_path):
    run = Run(tmp_path / "run", RunConfig(device="cpu", trackers=("tensorboard",), progress=False))
    for step in run.steps(3):
        run.log(loss=step / 2)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(0, 0.0), (1, 0.5), (2, 1.0)]


def test_a_tracker_that_is_not_installed_is_named_with_the_way_out(tmp_path):
    try:
        import wandb  # noqa: F401
    except ImportError:
        with pytest.raises(SettingsError, match=r"pip install 'accord\[wandb\]'"):
            Log(tmp_path, ("wandb",), 0, {})
    else:
        pytest.skip("wandb is installed here, so its absence cannot be tested")


def test_time_is_counted_by_name(tmp_path):
    run = Run(tmp_path, RunConfig(device="cpu", trackers=(), progress=False))
    for _ in run.steps(2):
        with run.time("generate"):
            pass
        with run.time("generate"):
            pass
        run.log(loss=1.0)
    rows = read_log(tmp_path / "log.jsonl")
    told = {"step", "time", "loss", "seconds/generate", "seconds/other", "seconds/step", "memory/peak_mb"}
    assert all(told <= set(row) <= {*told, "seconds/save"} for row in rows)
    assert set(run.last_figures()) == {"loss"}


def test_without_a_terminal_the_progress_is_lines(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    run = Run(tmp_path / "walk", RunConfig(device="cpu", trackers=()))
    for step in run.steps(3):
        run.log(loss=step, extra=1.0, third=2.0, fourth=3.0)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert said[0].startswith("walk: 1/3, ")
    assert "/s, " in said[0]
    assert "s left" in said[0]
    assert said[2].endswith("loss 2  extra 1  third 2")


def test_a_short_run_tells_its_end_and_a_quiet_one_nothing(tmp_path, capsys):
    for name, shown in (("told", True), ("quiet", False)):
        run = Run(tmp_path / name, RunConfig(device="cpu", trackers=(), progress=shown))
        for step in run.steps(5):
            run.log(loss=step)
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == ["told: 5/5"]


def test_with_a_terminal_there_is_a_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    run = Run(tmp_path / "walk", RunConfig(device="cpu", trackers=()))
    assert [step for step in run.steps(4)] == [0, 1, 2, 3]  # noqa: C416
    assert "4/4" in capsys.readouterr().err


@pytest.mark.parametrize(("share", "said"), [(0.0, 1), (1.0, 0)])
def test_a_run_whose_gradient_was_nothing_says_so_also_when_it_is_begun_again(tmp_path, share, said):
    for _ in range(2):
        run = Run(tmp_path / "run", RunConfig(trackers=(), progress=False, device="cpu"))
        model = torch.nn.Linear(1, 1)
        run.optimise(OptimiserConfig(), 3, model=model)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            for step in run.steps(3):
                run.backward((model.weight * share * (step == 1)).sum())
                run.log(**run.step())
        told = [str(one.message) for one in heard if "nothing was learned" in str(one.message)]
        assert len(told) == said, "one step that learns is enough"
        assert all("run: the gradient was 0 in all 3 steps" in one for one in told)
