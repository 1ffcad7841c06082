"""Weights, gradients and moments in shares: each rank keeps a part, and the whole only while it is being used.

FSDP2 (`fully_shard`; Zhao et al. 2023): a layer's weights are gathered before its pass and let go after it, its
gradient is summed over the ranks and each keeps its part, and so is the optimiser's memory. Every rank must then make
as many passes as the others: `split` sees to that. The libraries for it are imported when they are first needed.
"""

from __future__ import annotations

import contextlib
import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from accord.batches import Comparisons, Segment, pack
from accord.config import SettingsError
from accord.judged import Judged
from accord.run import dealing, ranks
from accord.run.pieces import Pieces

B = TypeVar("B", bound=Segment | Comparisons)
PASSES = ("evaluate", "reference", "likely", "score", "states", "values", "each", "read")
"""Methods of a policy or scorer that read its weights."""
_ROOTS: list[nn.Module] = []
"""What the run under way has shared; in the same order on every rank."""
_SPARE: list[Any] = []
"""The shadow of the batch that was shared last, for a rank that has no row of it."""


def shard(modules: Mapping[str, nn.Module], device: torch.device, wanted: bool) -> None:
    """Leave each rank its share of these modules' parameters, where that is wanted and there are several ranks.

    A module inside another one is sharded with that; one without any of `PASSES` (heads, scales) stays whole. Units
    are the items of lists of like modules (the layers of a trunk); what is left of a module is one more unit.
    Parameters that are single numbers stay whole on every rank. Raises SettingsError for a model that makes as many
    passes as its rows happen to need (`uneven`): the ranks would wait for each other in different places.
    """
    _ROOTS.clear()  # those of a run before this one
    _SPARE.clear()
    if not wanted or ranks.count() == 1:
        return
    if uneven := [name for name, module in modules.items() if getattr(module, "uneven", False)]:
        raise SettingsError(
            f"{', '.join(uneven)}: an encoder reads texts of like length together, in as many passes as they need, and "
            "on shares of weights every rank must make as many passes as the others; set run.shard=false"
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    ranks.begin()
    mesh = init_device_mesh(device.type, (ranks.count(),))
    inside = {id(part) for module in modules.values() for part in module.modules() if part is not module}
    read = [module for module in modules.values() if any(hasattr(module, name) for name in PASSES)]
    for root in dict.fromkeys(module for module in read if id(module) not in inside):
        numbers = {p for p in root.parameters() if p.ndim == 0}
        layers = [layer for part in root.modules() if isinstance(part, nn.ModuleList) for layer in _alike(part)]
        for layer in [*layers, root]:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True, ignored_params=numbers)
        for unit in _units(root):
            unit.set_gradient_divide_factor(1.0)  # a sum over ranks, for each loss is divided by the whole count
            unit.set_force_sum_reduction_for_comms(True)  # gloo knows plain sums alone
        _hook(root)
        _ROOTS.append(root)


def sharded() -> bool:
    """Whether there are modules of which this rank has only its share."""
    return len(_ROOTS) > 0


def _alike(part: nn.ModuleList) -> list[nn.Module]:
    """The items of a list of layers."""
    items = list(part)
    return items if len({type(item) for item in items}) == 1 and any(True for _ in part.parameters()) else []


def _units(root: nn.Module) -> list[Any]:
    """The modules that are gathered and let go by themselves."""
    from torch.distributed.fsdp import FSDPModule

    return [part for part in root.modules() if isinstance(part, FSDPModule)]


