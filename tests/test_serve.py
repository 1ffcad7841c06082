"""Where nobody could come in, nothing is served and no link that works once is given away."""

import socket
from pathlib import Path

import pytest

from accord.cli import main


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    for command in (["serve"], ["quickstart", "--people"]):
        assert main([*command, "--project", str(tmp_path / "p"), *options]) == 2
        said = capsys.readouterr().err
        assert "/in/" not in said
    return said


def test_a_port_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "a port is a number from 1 to 65535" in refused(tmp_path, capsys, "--port", "99999")


def test_a_port_that_is_taken_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert f"127.0.0.1:{port} cannot be listened on" in refused(tmp_path, capsys, "--port", str(port))


def test_an_address_of_another_machine_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "give another --port or --host" in refused(tmp_path, capsys, "--host", "192.0.2.7")
