"""Files that appear whole or not at all, whoever writes them fails or is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from accord import whole
from accord.whole import naming, replacing, written

WAYS = [True, False]
"""Whether what is written has no name at first, or a hidden one, as on disks that can do no better."""
DIES = """
import os, signal, sys
from pathlib import Path
from accord.whole import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def able(folder: Path) -> bool:
    return whole._nameless(folder, folder / "trial")


@pytest.fixture(params=WAYS, ids=["nameless", "hidden"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param and not able(tmp_path):
        pytest.skip("files without a name cannot be made on this disk")
    if not request.param:
        monkeypatch.setattr(whole, "_nameless", lambda *_: False)
    return bool(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("before", [b"", b"as it was"])
def test_a_file_is_the_old_one_or_the_new_one_and_nothing_is_left(before: bytes, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "rows.jsonl"
    target.parent.mkdir()
    if before:
        target.write_bytes(before)

    def fails() -> None:
        with replacing(target) as file:
            file.write(b"half of it")
            file.flush()
            raise KeyError("the second half")

    with pytest.raises(KeyError, match="second half"):
        fails()
    assert [(one.name, one.read_bytes()) for one in target.parent.iterdir()] == [("rows.jsonl", before)] * bool(before)
    with replacing(target) as file:
        file.write(b"all of it")
        assert not target.exists() or target.read_bytes() == before
    assert [(one.name, one.read_bytes()) for one in target.parent.iterdir()] == [("rows.jsonl", b"all of it")]


def test_who_is_killed_while_writing_leaves_nothing(tmp_path: Path) -> None:
    if not able(tmp_path):
        pytest.skip("files without a name cannot be made on this disk")
    target = tmp_path / "rows.jsonl"
    target.write_bytes(b"as it was")
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    died = subprocess.run([sys.executable, "-c", DIES, str(target)], env=here, check=False, timeout=120)
    assert died.returncode == -signal.SIGKILL
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("rows.jsonl", b"as it was")]


def test_a_trial_leaves_nothing_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    assert not able(tmp_path)
    with replacing(tmp_path / "rows.jsonl") as file:
        file.write(b"all of it")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("rows.jsonl", b"all of it")]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("umask", "mode", "seen"), [(0o022, 0o666, 0o644), (0o077, 0o666, 0o600), (0, 0o600, 0o600)])
def test_who_may_read_is_as_with_any_new_file(umask: int, mode: int, seen: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "rows.jsonl", mode) as file:
            file.write(b"")
    finally:
        os.umask(before)
    assert (tmp_path / "rows.jsonl").stat().st_mode & 0o777 == seen


@pytest.mark.usefixtures("way")
def test_a_text_that_does_not_fit_the_disk_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    written(tmp_path / "deep" / "a.md", "one \ud800")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*a.md'$"):
        written(tmp_path / "deep" / "a.md", "two")
    assert [(one.name, one.read_text()) for one in (tmp_path / "deep").iterdir()] == [("a.md", "one ?")]


@pytest.mark.parametrize(
    "error", [OSError(errno.EDQUOT, "as it may be"), RuntimeError("I/O error: Disk quota exceeded (os error 122)")]
)
def test_a_disk_that_refuses_is_told_with_the_file(error: Exception) -> None:
    with pytest.raises(OSError, match=r"\[Errno 122\] Disk quota exceeded: 'there/a.txt'$"), naming("there/a.txt"):
        raise error


def test_other_errors_pass_as_they_are() -> None:
    for error in (PermissionError(errno.EACCES, "no", "b.txt"), OSError("no number"), ValueError("os error")):
        with pytest.raises(type(error)) as met, naming("a.txt"):
            raise error
        assert met.value is error
