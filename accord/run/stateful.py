"""What a checkpoint holds of the things a run keeps track of, and how two of its settings differ."""

from __future__ import annotations

import json
from typing import Any, Protocol

from torch import nn

from accord.run.shards import like


class Stateful(Protocol):
    """Anything that can be put into a checkpoint."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


def state_of(thing: Stateful) -> Any:
    """Its state; of a module only what learns, for the rest is in the weights that it was made from."""
    state = thing.state_dict()
    if isinstance(thing, nn.Module):
        frozen = {name for name, p in thing.named_parameters(remove_duplicate=False) if not p.requires_grad}
        return {name: value for name, value in state.items() if name not in frozen}
    return state


def load_state(thing: Stateful, state: Any) -> None:
    """Put it back. Raises ValueError when the checkpoint is of another model."""
    if not isinstance(thing, nn.Module):
        own = thing.state_dict() if isinstance(state, dict) else {}
        thing.load_state_dict({k: like(v, own.get(k)) for k, v in state.items()} if own else state)
        return
    own = thing.state_dict()
    state = {name: like(value, own.get(name)) for name, value in state.items()}
    missing, unexpected = thing.load_state_dict(state, strict=False)
    frozen = {name for name, p in thing.named_parameters(remove_duplicate=False) if not p.requires_grad}
    if unexpected or set(missing) - frozen:
        raise ValueError(f"checkpoint does not fit: missing {sorted(set(missing) - frozen)}, unexpected {unexpected}")


def difference(old: str, new: str) -> str:
    """Which settings differ, in words."""

    def flat(value: Any, name: str = "") -> dict[str, Any]:
        if isinstance(value, dict) and value:
            return {k: v for key, sub in value.items() for k, v in flat(sub, f"{name}.{key}" if name else key).items()}
        return {name: value}

    a, b = flat(json.loads(old)), flat(json.loads(new))
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    return "; ".join(f"{name}: {a.get(name)!r} there, {b.get(name)!r} here" for name in names[:6])
