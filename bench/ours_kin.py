"""Accord's side of more works: rankings, and members of the families whose first ones stand in ours.py."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import torch
import transformers

from accord.algorithms import dpo, kto, reward_model
from accord.algorithms.ppo import KL
from accord.batches import Comparisons
from bench.lane import serve
from bench.ours import ADAM, Workshop, comparisons_of, learn_groups, segment_of
from bench.works import EACH, PAIRS, ranked, verdicts


def learn_simpo(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    rows, policy = comparisons_of(shop.some("pairs", wish)), shop.policy()
    config = dpo.Config(
        loss="simpo", beta=2.0, gap=0.5, batch=wish["batch"], micro_tokens=shop.job["micro"], optimiser=ADAM
    )
    return shop.trained(policy, "evaluate", lambda run: dpo.train(config, policy, rows, run))


def learn_kto(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    """Both answers of each pair as single verdicts; they share their prompt."""
    pairs, policy = shop.some("pairs", wish), shop.policy()
    told = verdicts(pairs)
    rows = segment_of([row["prompt_ids"] for row in pairs], [(n, pairs[n][kind]) for n, kind, _ in told])
    good = torch.tensor([good for _, _, good in told])
    config = kto.Config(batch=len(told), micro_tokens=shop.job["micro"], optimiser=ADAM)
    return shop.trained(policy, "evaluate", lambda run: kto.train(config, policy, rows, good, run))


def learn_rloo(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    return learn_groups(shop, wish, "rloo", KL(place="reward", estimator="k1", coefficient=0.05), shop.policy().likely)


def learn_ranking(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    """All pairs of each ranking, its answers encoded once. Tokens are told as the pairs would have them."""
    rankings, scorer = ranked(shop.rows["pairs"], wish["count"]), shop.scorer()
    count, answers = len(rankings), [(n, ids) for n, (_, said) in enumerate(rankings) for ids in said]
    at = torch.arange(count)[:, None] * EACH
    better, worse = ((at + torch.tensor(side)).flatten() for side in zip(*PAIRS, strict=True))
    rows = Comparisons(
        segment=segment_of([prompt for prompt, _ in rankings], answers), better=better, worse=worse,
        probability=torch.ones(len(better)), weight=torch.ones(len(better)), margin=torch.zeros(len(better)),
        names=tuple(map(str, range(len(better)))),
    )  # fmt: skip
    config = reward_model.Config(batch=count, centring=0, micro_tokens=shop.job["micro"], optimiser=ADAM)
    told = shop.trained(scorer, "score", lambda run: reward_model.train(config, scorer, rows, run))
    steps = len(told["losses"])
    return {**told, "tokens": told["tokens"] * (EACH - 1), "learned": told["learned"] * (EACH - 1), "steps": steps}


WORKS = {"simpo": learn_simpo, "kto": learn_kto, "rloo": learn_rloo, "ranking": learn_ranking}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    serve(
        partial(WORKS[given["work"]], Workshop(given)), torch=torch.__version__, transformers=transformers.__version__
    )
