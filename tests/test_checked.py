"""What rules say of answers: chances of several tries by counting, lines before and after, and honest verdicts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from accord.checked import Rules, findings, lines, moved, paired, pass_at, rules, tries, verdict
from accord.config import SettingsError
from accord.earned import must, unseen
from accord.evaluate.diagnosis import Figures, diagnose
from accord.evaluate.ledger import Ledger, entry, ledger
from accord.evaluate.winrate import win_rate
from accord.project import Project
from accord.recipe import Recipe, recipe
from accord.records import Message, Prompt, Sample, Text
from accord.rewards.rules import by_prompt, exact, length


def asked(name: str, answer: str | None = None, split: str = "test") -> Prompt:
    checks = {} if answer is None else {"answer": answer}
    text = Text(messages=(Message(role="user", content=f"how many, {name}"),))
    return Prompt(id=name, content=text, checks=checks, split=split)  # type: ignore[arg-type]


def said(prompt: Prompt, text: str, number: int = 0) -> tuple[Prompt, Sample]:
    content = Text(messages=(Message(role="assistant", content=text),))
    return prompt, Sample(id=f"{prompt.id}-{number}-{text}", prompt=prompt.id, content=content)


def table(before: list[float], after: list[float], of: int) -> Ledger:
    """A ledger of pass@1 and pass@of, from passes of `of` answers to each prompt."""
    names = [f"p{i // of}" for i in range(len(before))]
    made = [entry("pass@1", before, after, names, "higher")]
    return ledger([*made, entry(f"pass@{of}", pass_at(before, of, of), pass_at(after, of, of), names[::of], "higher")])


def test_the_chance_of_several_tries_is_that_of_all_choices_of_them() -> None:
    draw = np.random.default_rng(0)
    passed = (draw.random((40, 6)) < draw.random((40, 1))).astype(float)
    for k in range(1, 7):
        every = list(itertools.combinations(range(6), k))
        counted = [np.mean([row[list(chosen)].max() for chosen in every]) for row in passed]
        assert pass_at(passed.ravel().tolist(), k, 6) == pytest.approx(counted)
    with pytest.raises(ValueError, match="n is 1 to 6"):
        pass_at(passed.ravel().tolist(), 7, 6)


def test_tries_double_up_to_all_answers() -> None:
    assert tries(1) == [1]
    assert tries(8) == [1, 2, 4, 8]
    assert tries(6) == [1, 2, 4, 6]


def test_lines_tell_what_passes_each_rule_and_whether_there_was_an_answer() -> None:
    first, second = asked("a", "7"), asked("b", "8")
    judge = {"exact": by_prompt({"a": exact("7"), "b": exact("8")}), "length": by_prompt({}, length(1, 4))}
    old = [said(first, "#### 7", 0), said(first, "no", 1), said(second, "a b c d e #### 8", 0), said(second, "9", 1)]
    new = [said(first, "#### 7", 2), said(first, "#### 7", 3), said(second, "#### 9", 2), said(second, "#### 8", 3)]
    found = {line.name: line for line in lines(Rules(judge, loose=False), old, new, 2)}
    assert list(found) == ["pass@1", "pass@2", "the right final answer", "a length within bounds", "final answer given"]
    told = {name: (line.before.estimate if line.before else None, line.after.estimate) for name, line in found.items()}
    assert told["pass@1"] == (0.25, 0.75)  # the long answer is right and too long
    assert told["pass@2"] == (0.5, 1.0)
    assert told["the right final answer"] == (0.5, 0.75)
    assert told["a length within bounds"] == (0.75, 1.0)
    assert told["final answer given"] == (0.5, 1.0)


def test_a_rule_that_a_prompt_does_not_bring_is_not_held_against_its_answers() -> None:
    with_, without = asked("a", "7"), asked("b")
    judge = Rules({"exact": by_prompt({"a": exact("7")}, lambda _: 0.0), "length": by_prompt({}, length(1, 2))}, False)
    assert judge.passes(*said(with_, "one two")) == 0
    assert judge.passes(*said(without, "one two")) == 1
    assert judge.passes(*said(without, "one two three")) == 0


def test_what_was_not_learned_is_the_fault_of_a_start_that_passes_nothing() -> None:
    nothing = [0.0] * 400
    found = findings(table(nothing, nothing, 4), "sft", "new", 4)
    assert [(one.stage, one.level) for one in found] == [("sft", "fault"), ("new", "fault")]
    assert found[1].remedy == "Mend the start first."
    judge = Rules({"exact": by_prompt({}, lambda _: 0.0)}, False)
    assert verdict(judge, table(nothing, nothing, 4), "sft", 4).startswith("Nothing was learned")


def test_gains_losses_and_a_full_start_are_told_apart() -> None:
    draw = np.random.default_rng(1)
    half, most = ((draw.random(400) < share).astype(float).tolist() for share in (0.5, 0.8))
    full = [1.0] * 400
    told = {
        name: [(one.stage, one.check, one.level) for one in findings(table(before, after, 4), "sft", "new", 4)]
        for name, before, after in (("up", half, most), ("down", most, half), ("full", full, full))
    }
    assert told["up"] == [("new", "passing answers", "ok")]
    assert ("new", "passing answers", "fault") in told["down"]
    assert told["full"] == [("new", "passing answers", "watch")]


def test_the_win_rate_and_the_passes_say_the_same() -> None:
    """A gain of a few points, alike on many prompts, is sure by its pairs; 200 wins and losses alone could not tell."""
    draw = np.random.default_rng(2)
    chance = np.repeat(draw.random(200) * 0.9, 8)
    before, after = ((draw.random(1600) < chance + more).astype(float).tolist() for more in (0.0, 0.06))
    prompts = [f"p{i // 8}" for i in range(1600)]
    sides = [{p: v[8 * i : 8 * i + 8] for i, p in enumerate(dict.fromkeys(prompts))} for v in (before, after)]
    counted, told = win_rate(sides[1], sides[0]), table(before, after, 8)
    rate = paired(counted, told)
    change = moved(told, 1).change
    assert counted.rate.low < 0.5 < rate.rate.low
    assert rate.rate.estimate == counted.rate.estimate == pytest.approx(0.5 + change.estimate / 2)
    assert (rate.rate.low, rate.rate.high) == pytest.approx((0.5 + change.low / 2, 0.5 + change.high / 2))
    assert (rate.wins, rate.ties, rate.by_tag) == (counted.wins, counted.ties, counted.by_tag)
    log = [{"clip_fraction": 0.1, "reward": 0.2}, {"clip_fraction": 0.1, "reward": 0.3}]
    every = diagnose({"new": log}, Figures(win_rate={"new": rate.rate}))
    (truth,) = (f for f in every if f.check == "reward against truth")
    (once,) = (f for f in findings(told, "sft", "new", 8) if f.check == "passing answers")
    assert (truth.level, once.level) == ("ok", "ok")
    assert "got better" in truth.text


def test_a_win_rate_stays_between_none_and_all() -> None:
    before, after = [0.0] * 32, [1.0] * 31 + [0.0]
    sides = [{f"p{i}": [v] for i, v in enumerate(side)} for side in (before, after)]
    rate = paired(win_rate(sides[1], sides[0]), ledger([entry("pass@1", before, after, None, "higher")]))
    assert 0.9 < rate.rate.low < rate.rate.estimate < rate.rate.high == 1.0


def test_answers_that_became_alike_are_told_where_single_ones_got_better() -> None:
    """Half of the prompts always pass now and the others never: more passes at once, fewer in four tries."""
    before, after = [1.0, 0.0, 0.0, 0.0] * 100, ([1.0] * 4 + [0.0] * 4) * 50
    found = {one.check: one for one in findings(table(before, after, 4), "sft", "new", 4)}
    assert found["passing answers"].level == "ok"
    assert found["passes in several tries"].level == "watch"
    assert found["passes in several tries"].value == pytest.approx(0.5)


def test_only_prompts_that_bring_what_a_rule_needs_are_judged(tmp_path: Path) -> None:
    values = {"worth": {"learned": 0.0, "exact": 1.0}, "judging": {"by": "rules"}, "collect": {"source": "none"}}
    at = Project(tmp_path / "p", recipe(None, {"data": {"kind": "files"}, **values}))
    at.store.put([asked("b", "7"), asked("a", "8"), asked("c"), asked("d", "9", "train")])
    assert [prompt.id for prompt in unseen(at)] == ["a", "b"]
    judged = rules(at, unseen(at))
    assert judged is not None
    assert judged.passes(*said(asked("b", "7"), "so #### 7")) == 1
    every = recipe(None, {"data": {"kind": "files"}, **values, "worth": {"learned": 0.0, "length": 1.0}})
    assert [prompt.id for prompt in unseen(Project(tmp_path / "p", every))] == ["a", "b", "c"]
    obey = recipe(None, {"data": {"kind": "files"}, **values, "judging": {"by": "rules", "must": ["follows"]}})
    with pytest.raises(SettingsError, match="of 3 test prompts none has instructions to check"):
        unseen(Project(tmp_path / "p", obey))


def test_rules_that_judge_are_named_or_those_that_pay() -> None:
    values = {"worth": {"learned": 0.0, "length": 1.0, "exact": 0.5}, "judging": {"by": "rules"}}
    assert must(recipe(None, values)) == ("exact", "length")
    assert must(recipe(None, {**values, "judging": {"by": "rules", "must": ["form"]}})) == ("form",)
    with pytest.raises(SettingsError, match=r"judging\.by=rules needs rules"):
        recipe(None, {"judging": {"by": "rules"}})
    assert Recipe().judging.by == "reward"
