"""Writes docs/settings.md from the settings themselves: `python docs/make_settings.py > docs/settings.md`."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from accord.recipe import Recipe

HEAD = """# All settings

*Every setting that a recipe may hold, with its default and what happens when it is turned.*

This page is made from the code by `python docs/make_settings.py > docs/settings.md`, and a test compares the two.

A recipe is a YAML file. What it does not name keeps the default of this page, in each section too. The same names work
on the command line:

```
accord quickstart --ppo.clip 0.1 --seed 3
accord loop RECIPE --collect.people 40
```

Unknown names are refused, and the message lists the known ones. What a run was made with is in `project.yaml` of its
folder, defaults too. `accord loop --help` prints the same list in the terminal, and `accord train ppo --help` the
settings of one method.
"""
SIGNS = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false"}


class Place(typing.NamedTuple):
    """Where a group of settings stands in the recipe."""

    path: str
    values: BaseModel | None


def main() -> None:
    """Print the page."""
    print(page(), end="")


def page() -> str:
    """The page as text."""
    parts = [HEAD]
    for kind, places in groups().items():
        parts.append(section(kind, places))
    return "\n".join(parts)


def groups() -> dict[type[BaseModel], list[Place]]:
    """Each class of settings with the places where it stands, in the order of the recipe."""
    found: dict[type[BaseModel], list[Place]] = {}

    def visit(kind: type[BaseModel], path: str, values: BaseModel | None) -> None:
        found.setdefault(kind, []).append(Place(path, values))
        for name, field in kind.model_fields.items():
            default = getattr(values, name) if values is not None else first_value(field)
            named = ".NAME" if get_origin(field.annotation) is dict else ""
            for inner in settings_in(field.annotation):
                visit(inner, f"{path}.{name}{named}".lstrip("."), default if isinstance(default, inner) else None)

    visit(Recipe, "", Recipe())
    return found


def names() -> Iterator[str]:
    """Every dotted name, as the command line takes it."""
    for kind, places in groups().items():
        for place in places:
            for name, field in kind.model_fields.items():
                if not settings_in(field.annotation):
                    yield f"{place.path}.{name}".lstrip(".")


def section(kind: type[BaseModel], places: list[Place]) -> str:
    """One class of settings as a table."""
    paths = [place.path for place in places]
    title = ", ".join(f"`{path}`" for path in paths) if paths != [""] else "The recipe"
    kinds = get_args(kind.model_fields["kind"].annotation) if "kind" in kind.model_fields else ()
    title += "".join(f", `kind: {one}`" for one in kinds)
    several = len(places) > 1
    columns = ["Setting", *([f"in `{path}`" for path in paths] if several else ["Default"]), "Takes", "Meaning"]
    lines = [f"## {title}\n", f"{(kind.__doc__ or '').strip()}\n", row(columns), row(["---"] * len(columns))]
    for name, field in kind.model_fields.items():
        inner = settings_in(field.annotation)
        meaning = " ".join((field.description or "").split()) or ("Which form this is." if name == "kind" else "")
        if inner:
            below = f"{paths[0]}.{name}{'.NAME' if get_origin(field.annotation) is dict else ''}".lstrip(".")
            shown = [""] * len(places)
            if type(None) in get_args(field.annotation):
                default = [getattr(p.values, name) if p.values is not None else first_value(field) for p in places]
                shown = [code(None) if value is None else "" for value in default]
            where = " or ".join(f"{one.__name__}" for one in inner)
            lines.append(row([f"`{name}`", *shown, f"settings below `{below}`" + (f" ({where})" if inner[1:] else ""),
                              meaning]))  # fmt: skip
            continue
        values = [getattr(p.values, name) if p.values is not None else first_value(field) for p in places]
        lines.append(row([f"`{name}`", *(code(value) for value in values), takes(field), meaning]))
    return "\n".join(lines) + "\n"


def settings_in(annotation: Any) -> list[type[BaseModel]]:
    """The classes of settings that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, typing.Annotated):
        return [inner for part in get_args(annotation) for inner in settings_in(part)]
    return settings_in(get_args(annotation)[1]) if get_origin(annotation) is dict else []


def first_value(field: FieldInfo) -> Any:
    """The default of a field."""
    return field.get_default(call_default_factory=True)


def code(value: Any) -> str:
    """A value as YAML would hold it."""
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (list, tuple)):
        return f"`[{', '.join(str(v) for v in value)}]`"
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{k}: {v}' for k, v in value.items())}}}`"
    return f"`{value}`" if value != "" else '`""`'


def takes(field: FieldInfo) -> str:
    """What values are allowed, in words."""
    bounds = [f"{sign} {getattr(mark, name):g}" for mark in field.metadata for name, sign in SIGNS.items()
              if getattr(mark, name, None) is not None]  # fmt: skip
    plain = words(field.annotation).removesuffix(" or `null`")
    nothing = " or `null`" if type(None) in get_args(field.annotation) else ""
    return " ".join([plain, ", ".join(bounds)]).strip() + nothing


def words(kind: Any) -> str:
    """A type in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(code(part) for part in parts)
    if origin is typing.Annotated:
        return words(parts[0])
    if origin in (Union, types.UnionType):
        return " or ".join(words(part) if part is not type(None) else "`null`" for part in parts)
    if origin is tuple or origin is list:
        return f"list of {words(parts[0])}"
    if origin is dict:
        return f"names with {words(parts[1])}"
    return PLAIN.get(kind, "any value")


def row(cells: list[str]) -> str:
    """A line of a table; a bar inside a cell would end the cell."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()
