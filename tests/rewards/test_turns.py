"""Worth of each turn: where it stands, of what it is the score, and that it says when texts and mask disagree."""

import pytest
import torch

from accord.batches import Rollout
from accord.records import Message, Prompt, Sample, Text
from accord.rewards.rules import by_prompt, exact, length
from accord.rewards.turns import Turns, ends, judged, turns_of

RUNS = [[2, -3, 1, -1, 4], [3], [1, -2, 2]]
"""Of each row: steps of the policy, and, below 0, of the user."""


def rollout(runs=RUNS):
    masks = [[part > 0 for part in row for _ in range(abs(part))] for row in runs]
    width = max(map(len, masks)) + 1
    mask = torch.tensor([row + [False] * (width - len(row)) for row in masks])
    rows = len(runs)
    return Rollout(
        observation=torch.zeros(1, 1, dtype=torch.long),
        observation_length=torch.ones(1, dtype=torch.long),
        group=torch.zeros(rows, dtype=torch.long),
        action=torch.zeros(rows, width, dtype=torch.long),
        length=torch.tensor([len(row) for row in masks]),
        mask=mask,
        weight=torch.ones(rows),
        names=tuple(f"r{i}" for i in range(rows)),
        logprob=torch.zeros(rows, width),
        done=torch.zeros(rows, width, dtype=torch.bool),
        finished=torch.tensor([True, False, True][:rows]),
    )


def kept(seen):
    """Records with as many answers as the mask has runs."""
    ask = Prompt(id="p", content=text("user: q0"), checks={"answer": "7"})
    found = []
    for row, name in enumerate(seen.names):
        answers = sum(part > 0 for part in RUNS[row])
        said = [f"{'assistant' if i % 2 == 0 else 'user'}: {name}.{i}" for i in range(2 * answers - 1)]
        found.append((ask, Sample(id=name, prompt="p", content=text(*said), finished=bool(seen.finished[row]))))
    return found


def text(*lines):
    return Text(messages=tuple(Message(role=r, content=c) for r, c in (line.split(": ", 1) for line in lines)))


def numbered(pairs):
    """1, 2, 3 ... in the order in which answers are given."""
    return torch.arange(1, len(pairs) + 1, dtype=torch.float64)


def test_each_answer_is_paid_at_its_last_token():
    seen = rollout()
    worth = Turns(kept, numbered)(seen)
    wanted = torch.zeros_like(worth)
    number = 0
    for row, runs in enumerate(RUNS):
        at = 0
        for part in runs:
            at += abs(part)
            if part > 0:
                number += 1
                wanted[row, at - 1] = number
    assert torch.equal(worth, wanted)
    assert worth.dtype == seen.logprob.dtype
    assert torch.equal(ends(seen.mask), wanted > 0)


def test_scores_are_normalised_and_shared_where_asked():
    plain, shared = (Turns(kept, numbered, mean=2.0, std=4.0, share=share)(rollout()) for share in (False, True))
    assert plain.sum(1).tolist() == pytest.approx([(1 + 2 + 3 - 6) / 4, (4 - 2) / 4, (5 + 6 - 4) / 4])
    assert shared.sum(1).tolist() == pytest.approx([(2 - 2) / 4, (4 - 2) / 4, (5.5 - 2) / 4])


def test_an_answer_is_scored_with_the_conversation_before_it_as_its_prompt():
    (ask, sample), *_ = kept(rollout())
    turns = turns_of(ask, sample)
    words = [[m.content for m in prompt.content.messages] for prompt, _ in turns]
    assert words == [["q0"], ["q0", "r0.0", "r0.1"], ["q0", "r0.0", "r0.1", "r0.2", "r0.3"]]
    assert [one.content.messages[0].content for _, one in turns] == ["r0.0", "r0.2", "r0.4"]
    assert [one.prompt for _, one in turns] == [prompt.id for prompt, _ in turns]
    assert turns[0][0] == ask  # so that the first answers to one prompt still share it
    assert len({one.id for _, one in turns} | {prompt.id for prompt, _ in turns}) == 6
    assert turns == turns_of(ask, sample)


def test_only_the_last_answer_can_have_been_cut():
    (ask, sample), *_ = kept(rollout())
    cut = turns_of(ask, sample.model_copy(update={"finished": False}))
    assert [one.finished for _, one in cut] == [True, True, False]
    alone = kept(rollout())[1]
    assert turns_of(*alone) == [alone]


def test_rules_pay_each_turn():
    worth = Turns(kept, judged(by_prompt({}, otherwise=length(1, 1))))(rollout())
    assert worth.sum(1).tolist() == [0, 0, 0]  # "r0.0" is two words
    worth = Turns(kept, judged(by_prompt({}, otherwise=length(2, 2))))(rollout())
    assert worth.sum(1).tolist() == [3, 1, 2]
    right = judged(lambda prompt, sample: exact(prompt.checks["answer"])("#### 7"))
    assert Turns(kept, right)(rollout()).sum() == 6


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match=r"1 of 3 dialogues .*'r2' with 2 answers and 3 runs"):
        Turns(kept, numbered)(rollout([RUNS[0], RUNS[1], [1, -1, 1, -1, 1]]))
    with pytest.raises(ValueError, match="std > 0"):
        Turns(kept, numbered, std=0.0)
    with pytest.raises(TypeError, match="turns are those of texts"):
        turns_of(Prompt(content={"kind": "start", "env": "x", "seed": 1}), kept(rollout())[0][1])
