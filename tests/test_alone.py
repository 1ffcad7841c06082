"""A model of one group of people learns from what they believe and from nobody else."""

from __future__ import annotations

from typing import Any

import pytest

from accord import build, methods
from accord.build import beliefs_of
from accord.cli import main
from accord.config import SettingsError
from accord.policies import verdicts
from accord.project import Project
from accord.recipe import recipe
from accord.records import Comparison, Feedback, Preference, Question, Rating, Sample, named_id
from accord.run import read_log
from tests.flow.circle import weights, write_recipe

SMALL = {"sft": {"epochs": 1, "batch": 16}, "dpo": {"batch": 4}, "kto": {"batch": 4}, "reward_model": {"batch": 4}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A policy, and two groups of one person each: ann prefers the first of two answers, ben the second."""
    folder = tmp_path_factory.mktemp("alone")
    project = Project(folder / "p", recipe(write_recipe(folder / "tiny.yaml", **SMALL)))
    project.prepare()
    build.train(project, "sft", "sft")
    for split, many in (("train", 8), ("test", 4)):
        drawn = project.sample("sft", project.prompts(split)[:many], 2, split)  # type: ignore[arg-type]
        for (prompt, one), (_, two) in zip(drawn[::2], drawn[1::2], strict=True):
            question = Question(id=named_id("q", one.id), prompt=prompt.id, samples=(one.id, two.id), wanted=2)
            project.store.put([one, two, question])
            for name, better, worse in (("ann", one, two), ("ben", two, one)):
                chosen = Comparison(better=better.id)
                said = Feedback(id=named_id(name, one.id), question=question.id, annotator=name, answer=chosen)
                belief = {"id": named_id("belief", said.id), "prompt": prompt.id, "feedback": (said.id,), "group": name}
                project.store.put([said])
                project.store.put(
                    [
                        Preference(
                            **belief, chosen=better.id, rejected=worse.id, probability=0.9 if name == "ann" else 0.8
                        )
                    ]
                )
    return project


def test_each_method_learns_from_one_group_on_both_sides(made: Project) -> None:
    whose = {belief.id: belief.group for belief in made.store.all(Preference)}
    for method in ("reward_model", "dpo", "simpo", "kto"):
        for group in ("ann", "ben", None):
            name = f"{method}-{group}"
            version = methods.train(made, method, name, start="sft", group=group)
            learned = {whose[one] for one in version.data if one in whose}
            assert learned == ({group} if group else {"ann", "ben"})
            assert version.config.get("group") == group
            people = {"ann", "ben"} if group is None else {group}
            assert set(made.store.trace_version(version.id).annotators) == people
    hashes = weights(made.folder)
    assert len({hashes[f"dpo-{group}"] for group in ("ann", "ben", None)}) == 3
    held = [
        read_log(made.folder / "runs" / f"dpo-{name}" / "log.jsonl")[-1]["held_out_accuracy"] for name in ("ann", None)
    ]
    assert held[1] == 0.5, "of two who are always of two minds half are right"
    assert held[0] != 0.5 or len(beliefs_of(made, "test", "ann")) > 1


def test_what_is_there_of_one_group_is_not_taken_for_another(made: Project) -> None:
    methods.train(made, "dpo", "first", start="sft", group="ann")
    assert methods.train(made, "dpo", "first", start="sft", group="ann").config["group"] == "ann"
    for method, name in (("dpo", "first"), ("reward_model", "worth")):
        methods.train(made, method, name, start="sft", group="ann")
        for other in ("ben", None):
            with pytest.raises(SettingsError, match="other settings of group"):
                methods.train(made, method, name, start="sft", group=other)


def test_a_group_that_is_none_and_a_method_that_asks_nobody_are_refused(
    made: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, Any] = {"--group": "cid"}
    at = ["--project", str(made.folder), "--start", "sft", "--name", "none"]
    assert main(["train", "dpo", *at, *(word for pair in told.items() for word in pair)]) == 2
    assert "no belief about a train prompt is of this group; there are 'ann', 'ben'" in capsys.readouterr().err
    assert main(["train", "sft", *at, "--group", "ann"]) == 2
    assert "sft does not learn from beliefs; reward_model, dpo, kto do" in capsys.readouterr().err
    assert main(["train", "kto", "--help"]) == 0
    assert "--group NAME" in capsys.readouterr().out


def test_kto_hears_single_verdicts_from_the_people_of_the_group(made: Project) -> None:
    (first, second, *_) = made.store.all(Sample, split="train")
    for name, sample, level in (("ann", first, 1.0), ("ben", second, 0.0)):
        asked = Question(id=named_id("rate", name), prompt=sample.prompt, samples=(sample.id,), form="rating")
        rated = Rating(scores={sample.id: {"": level}}, scale=(0.0, 1.0))
        made.store.put([asked])
        made.store.put([Feedback(id=named_id("rated", name), question=asked.id, annotator=name, answer=rated)])
    for group, ids in (("ann", {"ann"}), ("ben", {"ben"}), (None, {"ann", "ben"})):
        _, data = verdicts(made, beliefs_of(made, "train", group), everybody=group is None)
        assert {name for name in ("ann", "ben") if named_id("rated", name) in data} == ids
