"""Verbs beside the circle: let a version answer, judge again, trace, prove, teach a method."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from accord.project import Project
    from accord.recipe import Recipe

Proof = Literal[
    "lab",
    "methods",
    "overoptimisation",
    "transfer",
    "curriculum",
    "semisupervised",
    "believed",
    "forms",
    "rewards",
    "real",
]


def report(project: Positional[Path] = Path("quickstart"), /) -> int:
    """Judge a project's versions again and write report.html and summary.json.

    Args:
        project: Folder of the project.
    """
    from accord.config import SettingsError
    from accord.loop import loop
    from accord.tell import tell

    at = opened(project)
    last = f"round{at.recipe.rounds}-{at.recipe.method}"
    if at.version(last) is None:
        raise SettingsError(f"{project} has no {last} yet (there are: {_names(at)}); finish it with accord loop")
    before, rounds = loop(at, say)
    tell(at, before, rounds, None, f"accord report {project}")
    return 0


def prove(
    name: Positional[Proof],
    /,
    seeds: int = 5,
    folder: Path = Path("projects/prove"),
    small: bool = False,
    settings: Path | None = None,
    source: Path | None = None,
    target: Path | None = None,
    first: int = 1,
    entrants: str = "",
) -> int:
    """Run a long proof and print its table; what it printed last, and when, stands in docs/results.md.

    Args:
        name: Which proof. `lab`: PPO against SFT in the lab, by seed, with the bounds of docs/results.md. `methods`:
            every method from the same start on the same beliefs. `overoptimisation`: where gold turns down while the
            proxy rises (docs/overoptimisation.md). `transfer`, `curriculum`, `semisupervised`, `believed`, `forms` and
            `rewards`: each beside its control (docs/experiments.md). `real`: reward models on real files
            (docs/real.md).
        seeds: How many seeds.
        folder: Where the projects are made.
        small: The small size of an experiment: minutes, to see that it runs. Not for `lab` and `methods`.
        settings: YAML file with settings of an experiment, over its own. Not for `lab` and `methods`.
        source: For `transfer`: file with preferences of the old domain, not the lab's. For `real`: folder of the files.
        target: For `transfer`: file with preferences of the new domain.
        first: The first seed. Not for `lab` and `real`.
        entrants: For `methods` and `real`: those that take part (rows), with commas between them. Without it all,
            but of GRPO's and DPO's relatives only `rloo`.
    """
    from accord.proofs.named import prove as run

    return run(name, seeds, folder, say, small, settings, {"source": source, "target": target}, first, entrants)


def evaluate(
    what: Positional[Literal["overoptimisation"]],
    /,
    project: Path = Path("quickstart"),
    start: str = "sft",
    reward: str = "round1-reward",
    along: tuple[str, ...] = (),
    gold: str = "",
    drawn: int = 64,
    prompts: int = 100,
) -> int:
    """Measure a project's versions beyond its report; writes overoptimisation.html, .md and .json into the project.

    Args:
        what: `overoptimisation`: proxy and gold over the drift, of best of n and of policies on their way.
        project: Folder of the project.
        start: Version that drift is measured from, and that best of n draws from.
        reward: The reward model: the proxy.
        along: Versions that were optimised from the start, in order; each counts with the checkpoints its run has kept.
        gold: Reward model that stands for what is meant; without it the true preference of the lab.
        drawn: Answers per prompt that best of n chooses from.
        prompts: Test prompts.
    """
    from accord.proofs.turned import evaluate as measured

    at = opened(project)
    for name, role in ((start, "policy"), (reward, "reward"), *((one, "policy") for one in along)):
        known(at, name, role)
    if gold:
        known(at, gold, "reward")
    print(measured(at, start, reward, along, gold, drawn, prompts))
    return 0


def opened(folder: Path) -> Project:
    """The project in a folder, under its own recipe. Raises SettingsError when there is none."""
    from accord.config import SettingsError
    from accord.project import Project
    from accord.recipe import recipe
    from accord.store.near import hint

    if not (folder / "project.yaml").is_file():
        raise SettingsError(
            f"{folder} is no project{hint(folder)}: it has no project.yaml; begin one with accord loop or accord train"
        )
    return Project(folder, recipe(folder / "project.yaml"))


def beginning(folder: Path, recipe: Recipe, method: str = "", given: Mapping[str, str] = MappingProxyType({})) -> None:
    """Say that a project begins in a folder where none is; a mistyped name shall not be taken for a new one.

    method: of a stage; given: names by option. The circle begins one, and so does a stage that needs no version.
    Raises SettingsError, before anything is made, for any other stage: nothing that it names can be there.
    """
    from accord.config import SettingsError
    from accord.methods import ALONE, METHODS, WORTH
    from accord.run import ranks
    from accord.store.near import hint, is_project

    if is_project(folder):
        return
    backbone = recipe.reward_backbone is not None or "beside" in given
    alone = not method or method in ALONE or (METHODS[method].section in WORTH and backbone)
    wanted = [f"--{name} {given[name]}" for name in ("start", "reward", "reference", "cost", "group") if name in given]
    if wanted or not alone:
        why = f"so nothing of {', '.join(wanted)}" if wanted else f"and {method} needs a version that is there"
        raise SettingsError(
            f"there is no project in {folder}{hint(folder)}, {why}. Give --project the right folder, or "
            "begin with accord loop or accord train sft"
        )
    if ranks.leads():
        say(f"a new project begins in {folder}{hint(folder)}")


def fitting(project: Project, method: str, given: Mapping[str, str]) -> None:
    """Raises SettingsError for a version that is not there, or cannot be what a method is to take it for.

    A reward model opens as a language model, with a head of random numbers: nothing else would notice.
    """
    from accord.methods import WORTH

    starts = None if method in WORTH else "policy"
    for option in ("start", "reward", "reference"):
        if option in given:
            wanted = "reward" if option == "reward" else starts
            known(project, given[option], wanted, f"--{option} {given[option]}: ")


def known(project: Project, version: str, role: str | None = "policy", where: str = "") -> None:
    """Raises SettingsError for a version that is not there or has another role than that; None takes every role."""
    from accord.config import SettingsError

    found, does = project.version(version), {"policy": "gives answers", "reward": "scores answers"}
    if found is None:
        raise SettingsError(f"{where}no such version {version!r}; there are: {_names(project)}")
    if role is not None and found.role != role:
        theirs = does.get(found.role, f"is a {found.role}")
        raise SettingsError(f"{where}{version} is a {found.role} model: it {theirs}; one that {does[role]} is wanted")


def _names(project: Project) -> str:
    return ", ".join(project.names()) or "none"


def methods(json: bool = False) -> int:
    """List every method: what it does, its paper, what it needs and costs, and when to choose it.

    Args:
        json: Print it for programs.
    """
    from accord.methods import METHODS, listed

    if json:
        import json as form

        print(form.dumps(listed(), indent=1))
        return 0
    for name, one in METHODS.items():
        print(f"{name:<13} {one.caption} ({one.paper})")
        for word, said in (("choose when", one.choose), ("needs", one.needs), ("costs", one.costs)):
            print(f"{'':<13} {word} {said}")
    print("\naccord train METHOD --help tells more, docs/methods.md compares; --dialogue.turns 3 makes conversations.")
    return 0


CIRCLE = """The whole circle: read, imitate, answer, ask, believe, learn a reward, learn to act, judge (docs/loop.md).

