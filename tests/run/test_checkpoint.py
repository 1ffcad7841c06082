"""Checkpoints: what goes in comes out, and what is not whole is passed over."""

import errno
import json
import os
import resource
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from accord.run import BrokenCheckpoint, checkpoint, newest, read_state, write_state

STATE = {
    "weights": {"a": torch.arange(6.0).reshape(2, 3), "half": torch.ones(2, dtype=torch.bfloat16)},
    "flags": torch.tensor([True, False]),
    "empty": [torch.zeros(0), torch.zeros(0, 4)],
    "optimiser": {0: {"step": torch.tensor(3.0)}, 1: (0.9, 0.99), "x": None},
    "plain": [1, 2.5, "é", True, None, ("row1", "row2")],
    "#odd": {"#tensor": "t0"},
}


def same(one, two) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and one.shape == two.shape and torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and one == two


def test_what_goes_in_comes_out(tmp_path):
    path = write_state(tmp_path, 12, STATE)
    step, state = read_state(path)
    assert step == 12
    assert same(state, STATE)
    assert sorted(p.name for p in path.iterdir()) == ["manifest.json", "state.json", "tensors.safetensors"]


def test_numbers_keep_every_bit(tmp_path):
    numbers = [0.1 + 0.2, 1e-310, float("inf"), 2**60 + 1, -0.0]
    _, state = read_state(write_state(tmp_path, 0, {"n": numbers}))
    assert [n.hex() if isinstance(n, float) else n for n in state["n"]] == [
        n.hex() if isinstance(n, float) else n for n in numbers
    ]


def test_tied_tensors_are_kept_once_and_come_back_apart(tmp_path):
    tied = torch.randn(1000)
    path = write_state(tmp_path, 0, {"a": tied, "b": tied, "c": tied.clone()})
    assert 8000 <= (path / "tensors.safetensors").stat().st_size < 9000
    _, state = read_state(path)
    state["a"] += 1
    assert torch.equal(state["b"], tied)


def test_only_what_shares_its_memory_is_copied(tmp_path, monkeypatch):
    given: dict[str, torch.Tensor] = {}

    def noted(tensors, file):
        given.update(tensors)
        save_file(tensors, file)

    monkeypatch.setattr(checkpoint, "save_file", noted)
    whole, table = torch.randn(4, 6), torch.randn(8)
    state = {
        "whole": whole,
        "part": whole[1:3],
        "turned": whole.t(),
        "table": table,
        "none": torch.zeros(0),
        "end": whole[2:],
    }
    _, read = read_state(write_state(tmp_path, 1, state))
    assert all(torch.equal(read[name], value) for name, value in state.items())
    memory = {t.untyped_storage().data_ptr() for t in given.values() if t.numel()}
    assert len(memory) == 5  # nothing that is written shares its memory with another
    assert {whole.data_ptr(), table.data_ptr()} <= memory  # and what can be written as it is, is


def test_what_cannot_be_kept_is_named(tmp_path):
    with pytest.raises(TypeError, match="cannot hold object"):
        write_state(tmp_path, 0, {"x": object()})
    assert newest(tmp_path) is None


def test_only_the_newest_are_kept(tmp_path):
    for step in range(5):
        write_state(tmp_path, step, {"step": step}, keep=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003", "step-00000004"]


def cut(path: Path) -> None:
    file = path / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-3])


def flip(path: Path) -> None:
    file = path / "tensors.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def change(path: Path) -> None:
    file = path / "state.json"
    file.write_text(file.read_text().replace('"step": 2', '"step": 7'))


def forget(path: Path) -> None:
    (path / "manifest.json").unlink()


def lose(path: Path) -> None:
    (path / "state.json").unlink()


def hollow(path: Path) -> None:
    (path / "manifest.json").write_text("")


@pytest.mark.parametrize("harm", [cut, flip, change, forget, lose, hollow])
def test_a_harmed_checkpoint_is_passed_over_with_a_warning(tmp_path, harm):
    for step in (1, 2):
        write_state(tmp_path, step, {"step": step, "x": torch.full((4,), float(step))})
    harm(tmp_path / "step-00000002")
    with pytest.raises(BrokenCheckpoint, match="step-00000002"):
        read_state(tmp_path / "step-00000002")
    with pytest.warns(UserWarning, match=r"step-00000002.*Going back to the one before"):
        step, state = newest(tmp_path)
    assert (step, state["step"]) == (1, 1)


def test_when_all_are_harmed_the_run_begins_anew_and_says_so(tmp_path):
    for step in (1, 2):
        write_state(tmp_path, step, {"step": step})
        hollow(tmp_path / f"step-{step:08d}")
    with pytest.warns(UserWarning, match="is not whole") as said:
        assert newest(tmp_path) is None
    first, second = (str(one.message) for one in said)
    assert "step-00000002" in first
    assert first.endswith("Going back to the one before it.")
    assert "step-00000001" in second
    assert second.endswith("There is none before it, so the run begins anew.")


