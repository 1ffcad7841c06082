"""The peer's side of the comparison: TRL's own trainers over the same rows. It never imports accord.

Settings that are the same for all: fp32, no gradient checkpointing, rows in the order of the file, the same AdamW.
What differs from wish to wish (`settings`) is what the peer is allowed to choose: how many rows it reads at once,
packing, the cache of its sampler, the reference in advance or beside.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.lane import Watch, serve
from bench.placed import place, weighed

SHARED: dict[str, Any] = {
    "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "report_to": "none", "save_strategy": "no",
    "learning_rate": 1e-3, "lr_scheduler_type": "constant", "adam_beta1": 0.9, "adam_beta2": 0.99,
    "adam_epsilon": 1e-8, "weight_decay": 0.0, "max_grad_norm": 1.0, "logging_steps": 1, "disable_tqdm": True,
    "dataloader_pin_memory": False,
}  # fmt: skip
FILE = {"train_sampling_strategy": "sequential"}
DTYPE = {"dtype": "float32"}


class Prepared(trl.DPOTrainer):
    """TRL's trainer over rows that are token ids already; the others find that out by themselves."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class Workshop:
    """Rows and a tokenizer; the model is read from its folder anew for each piece of work."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.watch = job, Watch()
        # Weights in bf16 and no autocast, as the other side has them.
        self.device, DTYPE["dtype"] = place(job)
        SHARED["use_cpu"] = self.device == "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(job["model"])
        self.rows: dict[str, Any] = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))

    def some(self, kind: str, wish: dict[str, Any]) -> Any:
        return self.rows[kind][wish["first"] : wish["first"] + wish["count"]]

    def trained(
        self, make: Callable[[str], Any], count: Callable[[Any], tuple[Any, Any]], **also: Any
    ) -> dict[str, Any]:
        """Train, with a clock at each optimiser step. count: tokens and learned tokens of a micro-batch."""
        with tempfile.TemporaryDirectory(prefix="peer-bench-") as folder:
            trainer = make(folder)
            watch, compute, clip, log = (
                self.watch,
                trainer.compute_loss,
                trainer.accelerator.clip_grad_norm_,
                trainer.log,
            )
            lost: list[float] = []
            norms: list[float] = []

            def computed(model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
                watch.count(*count(inputs))
                loss = compute(model, inputs, *args, **options)
                lost.append(float(loss.detach()))
                return loss

            def clipped(*args: Any, **options: Any) -> Any:
                norm = clip(*args, **options)
                norms.append(float(norm))
                return norm

            def logged(logs: dict[str, float], *args: Any) -> None:
                if "loss" in logs:
                    share = 1.0 if also.get("summed") else 1.0 / len(lost)
                    watch.tick(sum(lost) * share, norms[-1])
                    lost.clear()
                log(logs, *args)

            trainer.compute_loss, trainer.log = computed, logged
            trainer.accelerator.clip_grad_norm_ = clipped
            watch.begin()
            if also.get("in_advance"):
                # What `precompute_ref_log_probs` does while a trainer is made, here where the clock sees it; a hash
                # of its own each time, or the second round would find the first one's numbers on the disk.
                trainer._precompute_model_hash = str(watch.begun)
                rows, size = trainer.train_dataset, trainer.args.per_device_train_batch_size
                trainer.train_dataset = trainer._precompute_ref_logps(rows, "train", size)
                trainer.precompute_ref_logps, trainer.ref_model = True, None
            trainer.train()
        return watch.told()

    def sizes(self, wish: dict[str, Any], rows: int) -> dict[str, int]:
        """How many rows at once, and how many times until an optimiser step."""
        at_once = min(wish["settings"]["rows"], rows)
        return {"per_device_train_batch_size": at_once, "gradient_accumulation_steps": -(-rows // at_once)}


def learn_dpo(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    def make(folder: str) -> Any:
        config = trl.DPOConfig(
            output_dir=folder, **SHARED, **FILE, **shop.sizes(wish, wish["batch"]), num_train_epochs=1, beta=0.1,
            max_length=None, model_init_kwargs=DTYPE,
        )  # fmt: skip
        rows = Dataset.from_list(shop.some("pairs", wish))
        return Prepared(model=shop.job["model"], args=config, train_dataset=rows, processing_class=shop.tokenizer)

    def count(batch: Any) -> tuple[Any, Any]:
        return batch["attention_mask"].sum(), batch["completion_mask"].sum()

    return shop.trained(make, count, in_advance=wish["settings"].get("in_advance"))


def learn_reward(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    learned = 0

    def make(folder: str) -> Any:
        nonlocal learned
        config = trl.RewardConfig(
            output_dir=folder, **SHARED, **FILE, **shop.sizes(wish, wish["batch"]), num_train_epochs=1,
            max_length=None, model_init_kwargs=DTYPE,
        )  # fmt: skip
        kinds, some = ("chosen_ids", "rejected_ids"), shop.some("pairs", wish)
        learned = sum(len(row[kind]) for row in some for kind in kinds)
        rows = Dataset.from_list([{kind: row["prompt_ids"] + row[kind] for kind in kinds} for row in some])
        return trl.RewardTrainer(
            model=shop.job["model"], args=config, train_dataset=rows, processing_class=shop.tokenizer
        )

    # TRL does not tell prompt from answer here; what is learned from is the answers of the rows.
    told = shop.trained(make, lambda batch: (batch["attention_mask"].sum(), 0))
    return {**told, "learned": learned}


def learn_sft(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    """All rows in each step: what packing puts together would else come in other steps than its rows."""
    some, settings = shop.some("examples", wish), wish["settings"]

    def make(folder: str) -> Any:
        rows = Dataset.from_list(
            [{"input_ids": row["prompt_ids"] + row["answer_ids"],
              "labels": [-100] * len(row["prompt_ids"]) + row["answer_ids"]} for row in some]
        )  # fmt: skip
        blocks = len(rows)
        if settings["packing"]:
            blocks = len(trl.pack_dataset(rows, settings["length"], "bfd"))
        config = trl.SFTConfig(
            output_dir=folder, **SHARED, **FILE, **shop.sizes(wish, blocks), num_train_epochs=wish["steps"],
            packing=settings["packing"], max_length=settings["length"], model_init_kwargs=DTYPE,
        )  # fmt: skip
        return trl.SFTTrainer(model=shop.job["model"], args=config, train_dataset=rows, processing_class=shop.tokenizer)

    def count(batch: Any) -> tuple[Any, Any]:
        real = batch["attention_mask"].sum() if "attention_mask" in batch else batch["input_ids"].numel()
        return real, (batch["labels"] != -100).sum()

    return shop.trained(make, count, summed=True)


def learn_grpo(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    some, settings = shop.some("prompts", wish), wish["settings"]
    answers = wish["batch"] * wish["each"]
    said = json.loads(Path(wish["answers"]).read_text()) if "answers" in wish else {}
    ids = {row["prompt"][-1]["content"]: row["prompt_ids"] for row in some}

    def worth(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [sum(token % 7 for token in row) / 7 / len(row) for row in completion_ids]

    def given(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        """The answers that the other side wrote, so that one objective is computed by both."""
        left = {name: list(rows) for name, rows in said.items()}
        named = [prompt[-1]["content"] for prompt in prompts]
        return {
            "prompt_ids": [ids[n] for n in named],
            "completion_ids": [left[n].pop(0) for n in named],
            "logprobs": None,
        }

    def make(folder: str) -> Any:
        config = trl.GRPOConfig(
            output_dir=folder, **SHARED, **shop.sizes(wish, answers), max_steps=wish["count"] // wish["batch"],
            num_generations=wish["each"], max_completion_length=wish["tokens"], shuffle_dataset=False, beta=0.0,
            loss_type="grpo", epsilon=0.2, model_init_kwargs=DTYPE, temperature=1.0, top_k=0, top_p=1.0,
            generation_kwargs={"min_new_tokens": wish["tokens"]}, cache_implementation=settings.get("cache"),
        )  # fmt: skip
        return trl.GRPOTrainer(
            model=shop.job["model"], reward_funcs=worth, args=config, processing_class=shop.tokenizer,
            train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in some]),
            rollout_func=given if said else None,
        )  # fmt: skip

    def count(batch: Any) -> tuple[Any, Any]:
        learned = batch["completion_mask"].sum()
        return batch["prompt_mask"].sum() + learned, learned

    return shop.trained(make, count, summed=True)


def generate(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    language = AutoModelForCausalLM.from_pretrained(shop.job["model"], **DTYPE).eval().to(shop.device)
    prompts = [row["prompt_ids"] for row in shop.some("prompts", wish)]
    asked = shop.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt").to(shop.device)
    greedy = bool(wish.get("greedy"))
    options = {"do_sample": False} if greedy else {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0}
    shop.watch.begin()
    made = language.generate(
        **asked, **options, max_new_tokens=wish["tokens"], min_new_tokens=wish["tokens"], disable_compile=True,
        num_return_sequences=wish["each"], cache_implementation=wish["settings"].get("cache"),
    )  # fmt: skip
    said = made[:, asked["input_ids"].shape[1] :].cpu()  # a GPU is waited for, as by the other side
    shop.watch.count(said.numel(), 0)
    shop.watch.tick(0.0, 0.0)
    return {**shop.watch.told(), "said": said.tolist() if greedy else []}


WORKS = {"dpo": learn_dpo, "reward": learn_reward, "sft": learn_sft, "grpo": learn_grpo, "generate": generate}


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    given = json.loads(sys.argv[1])
    about = {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__}
    serve(weighed(partial(WORKS[given["work"]], Workshop(given)), given), **about)
