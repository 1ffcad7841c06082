"""A loss beside that of the reward, against forgetting: pretraining texts or demonstrations go on being learned.

PPO-ptx (Ouyang et al. 2022, eq. 2) maximises  E[reward - drift] + weight E_pretraining[log p(x)];  with demonstrations
in place of texts it is replay. Each update of the policy takes a few rows along.
Ours: both losses are means over tokens (the paper's 27.8 stands before a sum over an answer's tokens); rows are dealt
all once before any twice, and how many were dealt belongs to the checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field

from accord.algorithms.sft import negative_log_likelihood
from accord.batches import Segment
from accord.config import Settings
from accord.protocols import Evaluated
from accord.run import Run, seed_of
from accord.run.order import dealt, shuffled

Beside = Callable[[], dict[str, float]]
"""Adds its gradient to the update under way. Returns figures to be summed over ranks."""


class Config(Settings):
    """What PPO, GRPO and best of n learn beside, so that less is forgotten."""

    weight: float = Field(default=0.0, ge=0)
    """Weight of the loss per token of the rows beside; 0 takes none along. Higher forgets less and earns less."""
    source: Literal["pretraining", "demonstrations"] = "pretraining"
    """Plain texts, as in PPO-ptx, or the demonstrations that were imitated (replay)."""
    rows: int = Field(default=16, ge=1)
    """Rows (pieces of texts, or demonstrations) per optimiser step."""


def nothing() -> dict[str, float]:
    """Nothing is learned beside."""
    return {}


class Rehearsal:
    """Known rows, some at each update. Called in the middle of an update, in the mood in which the policy learns."""

    def __init__(
        self,
        config: Config,
        examples: Segment,
        evaluate: Callable[[Segment], Evaluated],
        run: Run,
        micro_tokens: int = 8192,
    ) -> None:
        """evaluate: how likely the policy holds rows. Raises ValueError when no token of the rows counts."""
        if not len(examples) or not examples.mask.any():
            raise ValueError(f"none of the {len(examples)} rows beside has a token to learn: look at their masks")
        self.config, self.examples, self.evaluate = config, examples, evaluate
        self.run, self.micro_tokens, self.turn = run, micro_tokens, 0
        learned = (examples.action, examples.mask, examples.weight, examples.length, examples.observation)
        self.words = hashlib.sha256(b"".join(one.cpu().numpy().tobytes() for one in learned)).hexdigest()
        run.track(beside=self)

    def __call__(self) -> dict[str, float]:
        """weight * sum of w_b (-log p(a_bt)) / sum of w_b over the counted tokens of the rows that come now.

        Returns that loss without its weight.
        """
        seed = seed_of(self.run.config.seed, "beside")
        count = len(self.examples)
        index = dealt(lambda turn: shuffled(seed, turn, count), self.turn, count, self.config.rows)
        self.turn += 1
        batch = self.run.share(self.examples.rows(index)).to(self.run.device)
        total = self.run.total((batch.mask * batch.weight[:, None]).sum())
        loss = 0.0
        for micro in self.run.split(batch, self.micro_tokens):
            lost = negative_log_likelihood(self.evaluate(micro).logprob, micro.mask, micro.weight).sum() / total
            self.run.backward(self.config.weight * lost, micro.names)
            loss += float(lost.detach())
        return {"beside_loss": loss}

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: which rows come next, and of which."""
        return {"turn": self.turn, "rows": len(self.examples), "words": self.words}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint. Raises ValueError when there were other rows."""
        there, words = int(state["rows"]), state.get("words", self.words)  # older ones know their number alone
        if there != len(self.examples) or words != self.words:
            now = f"{len(self.examples)} now" if there != len(self.examples) else "as many others now"
            raise ValueError(
                f"the checkpoint dealt from {there} rows beside, there are {now}; give the same texts, or another name "
                "to begin anew"
            )
        self.turn = int(state["turn"])