def test_a_limit_of_the_size_of_files_is_a_full_disk(tmp_path):
    """A quota and `ulimit -f` too: the run goes on without this checkpoint, and the next one is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, hard))
    try:
        with pytest.warns(UserWarning, match="step 1: the disk of .* takes no file so large.*40 KiB needed, .* free"):
            assert write_state(tmp_path, 1, {"x": torch.zeros(9999)}) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
    assert write_state(tmp_path, 2, {"x": torch.zeros(9999)}) is not None


def test_a_broken_newer_one_does_not_push_out_a_whole_one(tmp_path):
    for step in (1, 3):
        write_state(tmp_path, step, {"step": step}, keep=2)
    hollow(tmp_path / "step-00000003")
    write_state(tmp_path, 2, {"step": 2}, keep=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest(tmp_path)[0] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002"]


def test_what_a_crash_left_half_written_is_cleared_away(tmp_path):
    (tmp_path / ".writing-00000001-999").mkdir(parents=True)
    (tmp_path / ".writing-00000001-999" / "state.json").write_text("{")
    assert newest(tmp_path) is None
    write_state(tmp_path, 1, {"x": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("io: No space left on device (28)")]
)
def test_a_full_disk_is_survived_with_the_numbers(tmp_path, monkeypatch, error):
    write_state(tmp_path, 1, {"x": 1})

    def full(*_):
        raise error

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.warns(UserWarning, match=r"no checkpoint at step 2: the disk of .* is full \(1 KiB needed, .* free"):
        assert write_state(tmp_path, 2, {"x": torch.zeros(10)}) is None
    assert newest(tmp_path) == (1, {"x": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_a_quota_that_is_used_up_is_told_as_one(tmp_path, monkeypatch):
    def used_up(*_):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(checkpoint, "save_file", used_up)
    with pytest.warns(UserWarning, match=r"a quota is used up \(60 MiB needed; all users together have .* free\)"):
        assert write_state(tmp_path, 2, {"x": torch.zeros(60 * 2**18)}) is None


@pytest.mark.parametrize(
    ("count", "said"), [(1, "1 KiB"), (1025, "2 KiB"), (9 * 2**20, "9,216 KiB"), (2**31, "2,048 MiB")]
)
def test_sizes_are_never_nothing(count, said):
    assert checkpoint.size(count) == said


def test_other_errors_are_not_swallowed(tmp_path, monkeypatch):
    def denied(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "save_file", denied)
    with pytest.raises(PermissionError):
        write_state(tmp_path, 2, {})


@pytest.fixture
def tiny_disk(tmp_path):
    """A disk of 256 KiB; only root can have one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("a disk that is really full needs root and mount; the monkeypatched test stands for it")
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"cannot mount a tiny tmpfs here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(tiny_disk):
    write_state(tiny_disk, 1, {"x": torch.ones(1000)})
    with pytest.warns(UserWarning, match="no checkpoint at step 2"):
        assert write_state(tiny_disk, 2, {"x": torch.ones(200_000)}) is None
    assert newest(tiny_disk)[0] == 1
    assert write_state(tiny_disk, 3, {"x": torch.ones(1000)}) is not None, "there is space again"


def test_a_run_goes_on_over_a_full_disk(tiny_disk):
    from accord.run import Run, RunConfig, read_log

    quiet = RunConfig(device="cpu", trackers=(), progress=False, checkpoint_seconds=0)
    run = Run(tiny_disk / "run", quiet)
    run.track(module=torch.nn.Linear(10, 10))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for step in run.steps(6):
            if step == 2:
                filler = tiny_disk / "filler"
                with filler.open("wb", buffering=0) as file:
                    try:
                        while True:
                            file.write(b"x" * 4096)
                    except OSError:
                        pass
            if step == 4:
                filler.unlink()
            run.log(loss=float(step), wide=1 / 3, name_of_some_length=2 / 3)
    text = [str(w.message) for w in said]
    assert any("no checkpoint at step" in t for t in text)
    assert [row["step"] for row in read_log(run.folder / "log.jsonl")] == [0, 1, 2, 3, 4, 5]
    assert newest(run.folder / "checkpoints")[0] == 12


def test_a_manifest_has_the_hashes(tmp_path):
    path = write_state(tmp_path, 1, {"x": torch.zeros(3)})
    manifest = json.loads((path / "manifest.json").read_text())
    found = {
        name: subprocess.run(["sha256sum", str(path / name)], capture_output=True, text=True).stdout.split()[0]
        for name in manifest["sha256"]
    }
    assert found == manifest["sha256"]
