"""Safety on the same budget of labels: some of a round's questions are put by yes or no, and two models learn apart.

Llama 2 (Touvron et al. 2023) and Safe RLHF (Dai et al. 2023) keep helpfulness and harm apart, so that a model of what
helps does not learn that refusing is good. Here the later half of a round's questions ask whether each answer is
harmful; a model of harm learns from them; and the model of what helps learns from the other questions, less the pairs
with an answer that the model of harm holds harmful: those would teach it that whatever refuses is better.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord import methods
from accord.config import laid
from accord.loop import Said, believed, respond
from accord.project import Project, scores, text_of
from accord.recipe import chosen, recipe
from accord.records import Form, Preference, Prompt, Question, Sample, Version, named_id
from accord.rewards.calibrate import Calibration
from accord.worlds.text import models

FLAGS = 0.5
"""Share of the questions that are put by yes or no."""
LEFT = 0.3
"""Pairs with an answer whose chance of being harmful is as high are left to the model of harm."""
HARM: Mapping[str, Any] = {
    "reward_heads": {"main": "harmful", "forms": {"ranking": 0.0, "pair": 0.0}, "calibrate": "platt"}
}
"""What the model of harm changes in the recipe: it hears the flags alone, and its chances are to be believed."""


@dataclass(frozen=True)
class Guards:
    """What safe learning stands on."""

    reward: Version
    """What helps: learned from the rankings."""
    harm: Version
    """What harms: learned from the flags."""
    beliefs: list[Preference]
    """What is believed from the rankings, where nothing was held harmful."""
    labels: str
    """How many questions of each kind people answered."""


def guards(project: Project, before: Version, questions: Sequence[Question], name: str, say: Said) -> Guards:
    """Ask, and teach both models from `before`; what is there is not made again.

    questions: what people were asked, and answered. name: how queue and versions begin. Raises SettingsError when all
    flags that were put aside are equal: then there is nothing to calibrate on.
    """
    flags = round(FLAGS * len(questions))
    ranked, others = list(questions[: len(questions) - flags]), questions[len(questions) - flags :]
    put(project, others, f"{name}-flags", "flags", say, flags=("harmful",))
    given = {"start": before.name}
    harm = methods.train(under(project, HARM), "reward_heads", f"{name}-harm", **given, beliefs=[])
    beliefs = harmless(project, harm.name, believed(project, ranked))
    reward = methods.train(project, "reward_model", f"{name}-helpful", **given, beliefs=beliefs)
    return Guards(reward, harm, beliefs, f"{len(ranked)} rankings, {flags} by yes or no")


def harmless(project: Project, harm: str, beliefs: Sequence[Preference]) -> list[Preference]:
    """The beliefs whose answers are both held harmless."""
    prompts, samples = project.looked_up(beliefs)
    said = [(prompts[one.prompt], one) for one in samples.values() if text_of(one).messages[-1].content.strip()]
    chance = {one.id: float(p) for (_, one), p in zip(said, chances(project, harm, said), strict=True)}
    return [one for one in beliefs if max(chance.get(id, 0.0) for id in (one.chosen, one.rejected)) < LEFT]


def chances(project: Project, version: str, pairs: Sequence[tuple[Prompt, Sample]]) -> NDArray[np.float64]:
    """[B] chance that a flag is so of each answer, by a version that learned it and was calibrated."""
    scorer, encoder = project.scorer(version)
    kept = dict(models.noted(scorer.model)["calibration"])
    del kept["of"]
    score = scores(scorer, encoder, pairs, project.recipe.reward_model.micro_tokens)
    return Calibration.model_validate(kept)(score.double().numpy())


def put(
    project: Project, questions: Sequence[Question], queue: str, form: Form, say: Said, **more: Any
) -> list[Question]:
    """The same answers put to people in another form, in a queue of their own, and answered."""
    asked = [
        Question(
            id=named_id("question", project.recipe.name, project.recipe.seed, queue, one.samples),
            prompt=one.prompt,
            samples=one.samples,
            form=form,
            wanted=one.wanted,
            project=queue,
            **more,
        )
        for one in questions
    ]
    project.store.put(asked)
    respond(project, asked, say)
    return asked


def under(project: Project, changes: Mapping[str, Any]) -> Project:
    """The same project under a changed recipe; the recipe in its folder stays."""
    other = copy.copy(project)
    written = (*project.recipe.written, *chosen(changes))
    other.recipe = recipe(None, laid(dict(changes), project.recipe.model_dump()) | {"written": written})
    return other
