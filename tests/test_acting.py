"""What decides a stage that acts stays what it was: a run begun by an older tree is gone on with."""

from pathlib import Path
from typing import Any

import pytest

from accord import methods
from accord.acting import decides
from accord.project import Project
from accord.recipe import recipe
from tests.flow.circle import TINY

COLLECTED = {"rollout", "answers", "draw"}


class Begun(Exception):
    """Raised in the place of a run, with what decides it."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project that believes that every version is there, and whose runs end before they begin."""

    def run(self: Project, name: str, settings: Any, **more: Any) -> None:
        raise Begun(more)

    monkeypatch.setattr(Project, "run", run)
    monkeypatch.setattr("accord.acting.wanted", lambda project, method, option, role, name: name)
    return Project(tmp_path / "p", recipe(None, {**TINY, "rollout_answers": 2, "best_of": 5}))


@pytest.mark.parametrize(
    ("method", "keys", "told", "default"),
    [
        ("ppo", {"critic"}, "other", None),  # as its checkpoints have always had it
        ("grpo", {"worth"}, "other", "sft"),
        ("rloo", {"worth"}, "other", "sft"),
        ("online_dpo", {"worth"}, "other", "sft"),
        ("best_of_n", {"worth"}, "absent", "absent"),
    ],
)
def test_a_run_is_checked_against_what_it_always_was(
    method: str, keys: set[str], told: str, default: str | None, project: Project
) -> None:
    named = {"start": "sft", "reward": "worth"}
    for reference, expected in (("other", told), (None, default)):
        with pytest.raises(Begun) as begun:
            methods.train(project, method, "new", **named, reference=reference)
        (more,) = begun.value.args
        assert more.get("reference", "absent") == expected
        assert {k: more.pop(k) for k in named} == named
        assert set(more) - {"reference"} == COLLECTED | keys
        assert more["answers"] == (5 if method == "best_of_n" else 2)


def test_what_is_on_decides_and_what_is_off_is_not_named(tmp_path: Path) -> None:
    on = {
        "ptx": {"weight": 1.0},
        "anchor": {"reference": "ema"},
        "order": {"policy": {"schedule": "competence"}, "dpo": {"schedule": "competence"}},
        "worth": {"length": 1.0},
        "dialogue": {"turns": 2},
        "ensemble": {"rule": "worst"},
    }
    project = Project(tmp_path / "p", recipe(None, {**TINY, **on}))
    acted = {"order", "ptx", "dialogue", "members_rule", "worth", *COLLECTED}
    assert set(decides(project, "ppo")) == acted | {"critic", "anchor"}
    assert set(decides(project, "grpo")) == acted | {"anchor"}
    assert set(decides(project, "best_of_n")) == acted
    assert set(decides(project, "dpo")) == {"order", "anchor"}
    assert decides(project, "kto") == {}
