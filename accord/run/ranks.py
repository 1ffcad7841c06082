"""Several processes as one: who am I, what is mine, what have we together, and who goes first.

`torchrun` starts N processes that all run the same program. Each is a rank. All ranks hold the same batches, rollouts
and figures; what they share is the work: the passes over the rows. With one process nothing here does anything.
"""

from __future__ import annotations

import atexit
import datetime
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from accord.batches import Comparisons, Segment
from accord.config import SettingsError
from accord.run.account import HERE, Counts, machine_rate, peak_memory, spent
from accord.run.dealing import pairs, rows

B = TypeVar("B", bound=Segment | Comparisons)
PATIENCE = datetime.timedelta(hours=2)
"""How long a rank waits for a silent one; a dead one is noticed at once."""
LATE = 60.0
"""Seconds after which a rank says that it waits for the others to start."""
BUCKET = 1 << 25
"""Numbers of gradients that are sent together."""


class RankLost(ConnectionError):
    """Another process of this run is gone; its own last words say why."""


def count() -> int:
    """How many ranks there are."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= set(os.environ) else 1


def rank() -> int:
    """Which of them this process is, counted from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def leads() -> bool:
    """Whether this is rank 0, which alone writes: store, logs, checkpoints, versions."""
    return rank() == 0


def device(wanted: str) -> torch.device:
    """The device of this rank: `auto` and `cuda` give each process of a machine a GPU of its own.

    Raises SettingsError when there is no such device here, or more processes than GPUs.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted != "cuda" or count() == 1:
        try:
            torch.empty(0, device=wanted)
        except (RuntimeError, AssertionError) as error:
            why = str(error).splitlines()[0][:120]
            raise SettingsError(f"run.device={wanted} is not to be had here ({why}); take `cpu` or `auto`") from error
        if torch.device(wanted).index is not None and torch.device(wanted).type == "cuda":
            torch.cuda.set_device(wanted)  # streams, graphs and Triton's kernels belong to the current one
        return torch.device(wanted)
    here, there = int(os.environ.get("LOCAL_RANK", rank())), torch.cuda.device_count()
    if here >= there:
        raise SettingsError(
            f"process {here} of this machine has no GPU of its own, there are {there}; start at most {there} processes "
            "(--nproc-per-node), or set run.device=cpu"
        )
    torch.cuda.set_device(here)
    return torch.device("cuda", here)


# --- together ----------------------------------------------------------------------------------------------------


def summed(value: Tensor) -> Tensor:
    """The sum over all ranks, bit for bit the same on each."""
    if count() == 1:
        return value
    found = value.detach().clone()
    _together(lambda: dist.all_reduce(found))
    return found


def gathered(text: str) -> list[str]:
    """What each rank says, in the order of the ranks."""
    if count() == 1:
        return [text]
    said = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8) if text else torch.empty(0, dtype=torch.uint8)
    here = _where()
    length = torch.zeros(count(), dtype=torch.long, device=here)
    length[rank()] = len(said)
    _together(lambda: dist.all_reduce(length))
    table = torch.zeros(count(), max(1, int(length.max())), dtype=torch.uint8, device=here)
    table[rank(), : len(said)] = said
    _together(lambda: dist.all_reduce(table))
    return [bytes(row[:size].tolist()).decode() for row, size in zip(table.cpu(), length.tolist(), strict=True)]


def figures(mine: dict[str, float]) -> dict[str, float]:
    """Sums over the ranks by name; a rank that has no figure of a name adds nothing to it."""
    if count() == 1:
        return mine
    total: dict[str, float] = {}
    for said in gathered(json.dumps(mine)):
        for name, value in json.loads(said).items():
            total[name] = total.get(name, 0.0) + value
    return total


def once(work: Callable[[], Any]) -> None:
    """Rank 0 does it, the others wait until it is done: whatever writes what all of them read afterwards."""
    if leads():
        work()
    if count() > 1:
        gathered("done")


def alone(verb: str) -> None:
    """Raises SettingsError when there are several processes: this verb has nothing to share among them."""
    if count() > 1:
        raise SettingsError(
            f"several processes share `accord train`; start {verb} in one, or its stages one by one: "
            "torchrun --nproc-per-node N -m -- accord train METHOD ..."
        )


def agree(text: str, what: str) -> None:
    """All ranks find the same. Raises SettingsError, with what each one found, when they do not."""
    if len(set(said := gathered(text))) > 1:
        found = "; ".join(f"rank {i} found {one}" for i, one in enumerate(said))
        raise SettingsError(f"{what}: {found}. All processes must see the same folder: use a disk that they share.")


def meet(folder: Path) -> None:
    """Make sure that all ranks see the same folder. Raises SettingsError, and says who does not, when they do not."""
    if count() == 1:
        return
    mark = folder / gathered(f".meeting-{os.getpid()}-{time.time_ns()}")[0]
    once(mark.touch)
    for _ in range(20):  # a shared disk may be slow to tell
        if mark.exists():
            break
        time.sleep(0.1)
    try:
        agree("what rank 0 wrote there" if mark.exists() else "nothing of what rank 0 wrote there", f"in {folder}")
    finally:
        if leads():
            mark.unlink(missing_ok=True)


def spending(device: torch.device, precision: torch.dtype) -> dict[str, float]:
    """What all ranks have spent since they were last asked, beside what their machine can do: names of the log."""
    counts, seconds = HERE.take()
    rate = machine_rate(str(device), precision, torch.get_num_threads()) if counts.flops else 0.0
    HERE.pass_over()
    resident, cuda = peak_memory(device)
    if count() > 1:
        said = [json.loads(one) for one in gathered(json.dumps([asdict(counts), rate, resident, cuda]))]
        counts = Counts(**{name: sum(one[0][name] for one in said) for name in said[0][0]})
        rate, resident, cuda = sum(one[1] for one in said), max(o[2] for o in said), max(o[3] for o in said)
    return spent(counts, seconds, rate, resident, cuda)


def add_gradients(parameters: Sequence[Tensor]) -> None:
    """Each parameter's gradient becomes the sum over all ranks; one that no rank has stays None."""
    if count() == 1:
        return
    has = torch.tensor([float(p.grad is not None) for p in parameters], device=_where())
    _together(lambda: dist.all_reduce(has))
    kept = [p for p, ranks in zip(parameters, has.tolist(), strict=True) if ranks]
    kinds = dict.fromkeys((p.dtype, p.device) for p in kept)
    for kind in kinds:
        bucket: list[Tensor] = []
        for p in [p for p in kept if (p.dtype, p.device) == kind]:
            bucket.append(p)
            if sum(b.numel() for b in bucket) >= BUCKET:
                _add(bucket)
                bucket = []
        if bucket:
            _add(bucket)


