"""Loss and gradient of fine-tuning and of the reward model are those of TRL on the same batch.

`make peers` makes `.venv-peers` and runs this; ACCORD_PEERS names another Python that has TRL.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from accord.algorithms import reward_model, sft
from accord.batches import Segment
from accord.records import Message, Preference, Prompt, Sample, Text
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import train_bpe

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

pytestmark = [
    pytest.mark.peers,
    pytest.mark.skipif(not PEER.is_file(), reason=f"no TRL here ({PEER} is missing): `make peers` makes and runs it"),
]


class Once:
    """A workbench for one step, which keeps the gradient instead of moving anything."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        self.gradient: dict[str, Tensor] = {}

    def optimise(self, _: Any, updates: int, **modules: nn.Module) -> None:
        (self.module,) = modules.values()

    def steps(self, total: int) -> range:
        assert total == 1
        return range(1)

    def deal(self, count: int, size: int) -> Tensor:
        assert size >= count
        return torch.arange(count)

    def total(self, count: Tensor) -> Tensor:
        return count

    def backward(self, loss: Tensor, names: object) -> None:
        self.micros = getattr(self, "micros", 0) + 1
        loss.backward()

    def step(self) -> dict[str, float]:
        named = self.module.model.named_parameters()
        self.gradient = {name: p.grad.clone() for name, p in named if p.grad is not None}
        return {}

    def log(self, **figures: float) -> None:
        self.figures = figures


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return train_bpe([content for talk in TALKS for _, content in talk] * 3, 320)


@pytest.fixture(scope="module")
def model(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with weights large enough for attention to have something to choose."""
    settings = models.ModelSettings(width=32, layers=2, heads=4, kv_heads=2, context=128)
    made = models.language_model(settings, tokenizer, seed=5)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in made.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.15)
    return models.save(made, tokenizer, tmp_path_factory.mktemp("peers") / "llama")


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


def ids(segment: Segment, row: int) -> tuple[list[int], list[bool]]:
    """A row as one list of token ids, and which of them count."""
    g = int(segment.group[row])
    seen = segment.observation[g, : int(segment.observation_length[g])].tolist()
    length = int(segment.length[row])
    return seen + segment.action[row, :length].tolist(), [False] * len(seen) + segment.mask[row, :length].tolist()


def trl(
    folder: Path, kind: str, rows: list[dict[str, Any]], settings: dict[str, Any]
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of TRL on the rows, with the model in `folder/model`."""
    (folder / "job.json").write_text(json.dumps({"kind": kind, "rows": rows, "settings": settings}))
    command = [str(PEER), str(Path(__file__).with_name("trl_side.py")), str(folder)]
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=alone, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((folder / "trl.json").read_text())
    assert told["trl"].startswith("1.16.")
    return told["loss"], load_file(folder / "trl.safetensors")


def compared(kind: str, ours: dict[str, Tensor], theirs: dict[str, Tensor], loss: float, other: float) -> None:
    """Equal to 1e-5: the loss relatively, the gradient by the norm of the difference, over all and for each tensor."""
    assert ours.keys() == theirs.keys()
    assert len(ours) > 15
    flat, peer = (torch.cat([side[name].flatten() for name in sorted(ours)]) for side in (ours, theirs))
    apart = {name: float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in ours}
    whole = float((flat - peer).norm() / peer.norm())
    worst = max(apart, key=lambda name: apart[name])
    print(f"{kind}: loss {loss:.6f} against {other:.6f} ({abs(loss - other) / other:.1e} apart), "
          f"gradient {whole:.1e} apart, {worst} {apart[worst]:.1e}")  # fmt: skip
    assert abs(loss - other) <= 1e-5 * other
    assert whole <= 1e-5
    assert apart[worst] <= 1e-5


def test_fine_tuning_has_the_loss_and_gradient_of_trl(model: Path, tokenizer: Any, tmp_path: Path) -> None:
    encoder = Encoder(tokenizer, EncoderSettings(limit=96))
    good, _ = records()
    segment = encoder.segment(good)
    run = Once()
    policy = Policy(models.language_model(models.ModelSettings(name=str(model)), tokenizer))
    figures = sft.train(sft.Config(batch=len(good), micro_tokens=60), policy, segment, run)  # type: ignore[arg-type]
    assert run.micros > 2

    rows = []
    for row in range(len(segment)):
        tokens, counts = ids(segment, row)
        labels = [token if counted else -100 for token, counted in zip(tokens, counts, strict=True)]
        rows.append({"input_ids": tokens, "labels": labels})
    (tmp_path / "model").symlink_to(model)
    loss, gradient = trl(tmp_path, "sft", rows, {})
    compared("sft", run.gradient, gradient, figures["loss"], loss)


@pytest.mark.parametrize("extras", [False, True], ids=["plain", "margin-and-centring"])
def test_a_reward_model_has_the_loss_and_gradient_of_trl(
    extras: bool, model: Path, tokenizer: Any, tmp_path: Path
) -> None:
    encoder = Encoder(tokenizer, EncoderSettings(limit=96))
    good, bad = records()
    beliefs = [
        Preference(prompt=p.id, chosen=a.id, rejected=b.id, margin=float(number % 3))
        for number, ((p, a), (_, b)) in enumerate(zip(good, bad, strict=True))
    ]
    batch = encoder.comparisons(beliefs, {p.id: p for p, _ in good}, {s.id: s for _, s in [*good, *bad]})
    scorer = Scorer(models.scorer_model(models.ModelSettings(name=str(model)), tokenizer, seed=2))
    models.save(scorer.model, tokenizer, tmp_path / "model")
    run = Once()
    # TRL's centring is c (r_better + r_worse)^2 and ours c ((r_better + r_worse) / 2)^2: four times the number.
    ours = {"margin": 0.5, "centring": 0.04} if extras else {"margin": 0.0, "centring": 0.0}
    config = reward_model.Config(batch=len(beliefs), micro_tokens=90, **ours)
    reward_model.train(config, scorer, batch, run)  # type: ignore[arg-type]
    assert run.micros > 2

    rows = []
    for number, (better, worse) in enumerate(zip(batch.better.tolist(), batch.worse.tolist(), strict=True)):
        row = {"chosen_ids": ids(batch.segment, better)[0], "rejected_ids": ids(batch.segment, worse)[0]}
        rows.append({**row, "margin": 0.5 * (number % 3)} if extras else row)
    loss, gradient = trl(tmp_path, "reward", rows, {"center_rewards_coefficient": 0.01} if extras else {})
    loss_of_ours = run.figures["loss"]
    if extras:
        with torch.no_grad():
            score = scorer.score(batch.segment)
            middle = (score[batch.better] + score[batch.worse]) / 2
        loss_of_ours += float(0.04 * middle.square().mean())
    compared("reward model" + ", margin and centring" * extras, run.gradient, gradient, loss_of_ours, loss)
