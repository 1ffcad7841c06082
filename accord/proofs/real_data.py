"""Real files for measuring: pairs to learn from and pairs of other prompts, by part; and solutions of sums."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from pathlib import Path

from accord.config import SettingsError
from accord.proofs.ground import Two
from accord.quality.judged import Judgement
from accord.records import Message, Preference, Prompt, Sample, Text, named_id
from accord.rewards.rules import final_answer, number
from accord.store.exchange import LIMITS
from accord.store.exchange import read as read_records
from accord.store.files import rows
from accord.store.sides import split_of

WIDE = 2.0
"""Gap of UltraFeedback's scores from which a pair is called clear."""
PARTS: Mapping[str, Callable[[Prompt, Preference], str]] = {
    "hh_harmless": lambda prompt, belief: "harmless",
    "hh_helpful": lambda prompt, belief: "helpful",
    "ultrafeedback": lambda prompt, belief: f"gap under {WIDE:g}" if belief.margin < WIDE else f"gap {WIDE:g} and more",
    "oasst_pairs": lambda prompt, belief: {"lang:zh": "Chinese"}.get(prompt.tags[0], "English"),
    "pku_saferlhf_nc": lambda prompt, belief: "safer",
    "llmbar": lambda prompt, belief: prompt.tags[0].removeprefix("subset:").split("/")[0].lower(),
}
"""Each file of pairs that is measured on, and what a pair of it is counted under."""
SETS = {
    "hh": ("hh_harmless", "hh_helpful"),
    "ultrafeedback": ("ultrafeedback",),
    "oasst": ("oasst_pairs",),
    "pku": ("pku_saferlhf_nc",),
    "llmbar": ("llmbar",),
}
"""Files that are learned from together."""
SOLUTIONS = "gsm8k_solutions"
MARK = "A:"
"""What the final answer of a solution stands behind."""


@dataclass(frozen=True)
class Side:
    """Pairs of one side of the fence, with what is believed of them and what they are counted under."""

    twos: Sequence[Two]
    """The believed better answer first."""
    beliefs: Sequence[Preference]
    parts: Sequence[str]

    def first(self, count: int) -> Side:
        """The first so many; all with 0."""
        return replace(self, twos=self.twos[: count or None], beliefs=self.beliefs[: count or None],
                       parts=self.parts[: count or None])  # fmt: skip


def file_of(folder: str, name: str, ending: str = ".jsonl.gz") -> Path:
    """Where a data set is. Raises SettingsError when it is not there."""
    file = Path(folder) / f"{name}{ending}"
    if not folder or not file.is_file():
        raise SettingsError(f"{file.name} is not in {folder or 'any folder'}: name the folder of the data sets "
                            "(accord prove real --source FOLDER)")  # fmt: skip
    return file


def sides(folder: str, name: str, test_share: float) -> tuple[Side, Side]:
    """Pairs of a set to learn from, and those of prompts that are kept for the test by a hash of their first turn."""
    found: tuple[list[tuple[Two, Preference, str]], ...] = ([], [])
    for file in SETS[name]:
        records = read_records(file_of(folder, file), test_share=test_share).records
        prompts = {r.id: r for r in records if isinstance(r, Prompt)}
        samples = {r.id: r for r in records if isinstance(r, Sample)}
        for one in records:
            if isinstance(one, Preference):
                prompt = prompts[one.prompt]
                two = Two(prompt, samples[one.chosen], samples[one.rejected])
                found[prompt.split == "test"].append((two, one, PARTS[file](prompt, one)))
    return _side(found[0]), _side(found[1])


def _side(found: Sequence[tuple[Two, Preference, str]]) -> Side:
    """Pairs in the order of a hash of their prompt: the first so many are of every file."""
    order = sorted(found, key=lambda one: (one[1].prompt, one[1].id))
    return Side([one[0] for one in order], [one[1] for one in order], [one[2] for one in order])


