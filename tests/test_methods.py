"""Every method makes a version from the same start, knows what it learned from, and is made once."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest

from accord import build, methods
from accord.algorithms import dpo, grpo
from accord.cli import main
from accord.config import SettingsError
from accord.earned import asked, judges
from accord.methods import ALSO, METHODS, settings
from accord.policies import single, verdicts
from accord.project import Project
from accord.recipe import PolicyMethod, Recipe, Worth, recipe
from accord.records import (
    Comparison,
    Critique,
    Feedback,
    Message,
    Preference,
    Prompt,
    Question,
    Rating,
    Sample,
    Span,
    Text,
)
from accord.run import read_log
from tests.flow.circle import TINY, taught, weights, write_recipe

SMALL: dict[str, Any] = {
    # The tiny policy hardly ever ends an answer: at one price for all that were cut, no group would teach anything.
    "grpo": {"iterations": 2, "minibatches": 2, "missing_end_penalty": None},
    "ppo": {"iterations": 2, "minibatches": 2},
    "best_of_n": {"iterations": 2, "updates": 2, "batch": 4, "missing_end_penalty": None},
    "online_dpo": {"iterations": 2, "updates": 2, "batch": 4, "missing_end_penalty": None},
    "best_of": 3,
    "dpo": {"batch": 5},
    "kto": {"batch": 8},
}
POLICY = get_args(PolicyMethod)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A tiny project up to the reward model of its first round."""
    return taught(tmp_path_factory.mktemp("methods"), **SMALL)[0]


def with_(project: Project, **changes: Any) -> Project:
    """The same folder under a changed recipe."""
    return Project(project.folder, recipe(None, {**TINY, **SMALL, **changes}))


@pytest.mark.parametrize("method", [m for m in POLICY if m != "ppo"])
def test_each_method_makes_a_version_that_knows_what_it_learned_from(method: str, made: Project) -> None:
    earning = METHODS[method].section in ("grpo", "best_of_n", "online_dpo")
    given = {"start": "sft", "reward": "worth"} if earning else {"start": "sft"}
    version = methods.train(made, method, f"one-{method}", **given)
    assert (version.role, version.method, version.parent) == ("policy", method, made.version("sft").id)
    hashes = weights(made.folder)
    assert hashes[version.name] not in {value for name, value in hashes.items() if name != version.name}
    assert all(math.isfinite(value) for value in version.figures.values())
    test_prompts = {prompt.id for prompt in made.store.all(Prompt, split="test")}
    beliefs = {belief.id for belief in made.preferences("train")}
    if "reward" in given:
        assert set(version.data) == {made.version("worth").id, *(prompt.id for prompt in made.prompts("train"))}
        assert not set(version.data) & test_prompts
    else:
        assert set(version.data) == beliefs
    people = {said.annotator for said in made.store.feedback()}
    assert set(made.store.trace_version(version.id).annotators) == people
    again = methods.train(made, method, f"one-{method}", **given)
    assert again == version
    assert weights(made.folder) == hashes


def test_the_first_loss_is_that_of_a_policy_that_is_its_own_reference(made: Project) -> None:
    for method, first in (("dpo", math.log(2)), ("hinge", 1.0), ("ipo", 25.0), ("kto", 0.5)):
        methods.train(made, method, f"one-{method}", start="sft")
        assert read_log(made.folder / "runs" / f"one-{method}" / "log.jsonl")[0]["first_loss"] == pytest.approx(
            first, rel=1e-4
        )


def test_drift_is_measured_from_the_reference_that_is_named(made: Project) -> None:
    methods.train(made, "dpo", "one-dpo", start="sft")
    methods.train(made, "dpo", "from-one", start="one-dpo", reference="sft")
    first = read_log(made.folder / "runs" / "from-one" / "log.jsonl")[0]
    assert first["drift"] > 1e-6
    assert first["first_loss"] != pytest.approx(math.log(2), rel=1e-6)
    assert made.version("from-one").parent == made.version("one-dpo").id


