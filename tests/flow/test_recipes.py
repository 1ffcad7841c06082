"""The other recipes on the first rows of their files, through the door, with settings that take seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.cli import main
from accord.config import SettingsError
from accord.records import Preference, Prompt, Version
from accord.run import read_log
from accord.store import Store
from tests.flow.test_hh import small, with_minilm, words
from tests.flow.test_sums import script

FAST = ("--reward-heads.batch", "8", "--grpo.iterations", "2", "--grpo.minibatches", "2", "--dpo.batch", "8")


def versions(project: Path) -> dict[str, Version]:
    with Store.open(project / "store.db") as store:
        return {version.name: version for version in store.all(Version)}


def staged(stage: str, name: str, data: Path, project: Path) -> list[str]:
    """What `accord train` is given for one stage of a recipe."""
    method, *given = stage.split()
    return [method, *words(name, data, project, *given, *FAST)]


def test_margins_of_ultrafeedback_are_learned_and_paired(quick_folder: Path) -> None:
    data, project = small("ultrafeedback", quick_folder), quick_folder / "p"
    assert main(["loop", *words("ultrafeedback", data, project, *FAST)]) == 0
    made = versions(project)
    assert set(made) == {"pretrained", "sft", "round1-reward", "round1-dpo"}
    assert made["round1-reward"].config["margin"] == 0.2
    with Store.open(project / "store.db") as store:
        assert min(belief.margin for belief in store.all(Preference)) >= 0
        assert max(belief.margin for belief in store.all(Preference)) > 1


def test_the_circle_learns_the_reward_of_openassistant_from_heads(quick_folder: Path) -> None:
    data, project = small("oasst", quick_folder), quick_folder / "p"
    assert main(["loop", *words("oasst", data, project, *FAST, "--reward-heads.calibrate", "none")]) == 0
    made = versions(project)
    assert set(made) == {"pretrained", "sft", "round1-reward", "round1-rloo"}
    assert made["round1-reward"].method == "reward_heads"
    assert made["round1-reward"].config["odin"]["correlation"] == 0.3
    assert made["round1-reward"].id in made["round1-rloo"].data


def test_helpfulness_is_earned_and_harm_has_a_price(quick_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, project = small("pku", quick_folder), quick_folder / "p"
    for stage in ("pretrain --name pretrained", "sft --start pretrained --name sft"):
        assert main(["train", *staged(stage, "pku", data, project)]) == 0
    assert main(["loop", *words("pku", data, project, *FAST)]) == 2
    assert "'safer' is not there" in capsys.readouterr().err
    harm = "reward_heads --start sft --name safer --reward-heads.main harmless"
    assert main(["train", *staged(harm, "pku", data, project)]) == 0
    assert main(["loop", *words("pku", data, project, *FAST)]) == 0
    made = versions(project)
    assert set(made) == {"pretrained", "sft", "round1-reward", "safer", "round1-ppo"}
    helpful, bounded = made["round1-reward"], made["round1-ppo"]
    assert {helpful.id, made["safer"].id} < set(bounded.data)
    assert helpful.data == made["safer"].data  # one trunk hears both; the main criterion differs
    assert {"held_accuracy", "held_accuracy/harmless"} <= set(helpful.figures)
    rows = read_log(project / "runs" / "round1-ppo" / "log.jsonl")
    assert rows[0]["price/safer"] == 1.0
    assert rows[1]["price/safer"] != 1.0
    assert (project / "report.html").is_file()


def test_safer_answers_are_followed_and_judged_apart(quick_folder: Path) -> None:
    with_minilm()
    data, project = small("safer", quick_folder), quick_folder / "p"
    given = words("safer", data, project)
    at = given.index("--pretrain.batch")  # the recipe reads no books: naming a setting would begin the section
    assert main(["loop", *given[:at], *given[at + 2 :]]) == 0
    made = versions(project)
    assert set(made) == {"sft", "round1-reward", "round1-ppo"}
    with Store.open(project / "store.db") as store:
        believed = list(store.all(Preference, split="train"))
    assert len(made["sft"].data) == len({one for belief in believed for one in (belief.chosen, belief.rejected)})

    judge = script("safer").main
    same = judge(project, "sft", "sft")
    assert same["change of the score, in spreads of people's answers"].estimate == 0
    assert same["the same without what it pays for length"].estimate == 0
    assert same["win rate"].estimate == 0.5
    other = judge(project, "sft", "round1-ppo")
    assert other["people's unseen pairs ordered as they did"] == same["people's unseen pairs ordered as they did"]
    assert other["change of the score, in spreads of people's answers"].estimate != 0
    with pytest.raises(SettingsError, match="round1-reward is a reward model"):
        judge(project, "sft", "round1-reward")


def test_a_verifier_of_sums_learns_from_right_and_wrong_solutions(quick_folder: Path) -> None:
    data, project = small("gsm8k", quick_folder), quick_folder / "p"
    for stage in (
        "pretrain --name pretrained",
        "sft --start pretrained --name sft",
        "reward_heads --start sft --name verifier --reward-heads.aside 0.4",
        "best_of_n --start sft --reward verifier --name verified --worth.learned 1 --worth.exact 0 "
        "--best-of-n.least None --best-of-n.iterations 1 --best-of-n.updates 1 --best-of 2",
    ):
        method, *given = stage.split()
        assert main(["train", method, *words("gsm8k", data, project, *given, "--reward-heads.batch", "8")]) == 0
    made = versions(project)
    assert made["verifier"].config["main"] == "correct"
    assert made["verifier"].figures["calibration_rows"] > 0
    assert made["verifier"].id in made["verified"].data
    with Store.open(project / "store.db") as store:
        asked = store.get_many(Prompt, [name for name in made["verified"].data if name != made["verifier"].id])
        assert all("answer" in prompt.checks for prompt in asked.values())
