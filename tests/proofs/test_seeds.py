"""Seeds of an experiment: made one by one, joined, never twice; told again when another process ended one meanwhile."""

import json

import pytest

from accord.cli import main
from accord.config import Settings, SettingsError
from accord.proofs.seeds import Experiment, made


class Config(Settings):
    """Settings of a toy."""

    size: int = 3


def quiet(_):
    """Says nothing."""


def experiment(log, told=lambda rows, *_: str(dict(rows)), **more):
    def measured(stand):
        return stand.parts.part("square", lambda: log.append(stand.seed) or stand.seed**2 * stand.config.size)

    return Experiment("toy", Config, {"size": 1}, measured, told, **more)


def test_seeds_are_joined_in_order_and_each_is_made_once(tmp_path, capsys):
    log, commands = [], []

    def told(rows, folder, command):
        commands.append(command)
        return json.dumps(rows)

    toy = experiment(log, told, given=lambda config: f" --size {config.size}")
    assert toy.prove(1, tmp_path, quiet, first=10) == 0
    assert toy.prove(2, tmp_path, quiet, first=1) == 0
    assert toy.prove(2, tmp_path, quiet, first=2) == 0
    assert log == [10, 1, 2, 3]
    assert commands[0] == "accord prove toy --first 10 --seeds 1 --size 3"
    assert commands[-1] == "accord prove toy --seeds 4 --size 3"
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"1": 3, "2": 12, "3": 27, "10": 300}


def test_seeds_of_another_size_are_not_mixed_in(tmp_path):
    log = []
    toy = experiment(log)
    toy.prove(1, tmp_path, quiet)
    toy.prove(1, tmp_path, quiet, first=2, small=True)
    assert made("toy", tmp_path, {"size": 3}) == {1: 3}
    assert made("toy", tmp_path, {"size": 1}) == {2: 4}
    with pytest.raises(SettingsError, match="other settings"):
        toy.prove(1, tmp_path, quiet, settings={"size": 2})
    with pytest.raises(SettingsError, match="give 1 or more"):
        toy.prove(0, tmp_path, quiet)


def test_what_another_process_ended_meanwhile_is_told_too(tmp_path):
    other, seen = experiment([]), []

    def told(rows, *_):
        seen.append(list(rows))
        if len(seen) == 1:
            other.prove(1, tmp_path, quiet, first=5)
        return "told"

    experiment([], told).prove(1, tmp_path, quiet)
    assert seen == [[1], [1, 5]]


def test_a_proof_without_seeds_of_its_own_refuses_the_first(capsys):
    assert main(["prove", "real", "--first", "2"]) == 2
    assert "accord prove real has no --first; methods, transfer" in capsys.readouterr().err
    assert main(["prove", "forms", "--entrants", "x"]) == 2
    assert "accord prove forms has no --entrants" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["lab", "methods", "overoptimisation", "transfer", "curriculum", "real"])
def test_no_proof_takes_no_seed_for_done(name, tmp_path, capsys):
    for seeds in ("0", "-1"):
        assert main(["prove", name, "--seeds", seeds, "--folder", str(tmp_path / "p")]) == 2
        assert f"accord prove {name} --seeds {seeds}: nothing to make" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