def test_what_is_missing_is_said(made: Project) -> None:
    for method, given, said in (
        ("dpo", {}, "--start NAME"),
        ("kto", {"start": "nobody"}, "there are: pretrained, sft"),
        ("grpo", {"start": "sft"}, "--reward NAME"),
        ("rloo", {"start": "sft", "reward": "sft"}, "is a policy model"),
        ("best_of_n", {"start": "worth", "reward": "worth"}, "is a reward model"),
        ("dpo", {"start": "sft", "beliefs": []}, "accord import"),
    ):
        with pytest.raises(SettingsError, match=said):
            methods.train(made, method, "nothing", **given)
    with pytest.raises(SettingsError, match="rollout_answers=1"):
        methods.train(with_(made, rollout_answers=1), "grpo", "nothing", start="sft", reward="worth")
    with pytest.raises(SettingsError, match="0 of them with something to check"):
        methods.train(with_(made, method="grpo", worth={"exact": 1}), "grpo", "nothing", start="sft", reward="worth")
    assert made.version("nothing") is None


def test_a_version_made_with_other_settings_is_not_passed_off(made: Project) -> None:
    methods.train(made, "dpo", "one-dpo", start="sft")
    methods.train(made, "rloo", "one-rloo", start="sft", reward="worth")
    with pytest.raises(SettingsError, match="other settings of beta"):
        methods.train(with_(made, dpo={"beta": 0.3, "batch": 5}), "dpo", "one-dpo", start="sft")
    with pytest.raises(SettingsError, match="made by dpo, and ipo is wanted"):
        methods.train(made, "ipo", "one-dpo", start="sft")
    with pytest.raises(SettingsError, match="made by sft, and reward_model is wanted"):
        methods.train(made, "reward_model", "sft", start="sft")
    with pytest.raises(SettingsError, match="other settings of answers"):
        methods.train(with_(made, rollout_answers=3), "rloo", "one-rloo", start="sft", reward="worth")


def test_without_pairs_the_prompts_of_single_answers_are_asked(tmp_path: Path) -> None:
    shown = Project(tmp_path / "p", recipe(None, {"data": {"kind": "files"}}))
    with pytest.raises(SettingsError, match="no train prompt to answer"):
        asked(shown, None)
    plain = [
        Prompt(id=f"p{n}", content=Text(messages=(Message(role="user", content=f"say {n}"),)), split=split)
        for n, split in enumerate(("train", "train", "test"))
    ]
    shown.store.put(plain)
    assert [one.id for one in asked(shown, None)] == ["p0", "p1"]
    shown.store.put([plain[0].model_copy(update={"id": "sum", "checks": {"answer": "7"}})])
    assert [one.id for one in asked(shown, None)] == ["sum"], "what can be checked goes before what cannot"


def test_a_version_made_from_other_versions_is_not_passed_off(made: Project) -> None:
    methods.train(made, "dpo", "one-dpo", start="sft")
    grouped = methods.train(made, "grpo", "one-grpo", start="sft", reward="worth")
    for given, told in (
        ({"start": "one-dpo", "reward": "worth"}, r"--start sft \(now one-dpo\)"),
        ({"start": "sft", "reward": "better"}, r"--reward worth \(now better\)"),
        ({"start": "sft", "reward": "worth", "reference": "one-dpo"}, r"--reference sft \(now one-dpo\)"),
    ):
        with pytest.raises(SettingsError, match=told):
            methods.train(made, "grpo", "one-grpo", **given)
    assert methods.train(made, "grpo", "one-grpo", start="sft", reward="worth", reference="sft") == grouped
    with pytest.raises(SettingsError, match=r"--start pretrained \(now nothing\)"):
        methods.train(made, "sft", "sft")
    with pytest.raises(SettingsError, match=r"--start sft \(now one-dpo\)"):
        methods.train(made, "reward_model", "worth", start="one-dpo")


# --- settings --------------------------------------------------------------------------------------------------


