"""Dialogues in a project: who speaks, that single answers are left as they were, and what a report shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from accord import dialogues, methods
from accord.config import SettingsError
from accord.lab import Asker, Gold
from accord.loop import start
from accord.project import Project
from accord.recipe import recipe
from accord.records import Prompt, Sample
from accord.rewards.learned import Learned
from accord.rewards.rules import Rules
from accord.rewards.turns import Turns
from accord.worlds.text.dialogue import DialogueWorld
from accord.worlds.text.speaker import Speaker
from accord.worlds.text.world import TextWorld
from tests.flow.circle import write_recipe

LEARNED = {"epochs": 25, "batch": 16, "optimiser": {"learning_rate": 0.02}}
CHANGES = {"dialogue": {"turns": 3, "user_tokens": 8}, "draw": {"max_tokens": 16, "temperature": 0.7}, "sft": LEARNED}
"""Fine-tuned so far that answers end by themselves, for else there are no dialogues."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a fine-tuned policy, in which dialogues are wanted."""
    folder = tmp_path_factory.mktemp("talks")
    made = Project(folder / "p", recipe(write_recipe(folder / "tiny.yaml", **CHANGES)))
    made.prepare()
    start(made, lambda _: None)
    return made


def changed(project: Project, **dialogue: object) -> Project:
    """The same project under other settings of its dialogues."""
    own = project.recipe.dialogue.model_copy(update=dialogue)
    return Project(project.folder, project.recipe.model_copy(update={"dialogue": own}))


def world(project: Project) -> TextWorld:
    policy, encoder = project.policy("sft")
    return project.world(policy, encoder, project.prompts("train"), "here")


def test_with_one_turn_nothing_is_changed(project: Project) -> None:
    single, plain = changed(project, turns=1), world(project)
    assert dialogues.spoken(single, plain, "cpu") is plain
    assert dialogues.decides(single) == {} == dialogues.figures(plain, "x")
    assert isinstance(dialogues.learned(single, plain, lambda _: None, 0.0, 1.0), Learned)  # type: ignore[arg-type, return-value]
    assert isinstance(dialogues.ruled(single, plain, lambda *_: 0.0, False), Rules)
    assert dialogues.told(single, "sft", "sft", [], lambda _: []) == ([], [])


@pytest.mark.parametrize(("paid", "kind"), [("each", Turns), ("mean", Turns), ("end", Learned)])
def test_what_is_paid_for_is_as_the_recipe_says(project: Project, paid: str, kind: type) -> None:
    chosen = changed(project, paid=paid)
    here = dialogues.spoken(chosen, world(chosen), "cpu")
    assert isinstance(here, DialogueWorld)
    made = dialogues.learned(chosen, here, lambda _: None, 0.0, 1.0)  # type: ignore[arg-type, return-value]
    assert isinstance(made, kind)
    assert getattr(made, "share", False) == (paid == "mean")
    assert isinstance(dialogues.ruled(chosen, here, lambda *_: 0.0, False), Rules if paid == "end" else Turns)
    assert isinstance(dialogues.ruled(chosen, here, lambda *_: 0.0, True), Rules)


def test_the_user_is_the_labs_or_a_version_or_a_model_by_folder(project: Project, tmp_path: Path) -> None:
    assert isinstance(dialogues.user_of(project), Asker)
    named = dialogues.user_of(changed(project, user="sft"))
    shutil.copytree(project.path("sft"), tmp_path / "model")
    foreign = dialogues.user_of(changed(project, user=str(tmp_path / "model")))
    assert isinstance(named, Speaker)
    assert isinstance(foreign, Speaker)
    talk = [prompt.content for prompt in project.prompts("train")[:5]]
    assert named.replies(talk, range(5)) == foreign.replies(talk, range(5))  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"nowhere is no version .* \(there are: pretrained, sft\) and no language"):
        dialogues.user_of(changed(project, user=str(tmp_path / "nowhere")))


def test_without_a_user_dialogues_on_other_data_are_refused_before_anything_is_learned(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"dialogue\.turns needs a dialogue\.user"):
        recipe(None, {"data": {"kind": "files"}, "dialogue": {"turns": 2}})
    assert recipe(None, {"data": {"kind": "files"}, "dialogue": {"turns": 2, "user": "sft"}}).dialogue.user == "sft"


def test_dialogues_that_did_not_fit_are_told(project: Project) -> None:
    here = dialogues.spoken(project, world(project), "cpu")
    assert isinstance(here, DialogueWorld)
    here.counts |= {"dialogues": 8, "answers": 10, "ended_by_context": 2}
    with pytest.warns(UserWarning, match=r"talking: 25% of the dialogues ended early, .* encode\.limit=128"):
        figures = dialogues.figures(here, "talking")
    assert figures["answers_per_dialogue"] == 1.25


def test_a_report_shows_dialogues_before_and_after_with_what_each_answer_is_worth(project: Project) -> None:
    assert project.lab is not None
    gold, prompts = Gold(project.lab), project.prompts("test")

    def worth(pairs: list[tuple[Prompt, Sample]]) -> list[float]:
        assert all(len(sample.content.messages) == 1 for _, sample in pairs)  # type: ignore[union-attr]
        return [gold(*pair).score for pair in pairs]

    sides, figures = dialogues.told(project, "pretrained", "sft", prompts, worth)
    assert [side.family.removesuffix(" dialogue") for side in sides] == list(dict.fromkeys(p.tags[0] for p in prompts))
    said = {prompt.id: sample for prompt, sample in dialogues.talks(project, "sft", prompts)}
    first = said[prompts[0].id].content.messages  # type: ignore[union-attr]
    assert sides[0].after == "\n".join(f"{m.role}: {m.content}" for m in first)
    assert sides[0].before != sides[0].after
    assert any("\nuser: " in side.after for side in sides)
    assert figures[0].interval.n == len(prompts)
    assert [f.interval.n for f in figures] == sorted((f.interval.n for f in figures), reverse=True)
    assert len(figures) > 1
    assert (sides, figures) == dialogues.told(project, "pretrained", "sft", prompts, worth)


def test_a_version_made_in_dialogues_is_not_taken_for_one_of_single_answers(project: Project) -> None:
    """Asked for again with other dialogues, or none, it is refused by name."""
    given = {"start": "sft"}
    rules = project.recipe.worth.model_copy(update={"learned": 0.0, "length": 1.0, "most": 6})
    config = project.recipe.grpo.model_copy(update={"iterations": 1})
    both = {"worth": rules, "grpo": config, "dialogue": project.recipe.dialogue}
    talking = Project(project.folder, project.recipe.model_copy(update=both))
    made = methods.train(talking, "rloo", "talking", **given)
    assert made.config["dialogue"] == project.recipe.dialogue.model_dump(mode="json")
    assert methods.train(talking, "rloo", "talking", **given) == made
    for turns in (1, 2):
        other = project.recipe.dialogue.model_copy(update={"turns": turns})
        again = Project(project.folder, talking.recipe.model_copy(update={"dialogue": other}))
        with pytest.raises(SettingsError, match="made with other settings of dialogue"):
            methods.train(again, "rloo", "talking", **given)
