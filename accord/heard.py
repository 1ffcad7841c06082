"""What a project's people said, gathered for one lesson: judgements by part, and pairs that nobody judged."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch

from accord.algorithms.reward_heads import Config
from accord.batches import Comparisons
from accord.config import SettingsError
from accord.judged import Judged
from accord.origins import prior
from accord.project import Project
from accord.quality.judged import Judgement, believed, flags, in_their_forms
from accord.records import Critique, Preference, Prompt, Question, Sample, named_id
from accord.run import seed_of
from accord.worlds.text.encode import Encoder

SPLITS = ("train", "calibration", "stop", "test")


@dataclass(frozen=True)
class Lesson:
    """What is learned from and measured on, by part; `calibration` and `stop` are empty unless something needs them."""

    said: dict[str, list[Judgement]]
    """`train`, `calibration`, `stop` (parts of the train prompts) and `test`."""
    pairs: list[Preference]
    """Pairs of answers to questions that nobody answered; which one stands first means nothing."""
    prompts: dict[str, Prompt]
    samples: dict[str, Sample]

    @property
    def data(self) -> list[str]:
        """Ids of the feedback and the beliefs that are learned from."""
        return [name for name in dict.fromkeys(one.name for one in self.said["train"]) if " " not in name]


def gathered(project: Project, config: Config, beliefs: Sequence[Preference] | None) -> Lesson:
    """All judgements in the store, by part, with what they speak of."""
    said: dict[str, list[Judgement]] = {part: [] for part in SPLITS}
    made: dict[str, Sample] = {}
    for split in ("train", "test"):
        given = beliefs if beliefs is not None and split == "train" else project.preferences(split)
        said[split], written = heard(project, split, config, given)
        made |= written
    pairs = unanswered(project) if config.pseudo.rounds else []
    if config.calibrate != "none" or config.pseudo.rounds:
        of = {part: [one for one in said["train"] if part_of(one.prompt, config) == part] for part in SPLITS[:3]}
        said |= of
        pairs = [pair for pair in pairs if part_of(pair.prompt, config) == "train"]
    if said["train"]:
        aside = {one.prompt for part in ("calibration", "stop") for one in said[part]}
        said["train"] += [one for one in prior(project, config, said["train"]) if one.prompt not in aside]
    spoken = [one for part in said.values() for one in part]
    shown = [*(s for one in spoken for s in one.samples), *(s for pair in pairs for s in (pair.chosen, pair.rejected))]
    names = dict.fromkeys(shown)
    samples = {**project.store.get_many(Sample, [name for name in names if name not in made]), **made}
    asked = dict.fromkeys([*(one.prompt for one in spoken), *(pair.prompt for pair in pairs)])
    return Lesson(said, pairs, project.store.get_many(Prompt, asked), samples)


def enough(lesson: Lesson, name: str, config: Config, stage: str, folder: Path) -> None:
    """Raises SettingsError where a lesson can teach no score at all; warns where it tells no two answers apart."""
    said = lesson.said["train"]
    if not said:
        raise SettingsError(
            f"{stage}nothing that counts was said of answers to train prompts in {folder}; collect some (accord loop), "
            "import some (accord import), or give a weight to the forms (reward_heads.forms) and beliefs that are there"
        )
    answers = {sample for one in said for sample in one.samples}
    if len(answers) < 2:
        raise SettingsError(
            f"{stage}all that was said ({len(said)}) is about one single answer, and a score has no spread there; "
            "judge another one too"
        )
    mine = [one for one in said if one.criterion == config.main]
    if mine and not apart(mine):
        warnings.warn(
            f"{name}: all {len(mine)} judgements of {config.main or 'answers overall'} say the same of every answer: "
            "nothing tells a good one from a bad one, and the score means nothing; ask about answers that differ",
            stacklevel=3,
        )


def apart(said: Sequence[Judgement]) -> bool:
    """Whether any of these judgements tells one answer from another: choices by themselves, marks between them all."""
    marks: dict[tuple[str, int], set[float]] = {}
    for one in said:
        if one.form not in ("pair", "ranking"):
            marks.setdefault((one.form, one.levels), set()).update(one.values)
        elif one.probability != 0.5 and len(set(one.values)) > 1:
            return True
    return any(len(values) > 1 for values in marks.values())


def part_of(prompt: str, config: Config) -> str:
    """Where a train prompt belongs: by a hash of its id, so that it is on one side in every run."""
    place = seed_of("aside", prompt) / 2**63
    if place >= config.aside:
        return "train"
    return "stop" if config.pseudo.rounds and place < config.aside / 2 else "calibration"


def heard(
    project: Project, split: str, config: Config, beliefs: Sequence[Preference]
) -> tuple[list[Judgement], dict[str, Sample]]:
    """The judgements of one side of the fence, and the answers that people corrected.

    Feedback is heard in its own form. Beliefs that rest on other feedback, or on none (imported pairs), are heard
    beside it; with `comparisons: beliefs` those that rest on comparisons stand instead of these. What counts nothing
    (by `forms`, or a belief of weight 0) is not heard, so that a version does not name what it did not learn from.
    """
    store = project.store
    questions = {question.id: question for question in store.all(Question, split=split)}
    feedback = [one for one in store.feedback() if one.question in questions]
    told = in_their_forms(questions.values(), feedback)
    labels = list(dict.fromkeys(span.label for one in feedback if isinstance(one.answer, Critique)
                                for span in one.answer.spans))  # fmt: skip
    shown = [(questions[one.question].prompt, one.answer.sample) for one in feedback if isinstance(one.answer, Critique)
             and one.answer.sample in questions[one.question].samples]  # fmt: skip
    found = flags(told.judgements, labels, shown)
    known, compared = {one.id for one in feedback}, {one.name for one in found if one.form == "pair"}
    outside = [belief for belief in beliefs if not set(belief.feedback) & known]
    if config.comparisons == "beliefs":
        inside = [belief for belief in beliefs if belief.feedback and set(belief.feedback) <= compared]
        instead = {name for belief in inside for name in belief.feedback}
        found = [one for one in found if one.form != "pair" or one.name not in instead]
        outside = [*outside, *inside]
    found = [*found, *believed(about(project, config, outside, split == "train"))]
    counted = [one for one in found if config.forms.get(one.form, 1.0) * one.weight > 0]
    return counted, {sample.id: sample for sample in told.samples}


def about(project: Project, config: Config, beliefs: Sequence[Preference], tell: bool) -> list[Preference]:
    """The beliefs with the criterion that `criteria` gives to the source of their prompts, where they name none.

    tell: whether to warn of sources that are nobody's.
    """
    if not config.criteria:
        return list(beliefs)
    prompts = project.store.get_many(Prompt, dict.fromkeys(belief.prompt for belief in beliefs))
    sources = sorted({prompt.source for prompt in prompts.values()})
    nobodys = [start for start in config.criteria if not any(source.startswith(start) for source in sources)]
    for start in nobodys if tell and sources else []:
        warnings.warn(
            f"reward_heads.criteria: no prompt of an imported pair comes from {start!r}; they come from "
            f"{', '.join(map(repr, sources[:6]))}",
            stacklevel=2,
        )

    def criterion(belief: Preference) -> str:
        source = prompts[belief.prompt].source
        return belief.criterion or next((c for s, c in config.criteria.items() if source.startswith(s)), "")

    return [belief.model_copy(update={"criterion": criterion(belief)}) for belief in beliefs]


def unanswered(project: Project) -> list[Preference]:
    """Pairs of answers to train prompts that were asked about and of which nobody said anything."""
    answered = {one.question for one in project.store.feedback()}
    asked = [question for question in project.store.all(Question, split="train") if question.id not in answered]
    pairs = {(one.prompt, *pair): None for one in asked for pair in combinations(dict.fromkeys(one.samples), 2)}
    return [Preference(id=named_id("open", *pair), prompt=pair[0], chosen=pair[1], rejected=pair[2], probability=0.5)
            for pair in pairs]  # fmt: skip


# --- as batches ------------------------------------------------------------------------------------------------


def pool_of(config: Config, lesson: Lesson, encoder: Encoder) -> tuple[Comparisons, torch.Tensor]:
    """Pairs that people ordered and pairs that nobody did, over one segment; and which are people's."""
    judged = encoder.judged(lesson.said["train"], lesson.prompts, lesson.samples)
    pairs = ordered(judged, config.main)
    told = [
        Preference(
            id=named_id("told", n, pairs.segment.names[i], pairs.segment.names[j]),
            prompt=lesson.samples[pairs.segment.names[i]].prompt,
            chosen=pairs.segment.names[i],
            rejected=pairs.segment.names[j],
        )
        for n, (i, j) in enumerate(zip(pairs.better.tolist(), pairs.worse.tolist(), strict=True))
    ]
    nobodys = {pair.id for pair in lesson.pairs}
    pool = encoder.comparisons([*told, *lesson.pairs], lesson.prompts, lesson.samples)
    return pool, torch.tensor([name not in nobodys for name in pool.names])


