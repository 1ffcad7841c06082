"""How answers are drawn reaches the generator and the record, from the recipe on."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from accord.build import train
from accord.project import Project
from accord.recipe import Recipe
from accord.records import Message, Prompt, Text, named_id
from accord.terms import Draw
from tests.flow.circle import TINY


@pytest.mark.parametrize(
    ("draw", "cuts"), [({}, False), ({"top_k": 3}, True), ({"top_p": 0.9}, True), ({"min_p": 0.1}, True)]
)
def test_what_cuts_is_known_and_can_be_taken_away(draw: dict[str, float], cuts: bool) -> None:
    one = Draw.model_validate({**draw, "temperature": 0.7, "max_tokens": 5, "stop": ("end",)})
    assert one.cuts is cuts
    assert not one.uncut().cuts
    told = one.sampling(count=2, seed=3)
    assert {"top_k": told.top_k, "top_p": told.top_p, "min_p": told.min_p} == {
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
    } | draw
    assert (told.temperature, told.max_tokens, told.stop_text, told.count, told.seed) == (0.7, 5, ("end",), 2, 3)
    assert one.uncut().sampling().temperature == 0.7


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_a_share_of_the_likeliest_is_a_share(least: float) -> None:
    with pytest.raises(ValidationError, match="min_p"):
        Draw(min_p=least)


def test_answers_of_a_project_leave_out_what_min_p_leaves_out(tmp_path: Path) -> None:
    """With min_p 1 nothing but the likeliest token is left: the answers are the greedy ones, and all alike."""
    ways: dict[str, dict[str, float]] = {"all": {}, "likeliest": {"min_p": 1.0}, "one": {"top_k": 1}}
    drawn = {}
    for name, draw in ways.items():
        recipe = Recipe.model_validate({**TINY, "draw": {"max_tokens": 8, **draw}})
        project = Project(tmp_path, recipe)
        project.prepare()
        if project.version("base") is None:
            train(project, "pretrain", "base")
        prompt = Prompt(id=named_id("asked"), content=Text(messages=(Message(role="user", content="is it?"),)))
        answers = [sample for _, sample in project.sample("base", [prompt], 6, "asked")]
        drawn[name] = [answer.content for answer in answers]
        assert answers[0].sampling.get("min_p", 0.0) == draw.get("min_p", 0.0)
        whole = [sample for _, sample in project.sample("base", [prompt], 6, "asked", uncut=True)]
        assert len({str(one.content) for one in whole}) > 1
    assert drawn["likeliest"] == drawn["one"]
    assert len({str(one) for one in drawn["likeliest"]}) == 1
    assert len({str(one) for one in drawn["all"]}) > 1
