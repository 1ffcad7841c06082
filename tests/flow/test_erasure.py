"""Training again after somebody withdrew is training without them, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord import loop
from accord.feedback.answering import answer
from accord.loop import loop as circle
from accord.project import Project
from accord.records import Preference, Version
from accord.store.belongings import known
from accord.store.erasure import withdraw
from accord.store.traces import left
from tests.flow.circle import kept, weights, write_recipe


class Without:
    """A store that does not hear one person."""

    def __init__(self, store, name: str) -> None:
        self.store, self.name = store, name

    def __getattr__(self, verb: str):
        return getattr(self.store, verb)

    def put(self, said) -> int:
        return self.store.put(one for one in said if one.annotator != self.name)


def begun(folder: Path) -> Project:
    from accord.recipe import recipe

    folder.mkdir()
    return Project(folder, recipe(write_recipe(folder / "tiny.yaml", rounds=2)))


def test_training_from_the_rest_is_training_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    erased, never = begun(tmp_path / "erased"), begun(tmp_path / "never")
    circle(erased)
    before = weights(erased.folder)
    person = next(erased.store.feedback(project="round1")).annotator

    who = known(erased.store, person)
    assert set(who.versions.values()) == {"round1-reward", "round1-ppo", "round2-reward", "round2-ppo"}
    names = withdraw(erased.store, who)
    for old, new in names.items():
        erased.path(old).rename(erased.path(new))
        (erased.folder / "runs" / old).rename(erased.folder / "runs" / new)
    assert left(erased.store, who) == []
    assert erased.version("round1-reward") is None
    # A simulated person would answer the questions of the new second round; one who left does not.
    monkeypatch.setattr(loop, "answer", lambda store, asked, people: answer(Without(store, person), asked, people))
    circle(erased)
    circle(never)

    after, wanted = weights(erased.folder), weights(never.folder)
    assert {name: after[name] for name in wanted} == wanted
    assert before["sft"] == after["sft"]
    assert all(before[name] != after[name] and after[new] == before[name] for name, new in names.items())
    ours, theirs = kept(erased.folder), kept(never.folder)
    assert ours["questions"] == theirs["questions"]
    assert ours["feedback"] == theirs["feedback"]
    there = {one.id for one in never.store.all(Preference)}
    assert there <= {one.id for one in erased.store.all(Preference)}
    made = {one.name: one for one in erased.store.all(Version)}
    for one in never.store.all(Version):
        assert made[one.name].data == one.data
        assert erased.store.trace_version(made[one.name].id).tainted == ()
        assert person not in erased.store.trace_version(made[one.name].id).annotators
