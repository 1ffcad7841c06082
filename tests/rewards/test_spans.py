"""What is marked in a text costs the tokens that wrote it: against code points one by one, and all of it adds up."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.batches import Rollout
from accord.records import Message, Prompt, Sample, Span, Text
from accord.rewards.spans import Criticised, penalties, runs, touched


def rolled(texts, parts):
    """A rollout of texts, and where its tokens stand in them. parts: for each text the lengths of its tokens."""
    rows, width = len(texts), max(map(len, parts)) + 1
    length = torch.tensor([len(of_row) + 1 for of_row in parts])  # and an end that writes nothing
    steps = torch.arange(width) < length[:, None]
    rollout = Rollout(
        observation=torch.zeros(rows, 1, dtype=torch.long),
        observation_length=torch.ones(rows, dtype=torch.long),
        group=torch.arange(rows),
        action=torch.zeros(rows, width, dtype=torch.long),
        length=length,
        mask=steps,
        weight=torch.ones(rows),
        names=tuple(f"s{i}" for i in range(rows)),
        logprob=torch.zeros(rows, width),
        done=torch.arange(width) == length[:, None] - 1,
        finished=torch.ones(rows, dtype=torch.bool),
    )
    places = []
    for text, of_row in zip(texts, parts, strict=True):
        at, found = 0, []
        for size in of_row:
            found.append((at, at + size))
            at += size
        assert at == len(text)
        places.append([*found, (at, at)])
    pairs = [
        (Prompt(id=f"p{i}", content=Text(messages=(Message(role="user", content="?"),))),
         Sample(id=f"s{i}", prompt=f"p{i}", content=Text(messages=(Message(role="assistant", content=text),))))
        for i, text in enumerate(texts)
    ]  # fmt: skip
    return rollout, places, pairs


sizes = st.lists(st.integers(0, 4), min_size=1, max_size=12)
spans = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 9), st.sampled_from(["bad", "good", "unsafe"])), max_size=5
)


@settings(deadline=None, max_examples=60)
@given(sizes, spans)
def test_a_span_costs_the_tokens_that_wrote_one_of_its_characters(sizes, spans):
    places, at = [], 0
    for size in sizes:
        places.append((at, at + size))
        at += size
    marked = [Span(start=start, end=start + long, label=label) for start, long, label in spans]
    by_span, by_token = [0.0] * len(sizes), [0.0] * len(sizes)
    for span in marked:
        if span.label == "good":
            continue
        wrote = {t for t, (a, b) in enumerate(places) for c in range(a, b) if span.start <= c < span.end}
        for t in wrote:
            by_span[t] -= 2.0 / len(wrote)
            by_token[t] = -2.0
        assert touched((span.start, span.end), places) == sorted(wrote)
    assert penalties(marked, places, 2.0).tolist() == pytest.approx(by_span)
    assert penalties(marked, places, 2.0, "token").tolist() == by_token


def test_a_reward_stands_at_the_marked_tokens_and_nowhere_else():
    rollout, places, pairs = rolled(["the moon is cheese", "yes"], [[3, 5, 3, 7], [3]])
    asked = []

    def critic(answers):
        asked.extend(answers)
        return [[Span(start=12, end=18, label="unsupported"), Span(start=0, end=3, label="good")], []]

    reward = Criticised(lambda _: pairs, lambda _: places, critic, price=1.5)
    found = reward(rollout)
    assert found.tolist() == [[0, 0, 0, -1.5, 0], [0, 0, 0, 0, 0]]
    assert asked == pairs
    assert reward.marked == 0.5
    wide = Criticised(lambda _: pairs, lambda _: places, critic, labels={"good"}, per="token")
    assert wide(rollout).tolist() == [[-1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    double = rollout.logprob.double()
    assert reward(replace(rollout, logprob=double)).dtype == torch.float64


def test_neighbours_that_are_likely_wrong_are_one_span():
    places = [(0, 2), (2, 5), (5, 5), (5, 6), (6, 9), (9, 12), (12, 12)]
    right = [0.9, 0.1, 0.9, 0.2, 0.8, 0.4, 0.0]
    found = [(span.start, span.end, span.label) for span in runs(right, places)]
    assert found == [(2, 6, "bad"), (9, 12, "bad")]
    assert runs(right, places, least=0.05) == []
