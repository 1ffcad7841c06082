"""Frozen settings, read from a file, changed on the command line, saved with the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from accord.whole import written

S = TypeVar("S", bound="Settings")
MOST = 100_000
"""Values that a file of settings may hold."""


class Settings(BaseModel):
    """A group of settings. Unknown names are refused, and inf and nan; the docstring under a field is its help."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )


class SettingsError(ValueError):
    """Settings that cannot be used; says which, where, and what would do."""


def read(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises SettingsError when there is none that could be settings.

    A file may come from a stranger: one that says the same thing billions of times by references is not unfolded. Nor
    is one read in which a name stands twice: the second would silently win.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = yaml.safe_load(text)
        twice = _twice(text)
    except OSError as error:
        raise SettingsError(f"cannot read settings from {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8 at byte {error.start} ({error.reason}); save it as UTF-8") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not YAML: {error}") from error
    except RecursionError as error:
        raise SettingsError(f"{path} is nested too deeply to be settings") from error
    if twice:
        raise SettingsError(f"{path}: {twice}; keep one of them, for the last would silently win")
    if not isinstance(found, dict):
        raise SettingsError(f"{path} should hold names and values (a YAML mapping), not {type(found).__name__}")
    waiting, seen = [found], 0
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if odd := [name for name in one if not isinstance(name, str)]:
                raise SettingsError(f"{path}: {odd[0]!r} is no name of a setting; write names as words")
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
        seen += 1
        if seen > MOST:
            raise SettingsError(f"{path} holds more than {MOST} values when its references (*name) are unfolded")
    return found


def build(kind: type[S], values: dict[str, Any], where: str = "settings") -> S:
    """Settings of one kind from plain values. Raises SettingsError naming each bad field and the known ones."""
    try:
        return kind(**values)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = ".".join(str(part) for part in problem["loc"])
            if problem["type"] == "extra_forbidden":
                owner = _owner(kind, problem["loc"][:-1])
                known = ", ".join(owner.model_fields) if owner else "none"
                lines.append(f"  {name}: no such setting; there are: {known}")
            else:
                said, given = problem["msg"].removeprefix("Value error, "), problem.get("input")
                # A rule over a whole section names its numbers itself; the section would hide them.
                got = (
                    ""
                    if isinstance(given, dict | BaseModel) and problem["type"] == "value_error"
                    else f" (got {given!r})"
                )
                lines.append(f"  {name}: {said}{got}" if name else f"  {said}{got}")
        raise SettingsError(f"{where}: {len(lines)} setting(s) cannot be used\n" + "\n".join(lines)) from error


def laid(over: dict[str, Any], under: dict[str, Any]) -> dict[str, Any]:
    """Values laid over others, name by name at every depth; a mapping of another `kind` replaces the one below it."""
    found = dict(under)
    for name, value in over.items():
        below = under.get(name)
        if isinstance(value, dict) and isinstance(below, dict) and value.get("kind") == below.get("kind"):
            found[name] = laid(value, below)
        else:
            found[name] = value
    return found


def leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Each plain value of mappings within mappings, under its dotted name."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def named(options: Sequence[str]) -> list[str]:
    """The dotted names of the settings that options name, in their order: `--cost.no-turned` is `cost.turned`."""
    found = []
    for option in options:
        if option.startswith("--") and option != "--":
            *above, last = option.partition("=")[0][2:].replace("-", "_").split(".")
            found.append(".".join([*above, last.removeprefix("no_")]))
    return found


def opened(settings: S, options: Sequence[str]) -> S:
    """The same settings with every section begun that is empty and that an option such as `--model.lora.rank` is in."""
    for option in options:
        if option.startswith("--"):
            settings = _opened(settings, option[2:].partition("=")[0].replace("-", "_").split(".")[:-1])
    return settings


def emptied(settings: S, options: Sequence[str]) -> tuple[S, list[str]]:
    """The same settings without the sections that options such as `--pretrain None` leave out, and the other options.

    Only a section that may be left out can be; of any other option nothing is changed here. Raises SettingsError when
    another option sets something in a section that is left out: it would begin the section again.
    """
    others, waiting, left = list[str](), list(options), dict[str, str]()
    while waiting:
        option, *waiting = waiting
        name, equals, value = option.partition("=")
        said = value if equals else waiting[0] if waiting else ""
        path = name.removeprefix("--").replace("-", "_").split(".")
        if name.startswith("--") and said.lower() in ("none", "null") and _may_be_empty(type(settings), path):
            settings = _set(settings, path, None)
            waiting = waiting if equals else waiting[1:]
            left[f"{'.'.join(path)}."] = f"{name} {said}"
        else:
            others.append(option)
    for option in others:
        inside = option.partition("=")[0].removeprefix("--").replace("-", "_")
        for section, said in left.items():
            if option.startswith("--") and inside.startswith(section):
                raise SettingsError(
                    f"{said} leaves that section out, and {option} sets something in it; give one of the two"
                )
    return settings, others


def save(settings: Settings, path: str | Path) -> None:
    """Write settings as YAML, all of them, defaults too. The file is whole at every instant."""
    written(path, as_yaml(settings))


def as_yaml(settings: Settings) -> str:
    """Settings as the text that `save` writes."""
    return str(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def _twice(text: str) -> str:
    """The first name that stands twice in one mapping of a YAML text, and where; empty when each stands once."""
    waiting, seen = [yaml.compose(text, yaml.SafeLoader)], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))  # a reference is the same node again
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(reversed(node.value))
            continue
        lines: dict[str, int] = {}
        for name, _ in node.value:
            line = name.start_mark.line + 1
            if isinstance(name, yaml.ScalarNode) and name.value in lines:
                return f"{name.value!r} stands twice, in lines {lines[name.value]} and {line}"
            lines[str(name.value)] = line
        waiting.extend(value for _, value in reversed(node.value))
    return ""


def _opened(settings: S, path: Sequence[str]) -> S:
    """The same settings with the sections along a path begun."""
    field = type(settings).model_fields.get(path[0]) if path else None
    if field is None:
        return settings
    inside = getattr(settings, path[0])
    if inside is None:
        kinds = [one for one in get_args(field.annotation) if isinstance(one, type) and issubclass(one, Settings)]
        inside = kinds[0]() if len(kinds) == 1 else None
    if not isinstance(inside, Settings):
        return settings
    return settings.model_copy(update={path[0]: _opened(inside, path[1:])})


def _may_be_empty(kind: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a path leads to a section that may also be None."""
    owner = _owner(kind, tuple(path[:-1]))
    field = owner.model_fields.get(path[-1]) if owner else None
    kinds = get_args(field.annotation) if field else ()
    return type(None) in kinds and any(isinstance(one, type) and issubclass(one, Settings) for one in kinds)


def _set(settings: S, path: Sequence[str], value: Any) -> S:
    """The same settings with another value at the end of a path."""
    inside = value if len(path) == 1 else _set(getattr(settings, path[0]), path[1:], value)
    return settings.model_copy(update={path[0]: inside})


def _owner(kind: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The settings class that a dotted path leads to."""
    for part in path:
        field = kind.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        kind = field.annotation
    return kind
