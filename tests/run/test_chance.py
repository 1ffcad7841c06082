"""What is random while learning in several processes: each rank's own, by seed, step and rank, and nobody else's."""

import pytest
import torch
from torch import nn

from accord.run import Run, RunConfig, ranks
from tests.run.test_ranks import apart, by_hand, rows, start, weights

ONES = torch.ones(64)


@pytest.fixture
def masks(tmp_path, monkeypatch):
    """What dropout leaves of ones in two lessons of each step, and what the global stream draws before each step."""
    monkeypatch.setattr(ranks, "gathered", lambda text: [text] * ranks.count())
    monkeypatch.setattr(ranks, "_together", lambda talk: None)

    def masks(rank: int, of: int = 2, seed: int = 1, first: int = 0, name: str = "run"):
        for variable, value in {"RANK": rank, "WORLD_SIZE": of, "MASTER_ADDR": "localhost"}.items():
            monkeypatch.setenv(variable, str(value))
        config = RunConfig(seed=seed, device="cpu", trackers=(), progress=False, checkpoint_seconds=0)
        run, module = Run(tmp_path / f"{name}-{rank}-{of}-{seed}-{first}", config), nn.Dropout(0.5)
        run.at = first
        inside, outside = [], []
        for _ in run.steps(3):
            outside.append(torch.rand(4))
            for _ in range(2):
                with run.learning(module):
                    inside.append(module(ONES))
            assert module(ONES).equal(ONES), "outside of learning nothing is random"
        return torch.stack(inside), torch.stack(outside)

    return masks


def test_each_rank_drops_its_own_and_all_else_is_alike(masks):
    first, before = masks(0)
    second, also = masks(1)
    drawn = [mask for own in (first, second) for mask in own]
    assert len({tuple(mask.tolist()) for mask in drawn}) == 12, "no lesson, step or rank has the mask of another"
    share = (torch.stack(drawn) > 0).double().mean()
    assert abs(float(share) - 0.5) < 0.06, "four standard errors of 768 draws"
    overlap = ((first > 0) == (second > 0)).double().mean()
    assert abs(float(overlap) - 0.5) < 0.11, "and the masks of two ranks have nothing to do with each other"
    assert before.equal(also), "what is drawn outside is the same on every rank"
    assert len({tuple(row.tolist()) for row in before}) == 3


def test_a_mask_hangs_on_seed_step_and_rank_alone(masks):
    whole, _ = masks(1)
    torch.rand(1000)
    assert masks(1, name="again")[0].equal(whole)
    assert masks(1, first=2)[0].equal(whole[4:]), (
        "a run that is resumed at the last step draws what it would have drawn"
    )
    assert not masks(1, seed=2)[0].equal(whole)
    assert masks(1, of=3)[0].equal(whole), "a rank's stream is not that of another number of ranks; its rows are"


def test_one_process_draws_from_the_stream_that_its_checkpoints_keep(masks):
    alone, _ = masks(0, of=1)
    torch.manual_seed(1)
    for step in range(3):
        torch.rand(4)
        for lesson in range(2):
            assert nn.functional.dropout(ONES, 0.5).equal(alone[2 * step + lesson])


def test_a_killed_rank_goes_on_with_the_same_dropout(tmp_path):
    whole, rough = tmp_path / "whole", tmp_path / "rough"
    done = start(2, whole, "dropout")
    assert done.returncode == 0, done.stderr[-3000:]
    assert apart(weights(whole / "dropout"), weights(whole / "dropout", 1)) == 0, "all ranks hold the same weights"
    by_hand(2, rough, "dropout", DIE="dropout 5 1 kill")
    done = start(2, rough, "dropout")
    assert done.returncode == 0, done.stderr[-3000:]
    assert apart(weights(rough / "dropout"), weights(whole / "dropout")) == 0
    assert rows(rough / "dropout") == rows(whole / "dropout")
