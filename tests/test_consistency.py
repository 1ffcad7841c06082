"""The stages that learn worth, with consistency: what it takes along and says; off unless asked for."""

import pytest
import torch

from accord import build, methods
from accord.algorithms import reward_heads, reward_model
from accord.config import SettingsError
from accord.proofs.ground import Ground, lab
from accord.run import read_log
from tests.proofs.toy import CHANGES


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    changes = {**CHANGES, "collect": {"prompts": 12, "people": 4}, "data": {**CHANGES["data"], "test_prompts": 6}}
    return Ground(lab(tmp_path_factory.mktemp("p"), 1, changes, False), lambda _: None)


def taught(ground, name, monkeypatch, **settings):
    """A version with the term, and what the term was given."""
    project, heard = ground.project, []
    twos = ground.twos(project.prompts("train"), "labels", answers=2)
    project.store.put(record for two in twos for record in (two.first, two.second))
    learning = project.recipe.reward_model.model_copy(
        update={"consistency": {"weight": 0.5, "threshold": 0.5, **settings}}
    )
    learning = reward_model.Config.model_validate(learning.model_dump())
    monkeypatch.setattr(project, "recipe", project.recipe.model_copy(update={"reward_model": learning}))
    made = build.Consistency
    monkeypatch.setattr(build, "Consistency", lambda *given: heard.append(made(*given)) or heard[-1])
    version = build.train(project, "reward_model", name, start=ground.start, beliefs=ground.labelled(twos[:4]))
    return version, heard, twos


def test_pairs_without_a_label_are_taken_along_and_figures_are_kept(ground, monkeypatch):
    version, heard, twos = taught(ground, "steady", monkeypatch, ways=("template",), phrasings=3)
    (term,) = heard
    assert len(term.pool) == len(twos) > 4
    assert len(term.others) == 3
    shown = [one.segment.observation.tolist() for one in (term.pool, *term.others)]
    assert all(one != shown[0] for one in shown[1:])
    assert {"consistency_loss", "consistency_sure", "consistency_same"} <= set(version.figures)
    assert version.figures["consistency_sure"] == 1
    assert version.figures["consistency_loss"] >= 0


def test_it_is_off_unless_asked_for_and_says_when_there_are_no_other_words(ground, monkeypatch):
    version, heard, _ = taught(ground, "alone", monkeypatch, weight=0.0)
    assert not heard
    assert not any(name.startswith("consistency") for name in version.figures)
    with pytest.raises(SettingsError, match=r"reward_model\.consistency: none of .* pairs is there in other words"):
        taught(ground, "mute", monkeypatch, ways=())


def test_reward_heads_keep_opinions_by_the_same_term(ground, monkeypatch):
    project, heard, made = ground.project, [], build.Consistency
    twos = ground.twos(project.prompts("train"), "labels", answers=2)
    project.store.put(record for two in twos for record in (two.first, two.second))
    monkeypatch.setattr(build, "Consistency", lambda *given: heard.append(made(*given)) or heard[-1])

    def version(name, **term):
        learning = {"epochs": 4, "batch": 8, "consistency": {"threshold": 0.5, **term}}
        recipe = project.recipe.model_copy(update={"reward_heads": reward_heads.Config.model_validate(learning)})
        monkeypatch.setattr(project, "recipe", recipe)
        beliefs = ground.labelled(twos[:4])
        kept = methods.train(project, "reward_heads", name, start=ground.start, beliefs=beliefs)
        rows = [row for row in read_log(project.folder / "runs" / name / "log.jsonl") if "loss" in row]
        return kept, rows, torch.cat([one.flatten() for one in project.scorer(name)[0].parameters()])

    alone, plain, before = version("heads-alone", weight=0.0)
    assert not heard
    assert not any(name.startswith("consistency") for name in alone.figures)
    kept, rows, after = version("heads-steady", weight=0.5, phrasings=3)
    (term,) = heard
    assert 4 < len(term.pool) <= len(twos)  # a prompt whose words stay the same is left out
    assert len(rows) == len(plain) > 2
    assert all(row["consistency_loss"] > 0 and row["consistency_sure"] == 1 for row in rows)
    assert kept.figures["consistency_loss"] == rows[-1]["consistency_loss"]
    assert rows[0]["loss"] == pytest.approx(plain[0]["loss"], rel=1e-5)  # people's part, before anything has moved
    assert rows[0]["gradient_norm"] != pytest.approx(plain[0]["gradient_norm"], rel=1e-4)
    assert not torch.equal(before, after)
    with pytest.raises(SettingsError, match=r"reward_heads\.consistency: none of .* pairs is there in other words"):
        version("heads-mute", weight=0.5, ways=())