RECIPE is a YAML file; without one the settings in the folder of --project are followed, without these the lab's. That
folder is projects/NAME where none is given, by --name. Every stage is kept when it is done: the same command goes on
where it was killed. Below are all settings of a recipe, as `ppo: {clip: 0.1}` in the file or --ppo.clip 0.1 here.
"""
GIVEN = (
    ("RECIPE", "a YAML file of settings; without one those in the folder of --project, without these the lab's"),
    ("--project DIR", "where store, versions and runs lie; without it projects/NAME, by the recipe's `name`"),
    ("--start VERSION", "what it begins from, as pretrained, sft or round1-ppo"),
    ("--reward VERSION", "the reward model that says what answers earn"),
    ("--reference VERSION", "what drift is measured from; without it the start"),
    ("--cost VERSION", "a reward model whose costs are bounded (docs/reward_models.md)"),
    ("--group NAME", "learn from the beliefs of one group of people alone (docs/believing.md)"),
    ("--beside NAME", "of reward_model: the one of that name in the recipe's `beside`, only to compare"),
    ("--name NAME", "what the new version is called; without it METHOD"),
    ("--SETTING VALUE", "any setting of the recipe, as --sft.epochs 2 or --seed 3"),
)
"""What a stage is given, for those who ask for help."""
NAMED = frozenset(word.split()[0] for word, _ in GIVEN[1:-1])
"""The options among them, which are no settings."""
SEVERAL = (
    "In N processes, on N cores or GPUs (docs/processes.md):",
    "  torchrun --nproc-per-node N -m -- accord train METHOD ...",
)
"""How a stage is shared among processes, for those who ask for help."""


def with_changes(start: Recipe, options: list[str], verb: str) -> Recipe:
    """The recipe as the command line changes it; raises SettingsError for what the method's name would undo."""
    import tyro

    from accord.methods import choosing, heard
    from accord.recipe import Recipe

    asked = f"accord {verb} [RECIPE] [--project DIR]"
    made = tyro.cli(tyro.conf.AvoidSubcommands[Recipe], default=start, args=options, prog=asked, description=CIRCLE)
    method = verb.removeprefix("train ") if verb.startswith("train ") else made.method
    made = choosing(made, method, options)
    for line in heard(made, method):
        say(line)
    return made


