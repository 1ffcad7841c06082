"""Accord's side of the comparison: its own `train` functions over rows from the file, in the order of the file."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from accord.algorithms import dpo, grpo, ppo, reward_model, sft
from accord.algorithms.ppo import KL
from accord.batches import Comparisons, Rollout, Segment, at_end, padded
from accord.protocols import Sampling
from accord.records import Message, Prompt, Text
from accord.run import OptimiserConfig, Run, RunConfig
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.world import TextWorld
from bench.lane import Watch, serve
from bench.placed import place, weighed

RATE = 1e-3
ADAM = OptimiserConfig(learning_rate=RATE, schedule="constant", warmup=0, beta1=0.9, beta2=0.99, epsilon=1e-8, clip=1.0)


def segment_of(prompts: Sequence[list[int]], answers: Sequence[tuple[int, list[int]]]) -> Segment:
    """Rows (number of the prompt, token ids); all of an answer is the policy's own."""
    observation, observed = padded(prompts)
    action, length = padded([ids for _, ids in answers])
    return Segment(
        observation=observation,
        observation_length=observed,
        group=torch.tensor([group for group, _ in answers]),
        action=action,
        length=length,
        mask=torch.arange(action.shape[1]) < length[:, None],
        weight=torch.ones(len(answers)),
        names=tuple(map(str, range(len(answers)))),
    )


def comparisons_of(rows: Sequence[dict[str, list[int]]]) -> Comparisons:
    """Certain beliefs, the better answer first."""
    answers = [(n, row[kind]) for n, row in enumerate(rows) for kind in ("chosen_ids", "rejected_ids")]
    count = len(rows)
    return Comparisons(
        segment=segment_of([row["prompt_ids"] for row in rows], answers),
        better=2 * torch.arange(count),
        worse=2 * torch.arange(count) + 1,
        probability=torch.ones(count),
        weight=torch.ones(count),
        margin=torch.zeros(count),
        names=tuple(map(str, range(count))),
    )


