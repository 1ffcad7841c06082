"""What was said of answers in every form: parts of it hold the same judgements of the same rows."""

import pytest
import torch

from accord.batches import Segment
from accord.judged import Judged, Kind
from tests.algorithms.conftest import Speaker, told

KINDS = (Kind("pair"), Kind("ranking"), Kind("rating", "tone", 5))


def plain(judged: Judged) -> dict[str, tuple]:
    """Each judgement by its name, rows by theirs."""
    found = {}
    for j, name in enumerate(judged.names):
        mine = [e for e, owner in enumerate(judged.said.tolist()) if owner == j]
        said = [(judged.segment.names[int(judged.row[e])], float(judged.value[e])) for e in mine]
        about = (judged.kinds[int(judged.kind[j])], float(judged.probability[j]), float(judged.margin[j]))
        found[name] = (*about, float(judged.weight[j]), said)
    return found


@pytest.fixture
def judged() -> Judged:
    """Two answers to each of ten prompts, and eighteen judgements of three kinds; one prompt without any."""
    segment: Segment = told(Speaker())
    rows, values, said, kind = [], [], [], []
    for j in range(18):
        g = j % 9
        first, second = (2 * g, 2 * g + 1) if j % 2 else (2 * g + 1, 2 * g)
        entries = [(first, 1.0), (second, 0.0)] if j % 3 < 2 else [(second, float(j % 5))]
        for row, value in entries:
            rows.append(row)
            values.append(value)
            said.append(j)
        kind.append(j % 3)
    draw = torch.Generator().manual_seed(0)
    return Judged(
        segment=segment,
        kinds=KINDS,
        kind=torch.tensor(kind),
        probability=0.5 + torch.rand(18, generator=draw) / 2,
        margin=torch.rand(18, generator=draw),
        weight=torch.rand(18, generator=draw),
        said=torch.tensor(said),
        row=torch.tensor(rows),
        value=torch.tensor(values),
        names=tuple(f"said{j}" for j in range(18)),
    )


@pytest.mark.parametrize("index", [[3], [17, 0, 4], list(range(18))[::-1], []])
def test_a_part_says_what_the_whole_says_of_the_same_rows(judged, index):
    part = judged.of(torch.tensor(index, dtype=torch.long))
    whole = plain(judged)
    assert list(part.names) == [f"said{j}" for j in index]
    assert {name: (*about[:4], sorted(about[4])) for name, about in plain(part).items()} == {
        f"said{j}": (*whole[f"said{j}"][:4], sorted(whole[f"said{j}"][4])) for j in index
    }
    assert len(part.segment) == len(set(part.row.tolist()))
    assert part.said.tolist() == sorted(part.said.tolist())


def test_the_order_inside_a_judgement_stays(judged):
    assert judged.of(torch.tensor([6, 1])).value.tolist() == [1.0, 0.0, 1.0, 0.0]


def test_groups_are_prompts(judged):
    groups = judged.groups()
    assert [sorted(part.tolist()) for part in groups] == [[g, g + 9] for g in range(9)]


@pytest.mark.parametrize("tokens", [1, 15, 10_000])
def test_micro_batches_keep_prompts_whole_and_lose_nothing(judged, tokens):
    parts = list(judged.split(tokens))
    assert sorted(torch.cat(parts).tolist()) == list(range(18))
    for part in parts:
        prompts = {j % 9 for j in part.tolist()}
        assert sorted(part.tolist()) == sorted(j for j in range(18) if j % 9 in prompts)
        assert judged.of(part).segment.tokens <= tokens or len(prompts) == 1
    assert len(parts) == (9 if tokens == 1 else 1 if tokens > 1000 else len(parts))
