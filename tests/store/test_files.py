"""Rows written to files: what fails in the middle leaves nothing, and says so once."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accord.store import files


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
