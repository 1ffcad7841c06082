"""What pip-audit says is read rightly, and silence of its database is not taken for good news."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from bench import audit

FAULT = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": "bad"}


def test_faults_are_named_with_what_mends_them() -> None:
    report = {"dependencies": [
        {"name": "good", "version": "1.0", "vulns": []},
        {"name": "bad", "version": "1.0", "vulns": [FAULT, {**FAULT, "id": "PYSEC-2", "fix_versions": []}]},
        {"name": "ours", "skip_reason": "not found on PyPI"},
    ]}  # fmt: skip
    found = audit.read(report)
    assert (found.looked_up, found.unknown, found.status) == (2, ["ours"], 1)
    assert found.faults == ["bad 1.0: PYSEC-1, mended in 1.1", "bad 1.0: PYSEC-2, mended in no version yet"]
    assert audit.told(found)[0] == "2 packages looked up, 1 could not be, 2 known faults"


def test_a_database_that_is_not_there_is_no_good_news() -> None:
    found = audit.read({"dependencies": [{"name": "ours", "skip_reason": "not found on PyPI"}]})
    assert found.status == 2
    assert "was not reached" in audit.told(found)[-1]


@pytest.mark.parametrize(("said", "status"), [("", 2), ("no JSON", 2), ('{"dependencies": []}', 2)])
def test_what_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Any, said: str, status: int) -> None:
    done = subprocess.CompletedProcess([], 1, stdout=said, stderr="ConnectionError")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert audit.main() == status
    assert "not reached" in capsys.readouterr().out