def _hook(root: nn.Module) -> None:
    """Make each of the root's passes a forward pass in the eyes of FSDP, the outermost where they call each other."""
    from torch.distributed.fsdp import register_fsdp_forward_method

    under_way = [False]

    def passing(self: nn.Module, work: Callable[[], Any]) -> tuple[Any, list[Any]]:
        """What was found, and its tensors by themselves, for FSDP to see where the gradient will come from."""
        made = work()
        return made, [getattr(made, f.name) for f in fields(made)] if is_dataclass(made) else [made]

    anyhow = cast(Any, root)
    anyhow.passing = passing.__get__(root)
    register_fsdp_forward_method(root, "passing")

    def wrapped(work: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(work)
        def whole(*given: Any, **named: Any) -> Any:
            if under_way[0] or _gathered[0]:
                return work(*given, **named)
            under_way[0] = True
            try:
                return anyhow.passing(lambda: work(*given, **named))[0]
            finally:
                under_way[0] = False

        return whole

    for name in PASSES:
        if hasattr(root, name):
            setattr(root, name, wrapped(getattr(root, name)))


_gathered = [False]


@contextlib.contextmanager
def gathered() -> Iterator[None]:
    """The whole weights on every rank, plain, as long as answers are drawn or weights are written. All ranks enter."""
    if not sharded() or _gathered[0]:
        yield
        return
    hooks: list[tuple[Any, Any]] = []
    for root in _ROOTS:
        cast(Any, root).passing(lambda: None)  # FSDP settles who is the root at its first pass
        for unit in _units(root):
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        for part in root.modules():
            hooks.append((part, part._state_dict_pre_hooks))  # they would put the shares back before reading
            part._state_dict_pre_hooks = OrderedDict()
    _gathered[0] = True
    try:
        yield
    finally:
        _gathered[0] = False
        for held, kept in hooks:
            held._state_dict_pre_hooks = kept
        for root in _ROOTS:
            for unit in _units(root):
                unit.reshard()
                unit.set_reshard_after_forward(True, recurse=False)


# --- what a checkpoint holds -------------------------------------------------------------------------------------


def like(value: Any, own: Any) -> Any:
    """A tensor, whole or in pieces on the disk, as the shares that `own` is in; anything else as it is.

    Of pieces this rank reads its share alone.
    """
    if not isinstance(value, Tensor | Pieces):
        return value
    if sharded():
        from torch.distributed.tensor import DTensor, distribute_tensor

        if isinstance(own, DTensor) and tuple(value.shape) == tuple(own.shape):
            if isinstance(value, Tensor):
                return distribute_tensor(value.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
            (chunk,) = cast(Any, own).__create_chunk_list__()
            part = value.read(chunk.offsets, chunk.sizes).to(own.device)
            shape, stride = own.shape, own.stride()
            return DTensor.from_local(
                part, own.device_mesh, own.placements, run_check=False, shape=shape, stride=stride
            )
    return value.whole() if isinstance(value, Pieces) else value


def moments(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimiser's whole state in the shares of its parameters."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    kept = {i: {name: like(v, parameters[int(i)]) for name, v in one.items()} for i, one in state["state"].items()}
    return {**state, "state": kept}


# --- the step ----------------------------------------------------------------------------------------------------


def clip(parameters: Sequence[Tensor], limit: float) -> float:
    """Cut the whole gradient to its largest norm; returns the norm before. Each rank cuts its own shares."""
    from torch.distributed.tensor import DTensor

    plain = [p for p in parameters if not isinstance(p, DTensor)]
    ranks.add_gradients(plain)
    mine = [p.grad.to_local() for p in parameters if isinstance(p.grad, DTensor)]
    both = [p.grad for p in plain if p.grad is not None]
    device = parameters[0].device
    squares = sum((g.float().square().sum() for g in mine), torch.zeros((), device=device))
    norm = (ranks.summed(squares) + sum(g.float().square().sum() for g in both)).sqrt()
    factor = torch.clamp(limit / (norm + 1e-6), max=1.0)
    for gradient in (*mine, *both):
        gradient.mul_(factor.to(gradient.dtype))
    return float(norm)


# --- as many passes on every rank --------------------------------------------------------------------------------


def shadow(batch: B) -> B:
    """One row (or pair) of a batch that counts nothing: a pass over it teaches nothing."""
    first = torch.zeros(1, dtype=torch.long)
    if isinstance(batch, Comparisons):
        pair = batch.pairs(first.to(batch.better.device))
        return cast(B, replace(pair, weight=torch.zeros_like(pair.weight)))
    row = batch.rows(first.to(batch.group.device))
    return cast(B, replace(row, mask=torch.zeros_like(row.mask), weight=torch.zeros_like(row.weight)))


def share(batch: B) -> B:
    """This rank's part of a batch that all ranks have; a rank may have none of it."""
    if sharded() and len(batch):
        _SPARE[:] = [shadow(batch)]
    return ranks.share(batch)


def split(batch: B, tokens: int) -> Iterator[B]:
    """A part's micro-batches; with shared weights followed by shadows until every rank has as many.

    The shadows of a rank that has no row are of the batch that was shared last.
    """
    found = cast(Iterator[B], batch.split(tokens))
    if not sharded():
        return found
    parts = list(found)
    most = max(int(said) for said in ranks.gathered(str(len(parts))))
    spare = shadow(parts[-1]) if parts else cast(B, _SPARE[0].to(batch.weight.device))
    return iter([*parts, *(spare for _ in range(most - len(parts)))])


def parts(batch: Segment | Judged, tokens: int) -> Iterator[tuple[Tensor, float]]:
    """Numbers of this rank's rows (of a Judged: judgements) by micro-batch, each with what it counts, which is 1.

    With shared weights shadows that count 0 follow until every rank has as many. For loops that need to know which row
    is which; `split` is for the others.
    """
    if ranks.count() == 1:
        yield from ((part, 1.0) for part in _numbers(batch, tokens))
        return
    several = ranks.count()
    every = dealing.judgements(batch, several) if isinstance(batch, Judged) else dealing.rows(batch, several)
    mine = every[ranks.rank()]
    own = _numbers(batch.of(mine) if isinstance(batch, Judged) else batch.rows(mine), tokens) if len(mine) else []
    yield from ((mine[part], 1.0) for part in own)
    if sharded():
        most = max(int(said) for said in ranks.gathered(str(len(own))))
        yield from ((torch.zeros(1, dtype=torch.long, device=mine.device), 0.0) for _ in range(most - len(own)))


def _numbers(batch: Segment | Judged, tokens: int) -> list[Tensor]:
    """Row or judgement numbers of micro-batches."""
    return list(batch.split(tokens)) if isinstance(batch, Judged) else pack(batch, tokens)
