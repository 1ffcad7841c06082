"""The door: one word says what to do, and only then is anything heavy imported."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accord.ended import ended, status
from accord.warned import plainly

HELP = """accord: people compare, models learn, and every lesson can be traced to who taught it.

  accord quickstart                 the whole circle in a small world, three minutes, then a report
  accord quickstart --people        judge thirty pairs yourself and see what your answers taught
  accord loop [RECIPE]              the whole circle by a recipe (YAML); goes on where it was killed
  accord train METHOD [RECIPE]      one stage: sft, reward_model, reward_heads, ppo, grpo, dpo, kto and more
  accord methods                    every method: its paper, what it needs and costs, when to choose it
  accord sample VERSION             let a version answer
  accord report [PROJECT]           judge the versions again and write report.html
  accord evaluate overoptimisation  proxy and gold over the drift: where more optimisation is harm
  accord serve                      the pages on which people judge, and their public contract
  accord ask [VERSION]              put questions about its answers to people, chosen at random or by a rule
  accord people [ACT] [NAME ...]    who judges, with figures; add, pause, resume, withdraw
  accord agree                      how far people agree, with intervals, and on what they do not
  accord believe                    from what people said to what a model learns from
  accord rank                       which model stands where, by what people said of its answers
  accord erase PERSON               what rests on a person, and how to forget them
  accord trace NAME                 who taught a version, or what a person taught
  accord import FILE ...            bring records into a project (JSONL, JSONL.gz, Parquet)
  accord export FILE                take them out
  accord prove NAME                 the long proofs behind docs/results.md

`accord WORD --help` tells more. Settings of a recipe are changed as --ppo.clip 0.1 or --seed 3."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Dispatch on the first word. Returns the exit status: 0 done, 1 waiting or measured as failed, 2 bad input."""
    # Threads of torch spin while they wait for each other: long spinning takes many times as long on busy cores.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    # A mistake in a setting is told here, not on a page there.
    os.environ.setdefault("PYDANTIC_ERRORS_INCLUDE_URL", "0")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    word, rest = given[0], given[1:]
    if word == "--version":
        from accord import __version__

        print(__version__)
        return 0
    if word not in VERBS:
        import difflib

        near = difflib.get_close_matches(word, VERBS, 1)
        print(f"accord: no verb {word!r}{f'; did you mean {near[0]!r}?' if near else ''}\n\n{HELP}", file=sys.stderr)
        return 2
    try:
        with contextlib.nullcontext() if word == "serve" else ended(), plainly():  # the room has its own way to close
            return _guarded(VERBS[word], rest)
    # Caught here, since reading the first libraries takes a second in which people change their minds.
    except KeyboardInterrupt as stop:
        at = " from the last checkpoint" if word in LONG else "; nothing is left half done"
        print(f"\naccord: stopped; the same command goes on{at}", file=sys.stderr)
        return status(stop)


def _guarded(verb: Callable[[list[str]], int], rest: list[str]) -> int:
    """Run a verb; a mistake of the user's ends in one clear message, not in a traceback."""
    from accord.config import SettingsError
    from accord.store import StoreError
    from accord.store.errors import OF_THE_DATABASE, trouble

    try:
        return verb(rest)
    except BrokenPipeError:  # as of `accord people | head`: who reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SettingsError, StoreError, OSError) as error:  # an OSError: no such file, no right to it, a full disk
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        print(f"accord: {error}{'; free some space, the same command goes on' if full else ''}", file=sys.stderr)
        return 2
    except OF_THE_DATABASE as error:
        print(f"accord: {trouble(error)}", file=sys.stderr)
        return 2
    except ArithmeticError as error:  # a loss that is no number, a sampler that drifts: the guards of docs/errors.md
        print(f"accord: {error}", file=sys.stderr)
        return 3


@dataclass(frozen=True)
class Place:
    """Where it happens: a project's folder and the recipe that is followed in it."""

    recipe: Any
    folder: Path
    words: list[str]
    changed: list[str]
    """What the command line changed in the project's own recipe, which follows it from here on."""


