"""The stage that learns from every form: each form reaches it, members differ, maps mend, and it is made once."""

from __future__ import annotations

import json
import math
import random
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from accord import build, heads, judge, methods
from accord.added import figures_added
from accord.algorithms import reward_heads
from accord.columns import CRITERIA, by_criterion, member_scores
from accord.config import SettingsError
from accord.heard import Lesson, enough, gathered, part_of, unanswered
from accord.project import Project
from accord.quality.judged import Judgement
from accord.recipe import Recipe, recipe
from accord.records import (
    Comparison,
    Correction,
    Critique,
    Feedback,
    Flags,
    Message,
    Preference,
    Prompt,
    Question,
    Ranking,
    Rating,
    Sample,
    Span,
    Text,
)
from accord.rewards.ensemble import averaged
from accord.run import read_log
from accord.worlds.text import models
from tests.flow.circle import TINY, weights

GOOD, BAD, ODD = ("please", "thanks", "gladly"), ("never", "rude", "hush"), ("lamp", "river", "stone", "fox", "moon")
SMALL: dict[str, Any] = {
    "vocabulary": 300,
    "pretrain": None,
    "sft": {"epochs": 1, "batch": 16},
    "model": {"width": 16, "layers": 1, "heads": 2, "context": 64},
    "reward_heads": {"epochs": 6, "batch": 8, "optimiser": {"learning_rate": 1e-2}},
    "ppo": {"iterations": 2, "minibatches": 2},
    "grpo": {"iterations": 2, "minibatches": 2},
    "best_of_n": {"iterations": 1, "updates": 1, "batch": 4},
    "best_of": 2,
    "rollout": 4,
    "draw": {"max_tokens": 8},
}


def answer(draw: random.Random, level: int) -> str:
    """Words of which `level` of four are kind and the others rude."""
    said = [draw.choice(GOOD) for _ in range(level)] + [draw.choice(BAD) for _ in range(4 - level)]
    return " ".join([*draw.sample(said, 4), draw.choice(ODD)])


def text(words: str, role: str = "assistant") -> Text:
    return Text(messages=(Message(role=role, content=words),))


def say(project: Project, count: int, forms: tuple[str, ...], split: str = "train", seed: int = 0) -> list[str]:
    """Questions about four answers of known worth, each put in one of the forms and answered rightly."""
    draw, made, prompts = random.Random(f"{seed}-{split}"), [], []
    for n in range(count):
        prompt = Prompt(id=f"{split}-{seed}-{n}", content=text(f"say {draw.choice(ODD)} {n}", "user"), split=split)
        levels = draw.sample(range(5), 4)
        samples = [Sample(id=f"{prompt.id}-{i}", prompt=prompt.id, content=text(answer(draw, level)))
                   for i, level in enumerate(levels)]  # fmt: skip
        form = forms[n % len(forms)]
        worth = {sample.id: level for sample, level in zip(samples, levels, strict=True)}
        order = sorted(worth, key=lambda id, worth=worth: -worth[id])
        asked = Question(id=f"q-{prompt.id}", prompt=prompt.id, samples=tuple(worth), form=FORMS.get(form, form))
        said: Any = None
        if form == "comparison":
            asked = asked.model_copy(update={"samples": tuple(sorted(order[:2]))})
            said = Comparison(better=order[0], strength=2)
        elif form == "ranking":
            said = Ranking(order=tuple((id,) for id in order))
        elif form == "rating":
            said = Rating(scores={id: {"": float(1 + level), "tone": float(5 - level)} for id, level in worth.items()})
        elif form == "flags":
            said = Flags(flags={id: {"harm": level < 2} for id, level in worth.items()})
        elif form == "correction":
            said = Correction(sample=order[-1], content=text(answer(draw, 4)))
        elif form == "critique":
            said = Critique(sample=order[-1], spans=(Span(start=0, end=3, label="bad"),))
        made += [prompt, *samples, asked]
        if said is not None:
            made.append(Feedback(id=f"f-{prompt.id}", question=asked.id, annotator=f"person{n % 3}", answer=said))
        prompts.append(prompt.id)
    project.store.put(made)
    return prompts


