"""A second look at what was collected, by the trainer; or only at a part of it, where the sampler can be believed.

What an answer's tokens were worth to the policy that wrote them is known to the sampler already. Whether its numbers
are the trainer's is found out on some rows of each rollout: where none is further away than `EXACT`, they are taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from accord.algorithms.functional import kl, mean
from accord.batches import Rollout, Segment, pack
from accord.protocols import Evaluated

EXACT = 1e-4
"""Nats by which the sampler and the trainer may differ about any token of the rows that are looked at."""
ROWS = 512
"""Tokens of the rows that are looked at, prompts counted once; at least one row."""


class Looked(Protocol):
    """Settings of a second look."""

    @property
    def old(self) -> Literal["trainer", "sampler"]: ...

    @property
    def micro_tokens(self) -> int: ...

    @property
    def drift_limit(self) -> float: ...


@torch.no_grad()
def look_again(
    rollout: Rollout, policy: Any, reference: Callable[[Segment], Tensor] | None, config: Looked
) -> tuple[Rollout, dict[str, float]]:
    """The rollout with old log-probabilities, values, and the reference's log-probabilities.

    The old ones are the trainer's own, or the sampler's where `believed` says so; the entropy is then told by the
    tokens that were drawn, as the mean of -log p. Raises ArithmeticError when the sampler's log-probabilities are
    further from the trainer's than `drift_limit`.
    """
    logprob, entropy = torch.zeros_like(rollout.logprob), torch.zeros_like(rollout.logprob)
    value, referred = torch.zeros_like(logprob), torch.zeros_like(logprob)
    ask, checked = believed(rollout, policy) if config.old == "sampler" else (policy.evaluate, None)
    for index in pack(rollout, config.micro_tokens):
        micro = rollout.rows(index)
        now, steps = ask(micro), micro.mask.shape[1]
        logprob[index, :steps], entropy[index, :steps] = now.logprob, now.entropy
        if now.value is not None:
            value[index, :steps] = now.value
        if reference is not None:
            referred[index, :steps] = reference(micro)
    drift = mean((logprob - rollout.logprob).abs(), rollout.mask) if checked is None else checked
    if not drift <= config.drift_limit:  # so that a sampler's NaN is caught too
        raise ArithmeticError(
            f"sampler and trainer differ by {drift:.4f} nats per token on average, more than drift_limit="
            f"{config.drift_limit}. Look for another temperature, dropout, old weights or precision in the sampler."
        )
    answers, referred = len(rollout), referred if reference is not None else logprob
    kept = replace(rollout, logprob=logprob, value=value, reference=referred)
    return kept, {
        "kl": float(torch.where(rollout.mask, kl(logprob, referred, "k1"), 0.0).sum() / answers),
        "kl_k3": float(torch.where(rollout.mask, kl(logprob, referred, "k3"), 0.0).sum() / answers),
        "entropy": float(mean(entropy, rollout.mask)),
        "sampler_drift": float(drift),
        "length": float(rollout.mask.sum() / answers),
        "finished": float(rollout.finished.float().mean()),
    }


def believed(rollout: Rollout, policy: Any) -> tuple[Callable[[Rollout], Evaluated], Tensor | None]:
    """Who is asked about each part of a rollout, and the mean distance on the rows that were looked at.

    The sampler, with the critic's values where the critic stands beside the policy. The policy itself, and None, when
    some token is further away than `EXACT`, and when its values come out of the same pass and would cost as much.
    """
    some = pack(rollout, ROWS)[-1]  # the shortest groups; each rollout has others
    part = rollout.rows(some)
    now = policy.evaluate(part)
    apart = (now.logprob - part.logprob).abs()[part.mask]
    exact = bool((apart <= EXACT).all()) and len(apart) > 0
    values = getattr(policy.critic, "values", None) if now.value is not None else None
    if not exact or (now.value is not None and values is None):
        return policy.evaluate, None

    def ask(micro: Rollout) -> Evaluated:
        said = torch.where(micro.mask, micro.logprob, 0.0)
        return Evaluated(said, -said, values(micro) if values is not None else None)

    return ask, apart.mean()