def _place(rest: list[str], verb: str, words: int) -> Place:
    """Split `WORD... [RECIPE] [--project DIR] [--setting value ...]` and read the recipe with its changes."""
    import re

    from accord.config import SettingsError, emptied, opened
    from accord.recipe import recipe
    from accord.records import PLAIN_NAME
    from accord.verbs import apart, taken, with_changes

    split = next((i for i, part in enumerate(rest) if part.startswith("-")), len(rest))
    plain, options = rest[:split], apart(rest[split:])
    told = taken(options, "project", "a folder")
    folder = None if told is None else Path(told)
    if len(plain) < words and not {"-h", "--help"} & set(options):
        raise SettingsError(f"usage: accord {verb} [RECIPE] [--project DIR] [--SETTING VALUE ...]")
    if len(plain) > words + 1:
        raise SettingsError(f"one recipe at a time: {plain[words]} is one, what is {plain[words + 1]}?")
    source = plain[words] if len(plain) > words else None
    if source is None and folder is not None and (folder / "project.yaml").is_file():
        source = str(folder / "project.yaml")
    read = recipe(source)
    start, options = emptied(read, options)
    made = with_changes(opened(start, options), options, verb)
    if folder is None and (not re.match(PLAIN_NAME, made.name) or len(made.name.encode()) > 200):
        raise SettingsError(
            f"name={made.name!r:.80} cannot name a folder in projects/; change it, or give --project DIR"
        )
    there = folder is not None and source == str(folder / "project.yaml")
    before, now = (one.model_dump(mode="json", exclude={"written"}) for one in (read, made))
    changed = _turned("", before, now) if there else []
    return Place(made, folder or Path("projects") / made.name, plain[:words], changed)


