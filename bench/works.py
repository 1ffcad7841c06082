"""What is compared: each work with its unit, its model, its amount, and the settings a peer may choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Work:
    """One row of the table."""

    kind: str
    """Which function of `ours.py` and `theirs.py`, or of the pages of their kin."""
    name: str
    """What is done; `title` has the model's size behind it."""
    unit: str
    size: str
    """Which model of `material.py`."""
    amount: Mapping[str, Any]
    """A timed piece of work: first, count, batch and whatever the kind needs."""
    goal: float | None
    """The ratio that issue 4 asks for; None where the limit is the peer."""
    peers: tuple[Mapping[str, Any], ...] = ()
    """Settings the peer may choose from; what is fastest on a quarter of the amount is taken. None: no peer."""
    micro: int = 2048
    """Accord's tokens at once."""
    kept: bool = True
    """Whether the peer is timed with Accord's setting of the heap too."""
    check: Mapping[str, Any] = field(default_factory=dict)
    """What the first look at equal losses takes instead of the amount."""
    where: Mapping[str, str] = field(default_factory=dict)
    """`device` and `dtype`; nothing for the processor in fp32."""
    loose: float = 1.0
    """So many times as far apart as in fp32 losses and norms may be."""

    @property
    def title(self) -> str:
        """What the table calls it: the name, and the model's size behind it."""
        return self.name if self.size == "encoder" else f"{self.name}, {self.size.removesuffix(' scorer')}"

    @property
    def side(self) -> str:
        """Behind `bench.ours` and `bench.theirs`: which page has that function."""
        return "_kin" if self.kind in KIN else ""

    @property
    def units(self) -> int:
        """Pairs or answers in one piece of work, where that is its unit."""
        return int(self.amount["count"]) * {"ranking": len(PAIRS), "kto": 2}.get(self.kind, 1)


KIN = {"simpo", "kto", "rloo", "ranking"}
EACH = 9
"""Answers in a ranking."""
PAIRS = [(better, worse) for better in range(EACH) for worse in range(better + 1, EACH)]
"""What a ranking says of its answers, two by two."""


def ranked(pairs: Sequence[Mapping[str, list[int]]], count: int) -> list[tuple[list[int], list[list[int]]]]:
    """Rankings of `EACH` answers to a prompt, the best first, from rows of pairs: nobody's opinion, real lengths."""
    parts = [pairs[n * EACH : (n + 1) * EACH] for n in range(count)]
    return [(part[0]["prompt_ids"], [row["chosen_ids"] for row in part]) for part in parts]


def verdicts(pairs: Sequence[Mapping[str, list[int]]]) -> list[tuple[int, str, bool]]:
    """(number of the pair, which answer, good) for each answer of some pairs; no two neighbours share a prompt."""
    half = len(pairs) // 2
    both = [((n, "chosen_ids", True), ((n + half) % len(pairs), "rejected_ids", False)) for n in range(len(pairs))]
    return [one for two in both for one in two]


def some(count: int, batch: int, **more: Any) -> dict[str, Any]:
    return {"first": 0, "count": count, "batch": batch, **more}


AT_ONCE = ({"rows": 4}, {"rows": 8}, {"rows": 16})
PACKED = ({"rows": 1, "packing": True, "length": 512}, {"rows": 4, "packing": True, "length": 512},
          {"rows": 8, "packing": False, "length": 512})  # fmt: skip
CACHES: tuple[dict[str, Any], ...] = ({"cache": None}, {"cache": "static"})
STEP = ({"rows": 64, "cache": None}, {"rows": 16, "cache": None}, {"rows": 64, "cache": "static"})

WORKS = (
    Work("dpo", "DPO, policy and reference", "pairs/s", "5 M", some(32, 16), 8,
         (*AT_ONCE, {"rows": 8, "in_advance": True}), check=some(8, 8)),
    Work("reward", "Reward model, decoder", "pairs/s", "5 M scorer", some(32, 16), 3, AT_ONCE, check=some(8, 8)),
    Work("sft", "SFT", "tokens/s", "5 M", some(64, 64, steps=2), 2, PACKED, micro=1024, check=some(16, 16, steps=1)),
    Work("grpo", "GRPO step, 8 prompts x 8 answers x 64 tokens", "steps/s", "5 M", some(8, 8, each=8, tokens=64), 7,
         STEP, check=some(2, 2, each=4, tokens=16)),
    Work("generate", "Generation, 16 prompts x 4 answers x 64 tokens", "tokens/s", "5 M",
         some(16, 16, each=4, tokens=64), 4, CACHES, check=some(4, 4, each=1, tokens=16, greedy=True)),
    Work("ppo", "PPO update, 8 prompts x 4 answers x 64 tokens", "tokens/s", "30 M",
         some(8, 8, each=4, tokens=64, batches=2), None, kept=False),
    Work("reward", "Reward model, MiniLM encoder", "pairs/s", "encoder", some(16, 16), 1.5, AT_ONCE[:2], micro=640,
         check=some(8, 8)),
    Work("simpo", "SimPO, no reference", "pairs/s", "5 M", some(32, 16), 8, ({"rows": 2}, *AT_ONCE),
         check=some(8, 8)),
    Work("kto", "KTO, policy and reference", "answers/s", "5 M", some(16, 16), 4,
         ({"rows": 8}, {"rows": 16}, {"rows": 16, "in_advance": True}), check=some(8, 8)),
    Work("rloo", "RLOO step with KL, 8 prompts x 8 answers x 64 tokens", "steps/s", "5 M",
         some(8, 8, each=8, tokens=64), 7, STEP, check=some(2, 2, each=4, tokens=16)),
    Work("ranking", "Reward model, rankings of 9 against 36 pairs", "pairs/s", "5 M scorer", some(2, 2), 10,
         AT_ONCE[:2], check=some(1, 1)),
    Work("dpo", "DPO, policy and reference", "pairs/s", "30 M", some(8, 8), 8, AT_ONCE[:1], kept=False,
         check=some(4, 4)),
    Work("reward", "Reward model, decoder", "pairs/s", "30 M scorer", some(8, 8), 3, AT_ONCE[:1], kept=False,
         check=some(4, 4)),
    Work("sft", "SFT", "tokens/s", "30 M", some(32, 32, steps=1), 2, PACKED[:1], micro=896, kept=False,
         check=some(8, 8, steps=1)),
)  # fmt: skip
"""In the order of importance."""
