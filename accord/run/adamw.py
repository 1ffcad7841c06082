"""AdamW as torch computes it, in one pass over weights, gradients and moments, without the import of its compiler.

`torch.optim.AdamW` imports `torch._dynamo`, and with it 70 MB of other libraries, as soon as one is made. What it calls
to compute, `torch.optim.adamw.adamw`, does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from accord.run.slack import give_back

FIXED = {
    "amsgrad": False,
    "foreach": None,
    "maximize": False,
    "capturable": False,
    "differentiable": False,
    "fused": True,
    "decoupled_weight_decay": True,
}
"""What else `torch.optim.AdamW` keeps with each group: a checkpoint of one can be read by the other."""
MOMENTS = "exp_avg", "exp_avg_sq"
MUCH = 1 << 27
"""Bytes of moments from which on freed memory is given back before they are made: it takes a tenth of a second."""


class AdamW:
    """The step of `torch.optim.AdamW(..., fused=True)` to the bit, with the same groups, state and checkpoints.

    w <- w - rate decay w;  m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;
    w <- w - rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)    (Loshchilov and Hutter 2019)
    """

    def __init__(
        self, groups: Sequence[dict[str, Any]], rate: float, betas: tuple[float, float], epsilon: float
    ) -> None:
        """groups: `params` with what differs for them of lr, weight_decay and whatever a caller wants to keep."""
        shared = {"lr": rate, "betas": betas, "eps": epsilon, "weight_decay": 0.0, **FIXED}
        self.param_groups: list[dict[str, Any]] = [{**group, **_rest(shared, group)} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = {}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients. Raises ValueError when they are to be kept as zeros, which nobody needs."""
        if not set_to_none:
            raise ValueError("gradients are forgotten and not set to zero; call zero_grad() without set_to_none=False")
        for weight in self._weights():
            weight.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every weight that has a gradient. Raises RuntimeError for a sparse gradient."""
        moments = 2 * sum(w.numel() * w.element_size() for w in self._weights() if w.grad is not None)
        if not self.state and moments >= MUCH:
            give_back()  # the first pass left holes that moments, which stay, do not fit into
        for group in self.param_groups:
            moving = [w for w in group["params"] if w.grad is not None]
            grads = [w.grad for w in moving]
            if any(grad.is_sparse for grad in grads):
                raise RuntimeError("AdamW moves all of a weight, and this gradient is sparse; set sparse=False")
            for weight in moving:
                if weight not in self.state:
                    count = torch.zeros((), dtype=torch.float32, device=weight.device)
                    self.state[weight] = {"step": count, **{name: torch.zeros_like(weight) for name in MOMENTS}}
            counts, first, second = ([self.state[w][name] for w in moving] for name in ("step", *MOMENTS))
            adamw(
                moving, grads, first, second, [], counts, fused=True, amsgrad=False, beta1=group["betas"][0],
                beta2=group["betas"][1], lr=group["lr"], weight_decay=group["weight_decay"], eps=group["eps"],
                maximize=False,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Moments by the number of their weight, and the groups with numbers in place of weights."""
        number = {weight: at for at, weight in enumerate(self._weights())}
        groups, at = [], 0
        for group in self.param_groups:
            size = len(group["params"])
            groups.append({**_rest(group, ("params",)), "params": list(range(at, at + size))})
            at += size
        return {"state": {number[w]: kept for w, kept in self.state.items()}, "param_groups": groups}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another stood. Raises ValueError when its groups are of other sizes."""
        mine, theirs = ([len(g["params"]) for g in groups] for groups in (self.param_groups, state["param_groups"]))
        if mine != theirs:
            raise ValueError(f"the optimiser's state has groups of {theirs} weights, this model of {mine}")
        weights = self._weights()
        numbers = [n for group in state["param_groups"] for n in group["params"]]
        by = {str(n): weight for n, weight in zip(numbers, weights, strict=True)}
        self.state = {by[str(n)]: _placed(by[str(n)], kept) for n, kept in state["state"].items()}
        for group, kept in zip(self.param_groups, state["param_groups"], strict=True):
            group.update(_rest(kept, ("params",)))

    def _weights(self) -> list[Tensor]:
        return [weight for group in self.param_groups for weight in group["params"]]


def _rest(values: dict[str, Any], without: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in without}


def _placed(weight: Tensor, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is kept of a weight, in its precision and where it lies; the count of steps stays in fp32."""
    there = {name: value.to(device=weight.device, dtype=weight.dtype) for name, value in kept.items() if name != "step"}
    return {"step": kept["step"].to(device=weight.device, dtype=torch.float32), **there}
