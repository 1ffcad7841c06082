"""What both sides are given, how TRL is asked, and when two answers are equal."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from accord.batches import Comparisons, Segment
from accord.records import Message, Preference, Prompt, Sample, Text
from accord.run import Run, RunConfig
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder
from accord.worlds.text.policy import Policy

PEER = Path(os.environ.get("ACCORD_PEERS", Path(__file__).resolve().parents[2] / ".venv-peers/bin/python"))
TALKS = [
    [("user", "where is the fox ?"), ("assistant", "by the river , as it was yesterday .")],
    [("user", "and the hen ?"), ("assistant", "I do not know ."), ("user", "guess !"), ("assistant", "in the barn")],
    [("system", "be brief ."), ("user", "how are you today , my friend ?"), ("assistant", "well .")],
    [("user", "say été"), ("assistant", "été , and again : été été été")],
    [("user", "hm"), ("assistant", "what do you mean by that ? say more , please , and slowly .")],
    [("user", "two and two ?"), ("assistant", "four")],
]
WORSE = ["no .", "the barn is where the hen is not , or so they say .", "fine fine fine", "summer", "hm hm", "five ?"]
SPREAD = {"policy": 0.0, "old": 0.02, "reference": 0.03, "sampler": 0.022}
"""Models by name, and how far each lies from the first."""

needs_trl = [
    pytest.mark.peers,
    pytest.mark.skipif(not PEER.is_file(), reason=f"no TRL here ({PEER} is missing): `make peers` makes and runs it"),
]


def drawn(tokenizer: Any, folder: Path) -> Path:
    """Tiny Llamas in folders of their names, with weights large enough for attention to have something to choose."""
    settings = models.ModelSettings(width=32, layers=2, heads=4, kv_heads=2, context=128)
    for seed, (name, spread) in enumerate(SPREAD.items()):
        made = models.language_model(settings, tokenizer, seed=5)
        torch.manual_seed(5)
        with torch.no_grad():
            for weight in made.parameters():
                if weight.ndim > 1:
                    weight.normal_(0, 0.15)
            own = torch.Generator().manual_seed(seed)
            for weight in made.parameters():
                weight += spread * torch.randn(weight.shape, generator=own)
        models.save(made, tokenizer, folder / name)
    return folder


def policy(folder: Path, name: str, tokenizer: Any) -> Policy:
    """One of the models as ours."""
    return Policy(models.language_model(models.ModelSettings(name=str(folder / name)), tokenizer))


def records() -> tuple[list[tuple[Prompt, Sample]], list[tuple[Prompt, Sample]]]:
    """The talks with their own last answers, and with worse ones."""
    good, bad = [], []
    for number, (talk, worse) in enumerate(zip(TALKS, WORSE, strict=True)):
        turns = [Message(role=role, content=content) for role, content in talk]
        prompt = Prompt(id=f"p{number}", content=Text(messages=turns[:-1]))
        good.append((prompt, Sample(id=f"good{number}", prompt=prompt.id, content=Text(messages=turns[-1:]))))
        other = Text(messages=(Message(role="assistant", content=worse),))
        bad.append((prompt, Sample(id=f"bad{number}", prompt=prompt.id, content=other)))
    return good, bad


def compared_talks(encoder: Encoder, **belief: float) -> Comparisons:
    """Each talk's own answer believed better than the worse one; margins 0, 1, 2."""
    good, bad = records()
    beliefs = [
        Preference(prompt=p.id, chosen=a.id, rejected=b.id, margin=float(number % 3), **belief)
        for number, ((p, a), (_, b)) in enumerate(zip(good, bad, strict=True))
    ]
    return encoder.comparisons(beliefs, {p.id: p for p, _ in good}, {s.id: s for _, s in [*good, *bad]})


def parts(segment: Segment, row: int) -> tuple[list[int], list[int]]:
    """A row as the token ids that were read and those that were written."""
    g, length = int(segment.group[row]), int(segment.length[row])
    assert segment.mask[row, :length].all()
    return segment.observation[g, : int(segment.observation_length[g])].tolist(), segment.action[row, :length].tolist()


class Seen:
    """Of the one step that was watched: the gradient before it was clipped, and the sum of the losses."""

    def __init__(self) -> None:
        self.gradient: dict[str, Tensor] = {}
        self.loss = 0.0
        self.micros = 0


@contextmanager
def watched(folder: Path, module: Any) -> Iterator[tuple[Run, Seen]]:
    """A true run whose optimiser is stopped before it moves anything."""
    run, seen = Run(folder, RunConfig(device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9)), Seen()
    backward = run.backward

    def felt(loss: Tensor, names: Any = ()) -> None:
        seen.micros += 1
        seen.loss += float(loss.detach())
        backward(loss, names)

    def looked(**told: Any) -> dict[str, float]:
        seen.gradient = {n: p.grad.clone() for n, p in module.model.named_parameters() if p.grad is not None}
        return run.sum(**told)

    run.backward, run.step = felt, looked  # type: ignore[method-assign]
    yield run, seen


def asked(script: str, folder: Path) -> None:
    """Run the other side's script over a folder. It has no PYTHONPATH, so it cannot see ours."""
    command = [str(PEER), str(Path(__file__).with_name(script)), str(folder)]
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, env=alone, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def trl(folder: Path, jobs: dict[str, Any]) -> dict[str, Any]:
    """What TRL says to each job, with its gradients under `gradient`."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    asked("methods_side.py", folder)
    told = json.loads((folder / "told.json").read_text())
    assert told.pop("versions")["trl"].startswith("1.16.")
    return {name: {**one, "gradient": load_file(folder / f"{name}.safetensors")} for name, one in told.items()}


def equal(
    kind: str, ours: dict[str, Tensor], theirs: dict[str, Tensor], loss: float, other: float, scale: float = 0.0
) -> None:
    """Equal to 1e-5: the loss relatively, the gradient by the norm of the difference, over all and for each tensor.

    scale: what a loss is measured by that may be next to zero, as one of advantages is; 0 takes the loss itself.
    """
    assert ours.keys() == theirs.keys()
    assert len(ours) > 15
    flat, peer = (torch.cat([side[name].flatten() for name in sorted(ours)]) for side in (ours, theirs))
    apart = {name: float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in ours}
    whole, size = float((flat - peer).norm() / peer.norm()), max(abs(other), scale)
    worst = max(apart, key=lambda name: apart[name])
    print(f"{kind}: loss {loss:.6f} against {other:.6f} ({abs(loss - other) / size:.1e} apart), "
          f"gradient {whole:.1e} apart, {worst} {apart[worst]:.1e}")  # fmt: skip
    assert abs(loss - other) <= 1e-5 * size
    assert whole <= 1e-5
    assert apart[worst] <= 1e-5
