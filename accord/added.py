"""What each form of judgement added to a reward model: the same one taught without it, as figures and in the report."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from accord.algorithms.reward_heads import Config, rights
from accord.algorithms.reward_model import scores_of
from accord.evaluate.forms import ALL, forms_card, taught
from accord.evaluate.story import Figure
from accord.judged import Judged
from accord.project import Project
from accord.records import Version, digest
from accord.statistics import Interval
from accord.worlds.text.scorer import Scorer


def what_each_added(
    config: Config, fresh: Callable[[str, Judged], Scorer], judged: Judged, held: Judged, everything: Scorer | None
) -> dict[str, float]:
    """What each kind added to the accuracy on held-out pairs: figures `added/KIND`, its ends and their prompts.

    fresh: (run, judgements) -> a new model taught by them. everything: the model that heard all, where there is one.
    """

    def teach(run: str, said: Judged) -> np.ndarray:
        scorer = everything if run == ALL and everything is not None else fresh(plain(run), said)
        score = scores_of(scorer, held.segment.to(next(scorer.parameters()).device), config.micro_tokens).cpu()
        return np.asarray(rights(score, held, config.main)[0], dtype=float)

    prompts = held.segment.group[held.ordered(config.main)[0]].tolist()
    card, figures = forms_card(taught(judged, teach, config.main), judged, prompts), dict[str, float]()
    for one in card.forms:
        ends = {"": one.added.estimate, "/low": one.added.low, "/high": one.added.high, "/prompts": float(one.added.n)}
        figures |= {f"added/{plain(one.form)}{end}": value for end, value in ends.items()}
    return figures


def plain(name: str) -> str:
    """A name for a folder or a figure: what people called a flag or a fault may hold anything."""
    kept = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII)[:80]
    return kept if kept == name else f"{kept}-{digest([name])[:8]}"


def figures_added(project: Project, names: Sequence[str]) -> list[Figure]:
    """What each form of judgement added to some reward models, for the report; nothing where it was not measured."""
    found = []
    for name in names:
        made = project.version(name)
        told = {} if made is None else made.figures
        for form in [key.removeprefix("added/") for key in told if key.startswith("added/") and key.count("/") == 1]:
            value, low, high, count = (told[f"added/{form}{end}"] for end in ("", "/low", "/high", "/prompts"))
            found.append(
                Figure(
                    name=f"accuracy that {form} added to {name}",
                    interval=Interval(value, low, high, 0.95, int(count)),
                    reference=0.0,
                    note="beside a fresh model taught without it, on the same held-out pairs",
                )
            )
    return found


def outcome(project: Project, version: Version) -> str:
    """What is said of a version when its stage is over: its figures, what each form added to it, and where it lies."""
    plainly = {name: value for name, value in version.figures.items() if not name.startswith("added/")}
    added = [f"{one.name}: {one.interval}" for one in figures_added(project, [version.name])]
    first = f"{version.name}: {', '.join(f'{name} {value:.4g}' for name, value in plainly.items())}"
    return "\n".join([first, *added, str(project.path(version.name))])
