"""Marked places become a reward on the way: learned through the door, and paid where an answer went wrong."""

from pathlib import Path

import pytest
import torch

from accord import methods, paid, steps
from accord.cli import main
from accord.config import SettingsError
from accord.project import Project
from accord.recipe import recipe
from accord.records import Critique, Feedback, Message, Prompt, Question, Span, Text, Version, named_id
from accord.rewards.steps import begin, said, sentences
from accord.run import read_log
from accord.worlds.text.marks import in_message
from accord.worlds.text.policy import Policy
from tests.flow.circle import TINY, taught

SMALL = {
    "ppo": {**TINY["ppo"], "iterations": 2},
    "best_of_n": {"iterations": 2, "updates": 2, "batch": 4},
    "best_of": 3,
    "process_reward": {"epochs": 4, "batch": 8},
    "run": {**TINY["run"], "checkpoint_seconds": 1e9},
}


OFF = {"paid": "end", "join": "min", "price": 1.0}


def marks(text: str) -> tuple[Span, ...]:
    """The first half of the words as one good step, the second as one bad step."""
    middle = text.find(" ", len(text) // 2)
    if middle <= 0:
        return ()
    return (Span(start=0, end=middle, label="good"), Span(start=middle, end=len(text), label="bad"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a reward model, critiques of its answers, and process reward models of steps and of tokens."""
    shelf = tmp_path_factory.mktemp("shelf")
    project, answers, _ = taught(shelf, **SMALL)
    asked = [
        Question(
            id=named_id("asked", sample.id), prompt=prompt.id, samples=(sample.id,), form="critique", project="marks"
        )
        for prompt, sample in answers
    ]
    project.store.put(asked)
    project.store.put(
        Feedback(
            id=named_id("said", sample.id),
            question=question.id,
            annotator="ann",
            answer=Critique(sample=sample.id, spans=marks(said(sample))),
        )
        for question, (_, sample) in zip(asked, answers, strict=True)
    )
    for name, per in (("steps", "step"), ("critic", "token")):
        given = ("--project", str(project.folder), "--start", "sft", "--name", name, "--process-reward.per", per)
        assert main(["train", "process_reward", *given]) == 0
    return project.folder


def opened(folder: Path, **changes) -> Project:
    return Project(folder, recipe(folder / "project.yaml", changes))


def rolled(project: Project):
    """A world of the project and a rollout in it."""
    policy, encoder = project.policy("sft")
    world = project.world(policy, encoder, project.prompts("train")[:8], "look")
    return world, world.collect(Policy(policy.model))


def test_a_version_knows_what_it_learned_from(shared):
    project = opened(shared)
    made = project.version("steps")
    assert (made.role, made.method, made.config["per"]) == ("reward", "process_reward", "step")
    assert set(project.store.trace_version(made.id).annotators) >= {"ann"}
    rows = read_log(shared / "runs" / "steps" / "log.jsonl")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert 0.4 < rows[0]["right"] < 0.6  # one good and one bad half of each
    assert {"steps", "critic", "worth"} <= set(project.names())


@pytest.mark.parametrize("join", ["min", "product"])
def test_steps_are_paid_the_chance_that_a_scorer_gives_to_the_text_so_far(shared, join):
    project = opened(shared, steps={"paid": "sentence", "join": join})
    world, rollout = rolled(project)
    found = paid.learned(project, world, "steps", torch.device("cpu"), 512)(rollout)
    scorer, encoder = project.scorer("steps")
    kept = world.keep(rollout)
    plain = 0
    for row, (prompt, sample) in enumerate(kept):
        whole, chances = encoder.segment([(prompt, sample)], scoring=True), []
        odd = in_message(encoder, whole, 0, sample) is None  # a word that is a mark in tokens: judged at its end alone
        for _, end in sentences(said(sample)):
            with torch.no_grad():
                score = scorer.score(whole if odd else encoder.segment([(prompt, begin(sample, end))], scoring=True))
            chances.append(float(torch.sigmoid(score)))
        plain += not odd and len(chances) > 0
        worth = {"min": min(chances, default=0), "product": float(torch.tensor(chances).prod())}[join] if chances else 0
        assert float(found[row].sum()) == pytest.approx(worth, abs=1e-4)
    assert plain >= 4
    opened(shared, steps=OFF)


def test_sentences_of_a_plain_reward_model_sum_to_its_score(shared):
    world, rollout = rolled(opened(shared))
    at_the_end = paid.learned(opened(shared, steps=OFF), world, "worth", torch.device("cpu"), 512)(rollout)
    early = paid.learned(opened(shared, steps={"paid": "sentence"}), world, "worth", torch.device("cpu"), 512)(rollout)
    assert torch.allclose(early.sum(1), at_the_end.sum(1), atol=1e-4)
    opened(shared, steps=OFF)


def test_a_critic_of_tokens_only_costs_and_by_its_price(shared):
    world, rollout = rolled(opened(shared))
    once = paid.learned(opened(shared, steps={"price": 1.0}), world, "critic", torch.device("cpu"), 512)(rollout)
    twice = paid.learned(opened(shared, steps={"price": 2.0}), world, "critic", torch.device("cpu"), 512)(rollout)
    assert torch.allclose(2 * once, twice)
    assert float(once.max()) <= 0 > float(once.min())
    scorer, encoder = opened(shared).scorer("critic")
    right = steps.read(scorer, encoder.segment(world.keep(rollout), scoring=True), 512)
    assert bool((right[:, : rollout.action.shape[1]][once < 0] < 0.5).all())
    opened(shared, steps=OFF)


@pytest.mark.parametrize(
    ("method", "reward", "options"),
    [
        ("ppo", "steps", ("--steps.paid", "sentence")),
        ("best_of_n", "steps", ("--steps.join", "product")),
        ("ppo", "critic", ("--steps.price", "0.5")),
        ("ppo", "worth", ("--steps.paid", "sentence")),
    ],
)
def test_methods_learn_by_it_and_say_so(shared, method, reward, options):
    name = f"by-{method}-{reward}"
    given = ("--project", str(shared), "--start", "sft", "--reward", reward, "--name", name)
    assert main(["train", method, *given, *options]) == 0
    project = opened(shared)
    made = project.version(name)
    assert project.version(reward).id in made.data
    key = options[0].removeprefix("--steps.")
    assert str(made.config["steps"][key]) == options[1]
    with pytest.raises(SettingsError, match="other settings of steps"):
        methods.train(opened(shared, steps=OFF), method, name, start="sft", reward=reward)


@pytest.mark.parametrize(("version", "way"), [("steps", {"join": "product"}), ("critic", {"price": 0.5})])
def test_of_a_whole_answer_it_says_what_it_pays_for_all_of_it_at_the_desk_too(shared, version, way, capsys):
    """The head at the last token is of the last step alone: best of n chose by that."""
    project = opened(shared, steps={**OFF, **way})
    world, rollout = rolled(project)
    told = steps.worth(project, version)(world.keep(rollout))
    earned = paid.learned(project, world, version, torch.device("cpu"), 512)(rollout)
    assert torch.allclose(told, earned.sum(1), atol=1e-5)
    drawn = project.sample("sft", asked := [prompt_of("what colour is it ?")], 6, "asked-0")
    best = steps.worth(project, version)(drawn).view(2, 3).max(1).values
    words = ["sample", "sft", "--project", str(shared), "--prompt", said(asked[0]), "--count", "2"]
    assert main([*words, "--best-of", "3", "--reward", version]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [float(line.split()[1]) for line in lines[:2]] == pytest.approx(best.tolist(), abs=0.006)
    opened(shared, steps=OFF)


def test_where_a_score_of_the_whole_is_wanted_it_is_refused(shared):
    project = opened(shared, costs={"steps": {}})
    with pytest.raises(SettingsError, match="'steps' judges parts of answers"):
        paid.costs(project, None)
    with pytest.raises(SettingsError, match="critic judges parts of answers and has no score"):
        project.score("critic")
    opened(shared, costs={})


def test_settings_of_steps_that_the_reward_does_not_hear_are_refused(shared, capsys):
    words = ["train", "ppo", "--project", str(shared), "--start", "sft", "--name", "deaf", "--reward"]
    for reward, option in (("worth", "join"), ("critic", "join"), ("steps", "price")):
        assert main([*words, reward, f"--steps.{option}", "min" if option == "join" else "2"]) == 2
        assert f"--steps.{option} does nothing here" in capsys.readouterr().err


def prompt_of(text: str) -> Prompt:
    """What is asked at the desk."""
    return Prompt(id=named_id("asked", text), content=Text(messages=(Message(role="user", content=text),)))


def test_what_cannot_be_is_said_before_work(shared, tmp_path):
    project = opened(shared)
    with pytest.raises(SettingsError, match="--start NAME"):
        methods.train(project, "process_reward", "new")
    empty = Project(tmp_path / "empty", project.recipe)
    with pytest.raises(SettingsError, match="critiques with marked places"):
        methods.train(empty, "process_reward", "new", start="sft")
    assert not list(empty.store.all(Version))


def test_steps_that_are_all_right_teach_nothing_and_that_is_said(shared, monkeypatch):
    project = opened(shared, process_reward={"per": "step"})
    monkeypatch.setattr("accord.steps.FAULTS", frozenset())  # so that nobody has called anything wrong
    with pytest.raises(SettingsError, match=r"all \d+ judged places have the label 1 "):
        methods.train(project, "process_reward", "new", start="sft")
    assert project.version("new") is None
