"""Settings: sections that begin empty are opened by an option inside them, and nothing else is touched."""

from __future__ import annotations

from pydantic import Field

from accord.config import Settings, opened


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