class Workshop:
    """A model from a folder and a run in a folder of its own, anew for each piece of work."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.watch = job, Watch()
        self.device, dtype = place(job)
        self.settings = models.ModelSettings(name=job["model"], dtype=dtype)  # type: ignore[arg-type]
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(job["model"])
        self.rows: dict[str, Any] = json.loads(Path(job["rows"]).read_text(encoding="utf-8"))

    def policy(self) -> Policy:
        return Policy(models.language_model(self.settings, self.tokenizer).to(self.device))

    def scorer(self) -> Scorer:
        return Scorer(models.scorer_model(self.settings, self.tokenizer).to(self.device))

    def some(self, kind: str, wish: dict[str, Any]) -> Any:
        return self.rows[kind][wish["first"] : wish["first"] + wish["count"]]

    def trained(self, learner: nn.Module, look: str, train: Callable[[Run], object]) -> dict[str, Any]:
        """Train, with a clock at each optimiser step. look: the method of the learner that reads a batch."""
        watch, read = self.watch, getattr(learner, look)

        def counted(segment: Segment) -> object:
            if torch.is_grad_enabled():
                own = segment.observation_length[segment.group]
                watch.count((own + segment.length).sum(), segment.mask.sum())
            return read(segment)

        setattr(learner, look, counted)
        with tempfile.TemporaryDirectory(prefix="accord-bench-") as folder:
            run = Run(folder, RunConfig(device=self.device, trackers=(), progress=False, checkpoint_seconds=1e9))
            log = run.log

            def told(**figures: Tensor | float) -> None:
                log(**figures)
                loss = figures.get("loss", figures.get("policy_loss", 0.0))
                watch.tick(float(loss), float(figures["gradient_norm"]))

            run.log = told  # type: ignore[method-assign]
            # In the order of the file, as the peer reads it.
            run.deal = lambda count, size: torch.arange(run.at * size, (run.at + 1) * size) % count  # type: ignore[method-assign]
            watch.begin()
            train(run)
        return watch.told()


def learn_dpo(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    rows, policy = comparisons_of(shop.some("pairs", wish)), shop.policy()
    config = dpo.Config(batch=wish["batch"], micro_tokens=shop.job["micro"], optimiser=ADAM)
    return shop.trained(policy, "evaluate", lambda run: dpo.train(config, policy, rows, run))


def learn_reward(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    rows, scorer = comparisons_of(shop.some("pairs", wish)), shop.scorer()
    config = reward_model.Config(batch=wish["batch"], centring=0, micro_tokens=shop.job["micro"], optimiser=ADAM)
    return shop.trained(scorer, "score", lambda run: reward_model.train(config, scorer, rows, run))


def learn_sft(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    shown, policy = shop.some("examples", wish), shop.policy()
    rows = segment_of([row["prompt_ids"] for row in shown], [(n, row["answer_ids"]) for n, row in enumerate(shown)])
    epochs = wish["steps"] * wish["batch"] / wish["count"]
    config = sft.Config(batch=wish["batch"], epochs=epochs, micro_tokens=shop.job["micro"], optimiser=ADAM)
    return shop.trained(policy, "evaluate", lambda run: sft.train(config, policy, rows, run))


def worth(rollout: Rollout) -> Tensor:
    """A rule that costs nothing: mean of (token id mod 7) / 7; the peer has the same."""
    each = torch.where(rollout.mask, (rollout.action % 7).float() / 7, 0.0).sum(1) / rollout.length
    return at_end(each, rollout.length, rollout.action.shape[1])


def learn_groups(
    shop: Workshop, wish: dict[str, Any], kin: str, kl: KL, reference: Callable[[Segment], Tensor] | None = None
) -> dict[str, Any]:
    """GRPO or one of its kin: answers to a prompt are compared with each other, and one step is made of them all."""
    policy, asked = shop.policy(), shop.some("prompts", wish)
    turns = [Text(messages=tuple(Message(**turn) for turn in row["prompt"])) for row in asked]
    prompts = [Prompt(id=str(n), content=content) for n, content in enumerate(turns)]
    encoder = Encoder(shop.tokenizer, EncoderSettings(limit=512))
    # No token ends an answer, so that both sides write and learn the same number.
    sampling = Sampling(max_tokens=wish["tokens"], count=wish["each"], stop=(-1,))
    world = TextWorld(encoder, prompts, Sampler(policy.model), sampling, wish["batch"], 0, "bench")
    steps = wish["count"] // wish["batch"]
    config = grpo.kin(
        kin, iterations=steps, minibatches=1, micro_tokens=shop.job["micro"], kl=kl.model_dump(), old="sampler",
        optimiser=ADAM.model_dump(),
    )  # fmt: skip
    collected: list[Rollout] = []
    collect = world.collect

    def noted(policy: Any) -> Rollout:
        collected.append(collect(policy))
        return collected[-1]

    world.collect = noted  # type: ignore[method-assign]
    told = shop.trained(policy, "evaluate", lambda run: grpo.train(config, policy, world, worth, run, reference))
    if "answers" in wish:
        said: dict[str, list[list[int]]] = {}
        for group, ids in zip(collected[0].group.tolist(), collected[0].action.tolist(), strict=True):
            prompt = asked[int(world.asked(0)[group].id)]["prompt"]
            said.setdefault(prompt[-1]["content"], []).append(ids)
        Path(wish["answers"]).write_text(json.dumps(said), encoding="utf-8")
    return told


def learn_grpo(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    return learn_groups(shop, wish, "grpo", KL(place="none"))


def update_ppo(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    """One pass of PPO's update over answers of random tokens, value head on the policy's trunk."""
    policy = Policy(shop.policy().model, critic="shared")
    seen = [row["prompt_ids"] for row in shop.some("prompts", wish)]
    draw = torch.Generator().manual_seed(0)
    said = torch.randint(8, policy.trunk.vocabulary, (len(seen) * wish["each"], wish["tokens"]), generator=draw)
    rows = segment_of(seen, [(n // wish["each"], ids) for n, ids in enumerate(said.tolist())])
    config = ppo.Config(
        epochs=1, minibatches=wish["batches"], micro_tokens=shop.job["micro"], kl=KL(place="none"), optimiser=ADAM,
        drift_limit=1e9,
    )  # fmt: skip
    zero, ends = torch.zeros(rows.action.shape), torch.ones(len(rows), dtype=torch.bool)
    done = torch.arange(wish["tokens"]) == rows.length[:, None] - 1
    rollout = Rollout(**{f.name: getattr(rows, f.name) for f in fields(rows)}, logprob=zero, done=done, finished=ends)
    rollout, _ = ppo.look_again(rollout, policy, None, config)
    rollout, _ = ppo.with_reward(rollout, worth, 0.0, config)
    rollout = ppo.with_advantage(rollout, config)

    def train(run: Run) -> None:
        run.optimise(ADAM, wish["batches"], policy=policy)
        for _ in run.steps(1):
            with run.learning(policy):
                run.log(**ppo.update(config, policy, rollout, ppo.Prices(config), run, warming=False))

    return shop.trained(policy, "evaluate", train)


def generate(shop: Workshop, wish: dict[str, Any]) -> dict[str, Any]:
    """Sample; with `greedy`, the likeliest tokens, which are told."""
    language = shop.policy().model
    prompts = [row["prompt_ids"] for row in shop.some("prompts", wish)]
    sampling = Sampling(max_tokens=wish["tokens"], count=wish["each"], temperature=0.0 if wish.get("greedy") else 1.0)
    sampler = Sampler(language)
    shop.watch.begin()
    made = sampler.generate(prompts, sampling)
    shop.watch.count(sum(len(one.tokens) for one in made), 0)
    shop.watch.tick(0.0, 0.0)
    return {**shop.watch.told(), "said": [one.tokens for one in made] if wish.get("greedy") else []}


WORKS = {"dpo": learn_dpo, "reward": learn_reward, "sft": learn_sft, "grpo": learn_grpo, "ppo": update_ppo,
         "generate": generate}  # fmt: skip


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    work = weighed(partial(WORKS[given["work"]], Workshop(given)), given)
    serve(work, torch=torch.__version__, transformers=transformers.__version__)