def ordered(judged: Judged | None, main: str) -> Comparisons:
    """The pairs of answers that judgements of one criterion order. Raises SettingsError when there is none."""
    if judged is None or not len((found := judged.ordered(main))[0]):
        raise SettingsError("reward_heads: none of the judgements that were put aside orders two answers in the main "
                            "criterion; raise reward_heads.aside, or turn calibrate and pseudo off")  # fmt: skip
    better, worse, weight, whose = found
    return Comparisons(
        segment=judged.segment,
        better=better,
        worse=worse,
        probability=judged.probability[whose],
        weight=weight,
        margin=torch.zeros(len(better)),
        names=tuple(judged.names[i] for i in whose.tolist()),
    )


def own(labelled: Comparisons, lesson: Lesson) -> list[Judgement]:
    """The labels that the model gave itself, as judgements."""
    nobodys, names = {pair.id for pair in lesson.pairs}, labelled.segment.names
    return [
        Judgement(
            prompt=lesson.samples[names[i]].prompt,
            form="pair",
            samples=(names[i], names[j]),
            values=(1.0, 0.0),
            probability=float(labelled.probability[n]),
            weight=float(labelled.weight[n]),
            name=f"own {labelled.names[n]}",
        )
        for n, (i, j) in enumerate(zip(labelled.better.tolist(), labelled.worse.tolist(), strict=True))
        if labelled.names[n] in nobodys
    ]