def test_a_relative_changes_what_the_recipe_leaves_alone() -> None:
    for name, changes in grpo.KIN.items():
        found = settings(Recipe(), name).model_dump()
        for key, value in changes.items():
            assert found[key] == value if not isinstance(value, dict) else value.items() <= found[key].items()
        assert found["iterations"] == Recipe().grpo.iterations
        one = settings(recipe(None, {"grpo": {"iterations": 3}}), name).model_dump()  # the rest is the section's own
        assert all(one[key] == value for key, value in changes.items() if not isinstance(value, dict))
        assert one["iterations"] == 3
        assert one["kl"]["place"] == changes.get("kl", {"place": "loss"})["place"]
    told = recipe(None, {"grpo": {"clip_high": 0.4, "kl": {"place": "loss", "coefficient": 0.7, "estimator": "k2"}}})
    assert settings(told, "dapo").clip_high == 0.4
    assert settings(told, "dapo").kl.place == "loss", "written, though it is the default"
    assert settings(Recipe(grpo=told.grpo), "dapo").kl.place == "none", "nobody wrote it"
    assert settings(told, "rloo").kl.coefficient == 0.7
    assert settings(told, "grpo") == told.grpo
    assert settings(recipe(None, {"dpo": {"beta": 0.5}}), "simpo").beta == 0.5
    assert settings(Recipe(), "simpo").gap == 1.0
    assert settings(recipe(None, {"dpo": {"loss": "ipo"}}), "simpo").loss == "simpo"
    assert settings(Recipe(), "dr_grpo").constant == Recipe().draw.max_tokens


def test_what_a_recipe_saves_means_the_same_again(tmp_path: Path) -> None:
    Project(tmp_path / "p", recipe(None, {**TINY, "method": "rloo", "grpo": {"iterations": 3}}))
    again = recipe(tmp_path / "p" / "project.yaml")
    assert settings(again, "rloo") == settings(recipe(None, {"grpo": {"iterations": 3}}), "rloo")


def test_every_loss_and_relative_has_a_name() -> None:
    assert {METHODS[m].changes["loss"] for m in METHODS if "loss" in METHODS[m].changes} | {"dpo"} == set(dpo.LOSSES)
    assert set(grpo.KIN) == {name for name, one in METHODS.items() if one.section == "grpo"}
    assert set(POLICY) == set(METHODS) - {"pretrain", "sft", "reward_model", "reward_heads", "process_reward"}
    assert set(build.TRAIN) <= set(METHODS)


def test_rewards_that_do_nothing_are_refused() -> None:
    with pytest.raises(SettingsError, match="every weight is 0"):
        recipe(None, {"worth": {"learned": 0}})
    assert recipe(None, {"worth": {"exact": 1}}).method == "ppo", "PPO is paid by rules too"


# --- single verdicts -------------------------------------------------------------------------------------------


def test_a_ranking_says_good_of_its_top_and_bad_of_its_end(made: Project) -> None:
    prompt = next(iter(made.store.all(Prompt, split="train"))).id
    pairs = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    beliefs = [Preference(prompt=prompt, chosen=x, rejected=y, weight=1 / 6) for x, y in pairs]
    net, used = verdicts(made, beliefs)
    assert {name: net[name] for name in "abcd"} == pytest.approx({"a": 0.5, "b": 1 / 6, "c": -1 / 6, "d": -0.5})
    assert used == [belief.id for belief in beliefs]
    unsure = [Preference(prompt=prompt, chosen="a", rejected="b", probability=0.75)]
    assert verdicts(made, unsure)[0] == pytest.approx({"a": 0.5, "b": -0.5})
    assert verdicts(made, [Preference(prompt=prompt, chosen="a", rejected="b", probability=0.5)])[0] == {}


def test_single_answers_are_judged_by_thumbs_critiques_and_both_bad() -> None:
    asked = Question(prompt="p", samples=("a", "b"))

    def says(answer: Any, compared: bool = False) -> dict[str, float]:
        return single(Feedback(question=asked.id, annotator="x", answer=answer), asked, compared)

    assert says(Rating(scores={"a": {"": 1.0}}, scale=(0, 1))) == {"a": 1.0}
    assert says(Rating(scores={"a": {"": 2.0}}, scale=(1, 5))) == {"a": -1.0}
    assert says(Rating(scores={"a": {"": 3.0}}, scale=(1, 5))) == {}
    assert says(Rating(scores={"a": {"kind": 5.0, "true": 4.0}}, scale=(1, 5))) == {"a": 1.0}
    assert says(Rating(scores={"a": {"": 5}, "b": {"": 1}})) == {}
    spans = (Span(start=0, end=2, label="unsafe"), Span(start=2, end=4, label="odd"))
    assert says(Critique(sample="b", spans=spans)) == {"b": -1.0}
    assert says(Critique(sample="b", spans=spans), compared=True) == {}
    assert says(Critique(sample="b", text="hm")) == {}
    assert says(Comparison(verdict="both_bad"), compared=True) == {"a": -1.0, "b": -1.0}
    assert says(Comparison(better="a")) == {}
    assert says(Rating(scores={"z": {"": 5}})) == {}  # it was not shown
    assert says(None) == {}


