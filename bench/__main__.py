"""Accord's own work on this machine, as a share of the rate of matrix products that the machine reaches.

`make bench` prints the table and writes bench/results/cpu.json (or cuda.json): rows of work, unit, accord,
limit_share, peak_mb, spread. Times are medians of several rounds; ratios, not seconds, are what can be compared.
Sampling is measured beside transformers' own generate on the same weights.
"""

from __future__ import annotations

import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from rich.console import Console
from rich.table import Table

from accord.algorithms.reward_model import pairwise
from accord.algorithms.sft import negative_log_likelihood
from accord.batches import Segment, padded
from accord.protocols import Sampling
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer

ROUNDS = 5
SIZES = {"lab, 0.6 M": (128, 3, 4, 320), "small, 5 M": (256, 4, 4, 4096)}


def model_of(width: int, layers: int, heads: int, words: int, kind: type) -> torch.nn.Module:
    """A Llama with random weights."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=words, hidden_size=width, intermediate_size=8 * width // 3 // 8 * 8, num_hidden_layers=layers,
        num_attention_heads=heads, max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=0,
        bos_token_id=1, eos_token_id=2, num_labels=1,
    )  # fmt: skip
    return kind(config).eval()


def answers(groups: int, prompt: int, each: int, tokens: int, words: int) -> Segment:
    """Groups of answers to one prompt each."""
    draw = torch.Generator().manual_seed(0)
    observation = torch.randint(3, words, (groups, prompt), generator=draw)
    action, length = padded(torch.randint(3, words, (groups * each, tokens), generator=draw).tolist())
    return Segment(
        observation=observation,
        observation_length=torch.full((groups,), prompt),
        group=torch.arange(groups).repeat_interleave(each),
        action=action,
        length=length,
        mask=torch.ones_like(action, dtype=torch.bool),
        weight=torch.ones(groups * each),
        names=tuple(map(str, range(groups * each))),
    )


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of a call, and (max - min) / median; the first call is not counted."""
    work()
    spent = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begun)
    middle = statistics.median(spent)
    return middle, (max(spent) - min(spent)) / middle


def matmul_rate(size: int = 1024) -> float:
    """FLOP per second of a plain matrix product."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / timed(lambda: a @ b)[0]


def parameters(model: torch.nn.Module) -> int:
    """Weights that every token is multiplied with: all but the word table, which counts once as the output."""
    return sum(p.numel() for p in model.parameters())


def main() -> None:
    """Measure, show, write."""
    limit = matmul_rate()
    rows: list[dict[str, object]] = []

    def add(work: str, unit: str, rate: float, spread: float, flop: float | None, peer: float | None = None) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = {"work": work, "unit": unit, "accord": rate, "limit_share": flop and flop * rate / limit, "peer": peer}
        rows.append({**row, "ratio": peer and rate / peer, "peak_mb": round(peak), "spread": round(spread, 3)})

    for name, (width, layers, heads, words) in SIZES.items():
        language = model_of(width, layers, heads, words, transformers.LlamaForCausalLM)
        policy, n = Policy(language), parameters(language)
        batch = answers(32, 24, 4, 32, words)

        def learn(policy: Policy = policy, batch: Segment = batch) -> None:
            now = policy.evaluate(batch)
            negative_log_likelihood(now.logprob, batch.mask, batch.weight).mean().backward()

        seconds, spread = timed(learn)
        add(f"{name}: answers learned from (SFT, PPO update)", "tokens/s", batch.tokens / seconds, spread, 6 * n)
        scorer = Scorer(model_of(width, layers, heads, words, transformers.LlamaForSequenceClassification))

        def judge(scorer: Scorer = scorer, batch: Segment = batch) -> None:
            score = scorer.score(batch)
            pairwise(score[::2], score[1::2], torch.ones(len(score) // 2)).mean().backward()

        seconds, spread = timed(judge)
        add(f"{name}: reward model, 4 answers a prompt", "tokens/s", batch.tokens / seconds, spread, 6 * n)
        ours, theirs = sampling(language, words)
        add(f"{name}: sampling, 64 prompts x 4 x 32", "tokens/s", *ours, 2 * n, theirs)
    show(rows, limit)


def sampling(language: torch.nn.Module, words: int) -> tuple[tuple[float, float], float]:
    """Tokens per second and spread of our sampler, and tokens per second of transformers' generate."""
    prompts = torch.randint(3, words, (64, 24))
    sampler, asked = Sampler(language), Sampling(max_tokens=32, count=4)

    def ours() -> object:
        return sampler.generate(prompts.tolist(), asked)

    def theirs() -> object:
        return language.generate(  # type: ignore[operator]
            prompts, do_sample=True, max_new_tokens=32, min_new_tokens=32, num_return_sequences=4, top_k=0
        )

    made = 64 * 4 * 32
    seconds, spread = timed(ours)
    return (made / seconds, spread), made / timed(theirs)[0]


def show(rows: list[dict[str, object]], limit: float) -> None:
    """The table, and the file."""
    table = Table(title=f"limit: {limit / 1e9:.0f} GFLOP/s with {torch.get_num_threads()} threads")
    for column in ("work", "unit", "accord", "share of limit", "transformers", "ratio"):
        table.add_column(column)
    for row in rows:
        shown = [row["limit_share"], row["peer"], row["ratio"]]
        cells = ["" if v is None else f"{v:.2f}" if i != 1 else f"{v:,.0f}" for i, v in enumerate(shown)]
        table.add_row(str(row["work"]), str(row["unit"]), f"{row['accord']:,.0f}", *cells)
    Console().print(table)
    where = Path(__file__).parent / "results" / "cpu.json"
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
    made = {"machine": platform.machine(), "threads": torch.get_num_threads(), "versions": versions, "rows": rows}
    where.write_text(json.dumps({**made, "limit_gflops": limit / 1e9}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