def rankings(side: Side) -> list[Judgement]:
    """What people said of each prompt as one ranking; pairs where they do not make one order."""
    by: dict[str, list[Preference]] = {}
    for belief in side.beliefs:
        by.setdefault(belief.prompt, []).append(belief)
    said = []
    for prompt, beliefs in by.items():
        for n, order in enumerate(ordered(beliefs)):
            places = tuple(float(place) for place in range(len(order)))
            name = f"ranking {prompt} {n}"
            said.append(Judgement(prompt=prompt, form="ranking", samples=order, values=places, name=name))
    return said


def ordered(beliefs: Sequence[Preference]) -> list[tuple[str, ...]]:
    """The one order of all answers that beliefs make, best first; each belief by itself where there is not one."""
    above: dict[str, set[str]] = {}
    for belief in beliefs:
        above.setdefault(belief.rejected, set()).add(belief.chosen)
    sorter = TopologicalSorter(above)
    alone = [(belief.chosen, belief.rejected) for belief in beliefs]
    try:
        sorter.prepare()
    except ValueError:  # a circle
        return list(alone)
    order: list[str] = []
    while sorter.is_active():
        ready = sorter.get_ready()
        if len(ready) > 1:
            return list(alone)
        order.extend(ready)
        sorter.done(*ready)
    return [tuple(order)]


# --- sums ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sum:
    """A question with one solution of each of several models."""

    prompt: Prompt
    solutions: tuple[Sample, ...]
    """In the order of `models`."""
    right: tuple[bool, ...]
    answers: tuple[str, ...]
    """Final answers, written alike; empty where there is none."""
    models: tuple[str, ...]


def sums(folder: str, test_share: float) -> tuple[list[Sum], list[Sum]]:
    """Questions to learn from and questions of the test, each with all of its solutions, models in one order."""
    by: dict[str, dict[str, tuple[str, bool]]] = {}
    for text, model, words, right in _solutions(file_of(folder, SOLUTIONS)):
        by.setdefault(text, {})[model] = (words, right)
    found: tuple[list[Sum], list[Sum]] = ([], [])
    for text in sorted(by, key=lambda one: named_id("sum", one)):
        prompt = Prompt(id=named_id("sum", text), content=Text(messages=(Message(role="user", content=text),)))
        models = tuple(sorted(by[text]))
        told = [by[text][model] for model in models]
        solutions = tuple(
            Sample(id=named_id("solution", prompt.id, model), prompt=prompt.id, source=model,
                   content=Text(messages=(Message(role="assistant", content=words),)))
            for model, (words, _) in zip(models, told, strict=True)
        )  # fmt: skip
        one = Sum(prompt, solutions, tuple(r for _, r in told), tuple(final(w) for w, _ in told), models)
        found[split_of(text, test_share) == "test"].append(one)
    return found


def final(text: str) -> str:
    """The final answer of a solution, equal numbers written alike; empty when there is none."""
    given = final_answer(text, MARK) or ""
    value = number(given)
    return given.strip() if value is None else str(value.normalize())


def verdicts(questions: Sequence[Sum]) -> list[Judgement]:
    """Whether each solution is right, a question at a time."""
    return [
        Judgement(
            prompt=one.prompt.id,
            form="flag",
            samples=tuple(sample.id for sample in one.solutions),
            values=tuple(float(r) for r in one.right),
            criterion="correct",
            name=f"verdict {one.prompt.id}",
        )
        for one in questions
    ]


def _solutions(file: Path) -> Iterator[tuple[str, str, str, bool]]:
    """Question, model, solution and whether it is right, of each row. Raises SettingsError at a row without them."""
    for raw in rows(file, LIMITS):
        try:
            values = raw.values
            yield str(values["prompt"]), str(values["model"]), str(values["response"]), bool(values["correct"])
        except KeyError as error:
            kept = json.dumps(sorted(raw.values))
            raise SettingsError(f"{file.name} line {raw.line} has {kept} and no {error.args[0]!r}") from error
