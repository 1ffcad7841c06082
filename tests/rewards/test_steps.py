"""Each part of an answer is paid for where it ends, and all parts together are paid what the whole is worth."""

import math
import random

import pytest
import torch

from accord.algorithms import best_of_n
from accord.rewards.learned import Learned
from accord.rewards.steps import Each, Process, at_ends, credits, lines, said, sentences, whole
from tests.rewards.test_spans import rolled


def shown(text, parts):
    return [text[a:b] for a, b in parts]


def test_lines_and_sentences_of_several_languages():
    text = "It is 3.5 m. Is it?  Yes!\n\n- one\n  two  "
    assert shown(text, sentences(text)) == ["It is 3.5 m.", "Is it?", "Yes!", "- one", "two"]
    assert shown(text, lines(text)) == ["It is 3.5 m. Is it?  Yes!", "- one", "two"]
    chinese = "你好。今天很好！再见"
    assert shown(chinese, sentences(chinese)) == ["你好。", "今天很好！", "再见"]
    assert sentences("  \n ") == lines("") == []
    for cut in (lines, sentences):  # nothing but blank space is left out, and nothing comes twice
        assert "".join("".join(shown(text, cut(text))).split()) == "".join(text.split())


def plainly(right, join):
    return {"min": min(right), "product": math.prod(right), "mean": sum(right) / len(right)}[join]


@pytest.mark.parametrize("join", ["min", "product", "mean"])
def test_a_step_earns_what_it_changes(join):
    draw = random.Random(join)
    for count in (1, 2, 5, 9):
        right = [draw.random() for _ in range(count)]
        found = credits(torch.tensor(right), join).tolist()
        for n in range(count):
            before = plainly(right[:n], join) if n else 0.0
            assert found[n] == pytest.approx(plainly(right[: n + 1], join) - before, abs=1e-6)
        assert sum(found) == pytest.approx(plainly(right, join), abs=1e-6)
        assert whole(torch.tensor(right), join)[-1].item() == pytest.approx(plainly(right, join), abs=1e-6)
    if join != "mean":  # no step after the first can earn, so more steps never pay
        assert all(value <= 0 for value in found[1:])


def test_what_no_token_writes_is_paid_for_before_it():
    places = [(0, 4), (4, 4), (4, 9), (9, 9)]
    earned = torch.tensor([1.0, 2.0, 4.0])
    assert at_ends(earned, [(0, 3), (5, 6), (20, 22)], places, 5).tolist() == [1, 0, 6, 0, 0]
    assert at_ends(earned[:1], [(30, 31)], places, 4).tolist() == [1, 0, 0, 0]


TEXTS = ["One. Two bad. Three.", "Fine.", "Bad now. Bad again."]
PARTS = [[4, 4, 6, 6], [5], [3, 5, 4, 7]]


def judge(pairs, parts):
    """.9 for a sentence without fault, .2 for another."""
    return [torch.tensor([0.2 if "bad" in part.lower() else 0.9 for part in shown(said(sample), of_row)])
            for (_, sample), of_row in zip(pairs, parts, strict=True)]  # fmt: skip


@pytest.mark.parametrize("join", ["min", "product", "mean"])
def test_a_process_reward_stands_at_the_ends_of_steps_and_sums_to_the_worth_of_the_answer(join):
    rollout, places, pairs = rolled(TEXTS, PARTS)
    reward = Process(lambda _: pairs, lambda _: places, judge, sentences, join)
    found = reward(rollout)
    rights = [[0.9, 0.2, 0.9], [0.9], [0.2, 0.2]]
    assert found.sum(1).tolist() == pytest.approx([plainly(right, join) for right in rights])
    assert [row.nonzero()[:, 0].tolist() for row in found] == {
        "min": [[0, 2], [0], [1]], "product": [[0, 2, 3], [0], [1, 3]], "mean": [[0, 2, 3], [0], [1]],
    }[join]  # fmt: skip
    assert reward.steps == 2
    assert int(best_of_n.best(found.sum(1), torch.zeros(3, dtype=torch.long), 1)[0]) == 1


def test_an_answer_without_a_step_is_worth_nothing():
    rollout, places, pairs = rolled(["", "Fine."], [[0], [5]])
    assert Process(lambda _: pairs, lambda _: places, judge, sentences)(rollout).sum(1).tolist() == pytest.approx(
        [0, 0.9]
    )


def test_sentences_earn_what_they_add_to_the_score_and_together_what_the_end_alone_would():
    rollout, places, pairs = rolled(TEXTS, PARTS)
    seen = []

    def score(answers):
        seen.extend((said(sample), sample.finished) for _, sample in answers)
        return torch.tensor([len(said(sample)) ** 1.5 + 7.0 * sample.finished for _, sample in answers])

    found = Each(lambda _: pairs, lambda _: places, score)(rollout)
    assert seen == [
        ("One.", False), ("One. Two bad.", False), (TEXTS[0], True), (TEXTS[1], True), ("Bad now.", False),
        (TEXTS[2], True),
    ]  # fmt: skip
    at_the_end = Learned(lambda _: pairs, score)(rollout)
    assert found.sum(1).tolist() == pytest.approx(at_the_end.sum(1).tolist(), rel=1e-5)
    assert found[0].tolist() == pytest.approx([8.0, 0, 13**1.5 - 8.0, 0, 20**1.5 + 7 - 13**1.5], rel=1e-5)
    assert found[1].tolist() == pytest.approx([0, 5**1.5 + 7, 0, 0, 0], rel=1e-5)
