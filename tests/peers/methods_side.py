"""Runs in the other environment: TRL's losses of pairs, single verdicts and groups. `python methods_side.py FOLDER`.

The folder holds `jobs.json` (name -> kind, settings, rows) and models; this writes `told.json` (loss and what else a
kind tells, by name) and the gradients of each job as `NAME.safetensors`. Rows are token ids already; a trainer is made
on a row of words that nobody reads, and then asked for the loss of ours. It must not import accord.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.rewards import get_soft_overlong_punishment

PAIRS = {"dpo": (trl.DPOTrainer, trl.DPOConfig), "cpo": (CPOTrainer, CPOConfig), "orpo": (ORPOTrainer, ORPOConfig)}
GROUPS = {"grpo": (trl.GRPOTrainer, trl.GRPOConfig), "rloo": (trl.RLOOTrainer, trl.RLOOConfig)}
WORDS = {"prompt": "a b", "chosen": "c", "rejected": "d e"}


class Side:
    """The folder, and what every trainer shares."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.tokenizer = folder, AutoTokenizer.from_pretrained(folder / "policy")
        self.shared: dict[str, Any] = {
            "output_dir": str(folder / "out"), "use_cpu": True, "bf16": False, "report_to": "none",
            "gradient_checkpointing": False, "disable_tqdm": True, "dataloader_pin_memory": False,
        }  # fmt: skip

    def model(self, name: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(self.folder / name, dtype=torch.float32)

    def weights(self, name: str) -> dict[str, torch.Tensor]:
        return load_file(self.folder / name / "model.safetensors")

    def learned(self, name: str, trainer: Any, batches: list[tuple[float, Any]]) -> float:
        """The mean loss of the batches by weight; its gradients are written."""
        total, value = sum(weight for weight, _ in batches), 0.0
        trainer.model.train()
        for weight, inputs in batches:
            loss = trainer.compute_loss(trainer.model, inputs) * (weight / total)
            loss.backward()
            value += loss.item()
        gradient = {n: p.grad.contiguous() for n, p in trainer.model.named_parameters() if p.grad is not None}
        save_file(gradient, self.folder / f"{name}.safetensors")
        return value


def prefixed(row: dict[str, Any]) -> dict[str, list[int]]:
    """A pair as the collator of CPO and ORPO wants it."""
    found = {"prompt_input_ids": row["prompt_ids"], "prompt_attention_mask": [1] * len(row["prompt_ids"])}
    for kind in ("chosen", "rejected"):
        answer = row[f"{kind}_ids"]
        found[f"{kind}_input_ids"] = row["prompt_ids"] + answer
        found[f"{kind}_attention_mask"] = [1] * len(found[f"{kind}_input_ids"])
        found[f"{kind}_labels"] = [-100] * len(row["prompt_ids"]) + answer
    return found


def pairs(side: Side, name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Rows: prompt, chosen and rejected ids; `batches`: [weight, numbers of rows]."""
    made, configured = PAIRS[job["kind"]]
    config = configured(**side.shared, max_length=512, **job["settings"])
    more = {"ref_model": side.model("reference")} if job["kind"] == "dpo" else {}
    trainer = made(
        model=side.model("policy"), args=config, train_dataset=Dataset.from_list([WORDS] * 2),
        processing_class=side.tokenizer, **more,
    )  # fmt: skip
    rows = job["rows"] if job["kind"] == "dpo" else [prefixed(row) for row in job["rows"]]
    batches = [(weight, trainer.data_collator([rows[i] for i in some])) for weight, some in job["batches"]]
    loss = side.learned(name, trainer, batches)
    return {"loss": loss, **(exact(trainer, job) if "logprobs" in job else {})}


def told(rows: list[dict[str, Any]], values: list[list[float]]) -> tuple[Any, torch.Tensor]:
    """A model that says these fp64 log-probabilities of the answers' tokens, chosen first; and their table."""
    table = torch.tensor([value for row in values for value in row], dtype=torch.float64, requires_grad=True)
    answers = [(len(row["prompt_ids"]), len(row[f"{kind}_ids"])) for kind in ("chosen", "rejected") for row in rows]
    wide, at = max(before + length for before, length in answers) - 1, 0
    lines = []
    for before, length in answers:
        inside = table[at : at + length]
        lines.append(torch.nn.functional.pad(inside, (before - 1, wide - before - length + 1)))
        at += length
    said = torch.stack(lines)
    nothing = torch.zeros_like(said)
    outputs = SimpleNamespace(log_probs=said, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())
    return lambda **_: outputs, table


def exact(trainer: Any, job: dict[str, Any]) -> dict[str, Any]:
    """The loss as a function of the answers' log-probabilities alone, in fp64: value and slopes."""
    rows, size, total = job["rows"], len(job["rows"]), sum(weight for weight, _ in job["batches"])
    slopes, value = [[0.0] * len(values) for values in job["logprobs"]], 0.0
    for weight, some in job["batches"]:
        which = [*some, *(size + i for i in some)]
        model, table = told([rows[i] for i in some], [job["logprobs"][i] for i in which])
        trainer.ref_model = told([rows[i] for i in some], [job["reference"][i] for i in which])[0]
        loss = trainer.compute_loss(model, trainer.data_collator([rows[i] for i in some])) * (weight / total)
        slope = torch.autograd.grad(loss, table)[0].split([len(job["logprobs"][i]) for i in which])
        value += loss.item()
        for i, one in zip(which, slope, strict=True):
            slopes[i] = [a + b for a, b in zip(slopes[i], one.tolist(), strict=True)]
    return {"exact": value, "slopes": slopes}


def kto(side: Side, name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Rows: prompt and completion ids, label; `crossed`: answers with the prompts that expectation is measured on."""
    words = [{"prompt": "a b", "completion": "c", "label": bool(i % 2)} for i in range(4)]
    config = trl.KTOConfig(
        **side.shared, max_length=512, per_device_train_batch_size=len(job["rows"]),
        train_sampling_strategy="sequential", **job["settings"],
    )  # fmt: skip
    trainer = trl.KTOTrainer(
        model=side.model(job["policy"]), ref_model=side.model(job["reference"]), args=config,
        train_dataset=Dataset.from_list(words), processing_class=side.tokenizer,
    )  # fmt: skip
    batch = trainer.data_collator(job["rows"])
    if trainer.calculate_KL:
        crossed = trainer.data_collator(job["crossed"])
        batch |= {f"KL_{key}": value for key, value in crossed.items() if key != "label"}
    loss = side.learned(name, trainer, [(1.0, batch)])
    return {"loss": loss, "expected": trainer._metrics["train"]["kl"][-1]}


def groups(side: Side, name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Rows: prompt and completion ids, reward, perhaps the sampler's logprobs; `num_generations` follow each other.

    The old policy is the trainer's while the answers are scored, then the new one's weights are put in its place.
    """
    made, configured = GROUPS[job["kind"]]
    rows, on_policy = job["rows"], job["old"] == "policy"
    prompts, answers = [row["prompt_ids"] for row in rows], [row["completion_ids"] for row in rows]
    sampled = [row["logprobs"] for row in rows] if "logprobs" in rows[0] else None

    def worth(completion_ids: list[list[int]], **_: Any) -> list[float]:
        assert completion_ids == answers
        return [row["reward"] for row in rows]

    rewards: list[Any] = [worth]
    if "overlong" in job:
        rewards.append(get_soft_overlong_punishment(*job["overlong"]))
    more: dict[str, Any] = {}
    if job["kind"] == "grpo":
        said = {"prompt_ids": prompts, "completion_ids": answers, "logprobs": sampled}
        more["rollout_func"] = lambda *_: said
    config = configured(
        **side.shared, per_device_train_batch_size=len(rows), num_iterations=1 if on_policy else 2, **job["settings"]
    )
    trainer = made(
        model=side.model(job["old"]), reward_funcs=rewards, args=config, processing_class=side.tokenizer,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * len(rows)), **more,
    )  # fmt: skip
    if job["kind"] == "rloo":
        trainer._tokenize_prompts = lambda *_: (prompts, None, {})
        trainer._generate_single_turn = lambda *_: answers
    if sampled:
        # The correction is built for vLLM's sampler only, which is not here: what it says is what ours said.
        trainer.use_vllm, trainer._last_loaded_step = True, trainer.state.global_step
    if trainer.ref_model is not None:
        trainer.ref_model.load_state_dict(side.weights("reference"), strict=False)
    trainer.current_gradient_accumulation_steps = 1  # which `train()` would have said
    trainer.model.train()
    inputs = trainer._generate_and_score_completions([{"prompt": "a"} for _ in rows])
    trainer.model.load_state_dict(side.weights("policy"), strict=False)
    loss = side.learned(name, trainer, [(1.0, inputs)])
    return {"loss": loss, "advantages": inputs["advantages"].tolist()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    side = Side(Path(sys.argv[1]))
    kinds = {**dict.fromkeys(PAIRS, pairs), "kto": kto, **dict.fromkeys(GROUPS, groups)}
    jobs = json.loads((side.folder / "jobs.json").read_text())
    found: dict[str, Any] = {name: kinds[job["kind"]](side, name, job) for name, job in jobs.items()}
    found["versions"] = {one.__name__: one.__version__ for one in (trl, transformers, torch)}
    (side.folder / "told.json").write_text(json.dumps(found))
