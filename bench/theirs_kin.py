"""The peer's side of more works: TRL's trainers of SimPO, KTO and RLOO, and its reward model on all pairs of rankings.

It never imports accord, as theirs.py does not.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
import trl
from datasets import Dataset
from trl.experimental.cpo import CPOConfig, CPOTrainer

from bench.lane import serve
from bench.theirs import DTYPE, FILE, SHARED, Workshop
from bench.works import PAIRS, ranked, verdicts

WORDS = {"prompt": "a b", "chosen": "c", "rejected": "d e"}


class Prepared(trl.KTOTrainer):
    """TRL's trainer over rows that are token ids already."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def prefixed(row: dict[str, Any]) -> dict[str, list[int]]:
    """A pair as the collator of CPO wants it."""
    found = {"prompt_input_ids": row["prompt_ids"], "prompt_attention_mask": [1] * len(row["prompt_ids"])}
    for kind in ("chosen", "rejected"):
        whole = row["prompt_ids"] + row[f"{kind}_ids"]
        found |= {f"{kind}_input_ids": whole, f"{kind}_attention_mask": [1] * len(whole)}
        found[f"{kind}_labels"] = [-100] * len(row["prompt_ids"]) + row[f"{kind}_ids"]
    return found


def learn_simpo(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    def make(folder: str) -> Any:
        config = CPOConfig(
            output_dir=folder, **SHARED, **FILE, **shop.sizes(wish, wish["batch"]), num_train_epochs=1, beta=2.0,
            loss_type="simpo", cpo_alpha=0.0, simpo_gamma=0.5, max_length=None, model_init_kwargs=DTYPE,
        )  # fmt: skip
        trainer = CPOTrainer(
            model=shop.job["model"], args=config, train_dataset=Dataset.from_list([WORDS] * 2),
            processing_class=shop.tokenizer,
        )  # fmt: skip
        trainer.train_dataset = Dataset.from_list([prefixed(row) for row in shop.some("pairs", wish)])
        return trainer

    def count(batch: Any) -> tuple[Any, Any]:
        kinds = ("chosen", "rejected")
        read = sum(batch[f"{kind}_attention_mask"].sum() for kind in kinds)
        return read, sum((batch[f"{kind}_labels"] != -100).sum() for kind in kinds)

    return shop.trained(make, count)


def learn_kto(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    def make(folder: str) -> Any:
        pairs = shop.some("pairs", wish)
        told = verdicts(pairs)
        config = trl.KTOConfig(
            output_dir=folder, **SHARED, **FILE, **shop.sizes(wish, len(told)), num_train_epochs=1, beta=0.1,
            max_length=None, model_init_kwargs=DTYPE,
        )  # fmt: skip
        said = [pairs[n][kind] for n, kind, _ in told]
        size = config.per_device_train_batch_size
        # Within what is read at once each prompt gets its neighbour's answer, as TRL deals them.
        other = [(row - 1) % size + row // size * size for row in range(len(told))]
        rows = [
            {"prompt_ids": pairs[n]["prompt_ids"], "completion_ids": said[row], "label": good,
             "KL_completion_ids": said[min(other[row], len(told) - 1)]}
            for row, (n, _, good) in enumerate(told)
        ]  # fmt: skip
        return Prepared(
            model=shop.job["model"], args=config, train_dataset=Dataset.from_list(rows), processing_class=shop.tokenizer
        )

    def count(batch: Any) -> tuple[Any, Any]:
        return batch["attention_mask"].sum(), batch["completion_mask"].sum()

    return shop.trained(make, count, in_advance=wish["settings"].get("in_advance"))


def learn_rloo(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    some, settings = shop.some("prompts", wish), wish["settings"]
    answers = wish["batch"] * wish["each"]
    said = json.loads(Path(wish["answers"]).read_text()) if "answers" in wish else {}
    ids = {row["prompt"][-1]["content"]: row["prompt_ids"] for row in some}

    def worth(completion_ids: list[list[int]], **_: Any) -> list[float]:
        return [sum(token % 7 for token in row) / 7 / len(row) for row in completion_ids]

    def make(folder: str) -> Any:
        config = trl.RLOOConfig(
            output_dir=folder, **SHARED, **shop.sizes(wish, answers), max_steps=wish["count"] // wish["batch"],
            num_generations=wish["each"], max_completion_length=wish["tokens"], shuffle_dataset=False, beta=0.05,
            epsilon=0.2, model_init_kwargs=DTYPE, temperature=1.0, top_k=0, top_p=1.0,
            generation_kwargs={"min_new_tokens": wish["tokens"]}, cache_implementation=settings.get("cache"),
        )  # fmt: skip
        trainer = trl.RLOOTrainer(
            model=shop.job["model"], reward_funcs=worth, args=config, processing_class=shop.tokenizer,
            train_dataset=Dataset.from_list([{"prompt": row["prompt"]} for row in some]),
        )  # fmt: skip
        if said:  # the answers that the other side wrote, so that one objective is computed by both
            left, asked = {name: list(rows) for name, rows in said.items()}, list[str]()

            def tokenised(prompts: list[Any]) -> tuple[Any, None, dict[str, Any]]:
                asked[:] = [prompt[-1]["content"] for prompt in prompts]
                return [ids[name] for name in asked], None, {}

            trainer._tokenize_prompts = tokenised
            trainer._generate_single_turn = lambda *_: [left[name].pop(0) for name in asked]
        return trainer

    def count(batch: Any) -> tuple[Any, Any]:
        learned = batch["completion_mask"].sum()
        return batch["prompt_mask"].sum() + learned, learned

    return shop.trained(make, count)


def learn_ranking(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    rankings = ranked(shop.rows["pairs"], wish["count"])
    learned = sum(len(said[n]) for _, said in rankings for pair in PAIRS for n in pair)

    def make(folder: str) -> Any:
        rows = Dataset.from_list(
            [{"chosen_ids": prompt + said[better], "rejected_ids": prompt + said[worse]}
             for prompt, said in rankings for better, worse in PAIRS]
        )  # fmt: skip
        config = trl.RewardConfig(
            output_dir=folder, **SHARED, **FILE, **shop.sizes(wish, len(rows)), num_train_epochs=1,
            max_length=None, model_init_kwargs=DTYPE,
        )  # fmt: skip
        return trl.RewardTrainer(
            model=shop.job["model"], args=config, train_dataset=rows, processing_class=shop.tokenizer
        )

    told = shop.trained(make, lambda batch: (batch["attention_mask"].sum(), 0))
    return {**told, "learned": learned}


WORKS = {"simpo": learn_simpo, "kto": learn_kto, "rloo": learn_rloo, "ranking": learn_ranking}


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    given = json.loads(sys.argv[1])
    about = {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__}
    serve(partial(WORKS[given["work"]], Workshop(given)), **about)