def test_thumbs_alone_are_enough_for_kto(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"say {i}", "response": f"{'yes please' if i % 2 else 'no never'} {i}", "desirable": bool(i % 2)}
        for i in range(16)
    ]
    project = thumbs(tmp_path, rows)
    version = methods.train(project, "kto", "k", start="sft")
    said = [one for one in project.store.all(Feedback) if one.id in version.data]
    assert len(said) == len(version.data) > 4
    assert set(project.store.trace_version(version.id).feedback) == set(version.data)
    prompts = {project.store.get(Question, one.question).prompt for one in said}
    assert {project.store.get(Prompt, p).split for p in prompts} == {"train"}
    only_good = thumbs(tmp_path / "good", [row | {"desirable": True} for row in rows])
    with pytest.raises(SettingsError, match="use imitation"):
        methods.train(only_good, "kto", "k", start="sft")


def thumbs(folder: Path, rows: list[dict[str, Any]]) -> Project:
    """A project on files with these rows, and a fine-tuned policy."""
    folder.mkdir(exist_ok=True)
    shown = [{key: value for key, value in row.items() if key != "desirable"} for row in rows]
    (folder / "shown.jsonl").write_text("".join(json.dumps(row) + "\n" for row in shown))
    (folder / "thumbs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "text.txt").write_text("say yes please or no never\n" * 20)
    data = {
        "kind": "files",
        "root": str(folder),
        "texts": ["text.txt"],
        "demonstrations": ["shown.jsonl", "thumbs.jsonl"],
    }
    changes = {k: v for k, v in {**TINY, **SMALL}.items() if k != "pretrain"}
    project = Project(folder / "p", recipe(None, {**changes, "data": data, "pretrain": None, "vocabulary": 300}))
    project.prepare()
    build.train(project, "sft", "sft")
    return project


# --- rewards that are rules ------------------------------------------------------------------------------------


def prompted(checks: dict[str, Any]) -> tuple[Prompt, Sample]:
    """A prompt with something to check, and an answer to it."""
    prompt = Prompt(content=Text(messages=(Message(role="user", content="?"),)), checks=checks)
    said = Text(messages=(Message(role="assistant", content="so it is\n#### 42"),))
    return prompt, Sample(prompt=prompt.id, content=said)


def test_rules_read_what_the_prompt_brings(made: Project) -> None:
    right, wrong = prompted({"answer": "42.0"}), prompted({"answer": "41"})
    none = prompted({})
    told = prompted({"instructions": ["punctuation:no_comma", "startend:quotation"], "arguments": [{}, {}]})
    prompts = [pair[0] for pair in (right, wrong, none, told)]
    worth = {"learned": 0, "exact": 1, "follows": 1, "length": 1, "most": 3}
    by = judges(with_(made, method="grpo", worth=worth), prompts)
    assert set(by) == {"exact", "follows", "length"}
    assert [by["exact"](*pair) for pair in (right, wrong, none)] == [1, 0, 0]
    assert by["follows"](*told) == 0.5
    assert by["length"](*right) == 0
    with pytest.raises(SettingsError, match=r"worth\.follows: prompt [-0-9a-f]+: no check"):
        judges(with_(made, method="grpo", worth=worth), [prompted({"instructions": ["no:such"], "arguments": [{}]})[0]])
    with pytest.raises(SettingsError, match=r"worth\.pattern"):
        judges(with_(made, method="grpo", worth={"form": 1, "pattern": "(a+)+"}), prompts)


@pytest.mark.parametrize("method", ["grpo", "best_of_n", "ppo", "online_dpo"])
def test_a_rule_alone_needs_no_reward_model(method: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"{i} + 1 ?", "response": f"#### {i + 1}", "answer": str(i + 1)} for i in range(24)]
    shown = thumbs(tmp_path, [row | {"desirable": True} for row in rows])
    project = Project(
        shown.folder, shown.recipe.model_copy(update={"worth": Worth(learned=0, exact=1), "method": "rloo"})
    )
    version = methods.train(project, method, "m", start="sft")
    used = project.store.get_many(Prompt, version.data)
    assert all(prompt.split == "train" for prompt in used.values())
    assert version.config["worth"]["exact"] == 1
    assert "worth/exact" in version.figures, "each part of what was earned is told"
    with pytest.raises(SettingsError, match="other settings of"):
        methods.train(Project(project.folder, shown.recipe), method, "m", start="sft", reward="none")


