"""A token policy so small that everything about it can be written out, and a rollout with every kind of row."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from accord.batches import Rollout, Segment
from accord.protocols import Evaluated
from accord.run import Run, RunConfig

WORDS = 7


class Speaker(nn.Module):
    """Next word from this one; a critic beside it. Rows share nothing, so no batch can change a row."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.logits = nn.Parameter(torch.randn(WORDS, WORDS, generator=draw))
        self.critic = nn.Embedding(WORDS, 1)
        nn.init.normal_(self.critic.weight, generator=draw)

    def before(self, segment: Segment) -> torch.Tensor:
        first = segment.observation[segment.group, segment.observation_length[segment.group] - 1]
        return torch.cat([first[:, None], segment.action[:, :-1]], dim=1)

    def evaluate(self, segment: Segment) -> Evaluated:
        seen = self.before(segment)
        logits = self.logits[seen].log_softmax(-1)
        logprob = logits.gather(-1, segment.action[..., None])[..., 0]
        entropy = -(logits.exp() * logits).sum(-1)
        return Evaluated(torch.where(segment.present, logprob, 0.0), entropy, self.critic(seen)[..., 0])


def told(policy: Speaker, rows: int = 20, steps: int = 6, seed: int = 1, gaps: bool = True) -> Rollout:
    """Answers of all lengths, two to a prompt, some cut, some with another's turn in the middle."""
    draw = torch.Generator().manual_seed(seed)
    length = torch.randint(1, steps + 1, (rows,), generator=draw)
    length[0] = steps
    present = torch.arange(steps) < length[:, None]
    mask = present & (torch.rand(rows, steps, generator=draw) < 0.8) if gaps else present.clone()
    mask[:, 0] = True
    places = torch.randint(1, 5, (rows // 2,), generator=draw)
    finished = torch.rand(rows, generator=draw) < 0.6
    done = (torch.arange(steps) == length[:, None] - 1) & finished[:, None]
    fields = {
        "observation": torch.randint(0, WORDS, (rows // 2, 4), generator=draw),
        "observation_length": places,
        "group": torch.arange(rows) // 2,
        "action": torch.randint(0, WORDS, (rows, steps), generator=draw) * present,
        "length": length,
        "mask": mask,
        "weight": torch.ones(rows),
        "names": tuple(f"row{b}" for b in range(rows)),
    }
    with torch.no_grad():
        logprob = policy.evaluate(Segment(**fields)).logprob
    return Rollout(**fields, logprob=logprob, done=done, finished=finished)


@pytest.fixture
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture
def rollout(speaker: Speaker) -> Rollout:
    return told(speaker)


@pytest.fixture
def new_run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    made = iter(range(100))

    def make(**settings) -> Run:
        chosen = {"device": "cpu", "trackers": (), "progress": False, "checkpoint_seconds": 1e9, **settings}
        return Run(tmp_path / f"run{next(made)}", RunConfig(**chosen))

    return make