def _turned(name: str, old: Any, new: Any) -> list[str]:
    """Which settings are others now, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for key in new for line in _turned(f"{name}.{key}".lstrip("."), old.get(key), new[key])]
    return [] if old == new else [f"{name} {new!r:.60} (was {old!r:.60})"]


def kept(place: Place) -> None:
    """Say what later commands in this project will find changed: settings stay with the project, not with a command."""
    from accord.verbs import say

    if place.changed:
        say(f"kept in {place.folder / 'project.yaml'} for later commands too: {'; '.join(place.changed)}")


@contextlib.contextmanager
def settled(place: Place) -> Iterator[None]:
    """Settings that are refused before anything was made by them do not stay: they would spoil later commands too."""
    from accord.config import SettingsError, as_yaml
    from accord.run import ranks
    from accord.verbs import say
    from accord.whole import written

    file = place.folder / "project.yaml"
    before = file.read_text(encoding="utf-8") if file.is_file() else None
    there = sorted(place.folder.glob("versions/[!.]*"))
    try:
        yield
    except SettingsError:
        mine = before is not None and file.read_text(encoding="utf-8") == as_yaml(place.recipe) != before
        if mine and ranks.leads() and sorted(place.folder.glob("versions/[!.]*")) == there:
            written(file, str(before))
            say(f"{file} is as it was before: what is refused does not stay with the project")
        raise


def quickstart(rest: list[str]) -> int:
    """The whole circle in the lab, then a report."""
    import shutil

    from accord.verbs import apart

    options = apart(rest)
    if "--people" in options:
        options.remove("--people")
        return _by_parameters("first", "accord.serve", "quickstart --people")(options)
    if "-h" in options or "--help" in options:
        print(
            "accord quickstart [--project quickstart] [--fresh] [--SETTING VALUE ...]\n\n"
            "Pretrain, fine-tune, collect, let simulated people answer, learn a reward, PPO, judge; about three\n"
            "minutes on two cores. Writes report.html and summary.json into the folder. Killed in the middle it goes\n"
            "on where it was; --fresh begins anew. `accord loop --help` lists the settings.\n\n"
            "accord quickstart --people: judge some pairs yourself, and see what your answers taught."
        )
        return 0
    fresh = "--fresh" in options
    if fresh:
        options.remove("--fresh")
    if "--project" not in options:
        options += ["--project", "quickstart"]
    if "--rounds" not in options:
        options += ["--rounds", "2"]  # one round of so few labels often ends in a policy that refuses too much: LOG.md
    if fresh:
        shutil.rmtree(_own(options[options.index("--project") + 1]), ignore_errors=True)
    return circle(options, "quickstart")


def _own(folder: str) -> Path:
    """A folder that may be deleted. Raises SettingsError for one that is there and is no project."""
    from accord.config import SettingsError

    path = Path(folder)
    if path.exists() and not (path / "project.yaml").is_file():
        raise SettingsError(f"--fresh would delete {path}, which is no project (no project.yaml); name another folder")
    return path


def circle(rest: list[str], verb: str = "loop") -> int:
    """The whole circle by a recipe."""
    place = _place(rest, verb, 0)
    from accord.loop import Waiting, loop
    from accord.project import Project
    from accord.tell import tell
    from accord.unheard import strange, unheard
    from accord.verbs import beginning, say

    unheard(place.recipe, rest)
    strange(place.recipe, place.recipe.method, rest)
    if verb != "quickstart":
        beginning(place.folder, place.recipe)
    begun = time.monotonic()
    try:
        with settled(place):
            project = Project(place.folder, place.recipe)
            kept(place)
            before, rounds = loop(project, say)
    except Waiting as wait:
        print(f"accord: {wait}", file=sys.stderr)
        return 1
    say("judge: on prompts never trained on")
    given = f"accord {verb}{' RECIPE' if verb == 'loop' else ''}"
    tell(project, before, rounds, time.monotonic() - begun, given)
    return 0


def train(rest: list[str]) -> int:
    """One stage of the circle."""
    from accord.added import outcome
    from accord.config import SettingsError
    from accord.methods import METHODS
    from accord.methods import train as stage
    from accord.project import Project
    from accord.unheard import paid_on_the_way, strange, unheard
    from accord.verbs import apart, beginning, fitting, taken, teach, train_help

    if not rest or rest[0] not in METHODS:
        if rest and not rest[0].startswith("-"):
            print(f"accord: no method {rest[0]!r}; there are:\n", file=sys.stderr)
        print(train_help())
        return 0 if rest and rest[0] in ("-h", "--help") else 2
    method, options = rest[0], apart(rest[1:])
    if "-h" in options or "--help" in options:
        return teach(method)
    names = ("start", "reward", "name", "reference", "beside", "cost", "group")
    given = {name: value for name in names if (value := taken(options, name)) is not None}
    if given.get("name") == "tokenizer":
        raise SettingsError(
            "--name tokenizer: versions/tokenizer holds the project's own tokenizer; choose another name"
        )
    place = _place(options, f"train {method}", 0)
    unheard(place.recipe, options, given)
    strange(place.recipe, method, options, given)
    beginning(place.folder, place.recipe, method, given)
    with settled(place):
        project = Project(place.folder, place.recipe)
        kept(place)
        project.prepare()
        fitting(project, method, given)
        paid_on_the_way(options, project.version(given["reward"]) if "reward" in given else None)
        if given.get("beside", "") not in {"", *place.recipe.beside}:
            raise SettingsError(
                f"--beside {given['beside']}: the recipe's `beside` has {', '.join(place.recipe.beside) or 'none'}"
            )
        version = stage(project, method, given.pop("name", method), **given)
    print(outcome(project, version))
    return 0


def _by_parameters(name: str, place: str = "accord.verbs", word: str = "") -> Callable[[list[str]], int]:
    """A verb of `accord.verbs`, or of a file of its own, whose options are its function's parameters."""

    def verb(rest: list[str]) -> int:
        import importlib

        import tyro

        found = getattr(importlib.import_module(place), name)
        return int(tyro.cli(found, args=rest, prog=f"accord {word or name.rstrip('_')}"))

    return verb


LONG = ("quickstart", "loop", "train", "prove")
"""Verbs that keep checkpoints."""
VERBS: dict[str, Callable[[list[str]], int]] = {
    "quickstart": quickstart,
    "loop": circle,
    "train": train,
    "serve": _by_parameters("serve", "accord.serve"),
    "sample": _by_parameters("sample", "accord.drawn"),
    "ask": _by_parameters("ask", "accord.ask"),
    **{name: _by_parameters(name, "accord.people") for name in ("people", "erase", "trace")},
    **{name: _by_parameters(name, "accord.measured") for name in ("agree", "rank", "believe")},
    **{name.rstrip("_"): _by_parameters(name) for name in ("methods", "report")},
    **{name.rstrip("_"): _by_parameters(name, "accord.moved") for name in ("import_", "export")},
    **{name: _by_parameters(name) for name in ("prove", "evaluate")},
}
