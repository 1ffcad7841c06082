"""Forms of feedback at toy size: nobody works longer than another, and what was said is learned in its own form."""

import json

import numpy as np
import pytest

from accord.algorithms import reward_heads
from accord.config import SettingsError
from accord.lab.clock import seconds
from accord.proofs import formed, forms
from accord.proofs.ground import Ground, lab
from accord.quality.judged import Judgement
from accord.records import Correction
from tests.proofs.toy import CHANGES

TOY = {"seconds": 260.0, "steps": 2, "epochs": 1, "nines": 5, "train_prompts": 40, "test_prompts": 4}
PLAIN = {**CHANGES, "data": {**CHANGES["data"], "test_prompts": 4}, "collect": {"prompts": 60, "people": 6}}


def examples(ground):
    """The toy policy says nothing that means anything, so the lab's own answers stand for its answers."""
    example = ground.project.lab.example
    ground.project.sample = lambda _, prompts, count, name: [
        (prompt, example(prompt, n + 50 * len(name)).model_copy(update={"id": f"{name} {prompt.id} {n}"}))
        for prompt in prompts
        for n in range(4 * count)
    ]
    return ground


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    ground = examples(Ground(lab(tmp_path_factory.mktemp("forms"), 1, PLAIN, False), lambda _: None))
    return forms.Here(ground, forms.Config(**{**TOY, "seconds": 400.0, "nines": 40}))


def test_every_form_is_made_once_and_told(tmp_path, capsys, monkeypatch):
    init = Ground.__init__

    def begun(self, *given):
        init(self, *given)
        examples(self)

    monkeypatch.setattr(Ground, "__init__", begun)
    config = {**TOY, "nines": 30}
    assert forms.prove(1, tmp_path, lambda _: None, False, config, CHANGES) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "forms.md").read_text().strip() in printed
    assert "Seconds of a bit" in printed
    figures = json.loads((tmp_path / "forms.json").read_text())
    assert list(figures["learned"]["1"]) == [*forms.WAYS, forms.MIXED]
    assert set(figures["learned"]["1"]["pairs"]) == {"accuracy", "best of 16"}
    assert figures["told"]["1"]["attributes"]["judgements"] > figures["told"]["1"]["attributes"]["questions"]

    def never(*_, **__):
        raise AssertionError("a model was taught again")

    monkeypatch.setattr(reward_heads, "train", never)
    assert forms.prove(1, tmp_path, lambda _: None, False, config, CHANGES) == 0
    assert json.loads((tmp_path / "forms.json").read_text()) == figures
    with pytest.raises(SettingsError, match="other settings"):
        forms.prove(1, tmp_path, lambda _: None, False, {**config, "pace": {"reading": 100}}, CHANGES)


@pytest.mark.parametrize("name", [*forms.WAYS, forms.MIXED])
def test_nobody_works_longer_than_the_seconds_and_nobody_stops_early(here, name):
    heard = here.heard(name)
    budget = here.config.seconds
    longest = max(one.seconds for one in heard.said)
    parts = len(forms.MIXTURE) if name == forms.MIXED else 1
    assert budget - 3 * parts * longest < heard.seconds <= budget
    for asked, said in zip(heard.asked, heard.said, strict=True):
        assert said.seconds == seconds(asked, said.answer, here.config.pace)
        assert set(said.shown) == set(asked.question.samples)
    prompts = [one.prompt.id for one in heard.asked]
    assert len(set(prompts)) == len(prompts)
    texts = [[sample.content for sample in one.samples] for one in heard.asked]
    assert all(left != right for one in texts for n, left in enumerate(one) for right in one[:n])


def test_questions_are_of_their_form(here):
    for name, way in forms.WAYS.items():
        heard = here.heard(name)
        assert {one.question.form for one in heard.asked} == {way.form}
        sizes = {len(one.samples) for one in heard.asked}
        assert max(sizes) == way.answers
        assert sizes == {9} or name != "rankings of 9"
    kinds = {one.question.form for one in here.heard(forms.MIXED).asked}
    assert kinds == {forms.WAYS[name].form for name in forms.MIXTURE}


def test_time_that_cannot_be_filled_is_told(here):
    with pytest.raises(SettingsError, match="raise nines"):
        here.asked("rankings of 9", 1e6, list(here.prompts.values()))
    with pytest.raises(SettingsError, match="raise train_prompts"):
        here.asked("pairs", 1e6, list(here.prompts.values()))


def test_a_correction_that_changes_nothing_takes_time_and_teaches_nothing(here):
    heard = here.heard("corrections")
    by_id = {one.question.id: one for one in heard.asked}
    changed = 0
    for said in heard.said:
        assert isinstance(said.answer, Correction)
        (sample,) = by_id[said.question].samples
        changed += said.answer.content != sample.content
        assert said.seconds > 0
    assert 0 < changed < len(heard.said)
    _, used = here.taught(heard)
    assert used == changed


def test_two_equal_answers_are_no_pair(here):
    first, other = (one.samples[0] for one in here.heard("corrections").asked[:2])
    samples = {"a": first, "b": first.model_copy(update={"id": "b"}), "c": other}
    assert not forms.unlike(Judgement("p", "pair", ("a", "b"), (1.0, 0.0)), samples)
    assert forms.unlike(Judgement("p", "pair", ("a", "c"), (1.0, 0.0)), samples)
    assert forms.unlike(Judgement("p", "flag", ("a",), (1.0,)), samples)


def test_what_people_order_is_compared_with_gold_pair_by_pair(here):
    heard = here.heard("rankings of 4")
    hits = []
    for asked, said in zip(heard.asked, heard.said, strict=True):
        place = {id: at for at, row in enumerate(said.answer.order) for id in row}
        for n, left in enumerate(asked.samples):
            for right in asked.samples[:n]:
                gap = here.ground.gold(asked.prompt, left).score - here.ground.gold(asked.prompt, right).score
                if abs(gap) > 1e-9:
                    ahead = place[right.id] - place[left.id]
                    hits.append(0.5 if ahead == 0 else float((ahead > 0) == (gap > 0)))
    assert here.right(heard) == pytest.approx(np.mean(hits))
    assert 0.55 < here.right(heard) < 1
    assert "bits" in here.told("rankings of 4", heard)
    assert "bits" not in here.told("corrections", here.heard("corrections"))


def test_the_cheapest_bit_is_named():
    notes = [{"pairs": {"seconds": 10.0, "bits": 0.2}, "rankings of 4": {"seconds": 30.0, "bits": 0.9},
              "corrections": {"seconds": 5.0}, "coins": {"seconds": 3.0, "bits": 0.0}}]  # fmt: skip
    said = formed.cheapest(notes)
    assert said.startswith("By the clock a useful bit is cheapest in rankings of 4.")
    assert "rankings of 4 33.3, pairs 50.0, coins inf" in said