def _add(bucket: Sequence[Tensor]) -> None:
    """Sum the gradients of some parameters in one message."""
    flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in bucket])
    _together(lambda: dist.all_reduce(flat))
    for p, part in zip(bucket, torch.split(flat, [p.numel() for p in bucket]), strict=True):
        p.grad = part.view_as(p).clone()


def _together(talk: Callable[[], Any]) -> None:
    """Talk to the other ranks. Raises RankLost when one of them is gone."""
    with HERE.time("wait"):
        try:
            begin()
            talk()
        except RuntimeError as error:  # all that torch.distributed raises
            raise lost(error) from error


def lost(error: BaseException) -> RankLost:
    """What an error of torch.distributed means."""
    why = re.sub(r"\[/\S*\] |\. This .*", "", str(error).splitlines()[0] if str(error) else type(error).__name__)
    return RankLost(
        f"rank {rank()} of {count()} lost the others ({why:.120}). The process that ended first says why; the same "
        "command goes on from the last checkpoint."
    )


def begin() -> None:
    """Meet the other ranks: by gloo on the CPU, by NCCL on GPUs."""
    if count() > 1 and not dist.is_initialized():
        late = threading.Timer(LATE, _waits)
        late.daemon = True
        late.start()
        dist.init_process_group(timeout=PATIENCE)
        late.cancel()
        atexit.register(end)


def _waits() -> None:
    """Say that this rank waits for others to start."""
    place = f"{os.environ['MASTER_ADDR']}:{os.environ.get('MASTER_PORT', '')}"
    print(f"accord: rank {rank()} has waited {LATE:.0f} s for all {count()} to meet at {place}", file=sys.__stderr__)


def end() -> None:
    """Take leave of the other ranks: a group still open when Python ends may abort it (pytorch issue 190489)."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _where() -> torch.device:
    """Where small messages are made: gloo talks from main memory whatever the model's device."""
    return torch.device("cpu")


# --- mine --------------------------------------------------------------------------------------------------------


def share(batch: B) -> B:
    """This rank's part of a batch that all ranks have."""
    if count() == 1:
        return batch
    if isinstance(batch, Comparisons):
        return cast(B, batch.pairs(pairs(batch, count())[rank()]))
    return cast(B, batch.rows(rows(batch, count())[rank()]))


def read_one(only: Callable[[Segment], Tensor], segment: Segment, steps: bool = True) -> Tensor:
    """`read` for a pass that finds one tensor."""
    found = read(lambda some: (only(some),), segment, steps)[0]
    assert found is not None
    return found


def read(
    passes: Callable[[Segment], Sequence[Tensor | None]], segment: Segment, steps: bool = True
) -> list[Tensor | None]:
    """What a pass finds of each row: [B, T] tensors, or without `steps` tensors [B, ...] of any shape.

    With gradient a rank reads its own rows, and this is that pass. Without, all ranks ask about the same rows: each
    reads a part of them and all get the whole.
    """
    if count() == 1 or torch.is_grad_enabled():
        return list(passes(segment))
    mine = rows(segment, count())[rank()]
    idle = len(mine) == 0
    found = passes(segment.rows(torch.zeros(1, dtype=torch.long, device=mine.device) if idle else mine))
    whole: list[Tensor | None] = []
    for part in found:
        if part is None:
            whole.append(None)
            continue
        table = part.new_zeros((len(segment), *(segment.action.shape if steps else part.shape)[1:2], *part.shape[2:]))
        if not idle:
            table[(mine, slice(part.shape[1])) if steps else mine] = part
        whole.append(summed(table))
    return whole
