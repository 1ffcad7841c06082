"""Runs in the other environment: TRL's own loss and gradient on a batch. `python trl_side.py FOLDER`, see test_trl.py.

The folder holds `job.json` (kind, rows, settings) and `model/`; this writes `trl.safetensors` (gradients) and
`trl.json` (loss, versions). It must not import accord: whatever both sides shared would not be compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers
import trl
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoTokenizer
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    shared = {
        "output_dir": str(folder / "out"), "use_cpu": True, "bf16": False, "report_to": "none", "max_length": None,
        "gradient_checkpointing": False, "per_device_train_batch_size": len(job["rows"]),
    }  # fmt: skip
    if job["kind"] == "sft":
        made, config = SFTTrainer, SFTConfig(**shared, model_init_kwargs={"dtype": "float32"}, **job["settings"])
    else:
        made, config = RewardTrainer, RewardConfig(**shared, model_init_kwargs={"dtype": "float32"}, **job["settings"])
    trainer = made(
        model=str(folder / "model"),
        args=config,
        train_dataset=Dataset.from_list(job["rows"]),
        processing_class=tokenizer,
    )
    trainer.model.train()
    inputs = next(iter(trainer.get_train_dataloader()))
    torch.set_num_threads(1)
    loss = trainer.compute_loss(trainer.model, dict(inputs))
    loss.backward()
    gradient = {name: p.grad.contiguous() for name, p in trainer.model.named_parameters() if p.grad is not None}
    save_file(gradient, folder / "trl.safetensors")
    versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    (folder / "trl.json").write_text(json.dumps({"loss": loss.item(), **versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
