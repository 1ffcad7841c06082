"""The first project of somebody who judges: pairs of the lab, and after thirty answers what those taught."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import median

import yaml

from accord.config import SettingsError
from accord.feedback.lesson import lesson
from accord.lab import Lab, LabConfig
from accord.lab.primer import beside_gold, chorus, pairs, primer
from accord.records import (
    Answer,
    Asked,
    Comparison,
    Feedback,
    Prompt,
    Question,
    Record,
    Sample,
    Text,
    Version,
    named_id,
)
from accord.statistics import Interval, mean_interval, wilson
from accord.store import Store
from accord.store.people import People
from accord.web.lesson import Finding, Learned, Teacher
from accord.whole import replacing

QUEUE = "first"
LEAST = 30
COUNT = 60
_NOTE = "first.yaml"


@dataclass(frozen=True)
class First:
    """Where a first project stands."""

    folder: Path
    lab: Lab
    told: str
    """Whose answers are judged, in words."""


def prepare(folder: Path, circle: Path = Path("quickstart"), count: int = COUNT) -> First:
    """Put pairs to judge into the folder's store, with the guideline of the lab. Doing it again changes nothing.

    The answers are those that the fine-tuned model of the quickstart in `circle` gave, where there is one; else the
    lab makes them without a model. Raises SettingsError for a folder that holds another project.
    """
    note = folder / _NOTE
    if (folder / "project.yaml").exists() or ((folder / "store.db").exists() and not note.exists()):
        raise SettingsError(f"{folder} holds another project: name another folder with --project")
    folder.mkdir(parents=True, exist_ok=True)
    if note.exists():
        kept = yaml.safe_load(note.read_text(encoding="utf-8"))
        return First(folder, Lab(LabConfig(**kept["lab"])), kept["told"])
    found = _of_the_circle(circle, count)
    lab, made, told = found or _of_the_lab(count)
    with Store.open(folder / "store.db") as store:
        store.put(_asked(made))
        People(store).write_guideline(QUEUE, primer(lab, [prompt for prompt, _, _ in made]))
    with replacing(note) as file:
        file.write(yaml.safe_dump({"lab": lab.config.model_dump(mode="json"), "told": told}).encode())
    return First(folder, lab, told)


def teacher(store: Store, first: First) -> Teacher:
    """Who tells people of this project what was learned from their answers."""

    def said(annotator: str) -> list[Feedback]:
        every = store.feedback(project=QUEUE, annotator=annotator)
        return [one for one in every if isinstance(one.answer, Comparison)]

    return Teacher(
        QUEUE,
        LEAST,
        lambda annotator: len(said(annotator)),
        lambda annotator: learned(store, first, said(annotator)),
    )


def learned(store: Store, first: First, said: Sequence[Feedback]) -> Learned:
    """What comparisons of one person teach, beside what simulated people say to the same questions."""
    questions = store.get_many(Question, [one.question for one in said])
    asked = store.ask([questions[one.question] for one in said], said[0].annotator if said else "")
    answers = [one.answer for one in said]
    others = chorus(first.lab, asked)
    better, worse = _texts(asked, answers)
    model = lesson(better, worse)
    return Learned(
        answers=len(said),
        seconds=median(one.seconds for one in said) if said else 0.0,
        findings=[
            *_beside(first, asked, answers, others),
            *_habits(asked, said),
            Finding("A small reward model foretells you", model.accuracy, _foretells(model.accuracy)),
        ],
        liked=model.liked,
        disliked=model.disliked,
        commands=[
            (f"accord people --project {first.folder}", "who said what, with figures"),
            (f"accord believe --project {first.folder} --dry-run", "what a model would learn from"),
            ("accord quickstart", "the whole circle: a model learns from thousands of such answers"),
            ("accord ask VERSION --project quickstart", "put answers of your own model to people"),
        ],
    )  # fmt: skip


# --- pairs -----------------------------------------------------------------------------------------------------

Pairs = list[tuple[Prompt, Sample, Sample]]


def _of_the_lab(count: int) -> tuple[Lab, Pairs, str]:
    lab = Lab()
    return lab, pairs(lab, count), "answers of mixed quality that the lab made, without a model"


def _of_the_circle(folder: Path, count: int) -> tuple[Lab, Pairs, str] | None:
    """Two answers of the fine-tuned model to each prompt, from a quickstart that has collected some."""
    if not (folder / "project.yaml").is_file() or not (folder / "store.db").is_file():
        return None
    data = yaml.safe_load((folder / "project.yaml").read_text(encoding="utf-8")).get("data", {})
    with Store.of(folder) as store:
        made = next(iter(store.all(Version, name="sft")), None)
        if data.get("kind") != "lab" or made is None:
            return None
        by_prompt: dict[str, list[Sample]] = {}
        for sample in store.all(Sample, version=made.id, split="train"):
            seen = by_prompt.setdefault(sample.prompt, [])
            if len(seen) < 2 and all(sample.content != other.content for other in seen):
                # The version stands in the other store; here nothing leads to it.
                seen.append(sample.model_copy(update={"version": None, "source": f"{folder.name} sft"}))
            if sum(len(two) == 2 for two in by_prompt.values()) == count:
                break
        whole = {id: two for id, two in by_prompt.items() if len(two) == 2}
        prompts = store.get_many(Prompt, whole)
    if len(whole) < LEAST:
        return None
    told = f"answers of the fine-tuned model of {folder}"
    return Lab(LabConfig(**data.get("lab", {}))), [(prompts[id], *two) for id, two in whole.items()], told  # type: ignore[misc]


def _asked(made: Pairs) -> Iterator[Record]:
    for prompt, first, second in made:
        yield from (prompt, first, second)
        ids = (first.id, second.id)
        yield Question(id=named_id("question", QUEUE, *ids), prompt=prompt.id, samples=ids, project=QUEUE, wanted=1)


# --- findings --------------------------------------------------------------------------------------------------


def _beside(
    first: First, asked: Sequence[Asked], answers: Sequence[Answer | None], others: Sequence[Sequence[Answer | None]]
) -> list[Finding]:
    """How often the simulated people say the same, how often two of them do, and how often the lab itself does."""
    mine, between = list[float](), list[float]()
    for at, answer in enumerate(answers):
        words = [_verdict(person[at]) for person in others]
        mine.append(sum(word == _verdict(answer) for word in words) / len(words))
        between.append(sum(a == b for a, b in combinations(words, 2)) / math.comb(len(words), 2))
    gold = beside_gold(first.lab, asked, answers)
    right = wilson(sum(gold), len(gold))
    return [
        Finding(
            f"One of {len(others)} simulated people says the same",
            _mean(mine),
            f"Two of them say the same of these pairs in {_mean(between).percent()}; they have tastes and lapses of "
            "their own.",
        ),
        Finding(
            "The lab's own rules choose the same",
            right,
            "Where you and the rules both name a winner. No model ever sees these rules; the report judges by them.",
        ),
    ]


def _habits(asked: Sequence[Asked], said: Sequence[Feedback]) -> list[Finding]:
    """Side, length and ties."""
    first, longer = list[bool](), list[bool]()
    for one, answer in zip(asked, said, strict=True):
        assert isinstance(answer.answer, Comparison)
        if answer.answer.better is None:
            continue
        length = {sample.id: len(_said(sample).split()) for sample in one.samples}
        first.append(answer.answer.better == answer.shown[0])
        if len(set(length.values())) > 1:
            longer.append(length[answer.answer.better] == max(length.values()))
    side, size = wilson(sum(first), len(first)), wilson(sum(longer), len(longer))
    none = wilson(len(said) - len(first), len(said))
    return [
        Finding("You chose the answer shown first", side, _habit(side, "a habit of side", "first", "second")),
        Finding("You chose the longer answer", size, _habit(size, "a taste for length", "longer", "shorter")),
        Finding(
            "You named no winner", none, "Ties and both bad. They are kept: that two answers are alike is news too."
        ),
    ]


def _habit(one: Interval, what: str, high: str, low: str) -> str:
    if one.n and one.low > 0.5:
        return f"More often than a coin: look whether it is {what}, or whether the {high} ones were better."
    if one.n and one.high < 0.5:
        return f"Less often than a coin: look whether it is {what}, or whether the {low} ones were better."
    return f"A coin could have done it: nothing shows {what}."


def _foretells(one: Interval) -> str:
    if not one.n:
        return "Too few of your answers name a winner for a model to learn from."
    if one.low > 0.5:
        return "Taught by your other answers it knows you better than a coin, and it has seen nothing else."
    return "Taught by your other answers it is no better than a coin that can be shown yet: it needs more of them."


def _mean(values: Sequence[float]) -> Interval:
    return mean_interval(values) if len(values) > 1 else wilson(0, 0)


def _verdict(answer: Answer | None) -> str:
    return (answer.better or answer.verdict) if isinstance(answer, Comparison) else "nothing"


def _texts(asked: Sequence[Asked], answers: Sequence[Answer | None]) -> tuple[list[str], list[str]]:
    """Texts that were chosen and texts that were not, pair by pair; without ties."""
    better, worse = list[str](), list[str]()
    for one, answer in zip(asked, answers, strict=True):
        if isinstance(answer, Comparison) and answer.better is not None:
            for sample in one.samples:
                (better if sample.id == answer.better else worse).append(_said(sample))
    return better, worse


def _said(sample: Sample) -> str:
    return sample.content.messages[-1].content if isinstance(sample.content, Text) else ""
