"""What is said on the command line and would do nothing is refused; what turns it on may be off in the same command."""

from __future__ import annotations

from typing import Any

import pytest

from accord.cli import main
from accord.config import SettingsError
from accord.recipe import recipe
from accord.unheard import strange, unheard
from tests.flow.circle import write_recipe


@pytest.mark.parametrize(
    ("changes", "option", "given", "needed"),
    [
        ({"cost": {"gate": 0.5, "unit": "probability"}}, "--cost.gate", (), "as --cost NAME of `accord train`"),
        ({"cost": {"turned": False}}, "--cost.no-turned", (), "cost.turned does nothing here"),
        ({"cost": {"whiten": False}}, "--cost.no-whiten", ("cost",), "set --cost.gate"),
        (
            {"cost": {"gate": 0.5, "unit": "probability", "constraint": {"limit": 0.1}}},
            "--cost.constraint.limit=0.1",
            ("cost",),
            "behind a gate nothing has a price",
        ),
        ({"dialogue": {"user": "sft"}}, "--dialogue.user", (), "set --dialogue.turns to 2"),
        ({"dialogue": {"turns": 2, "brief": "Ask."}}, "--dialogue.brief", (), "set --dialogue.user"),
        ({"ptx": {"source": "demonstrations"}}, "--ptx.source", (), "set --ptx.weight"),
        ({"anchor": {"decay": 0.9}}, "--anchor.decay", (), "--anchor.reference ema"),
        ({"ensemble": {"doubt": 2.0}}, "--ensemble.doubt", (), "lower or variance"),
        ({"order": {"by": "worth"}}, "--order.by", (), "ordered by margin"),
        ({"order": {"tries": 8}}, "--order.tries", (), "pass_rate"),
        ({"order": {"dpo": {"measure": "disagreement"}}}, "--order.dpo.measure", (), "--order.dpo.schedule"),
        ({"order": {"sft": {"schedule": "easy", "power": 1}}}, "--order.sft.power", (), "schedule competence"),
        ({"reward_model": {"consistency": {"pairs": 8}}}, "--reward-model.consistency.pairs", (), "consistency.weight"),
        ({"reward_heads": {"pseudo": {"rounds": 0}}}, "--reward-heads.pseudo.threshold", (), "pseudo.rounds"),
    ],
)
def test_a_setting_that_nothing_hears_is_refused(
    changes: dict[str, Any], option: str, given: tuple[str, ...], needed: str
) -> None:
    with pytest.raises(SettingsError, match="does nothing here: ") as refused:
        unheard(recipe(None, changes), ["--seed", "3", option, "x"], dict.fromkeys(given, "harm"))
    assert needed in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "options", "given"),
    [
        ({"ptx": {"weight": 0.0, "rows": 4}}, ["--ptx.weight", "0", "--ptx.rows", "4"], ()),
        ({"ptx": {"weight": 1.0, "rows": 4}}, ["--ptx.rows", "4"], ()),
        ({"cost": {"constraint": {"limit": 0.1}}}, ["--cost.constraint.limit", "0.1"], ("cost",)),
        ({"dialogue": {"turns": 1, "paid": "mean"}}, ["--dialogue.turns", "1", "--dialogue.paid", "mean"], ()),
        (
            {"order": {"policy": {"schedule": "easy", "measure": "pass_rate"}, "tries": 8}},
            ["--order.policy.schedule", "easy", "--order.policy.measure", "pass_rate", "--order.tries", "8"],
            (),
        ),
    ],
)
def test_what_is_heard_or_switched_off_by_name_is_taken(
    changes: dict[str, Any], options: list[str], given: tuple[str, ...]
) -> None:
    unheard(recipe(None, changes), options, dict.fromkeys(given, "harm"))


@pytest.mark.parametrize(
    ("method", "changes", "options", "given", "needed"),
    [
        ("dpo", {}, [], {"cost": "harm"}, "--cost harm does nothing here: ppo, grpo, best_of_n, online_dpo hear it"),
        ("sft", {}, [], {"reward": "worth"}, "--reward worth does nothing here"),
        ("best_of_n", {}, [], {"reference": "sft"}, "best_of_n does not; leave it out"),
        ("dpo", {"ptx": {"weight": 1}}, ["--ptx.weight", "1"], {}, "it holds ppo, grpo, best_of_n, online_dpo"),
        ("kto", {"anchor": {"reference": "ema"}}, ["--anchor.reference", "ema"], {}, "not kto"),
        ("dapo", {"anchor": {"reference": "ema"}}, ["--anchor.reference", "ema"], {}, "dapo pays nothing for drift"),
        ("simpo", {"anchor": {"reference": "ema"}}, ["--anchor.reference=ema"], {}, "simpo pays nothing for drift"),
        (
            "ppo",
            {"anchor": {"reference": "ema"}, "ppo": {"kl": {"coefficient": 0}}},
            ["--anchor.reference", "ema"],
            {},
            "ppo pays nothing for drift",
        ),
    ],
)
def test_what_a_method_does_not_hear_is_refused(
    method: str, changes: dict[str, Any], options: list[str], given: dict[str, str], needed: str
) -> None:
    with pytest.raises(SettingsError, match="does nothing here: ") as refused:
        strange(recipe(None, changes), method, options, given)
    assert needed in str(refused.value)


def test_what_a_method_hears_is_taken() -> None:
    held = recipe(None, {"anchor": {"reference": "ema"}, "ptx": {"weight": 1}})
    for method in ("ppo", "grpo", "rloo", "online_dpo"):
        strange(held, method, ["--anchor.reference", "ema", "--ptx.weight", "1"], {"reward": "worth", "cost": "harm"})
    strange(held, "dpo", ["--anchor.reference", "ema"], {"reference": "sft"})
    strange(held, "sft", ["--sft.epochs", "2"])  # the recipe holds what comes after


def test_costs_of_the_recipe_that_are_left_out_are_told(recwarn: pytest.WarningsRecorder) -> None:
    made = recipe(None, {"costs": {"harm": {}, "rude": {}}})
    for given in ({}, {"cost": "rude,harm"}):
        unheard(made, [], given)
    assert not recwarn.list
    with pytest.warns(UserWarning, match="--cost safe alone is bounded: harm, rude .*--cost harm,rude,safe"):
        unheard(made, [], {"cost": "safe"})


def test_a_gate_without_a_cost_ends_before_anything_is_made(tmp_path, capsys) -> None:
    words = [str(write_recipe(tmp_path / "tiny.yaml")), "--project", str(tmp_path / "p")]
    gate = ["--cost.unit", "probability", "--cost.gate", "0.5"]
    for verb in (["train", "pretrain"], ["loop"]):
        assert main([*verb, *words, *gate]) == 2
        assert "does nothing here" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()
