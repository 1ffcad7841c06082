"""Accord on a GPU in bf16: `python -m bench.cuda` writes bench/results/cuda.json; `--tiny` tries it anywhere.

Random Llamas of 0.5 and 1 billion weights. First Accord alone: each work is a run of the library whose own log says
what was reached, counted operations over time over the rate of plain matrix products (docs/run.md). The first step, in
which kernels are made, is left out. `--peak` names the card's dense peak in TFLOP/s where the share of that is wanted.
With `--beside` then Accord beside TRL, as on a processor: two processes, turn by turn, equal work first.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from accord.algorithms import ppo, sft
from accord.algorithms.ppo import KL
from accord.batches import Rollout, Segment
from accord.protocols import Sampling
from accord.records import Message, Prompt, Text
from accord.run import OptimiserConfig, Run, RunConfig, read_log, speed, where_time_went
from accord.run.account import machine_rate
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy
from accord.worlds.text.world import TextWorld
from bench import material
from bench.__main__ import PEER, versions
from bench.compare import compare
from bench.limit import matmul_rate
from bench.ours import worth
from bench.works import Work, some

RESULTS = Path(__file__).parent / "results" / "cuda.json"
SIZES = {
    "0.5 B": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    "1 B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
}
TINY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
KEYS = 8
"""Heads of keys and values in the larger two."""
WORDS = 32768
ADAM = OptimiserConfig(learning_rate=1e-5, schedule="constant", warmup=0)
LOOSE = 100.0
"""How much further apart than in fp32 losses and norms of both sides may be in bf16, whose numbers have 8 bits."""
AT_ONCE = ({"rows": 8}, {"rows": 16}, {"rows": 32})
STEP = ({"rows": 128, "cache": None}, {"rows": 32, "cache": None}, {"rows": 128, "cache": "static"})
BESIDE = (
    Work("sft", "SFT", "tokens/s", "{}", some(256, 256, steps=2), 1,
         ({"rows": 16, "packing": True, "length": 512}, {"rows": 32, "packing": True, "length": 512},
          {"rows": 32, "packing": False, "length": 512}), check=some(16, 16, steps=1)),
    Work("dpo", "DPO, policy and reference", "pairs/s", "{}", some(128, 64), 1,
         (*AT_ONCE, {"rows": 16, "in_advance": True}), check=some(8, 8)),
    Work("reward", "Reward model, decoder", "pairs/s", "{} scorer", some(128, 64), 1, AT_ONCE, check=some(8, 8)),
    Work("grpo", "GRPO step, 16 prompts x 8 answers x 128 tokens", "steps/s", "{}",
         some(16, 16, each=8, tokens=128), 1, STEP, check=some(2, 2, each=4, tokens=16)),
    Work("generate", "Generation, 64 prompts x 4 answers x 128 tokens", "tokens/s", "{}",
         some(64, 64, each=4, tokens=128), 1, ({"cache": None}, {"cache": "static"}),
         check=some(4, 4, each=1, tokens=16)),
)  # fmt: skip
"""What both sides do, with a model of each size; the goal is never to be slower. Greedy answers are not compared: of
two words that are as likely in bf16 each side may take either."""
KINDS = tuple(work.kind for work in BESIDE)
CORES = 4
"""Threads of each side beside a GPU."""
FEW: dict[str, dict[str, Any]] = {
    "grpo": {"rows": 4}, "sft": {"rows": 4}, "dpo": {"rows": 4}, "reward": {"rows": 4},
}  # fmt: skip
"""What the peer takes at once where all of it is tiny."""


class Bench:
    """One size on one device."""

    def __init__(self, shape: dict[str, int], device: str, dtype: torch.dtype, tiny: bool) -> None:
        self.device, self.tiny = device, tiny
        keys = min(KEYS, shape["num_attention_heads"])
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=4096 if tiny else WORDS, num_key_value_heads=keys, max_position_embeddings=2048,
            tie_word_embeddings=True, **shape,
        )  # fmt: skip
        self.model = LlamaForCausalLM(config).to(device, dtype).eval()
        self.draw = torch.Generator().manual_seed(1)
        self.micro = 512 if tiny else 16384

    def rows(self, prompts: int, each: int, prompt: int, answer: int) -> Segment:
        """Random tokens in texts of half to all of these lengths."""
        count = prompts * each
        seen, said = (
            torch.randint(n // 2, n + 1, (c,), generator=self.draw) for n, c in ((prompt, prompts), (answer, count))
        )
        return Segment(
            observation=torch.randint(8, 4096, (prompts, prompt), generator=self.draw),
            observation_length=seen,
            group=torch.arange(prompts).repeat_interleave(each),
            action=torch.randint(8, 4096, (count, answer), generator=self.draw),
            length=said,
            mask=torch.arange(answer) < said[:, None],
            weight=torch.ones(count),
            names=tuple(map(str, range(count))),
        )

    def told(self, train: Callable[[Run], object]) -> dict[str, Any]:
        """What the log of a run says, its first step left out."""
        with tempfile.TemporaryDirectory(prefix="accord-cuda-") as folder:
            train(Run(folder, RunConfig(device=self.device, trackers=(), progress=False, checkpoint_seconds=1e9)))
            rows = read_log(Path(folder) / "log.jsonl")[1:]
        where = {part.name: round(part.share, 3) for part in where_time_went(rows)}
        return {name: round(value, 4) for name, value in speed(rows).items()} | {"where": where}

    def sft(self) -> dict[str, Any]:
        """Imitation, tokens a second."""
        count, steps = (8, 3) if self.tiny else (64, 6)
        rows = self.rows(count, 1, *((24, 16) if self.tiny else (256, 768)))
        config = sft.Config(batch=count, epochs=steps, micro_tokens=self.micro, optimiser=ADAM)
        return self.told(lambda run: sft.train(config, Policy(self.model), rows, run))

    def update(self) -> dict[str, Any]:
        """PPO's update, value head on the policy's trunk; each pass over the rollout is a step of the log."""
        prompts, tokens = (4, 8) if self.tiny else (64, 256)
        rows = self.rows(prompts, 4, 2 * tokens, tokens)
        policy = Policy(self.model, critic="shared").to(self.device)
        config = ppo.Config(
            epochs=1, minibatches=2, micro_tokens=self.micro, kl=KL(place="none"), optimiser=ADAM, drift_limit=1e9
        )
        done = torch.arange(tokens) == rows.length[:, None] - 1
        plain = {f.name: getattr(rows, f.name) for f in fields(rows)}
        rollout = Rollout(**plain, logprob=torch.zeros(done.shape), done=done, finished=done.any(1)).to(self.device)
        rollout, _ = ppo.look_again(rollout, policy, None, config)
        rollout, _ = ppo.with_reward(rollout, worth, 0.0, config)
        rollout = ppo.with_advantage(rollout, config)

        def train(run: Run) -> None:
            run.optimise(ADAM, 8, policy=policy)
            for _ in run.steps(4):
                with run.learning(policy):
                    run.log(**ppo.update(config, policy, rollout, ppo.Prices(config), run, warming=False))

        return self.told(train)

    def iteration(self) -> dict[str, Any]:
        """The whole of PPO: sample, score by a rule, look again, learn."""
        place = material.folder("5 M")
        encoder = Encoder(AutoTokenizer.from_pretrained(place), EncoderSettings(limit=512))
        count, each, tokens = (4, 2, 6) if self.tiny else (64, 8, 128)
        words = [material.babble(random.Random(n), "prompt") for n in range(count)]
        asked = [
            Prompt(id=str(n), content=Text(messages=(Message(role="user", content=w),))) for n, w in enumerate(words)
        ]
        policy = Policy(self.model, critic="shared").to(self.device)
        sampling = Sampling(max_tokens=tokens, count=each, stop=(-1,))
        world = TextWorld(encoder, asked, Sampler(policy.model), sampling, count, 0, "bench")
        config = ppo.Config(
            iterations=3, epochs=1, minibatches=2, micro_tokens=self.micro, kl=KL(place="none"), optimiser=ADAM,
            drift_limit=1e9,
        )  # fmt: skip
        return self.told(lambda run: ppo.train(config, policy, world, worth, run))


def beside(size: str, tiny: bool, kinds: Sequence[str], rounds: int, peer: str | None) -> Iterator[dict[str, Any]]:
    """The rows of a size: both sides where there is a peer. tiny: on the processor, in fp32, with what is looked at."""
    rate = matmul_rate(1, 0.1) if tiny else machine_rate("cuda:0", torch.bfloat16, 1)
    for work in BESIDE:
        if work.kind not in kinds:
            continue
        where = {"device": "cpu" if tiny else "cuda", "dtype": "float32" if tiny else "bfloat16"}
        one = replace(work, size=work.size.format(size), where=where, kept=False)
        if tiny:
            one = replace(one, amount=work.check, peers=(dict(work.peers[0], **FEW.get(work.kind, {})),), micro=512)
        else:
            one = replace(one, micro=16384, loose=LOOSE)
        yield compare(one, 1 if tiny else rounds, torch.get_num_threads() if tiny else CORES, peer, rate)


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, tell, write."""
    read = argparse.ArgumentParser(prog="bench.cuda", description=__doc__)
    read.add_argument("--tiny", action="store_true", help="a model of nothing in fp32 on this machine; no figures kept")
    read.add_argument("--peak", type=float, default=0.0, help="TFLOP/s that the card has at most in dense bf16")
    read.add_argument("--out", type=Path, default=RESULTS)
    read.add_argument("--rounds", type=int, default=3, help="timed pieces of each side")
    read.add_argument(
        "--beside", nargs="*", choices=KINDS, metavar="WORK", help="rows beside TRL too: " + ", ".join(KINDS)
    )
    asked = read.parse_args(given)
    kinds = () if asked.beside is None else asked.beside or KINDS
    if kinds and not PEER.is_file():
        raise SystemExit(f"no peer: {PEER} is missing. `make bench` makes it; or ACCORD_PEERS=PYTHON")
    if not asked.tiny and not torch.cuda.is_available():
        raise SystemExit("no CUDA device here; --tiny tries the same works on the processor")
    device, dtype = ("cpu", torch.float32) if asked.tiny else ("cuda", torch.bfloat16)
    rows = []
    for size, shape in ({"tiny": TINY} if asked.tiny else SIZES).items():
        for work in ("sft", "update", "iteration"):
            found = getattr(Bench(shape, device, dtype, asked.tiny), work)()
            if asked.peak:
                found["peak_share"] = round(found["speed/gflops"] / 1e3 / asked.peak, 3)
            rows.append({"work": work, "size": size, **found})
            print(json.dumps(rows[-1]), flush=True)
        for row in beside(size, asked.tiny, kinds, asked.rounds, str(PEER)):
            rows.append({**row, "size": size})
            print(json.dumps(rows[-1]), flush=True)
    card = "no card" if asked.tiny else torch.cuda.get_device_name()
    made = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "card": card, "torch": torch.__version__}
    if kinds:
        made |= {"versions": versions(str(PEER)), "rounds": asked.rounds}
    if not asked.tiny:
        asked.out.parent.mkdir(exist_ok=True)
        asked.out.write_text(json.dumps({**made, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return {**made, "rows": rows}


if __name__ == "__main__":
    main(sys.argv[1:])