def apart(options: Sequence[str]) -> list[str]:
    """The options of a stage and of the circle with name and value as two words, as in `--start=sft`."""
    found = list[str]()
    for option in options:
        name, equals, value = option.partition("=")
        found += [name, value] if equals and name in NAMED else [option]
    return found


def taken(options: list[str], name: str, wanted: str = "a name") -> str | None:
    """The value of an option, which is taken out of the others; None where it is not given."""
    from accord.config import SettingsError

    if f"--{name}" not in options:
        return None
    at = options.index(f"--{name}")
    value = next(iter(options[at + 1 :]), "--")
    if value.startswith("--"):
        raise SettingsError(f"--{name} needs {wanted}")
    del options[at : at + 2]
    return value


def train_help() -> str:
    """How a stage is trained, and by which methods."""
    from accord.methods import METHODS

    first = "accord train METHOD [RECIPE] [--project DIR] [--start VERSION] [--name NAME] [...]"
    kept = "One stage. A version that is there is not made again; killed, the same command goes on where it was."
    given = [f"  {word:<20} {what}" for word, what in GIVEN]
    methods = [f"  {name:<15} {one.caption}" for name, one in METHODS.items()]
    more = ["accord train METHOD --help tells more of each.", *SEVERAL]
    return "\n".join([first, "", kept, "", *given, "", "METHOD is one of", *methods, "", *more])


def teach(method: str) -> int:
    """What a method is and what its settings do."""
    import importlib

    import tyro
    from pydantic import create_model

    from accord.methods import METHODS, heading, settings
    from accord.recipe import Recipe

    one = METHODS[method]
    module = importlib.import_module(f"accord.algorithms.{ {'pretrain': 'sft'}.get(one.section, one.section) }")
    print(f"{method}: {one.caption} ({one.paper})\n\n{module.__doc__}")
    print(f"needs: {one.needs}\ncosts: {one.costs}\nchoose it when {one.choose}\n")
    if one.changes:
        print(
            f"Of the settings of `{one.section}` it changes {one.changes}, where the recipe does not say otherwise.\n"
        )
    print(heading(method))
    fields: dict[str, Any] = {one.section: (module.Config, settings(Recipe(), method))}
    with contextlib.suppress(SystemExit):
        asked = f"accord train {method} [RECIPE] [--project DIR] [--start VERSION] [--name NAME]"
        tyro.cli(create_model("Shown", **fields), args=["--help"], prog=asked, description="")
    return 0


def say(text: str) -> None:
    """One line of what is going on, for a person who watches."""
    print(f"\033[1m{text}\033[0m" if sys.stderr.isatty() else text, file=sys.stderr)
