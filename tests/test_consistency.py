"""The stage `reward_model` with consistency: what it takes along, what it says, and that it is off unless asked for."""

import pytest

from accord import build
from accord.algorithms import reward_model
from accord.config import SettingsError
from accord.proofs.ground import Ground, lab
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