# --- the circle and the door -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "rounds"), [("dpo", 2), ("rloo", 1), ("best_of_n", 1)])
def test_the_circle_goes_round_with_any_method(
    method: str, rounds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_recipe(tmp_path / "r.yaml", **SMALL, method=method, rounds=rounds)
    assert main(["loop", str(file), "--project", str(tmp_path / "p")]) == 0
    names = {"pretrained", "sft", *(f"round{n}-{what}" for n in range(1, rounds + 1) for what in ("reward", method))}
    assert set(weights(tmp_path / "p")) == names
    told = json.loads((tmp_path / "p" / "summary.json").read_text())
    assert told["policy"]["gold_win_rate"] is not None
    project = Project(tmp_path / "p", recipe(tmp_path / "p" / "project.yaml"))
    one, two = project.version(f"round1-{method}"), project.version(f"round2-{method}")
    page = (tmp_path / "p" / "report.html").read_text()
    assert f"--name round1-{method} --start sft{' --reward round1-reward' if method != 'dpo' else ''}" in page
    if two:
        # What the reward and the reference were stands in the command, so that it makes the same version again.
        priced = "" if method == "dpo" else " --reward round2-reward"
        assert f"--name round2-{method} --start round1-{method}{priced} --reference sft" in page
        assert two.parent == one.id
        assert set(one.data) < set(two.data)
        assert read_log(project.folder / "runs" / two.name / "log.jsonl")[0]["drift"] > 0
    capsys.readouterr()
    assert main(["report", str(tmp_path / "p")]) == 0


def test_the_table_is_told_to_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told] == list(METHODS)
    for row in told:
        one = METHODS[row["name"]]
        assert {key: row[key] for key in ("section", "caption", "paper", "needs", "costs", "choose")} == {
            key: getattr(one, key) for key in ("section", "caption", "paper", "needs", "costs", "choose")
        }
        assert row["changes"] == one.changes
    assert main(["methods"]) == 0
    plain = capsys.readouterr().out
    assert [name for name, one in METHODS.items() if one.caption not in plain or one.choose not in plain] == []


def test_the_page_has_the_same_table() -> None:
    page = (Path(__file__).parents[1] / "docs" / "methods.md").read_text().splitlines()
    for name, one in METHODS.items():
        assert f"| `{name}` | {one.caption} | {one.paper} | {one.choose} |" in page
        assert any(line.startswith(f"| `{name}` | [{one.section}](") and one.costs in line for line in page)


@pytest.mark.parametrize("method", METHODS)
def test_help_teaches_each_method(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", method, "--help"]) == 0
    told = capsys.readouterr().out
    one = METHODS[method]
    flag = one.section.replace("_", "-")
    rate = f"--{flag}.optimiser.learning-rate"
    assert all(part in told for part in (one.caption, one.paper, one.needs, one.choose, rate, f"--{flag}.NAME"))
    assert ("--worth.*" in told) == (one.section in ("ppo", "grpo", "best_of_n", "online_dpo"))


def test_what_the_help_says_also_decides_is_a_setting() -> None:
    known = Recipe().model_dump()
    for how, sections, _ in ALSO:
        assert set(sections) <= {one.section for one in METHODS.values()}
        for section in sections:
            for option in how.format(section).split(", "):
                found: Any = known
                for part in option.split()[0].removeprefix("--").removesuffix(".*").replace("-", "_").split("."):
                    assert part in found, option
                    found = found[part]


def test_every_method_can_be_trained_through_the_door(made: Project, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--project", str(made.folder), "--start", "sft", "--name", "doored"]
    assert main(["train", "cpo", *at]) == 0
    assert capsys.readouterr().out.startswith("doored: loss ")
    assert made.version("doored").method == "cpo"
