"""Loss and gradient of fine-tuning and of the reward model are those of TRL on the same batch.

`make peers` makes `.venv-peers` and runs this; ACCORD_PEERS names another Python that has TRL.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from accord.algorithms import reward_model, sft
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from tests.peers.beside import asked, compared_talks, equal, needs_trl, parts, records, watched

pytestmark = needs_trl


def trl(
    folder: Path, kind: str, rows: list[dict[str, Any]], settings: dict[str, Any]
) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of TRL on the rows, with the model in `folder/model`."""
    (folder / "job.json").write_text(json.dumps({"kind": kind, "rows": rows, "settings": settings}))
    asked("trl_side.py", folder)
    told = json.loads((folder / "trl.json").read_text())
    assert told["trl"].startswith("1.16.")
    return told["loss"], load_file(folder / "trl.safetensors")


@pytest.fixture
def model(drawn_models: Path) -> Path:
    return drawn_models / "policy"


def test_fine_tuning_has_the_loss_and_gradient_of_trl(model: Path, tokenizer: Any, tmp_path: Path) -> None:
    encoder = Encoder(tokenizer, EncoderSettings(limit=96))
    good, _ = records()
    segment = encoder.segment(good)
    policy = Policy(models.language_model(models.ModelSettings(name=str(model)), tokenizer))
    with watched(tmp_path / "run", policy) as (run, seen):
        sft.train(sft.Config(batch=len(good), micro_tokens=60), policy, segment, run)
    assert seen.micros > 2

    rows = []
    for row in range(len(segment)):
        prompt, answer = parts(segment, row)
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    (tmp_path / "model").symlink_to(model)
    loss, gradient = trl(tmp_path, "sft", rows, {})
    equal("fine-tuning", seen.gradient, gradient, seen.loss, loss)


@pytest.mark.parametrize("extras", [False, True], ids=["plain", "margin-and-centring"])
def test_a_reward_model_has_the_loss_and_gradient_of_trl(
    extras: bool, model: Path, tokenizer: Any, tmp_path: Path
) -> None:
    """TRL's centring is c (r_better + r_worse)^2 and ours c ((r_better + r_worse) / 2)^2: four times the number."""
    batch = compared_talks(Encoder(tokenizer, EncoderSettings(limit=96)))
    scorer = Scorer(models.scorer_model(models.ModelSettings(name=str(model)), tokenizer, seed=2))
    models.save(scorer.model, tokenizer, tmp_path / "model")
    ours = {"margin": 0.5, "centring": 0.04} if extras else {"margin": 0.0, "centring": 0.0}
    config = reward_model.Config(batch=len(batch), micro_tokens=90, **ours)
    with watched(tmp_path / "run", scorer) as (run, seen):
        reward_model.train(config, scorer, batch, run)
    assert seen.micros > 2

    rows = []
    for number, (better, worse) in enumerate(zip(batch.better.tolist(), batch.worse.tolist(), strict=True)):
        (prompt, chosen), (_, rejected) = parts(batch.segment, better), parts(batch.segment, worse)
        row = {"chosen_ids": prompt + chosen, "rejected_ids": prompt + rejected}
        rows.append({**row, "margin": 0.5 * (number % 3)} if extras else row)
    loss, gradient = trl(tmp_path, "reward", rows, {"center_rewards_coefficient": 0.01} if extras else {})
    equal("reward model" + ", margin and centring" * extras, seen.gradient, gradient, seen.loss, loss)
