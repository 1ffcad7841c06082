"""Batches: rows, micro-batches, minibatches and pairs lose nothing and add nothing."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.batches import Comparisons, Rollout, Segment, minibatches, pack, padded


@st.composite
def segments(draw, least=1):
    groups = draw(st.integers(1, 5))
    group = draw(st.lists(st.integers(0, groups - 1), min_size=least, max_size=12))
    groups = max(group) + 1
    lengths = draw(st.lists(st.integers(1, 6), min_size=len(group), max_size=len(group)))
    places = draw(st.lists(st.integers(1, 5), min_size=groups, max_size=groups))
    return made(group, lengths, places)


def made(group, lengths, places):
    """Every token tells where it is from: 1000 group + place, and 100000 + 1000 row + step."""
    steps, width, rows = max(lengths) + 2, max(places) + 1, len(group)
    present = torch.arange(steps) < torch.tensor(lengths)[:, None]
    there = torch.arange(width) < torch.tensor(places)[:, None]
    return Rollout(
        observation=(1000 * torch.arange(len(places))[:, None] + torch.arange(width)) * there,
        observation_length=torch.tensor(places),
        group=torch.tensor(group),
        action=(100_000 + 1000 * torch.arange(rows)[:, None] + torch.arange(steps)) * present,
        length=torch.tensor(lengths),
        mask=present,
        weight=torch.arange(rows).float(),
        names=tuple(f"row{b}" for b in range(rows)),
        logprob=-torch.rand(rows, steps),
        done=torch.zeros(rows, steps, dtype=torch.bool),
        finished=torch.ones(rows, dtype=torch.bool),
    )


def told(segment: Segment) -> dict[str, tuple]:
    """What each row says, by name: its prompt, its answer, its weight."""
    found = {}
    for b, name in enumerate(segment.names):
        g = int(segment.group[b])
        prompt = segment.observation[g, : segment.observation_length[g]].tolist()
        found[name] = (prompt, segment.action[b, : segment.length[b]].tolist(), float(segment.weight[b]))
    return found


@settings(deadline=None)
@given(segments(), st.data())
def test_rows_say_the_same_as_before(segment, data):
    index = data.draw(st.lists(st.integers(0, len(segment) - 1), min_size=1, max_size=8, unique=True))
    part = segment.rows(torch.tensor(index))
    assert isinstance(part, Rollout)
    assert part.names == tuple(f"row{b}" for b in index)
    assert told(part) == {name: told(segment)[name] for name in part.names}
    assert part.action.shape[1] == part.mask.shape[1] == part.logprob.shape[1] == int(part.length.max())
    assert part.observation.shape[1] == int(part.observation_length.max())
    assert sorted(set(part.group.tolist())) == list(range(len(part.observation_length))), "no observation is left over"
    assert torch.equal(part.logprob[part.present], torch.cat([segment.logprob[b, : segment.length[b]] for b in index]))


@settings(deadline=None)
@given(segments(), st.integers(1, 40))
def test_micro_batches_hold_every_row_once_and_keep_the_budget(segment, tokens):
    parts = list(segment.split(tokens))
    assert sorted(name for part in parts for name in part.names) == sorted(segment.names)
    whole = told(segment)
    for part in parts:
        assert all(told(part)[name] == whole[name] for name in part.names)
        assert part.tokens <= tokens or len(part) == 1, "only a single row may be too long"


@settings(deadline=None)
@given(segments())
def test_a_group_that_fits_is_read_once(segment):
    largest = max(int(segment.rows(members).tokens) for members in segment.members() if len(members))
    of = dict(zip(segment.names, segment.group.tolist(), strict=True))
    seen = [{of[name] for name in part.names} for part in segment.split(largest)]
    assert sum(len(groups) for groups in seen) == len(set(of.values()))


def test_rows_of_like_size_lie_together_and_bins_are_filled():
    segment = made([0, 1, 2, 3], [6, 1, 5, 1], [2, 2, 2, 2])
    assert [sorted(index.tolist()) for index in pack(segment, 15)] == [[0, 2], [1, 3]]
    assert [sorted(index.tolist()) for index in pack(segment, 1000)] == [[0, 1, 2, 3]]


@settings(deadline=None)
@given(segments(), st.integers(1, 5), st.integers(0, 99))
def test_minibatches_deal_whole_groups_of_nearly_equal_number(segment, count, seed):
    groups = len(segment.observation_length)
    if count > groups:
        with pytest.raises(ValueError, match=f"minibatches={count} does not fit {groups} groups"):
            minibatches(segment, count, torch.Generator().manual_seed(seed))
        return
    parts = minibatches(segment, count, torch.Generator().manual_seed(seed))
    assert len(parts) == count
    assert sorted(name for part in parts for name in part.names) == sorted(segment.names)
    home = {}
    of = dict(zip(segment.names, segment.group.tolist(), strict=True))
    for number, part in enumerate(parts):
        for name in part.names:
            assert home.setdefault(of[name], number) == number, "a group lies in one minibatch"


def test_minibatches_depend_on_the_generator_alone():
    segment = made(list(range(8)), [3] * 8, [2] * 8)
    one, two, other = (
        [part.names for part in minibatches(segment, 2, torch.Generator().manual_seed(seed))] for seed in (1, 1, 2)
    )
    assert one == two
    assert one != other


@st.composite
def comparisons(draw):
    segment = draw(segments(least=2))
    possible = [
        (i, j)
        for i, g in enumerate(segment.group.tolist())
        for j, h in enumerate(segment.group.tolist())
        if i != j and g == h
    ]
    if not possible:
        possible = [(0, 0)]
    chosen = draw(st.lists(st.sampled_from(possible), min_size=1, max_size=10))
    count = len(chosen)
    return Comparisons(
        segment=segment,
        better=torch.tensor([i for i, _ in chosen]),
        worse=torch.tensor([j for _, j in chosen]),
        probability=torch.linspace(0.5, 1, count),
        weight=torch.arange(count).float(),
        margin=torch.arange(count).float() / 2,
        names=tuple(f"pair{n}" for n in range(count)),
    )


def said(batch: Comparisons) -> dict[str, tuple]:
    names = batch.segment.names
    return {
        name: (names[batch.better[n]], names[batch.worse[n]], float(batch.probability[n]), float(batch.margin[n]))
        for n, name in enumerate(batch.names)
    }


@settings(deadline=None)
@given(comparisons(), st.integers(1, 60))
def test_pairs_stay_what_they_are_and_each_answer_is_encoded_once_where_its_group_fits(batch, tokens):
    whole, rows = said(batch), told(batch.segment)
    fits = all(batch.pairs(part).segment.tokens <= tokens for part in batch.groups())
    seen: list[str] = []
    encoded: list[str] = []
    for part in batch.split(tokens):
        seen += part.names
        assert all(said(part)[name] == whole[name] for name in part.names)
        assert all(told(part.segment)[name] == rows[name] for name in part.segment.names)
        assert len(set(part.segment.names)) == len(part.segment.names)
        used = {row for name in part.names for row in whole[name][:2]}
        assert set(part.segment.names) == used, "no row without a pair"
        assert part.segment.tokens <= tokens or len(part) == 1
        encoded += part.segment.names
    assert len(set(encoded)) == len(encoded) or not fits
    assert sorted(seen) == sorted(batch.names)
    assert sorted(n for group in batch.groups() for n in group.tolist()) == list(range(len(batch)))


def test_padding_of_ragged_rows():
    table, lengths = padded([[1, 2, 3], [], [4]], fill=9)
    assert table.tolist() == [[1, 2, 3], [9, 9, 9], [4, 9, 9]]
    assert lengths.tolist() == [3, 0, 1]
    assert padded([])[0].shape == (0, 0)
