"""A file takes its name when all of it is on disk; whoever writes it may fail or be killed at any instant."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accord.store import files

WAYS = [True, False]
"""Whether what is written has no name at first, or a hidden one, as on disks that can do no better."""
DIES = """
import os, signal, sys
from pathlib import Path
from accord.store.files import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def able(folder: Path) -> bool:
    return files._nameless(folder, folder / "trial")


@pytest.fixture(params=WAYS, ids=["nameless", "hidden"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param and not able(tmp_path):
        pytest.skip("files without a name cannot be made on this disk")
    if not request.param:
        monkeypatch.setattr(files, "_nameless", lambda *_: False)
    return bool(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("before", [b"", b"as it was"])
def test_a_file_is_the_old_one_or_the_new_one_and_nothing_is_left(before: bytes, tmp_path: Path) -> None:
    target = tmp_path / "deep" / "rows.jsonl"
    target.parent.mkdir()
    if before:
        target.write_bytes(before)

    def fails() -> None:
        with files.replacing(target) as file:
            file.write(b"half of it")
            file.flush()
            raise KeyError("the second half")

    with pytest.raises(KeyError, match="second half"):
        fails()
    assert [(one.name, one.read_bytes()) for one in target.parent.iterdir()] == [("rows.jsonl", before)] * bool(before)
    with files.replacing(target) as file:
        file.write(b"all of it")
        assert not target.exists() or target.read_bytes() == before
    assert [(one.name, one.read_bytes()) for one in target.parent.iterdir()] == [("rows.jsonl", b"all of it")]
    assert target.stat().st_mode & 0o777 == 0o644
    with files.replacing(target, 0o600) as file:
        file.write(b"")
    assert target.stat().st_mode & 0o777 == 0o600


def test_who_is_killed_while_writing_leaves_nothing(tmp_path: Path) -> None:
    if not able(tmp_path):
        pytest.skip("files without a name cannot be made on this disk")
    target = tmp_path / "rows.jsonl"
    target.write_bytes(b"as it was")
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    died = subprocess.run([sys.executable, "-c", DIES, str(target)], env=here, check=False, timeout=120)
    assert died.returncode == -signal.SIGKILL
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("rows.jsonl", b"as it was")]


def test_a_trial_leaves_nothing_where_it_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_link)
    assert not able(tmp_path)
    with files.replacing(tmp_path / "rows.jsonl") as file:
        file.write(b"all of it")
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("rows.jsonl", b"all of it")]


def test_parquet_that_fails_in_the_middle_says_so_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow (pip install 'accord[parquet]')")

    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"number": i} for i in range(2500))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write(tmp_path / "rows.parquet", rows())
    gc.collect()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == "", "nothing is said by pyarrow when it is thrown away"