FORMS = {"nothing": "ranking"}


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return files(tmp_path_factory.mktemp("heads"))


def files(folder: Path) -> Path:
    """Files for a fine-tuned start that has seen the words."""
    draw = random.Random(1)
    rows = [{"prompt": f"say {i}", "response": answer(draw, i % 5)} for i in range(40)]
    (folder / "shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"prompt": f"tell {i}", "chosen": answer(draw, 4), "rejected": answer(draw, 1)} for i in range(24)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    (folder / "text.txt").write_text(" ".join(row["response"] for row in rows) * 20)
    return folder


def five() -> list[tuple[Prompt, Sample]]:
    """An answer of each level, the rudest first."""
    prompt, draw = Prompt(id="p", content=text("say fox", "user")), random.Random(7)
    return [(prompt, Sample(id=f"s{i}", prompt="p", content=text(answer(draw, i)))) for i in range(5)]


def project(shelf: Path, folder: Path, **changes: Any) -> Project:
    data = {"kind": "files", "root": str(shelf), "texts": ["text.txt"], "demonstrations": ["shown.jsonl"],
            "preferences": ["pairs.jsonl"], "test_share": 0.3}  # fmt: skip
    made = Project(folder, recipe(None, {**TINY, **SMALL, "data": data, **changes}))
    made.prepare()
    build.train(made, "sft", "sft")
    return made


@pytest.fixture(scope="module")
def everything(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in whose store every form stands, and questions that nobody answered."""
    made = project(shelf, tmp_path_factory.mktemp("everything") / "p")
    say(made, 56, ("comparison", "ranking", "rating", "flags", "correction", "critique", "nothing"))
    say(made, 12, ("ranking",), "test")
    return made


def with_(made: Project, **changes: Any) -> Project:
    """The same folder with other settings of the stage."""
    told = made.recipe.reward_heads.model_dump() | changes
    return Project(made.folder, Recipe(**{**made.recipe.model_dump(), "reward_heads": told}))


def kinds(made: Project, **changes: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in gathered(made, with_(made, **changes).recipe.reward_heads, None).said["train"]:
        name = f"{one.form}.{one.criterion}".rstrip(".")
        found[name] = found.get(name, 0) + 1
    return found


def test_every_form_is_heard(everything: Project) -> None:
    train = len(everything.preferences("train"))
    assert 8 < train < 24
    assert kinds(everything) == {
        "pair": train + 8 + 8,  # imported, compared, corrected
        "ranking": 8,
        "rating": 8,
        "rating.tone": 8,
        "flag.harm": 8,
        "flag.bad": 8,
    }
    assert len(unanswered(everything)) == 8 * 6


def test_beliefs_stand_instead_of_what_they_rest_on_and_rankings_stay(
    everything: Project, shelf: Path, tmp_path: Path
) -> None:
    made = project(shelf, tmp_path / "p")
    say(made, 8, ("comparison", "ranking"))
    plain = kinds(made)
    said = {one.id: one for one in made.store.feedback()}
    asked = {one.id: one for one in made.store.all(Question)}
    for feedback in said.values():
        question = asked[feedback.question]
        better = feedback.answer.better if isinstance(feedback.answer, Comparison) else feedback.answer.order[0][0]
        other = next(s for s in question.samples if s != better)
        made.store.put([Preference(prompt=question.prompt, chosen=better, rejected=other, probability=0.7,
                                   feedback=(feedback.id,))])  # fmt: skip
    assert kinds(made) == plain == kinds(made, comparisons="beliefs")
    lesson = gathered(made, with_(made, comparisons="beliefs").recipe.reward_heads, None)
    sure = [one.probability for one in lesson.said["train"] if one.form == "pair"]
    assert sorted(sure)[:4] == [0.7] * 4
    assert sorted(sure)[4] == 1.0


def test_it_learns_from_all_forms_what_the_answers_are_worth(everything: Project) -> None:
    version = methods.train(everything, "reward_heads", "worth", start="sft")
    assert (version.role, version.method) == ("reward", "reward_heads")
    assert version.figures["held_accuracy"] > 0.9
    assert {f"loss/{k}" for k in ("pair", "ranking", "rating5", "rating5.tone", "flag.harm", "flag.bad")} & set(
        version.figures
    )
    people = {said.id for said in everything.store.feedback()}
    beliefs = {belief.id for belief in everything.preferences("train")}
    trained = {said.id for said in everything.store.feedback() if said.id.startswith("f-train")}
    assert set(version.data) == trained | beliefs
    assert people - trained
    traced = everything.store.trace_version(version.id)
    assert set(traced.annotators) == {"person0", "person1", "person2"}
    pairs = five()
    score = everything.score("worth")(pairs)
    by = by_criterion(everything, "worth", pairs)
    assert by[""] == pytest.approx(score.tolist(), abs=1e-5)
    assert set(by) == {"", "tone", "harm", "bad"}
    assert score[4] > score[0]
    assert by["tone"][0] > by["tone"][4]
    assert by["harm"][0] > by["harm"][4]
    assert (everything.path("worth") / CRITERIA).is_file()
    assert methods.train(everything, "reward_heads", "worth", start="sft") == version
    with pytest.raises(SettingsError, match="other settings of margin"):
        methods.train(with_(everything, margin=0.5), "reward_heads", "worth", start="sft")
    card = judge.card_of(everything, "worth", everything.preferences("test"), None)
    assert card.accuracy.estimate > 0.8


def test_members_differ_agree_and_are_one_reward(everything: Project) -> None:
    made = with_(everything, members=3, epochs=2)
    version = methods.train(made, "reward_heads", "many", start="sft")
    assert made.members("many") == ["many", "many-2", "many-3"]
    assert version.config["ensemble"] == ["many-2", "many-3"]
    hashes = {name: value for name, value in weights(made.folder).items() if name.startswith("many")}
    assert len(set(hashes.values())) == 3
    assert 0.5 < version.figures["agreed_order"] < 1
    assert version.figures["ensemble_accuracy"] > 0.7
    pairs = five()
    mean = torch.stack([made.score(name)(pairs) for name in ("many-2", "many-3")]).sum(0)
    single = with_(made).score  # each by itself
    assert torch.allclose(single("many")(pairs) * 3 - mean, alone(made, "many", pairs), atol=1e-5)
    build.train(made, "sft", "taken-2")
    with pytest.raises(SettingsError, match="taken-2"):
        methods.train(made, "reward_heads", "taken", start="sft")


def alone(made: Project, name: str, pairs: list[tuple[Prompt, Sample]]) -> torch.Tensor:
    """The normalised score of one member."""
    from accord.project import scores

    scorer, encoder = made.scorer(name)
    mean, std = models.normaliser(scorer.model)
    return (scores(scorer, encoder, pairs, 4096) - mean) / std


# --- calibration, and labels of its own ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_a_map_is_fitted_on_prompts_put_aside_and_kept_with_the_weights(kind: str, everything: Project) -> None:
    made = with_(everything, calibrate=kind, aside=0.4)
    version = methods.train(made, "reward_heads", kind, start="sft")
    lesson = gathered(made, made.recipe.reward_heads, None)
    assert {one.name for one in lesson.said["calibration"]}.isdisjoint(version.data)
    assert not {one.prompt for one in lesson.said["calibration"]} & {one.prompt for one in lesson.said["train"]}
    kept = models.noted(made.path(kind))["calibration"]
    assert (kept["kind"], kept["of"], kept["rows"]) == (kind, "pair", version.figures["calibration_rows"])
    assert (kept["slope"] != 1) == (kind == "temperature")
    assert {"calibration_loss_before", "calibration_loss_after", "calibration_ece_before"} < set(version.figures)
    assert version.figures["calibration_rows"] >= 20
    assert not [
        name for name in methods.train(everything, "reward_heads", "worth", start="sft").figures if "calib" in name
    ]


@pytest.mark.parametrize("method", ["reward_model", "reward_heads"])
def test_a_map_that_was_fitted_to_another_model_is_not_inherited(method: str, everything: Project) -> None:
    made = with_(everything, calibrate="temperature", aside=0.4, epochs=0.2)
    methods.train(made, "reward_heads", "mapped", start="sft")
    kept = {"epochs": 0.2, "head": "kept"} if method == "reward_model" else {"epochs": 0.2}
    told = getattr(made.recipe, method).model_dump() | kept | ({} if "head" in kept else {"calibrate": "none"})
    further = Project(made.folder, Recipe(**{**made.recipe.model_dump(), method: told}))
    methods.train(further, method, f"further-{method}", start="mapped")
    assert models.noted(made.path("mapped"))["calibration"]["kind"] == "temperature"
    assert not models.noted(made.path(f"further-{method}")).get("calibration")


def lesson(*said: Judgement) -> Lesson:
    return Lesson({"train": list(said)}, [], {}, {})


def test_what_can_teach_no_score_is_refused_and_what_tells_nothing_apart_is_told(tmp_path: Path) -> None:
    """One answer alone has no spread: it ended in a traceback when all was learned."""
    config = reward_heads.Config()
    with pytest.raises(SettingsError, match=r"nothing that counts was said .*reward_heads.forms"):
        enough(lesson(), "m", config, "", tmp_path)
    with pytest.raises(SettingsError, match="is about one single answer"):
        enough(lesson(Judgement("p", "rating", ("a",), (2.0,), levels=5)), "m", config, "", tmp_path)
    alike = [
        [Judgement("p", "flag", ("a", "b"), (1.0, 1.0))],
        [Judgement("p", "rating", ("a",), (2.0,), levels=5), Judgement("q", "rating", ("b",), (2.0,), levels=5)],
        [
            Judgement("p", "pair", ("a", "b"), (1.0, 0.0), probability=0.5),
            Judgement("p", "ranking", ("a", "b"), (0, 0)),
        ],
        [Judgement("p", "pair", ("a", "b"), (0.0, 0.0)), Judgement("p", "flag", ("a", "b"), (1.0, 0.0), "harm")],
    ]
    for said in alike:
        with pytest.warns(UserWarning, match=rf"m: all {len(said) - (said[-1].criterion != '')} judgements of answers"):
            enough(lesson(*said), "m", config, "", tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        enough(lesson(*alike[1], Judgement("q", "rating", ("b",), (1.0,), levels=5)), "m", config, "", tmp_path)
        enough(lesson(*alike[3]), "m", reward_heads.Config(main="harm"), "", tmp_path)


def test_what_weighs_nothing_and_sources_of_nobody_are_told(everything: Project) -> None:
    assert "pair" not in kinds(everything, forms={"pair": 0.0})
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        with_(everything, forms={"pair": -1.0})
    with pytest.warns(UserWarning, match=r"comes from 'PKU'; they come from 'pairs'"):
        kinds(everything, criteria={"PKU": "harm"})


def test_a_map_that_makes_things_worse_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten rows that are told apart without fail fit a line without doubt, and the other half paid for it in silence."""
    model = heads.Taught(SimpleNamespace(model=None), None, {})  # type: ignore[arg-type]
    score = np.array([-2.0, -1.0, 1.0, 2.0, -2.0, -1.0, 1.0, 2.0])
    outcome, prompts = np.array([0, 0, 1, 1, 1, 0, 1, 0.0]), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    monkeypatch.setattr(heads, "outcomes", lambda *_: (outcome, prompts))
    monkeypatch.setattr(heads, "told", lambda *_: score)
    monkeypatch.setattr(models, "note", lambda *_, **__: None)
    with pytest.warns(UserWarning, match=r"\(8 rows\) the map makes the other half worse .* raise reward_heads.aside"):
        figures = heads.calibrated(model, None, reward_heads.Config(calibrate="platt"))
    assert figures["calibration_loss_after"] > figures["calibration_loss_before"]


def test_platt_without_flags_of_the_main_criterion_is_refused(everything: Project) -> None:
    with pytest.raises(SettingsError, match="needs flags of the main criterion"):
        methods.train(with_(everything, calibrate="platt", epochs=0.1), "reward_heads", "odd", start="sft")
    assert not (everything.folder / "runs" / "odd").exists(), "told before anything is learned"


def test_labels_of_its_own_want_questions_that_nobody_answered(
    everything: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accord.heard.unanswered", lambda _: [])
    with pytest.raises(SettingsError, match="there are none about prompts"):
        methods.train(with_(everything, pseudo={"rounds": 1}, aside=0.4), "reward_heads", "odd", start="sft")
    assert not (everything.folder / "runs" / "odd").exists()


def test_questions_that_nobody_answered_are_labelled_where_the_model_is_sure(everything: Project) -> None:
    pseudo = {"rounds": 2, "threshold": 0.6, "balance": 0, "patience": 2}
    made = with_(everything, pseudo=pseudo, aside=0.4)
    version = methods.train(made, "reward_heads", "more", start="sft")
    figures = version.figures
    open_ = [p for p in unanswered(made) if part_of(p.prompt, made.recipe.reward_heads) == "train"]
    assert figures["pseudo_pairs"] == len(open_) > 6
    assert figures["pseudo_labels/0"] == 0
    assert 0 < figures["pseudo_labels/1"] <= len(open_)
    best = int(figures["pseudo_best"])
    assert figures[f"pseudo_accuracy/{best}"] == max(v for k, v in figures.items() if k.startswith("pseudo_accuracy"))
    runs = made.folder / "runs"
    assert {path.parent.name for path in runs.glob("more-*/log.jsonl")} >= {"more-round0-1", "more-round1-1"}
    said = {one.id for one in made.store.feedback()} | {belief.id for belief in made.preferences("train")}
    assert set(version.data) < said


# --- ensembles of heads and of weights, what a form added, and priors ------------------------------------------------


def test_heads_on_one_trunk_are_an_ensemble_that_a_policy_is_paid_by(everything: Project) -> None:
    made = with_(everything, heads=4, epochs=3)
    version = methods.train(made, "reward_heads", "headed", start="sft")
    assert made.members("headed") == ["headed"]
    assert 0.5 < version.figures["agreed_order"] < 1
    assert version.figures["ensemble_accuracy"] > 0.8
    by = by_criterion(made, "headed", five())
    mine = torch.tensor([by[f"#{n}"] for n in range(1, 5)]).T
    assert mine.std(1).min() > 0
    score, normalisers = member_scores(made, "headed", torch.device("cpu"), 64)
    mean, std = torch.tensor(normalisers).T
    assert torch.allclose((score(five()) - mean) / std, mine, atol=1e-4)
    careful = Recipe(**{**made.recipe.model_dump(), "ensemble": {"rule": "worst"}})
    methods.train(Project(made.folder, careful), "rloo", "careful", start="sft", reward="headed")
    rows = read_log(made.folder / "runs" / "careful" / "log.jsonl")
    assert all(row["disagreement"] > 0 for row in rows)
    talking = Recipe(
        **{**careful.model_dump(), "dialogue": {"turns": 2, "user": "sft", "paid": "mean", "user_tokens": 8}}
    )
    with pytest.raises(SettingsError, match="paid=end"):
        methods.train(Project(made.folder, talking), "rloo", "talking", start="sft", reward="headed")


def test_the_weights_of_members_are_averaged_to_one_model(everything: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[dict[str, torch.Tensor]]] = []

    def spied(members: Any) -> dict[str, torch.Tensor]:
        seen.append([{name: value.clone() for name, value in one.items()} for one in members])
        return averaged(members)

    monkeypatch.setattr(heads, "averaged", spied)
    made = with_(everything, members=3, average=True, epochs=2)
    version = methods.train(made, "reward_heads", "soup", start="sft")
    assert "ensemble" not in version.config
    assert made.members("soup") == ["soup"]
    assert made.version("soup-2") is None
    assert version.figures["held_accuracy"] > 0.7
    assert {"ensemble_accuracy", "agreed_order"} < set(version.figures)
    kept = made.scorer("soup")[0].state_dict()
    starts = 0
    for name, value in kept.items():
        three = [one[name].double() for one in seen[0]]
        assert torch.allclose(value.double(), (three[0] + three[1] + three[2]) / 3, atol=1e-6), name
        starts += int(not torch.equal(three[0], three[1]))
    assert starts > 3
    with pytest.raises(SettingsError, match="members to 3"):
        methods.train(with_(everything, average=True), "reward_heads", "odd", start="sft")


def test_what_each_form_added_is_told_in_the_figures_and_in_the_report(everything: Project) -> None:
    made = with_(everything, added=True, epochs=1, main="")
    version = methods.train(made, "reward_heads", "told", start="sft")
    forms = {"pair", "ranking", "rating5", "rating5.tone", "flag.harm", "flag.bad"}
    assert {key.split("/")[1] for key in version.figures if key.startswith("added/")} == forms
    logs = {path.parent.name for path in (made.folder / "runs").glob("told-*/log.jsonl")}
    assert logs == {f"told-without-{form}" for form in forms}
    for form in forms:
        assert version.figures[f"added/{form}/low"] <= version.figures[f"added/{form}"]
        assert version.figures[f"added/{form}/prompts"] == 12 + len({one.prompt for one in made.preferences("test")})
    shown = figures_added(made, ["worth", "told"])
    assert {one.name for one in shown} == {f"accuracy that {form} added to told" for form in forms}
    assert shown[0].interval.estimate == version.figures[f"added/{shown[0].name.split()[2]}"]


def test_without_test_judgements_no_form_can_be_said_to_have_added(shelf: Path, tmp_path: Path) -> None:
    made = project(shelf, tmp_path / "p", data={"kind": "files", "root": str(shelf), "texts": ["text.txt"],
                   "demonstrations": ["shown.jsonl"]})  # fmt: skip
    say(made, 4, ("ranking",))
    with pytest.raises(SettingsError, match="there is but ranking"):
        methods.train(with_(made, added=True), "reward_heads", "odd", start="sft")
    say(made, 4, ("ranking", "rating"), seed=1)
    with pytest.raises(SettingsError, match=r"added measures on judgements of test prompts"):
        methods.train(with_(made, added=True), "reward_heads", "odd", start="sft")


def test_the_strength_of_a_source_speaks_for_answers_that_nobody_judged(shelf: Path, tmp_path: Path) -> None:
    made = project(shelf, tmp_path / "p", data={"kind": "files", "root": str(shelf), "texts": ["text.txt"],
                   "demonstrations": ["shown.jsonl"]})  # fmt: skip
    for n in range(6):
        prompt = Prompt(id=f"p{n}", content=text(f"say fox {n}", "user"), split="train")
        a, b = (Sample(id=f"{side}{n}", prompt=f"p{n}", content=text(f"{side} {n}"), source=f"of {side}")
                for side in ("a", "b"))  # fmt: skip
        made.store.put([prompt, a, b])
        if n < 4:
            made.store.put([Preference(prompt=f"p{n}", chosen=a.id if n else b.id, rejected=b.id if n else a.id)])

    def sourced(**changes: Any) -> list[Any]:
        lesson = gathered(made, with_(made, **changes).recipe.reward_heads, None)
        return [one for one in lesson.said["train"] if one.name.startswith("source ")]

    assert sourced() == []
    fitted = sourced(prior="bradley_terry", prior_weight=0.2)
    assert [(one.samples, one.weight) for one in fitted] == [((f"a{n}", f"b{n}"), 0.2) for n in range(6)]
    assert fitted[0].probability == pytest.approx(0.75, abs=0.01), "three wins of four, and a weak pull to even"
    given = sourced(strengths={"of a": -1.0, "of b": 0.5})
    assert given[0].samples == ("b0", "a0")
    assert given[0].probability == pytest.approx(1 / (1 + math.exp(-1.5)))
    points = {"a": 1000.0, "b": 1000.0}
    for won in ("b", "a", "a", "a"):  # the plain rule, game by game
        lost = "b" if won == "a" else "a"
        gain = 16 * (1 - 1 / (1 + 10 ** ((points[lost] - points[won]) / 400)))
        points[won], points[lost] = points[won] + gain, points[lost] - gain
    odds = 10 ** ((points["a"] - points["b"]) / 400)
    assert sourced(prior="elo")[0].probability == pytest.approx(odds / (1 + odds))
    methods.train(with_(made, prior="bradley_terry", epochs=1), "reward_heads", "priored", start="sft")
    with pytest.raises(ValueError, match="finite number"):
        sourced(strengths={"of a": math.nan, "of b": 0.0})
    with pytest.raises(SettingsError, match="no prompt has answers from two sources"):
        sourced(strengths={"of a": 1.0})
