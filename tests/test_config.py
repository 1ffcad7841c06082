"""Settings: sections that begin empty are opened by an option inside them, and nothing else is touched."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
from pydantic import Field

from accord.config import Settings, SettingsError, emptied, opened, read, save


class Inner(Settings):
    depth: int = Field(2, ge=1)


class Middle(Settings):
    inner: Inner | None = None
    name: str | None = None


class Outer(Settings):
    middle: Middle = Middle()
    far: Middle | None = None


def test_an_option_opens_the_sections_it_is_in_and_no_others() -> None:
    assert opened(Outer(), ["--middle.inner.depth", "3"]) == Outer(middle=Middle(inner=Inner()))
    assert opened(Outer(), ["--far.inner.depth=3"]) == Outer(far=Middle(inner=Inner()))
    kept = Outer(middle=Middle(inner=Inner(depth=7), name="x"))
    assert opened(kept, ["--middle.inner.depth", "3"]) == kept


def test_options_that_name_no_section_change_nothing() -> None:
    words = ["--middle.name", "x", "--nothing.at.all", "1", "--middle.name.deep", "2", "--", "--seed", "-h", "3"]
    assert opened(Outer(), words) == Outer()


def test_a_section_that_may_be_empty_is_left_out_by_none_and_nothing_else_is() -> None:
    full = Outer(middle=Middle(inner=Inner(depth=7), name="x"), far=Middle())
    assert emptied(full, ["--seed", "3", "--far", "None", "-v"]) == (
        Outer(middle=full.middle, far=None),
        ["--seed", "3", "-v"],
    )
    assert emptied(full, ["--middle.inner=null"]) == (Outer(middle=Middle(name="x"), far=Middle()), [])
    others = ["--middle", "None", "--middle.name", "None", "--far.inner.depth", "None", "--far", "4", "None", "--far"]
    assert emptied(full, others) == (full, others)
    beside = ["--middle.inner", "None", "--middle.innermost", "2", "--middle.name", "y", "--far.inner.depth", "4"]
    assert emptied(full, beside)[1] == beside[2:], "neither a name that only begins alike nor a section of like name"


@pytest.mark.parametrize("inside", ["--middle.inner.depth", "--middle.inner.depth=3"])
@pytest.mark.parametrize("out", [["--middle.inner", "None"], ["--middle.inner=null"]])
def test_a_section_that_is_left_out_and_set_at_once_is_refused(out: list[str], inside: str) -> None:
    told = f"{out[0].partition('=')[0]} {out[-1].rpartition('=')[2]} leaves that section out, and {inside} sets"
    for options in ([*out, inside, "3"], [inside, "3", *out]):
        with pytest.raises(SettingsError, match=f"^{re.escape(told)}.*; give one of the two$"):
            emptied(Outer(), options)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed: 1\nname: x\nseed: 2\n", "'seed' stands twice, in lines 1 and 3"),
        ("ppo:\n  clip: .1\n  epochs: 2\n  clip: .3\n", "'clip' stands twice, in lines 2 and 4"),
        ("list:\n- {a: 1, a: 2}\n", "'a' stands twice, in lines 2 and 2"),
    ],
)
def test_a_name_that_stands_twice_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "twice.yaml").write_text(text)
    with pytest.raises(SettingsError, match=told):
        read(tmp_path / "twice.yaml")


def test_what_a_reference_brings_may_be_named_again(tmp_path: Path) -> None:
    (tmp_path / "once.yaml").write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: *a\nx: 5\n")
    assert read(tmp_path / "once.yaml") == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}, "c": {"x": 1, "y": 2}, "x": 5}


def test_settings_that_do_not_fit_the_disk_leave_the_old_ones_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(Settings(), tmp_path / "project.yaml")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*project\.yaml"):
        save(Settings(), tmp_path / "project.yaml")
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("project.yaml", "{}\n")]
