"""The peer's side: TRL's RewardTrainer over rows of token ids, run by a Python of its own that knows no Accord.

`python -I real_trl.py JOB` reads a job in JSON (see `real_models.peer`) and writes scores of its test rows beside it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def learn(job: dict[str, Any]) -> dict[str, Any]:
    """Train on the job's pairs by its settings and score its test rows, all in fp32 on the CPU."""
    import torch
    import transformers
    import trl
    from datasets import Dataset

    transformers.set_seed(job["seed"])
    with_model = {"num_labels": 1, "dtype": "float32"}
    config = trl.RewardConfig(
        output_dir=str(Path(job["folder"]) / "trl"), use_cpu=True, bf16=False, gradient_checkpointing=False,
        report_to="none", save_strategy="no", disable_tqdm=True, logging_steps=10, dataloader_pin_memory=False,
        max_length=None, seed=job["seed"], **job["settings"],
    )  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(job["model"], **with_model)
    rows = [{"chosen_ids": chosen, "rejected_ids": rejected} for chosen, rejected in job["pairs"]]
    begun = time.process_time()
    trainer = trl.RewardTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    trainer.train()
    seconds = time.process_time() - begun
    model = trainer.model.eval()
    found: list[float] = []
    with torch.no_grad():
        for at in range(0, len(job["rows"]), 32):
            some = [torch.tensor(ids) for ids in job["rows"][at : at + 32]]
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(ids) for ids in some], batch_first=True)
            ids = torch.nn.utils.rnn.pad_sequence(some, batch_first=True, padding_value=tokenizer.pad_token_id)
            found += model(input_ids=ids, attention_mask=mask).logits[:, 0].float().tolist()
    return {"scores": found, "seconds": seconds, "trl": trl.__version__, "steps": trainer.state.global_step}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.with_suffix(".answer").write_text(json.dumps(learn(json.loads(place.read_text()))), encoding="utf-8")
