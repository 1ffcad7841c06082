"""Healthy logs give no fault; each planted fault is found, and at its own stage."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from accord.evaluate.diagnosis import Figures, diagnose, first_fault, method_of
from accord.evaluate.findings import Thresholds
from accord.statistics import wilson

from .sample import card, figures, imitation, logs


def changed(rows, **by):
    """Rows with some figures replaced by functions of (progress in 0..1, old value)."""
    last = max(1, len(rows) - 1)
    return [{**row, **{k: f(i / last, row.get(k)) for k, f in by.items()}} for i, row in enumerate(rows)]


def test_healthy_logs_give_no_fault_and_nothing_to_watch():
    found = diagnose(logs(), figures())
    assert [f for f in found if f.level != "ok"] == []
    assert {f.stage for f in found} == {"pretrain", "sft", "reward_model", "ppo"}
    assert len(found) >= 20
    assert first_fault(found) is None


FAULTS = {
    "pretrain learned nothing": ("pretrain", "loss against guessing", {"loss": lambda t, v: 5.8}),
    "sft by heart": ("sft", "held-out gap", {"held_out_loss": lambda t, v: 2.4}),
    "kl over budget": ("ppo", "drift from the reference", {"kl": lambda t, v: 60 * t}),
    "nothing learned": ("ppo", "drift from the reference", {"kl": lambda t, v: 0.0}),
    "entropy collapse": ("ppo", "entropy", {"entropy": lambda t, v: 1.3 * math.exp(-6 * t)}),
    "answers never end": ("ppo", "answers that end", {"finished": lambda t, v: 0.99 - 0.6 * t}),
    "length explosion": ("ppo", "length of answers", {"length": lambda t, v: 9 + 30 * t}),
    "length collapse": ("ppo", "length of answers", {"length": lambda t, v: 9 - 7 * t}),
    "updates too large": ("ppo", "clip fraction", {"clip_fraction": lambda t, v: 0.6}),
    "useless critic": ("ppo", "critic", {"explained_variance": lambda t, v: -0.3}),
    "groups that teach nothing": ("ppo", "groups that teach", {"flat_groups": lambda t, v: 0.95}),
    "sampler drift": ("ppo", "sampler drift", {"sampler_drift": lambda t, v: 0.03 if t > 0.7 else 1e-6}),
    "ratio not one": ("ppo", "first ratio", {"first_ratio": lambda t, v: 0.02 if t == 0 else 0.0}),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_a_log_is_named_and_nothing_else(name):
    stage, check, by = FAULTS[name]
    rows = logs()
    rows[stage] = changed(rows[stage], **by)
    bad = [f for f in diagnose(rows, figures()) if f.level == "fault"]
    assert [(f.stage, f.check) for f in bad] == [(stage, check)]
    assert bad[0].remedy
    assert math.isfinite(bad[0].value)
    assert first_fault(bad) == bad[0]


def test_demonstrations_that_do_not_look_like_what_people_choose():
    known = figures().model_copy(update={"chosen_loss": {"pretrain": 2.0, "sft": 2.4}})
    bad = [f for f in diagnose(logs(), known) if f.level == "fault"]
    assert [(f.stage, f.check) for f in bad] == [("sft", "loss on chosen answers")]


def test_a_reward_model_that_flips_coins():
    known = figures().model_copy(update={"cards": {"reward_model": card(skill=0.0)}})
    bad = [f for f in diagnose(logs(), known) if f.level == "fault"]
    assert {f.stage for f in bad} == {"reward_model"}
    assert "accuracy against chance" in {f.check for f in bad}
    assert "cannot be told from a coin" in bad[0].text


def test_a_reward_model_below_its_ceiling_is_watched():
    known = figures().model_copy(update={"cards": {"reward_model": card(skill=0.35)}})
    watched = {f.check: f for f in diagnose(logs(), known) if f.level == "watch"}
    assert "share of the ceiling" in watched
    assert {f.stage for f in watched.values()} == {"reward_model"}


def test_accuracy_that_comes_from_length_is_watched():
    whole = card()
    parts = [p.model_copy(update={"accuracy": wilson(95, 100) if p.name == "better one longer" else wilson(30, 100)})
             for p in whole.by_length]  # fmt: skip
    known = figures().model_copy(
        update={"cards": {"reward_model": whole.model_copy(update={"by_length": tuple(parts)})}}
    )
    assert [f.check for f in diagnose(logs(), known) if f.level == "watch"] == ["accuracy by length"]


def test_without_a_card_the_logged_accuracy_is_used():
    rows = {"reward_model": changed(logs()["reward_model"], held_out_accuracy=lambda t, v: 0.49)}
    assert first_fault(diagnose(rows)).check == "accuracy against chance"


def test_reward_that_rises_while_answers_get_worse_is_over_optimisation():
    known = figures().model_copy(update={"win_rate": {"ppo": wilson(90, 300)}})
    bad = first_fault(diagnose(logs(), known))
    assert (bad.stage, bad.check) == ("ppo", "reward against truth")
    assert "over-optimisation" in bad.text
    unsure = figures().model_copy(update={"win_rate": {"ppo": wilson(152, 300)}})
    assert [f.level for f in diagnose(logs(), unsure) if f.check == "reward against truth"] == ["watch"]


def test_updates_that_never_reach_the_clip_are_watched():
    rows = logs()
    rows["ppo"] = changed(rows["ppo"], clip_fraction=lambda t, v: 0.0)
    assert [(f.check, f.level) for f in diagnose(rows, figures()) if f.level != "ok"] == [("clip fraction", "watch")]


def test_thresholds_can_be_set():
    strict = Thresholds(kl_budget=2.0)
    assert first_fault(diagnose(logs(), figures(), strict)).check == "drift from the reference"


def test_stages_may_have_any_name_and_numbers_may_be_missing():
    rows = {"round 2 policy": logs()["ppo"], "round 2 worth": logs()["reward_model"], "notes": [{"step": 0}]}
    assert {f.stage for f in diagnose(rows)} == {"round 2 policy", "round 2 worth"}
    assert method_of("round 1 pretraining", imitation(3, 3, 2, 0)) == "pretrain"
    broken = changed(logs()["ppo"], kl=lambda t, v: None, entropy=lambda t, v: math.nan)
    assert "entropy" not in {f.check for f in diagnose({"ppo": broken}, Figures())}
    assert diagnose({}) == []
    assert diagnose({"ppo": []}) == []


def test_the_first_fault_is_that_of_the_earliest_stage():
    rows = logs()
    rows["ppo"] = changed(rows["ppo"], kl=lambda t, v: 0.0)
    rows["sft"] = changed(rows["sft"], held_out_loss=lambda t, v: 3.0)
    assert first_fault(diagnose(rows, figures())).stage == "sft"


def test_every_threshold_is_on_the_page():
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    lacking = [
        name for name, field in Thresholds.model_fields.items() if f"| `{name}` | {field.default:g} |" not in page
    ]
    assert lacking == []
