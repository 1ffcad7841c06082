"""A device that claims to be `cuda:0` and works on the CPU: it refuses what a GPU refuses, and counts where one waits.

    with claimed() as device:            see machine.py
        model.to("cuda")                 tensors hold plain ones of the CPU and say that they lie on cuda:0
        device.waits, device.sent        who waited for a GPU, and who sent it a table: (what, where) -> times

Refused are tensors of both devices in one operation (but numbers without axes, and indices), NumPy's view of such a
tensor, and the CPU's generators. Graphs are recorded as a GPU does: a number that is asked for inside breaks them, and
what was computed is not there before the first play. Kernels, their speed, streams and memory it knows nothing of.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

CUDA, CPU = torch.device("cuda:0"), torch.device("cpu")

WAITS = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique", "_unique2", "unique_dim", "unique_consecutive",
    "unique_dim_consecutive", "bincount", "equal", "is_nonzero", "masked_scatter_backward",
}  # fmt: skip
"""Operations after which the processor waits for the GPU, for the shape or the value of what they give."""
STRICT = {
    "index_select", "gather", "scatter", "scatter_add", "index_add", "index_copy", "embedding", "mm", "bmm", "addmm",
    "baddbmm", "masked_scatter", "searchsorted", "cat", "embedding_dense_backward", "isin",
}  # fmt: skip
"""Operations that take no number of the CPU either."""


class Mixed(RuntimeError):
    """Tensors of two devices in one operation."""


class Broken(RuntimeError):
    """Something that a recording cannot hold."""


class Claimed(Tensor):
    """A tensor of the CPU that says it lies on a GPU."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Claimed:
        made: Any = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=CPU
        )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:
        """What it claims."""
        return CUDA

    @property
    def is_cuda(self) -> bool:
        """The same."""
        return True

    @property
    def is_cpu(self) -> bool:
        """The same."""
        return False

    def get_device(self) -> int:
        """The first one."""
        return 0

    @property
    def data(self) -> Any:
        """The same without history."""
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        if not isinstance(value, Claimed):
            raise Mixed(f"a tensor of {value.device} put in the place of one of {CUDA}")
        assert (value.shape, value.dtype) == (self.shape, self.dtype), "a claimed tensor keeps its shape and kind"
        self.held = value.held

    def data_ptr(self) -> int:
        """As good as any for telling memories apart; a GPU gives one too."""
        return self.held.data_ptr()

    def untyped_storage(self) -> Any:
        """For the same use."""
        return self.held.untyped_storage()

    def numpy(self, *, force: bool = False) -> Any:
        """Refused, as by a GPU."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy: use Tensor.cpu() first")

    def tolist(self) -> Any:
        """A copy in main memory, as a list."""
        return self.cpu().tolist()

    def __array__(self, *_: Any, **__: Any) -> Any:
        self.numpy()

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], *_: Any) -> Claimed:
        return Claimed(inner["held"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            made: Any = Claimed(self.held.clone())
            if isinstance(self, torch.nn.Parameter):
                made = torch.nn.Parameter(made, self.requires_grad)
            memo[id(self)] = made.requires_grad_(self.requires_grad)
        return memo[id(self)]

    def __repr__(self, **_: Any) -> str:
        return f"Claimed({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Reached where no `claimed()` is under way."""
        return _done(Device(), func, args, kwargs or {})


class Device(TorchDispatchMode):
    """What was asked of the claimed GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[tuple[str, str]] = Counter()
        """The processor waits for the GPU: operation, and file with line of the package that asked."""
        self.sent: Counter[tuple[str, str]] = Counter()
        """Tensors that go from main memory to the GPU."""
        self.asked = 0
        """All operations."""
        self.since: list[int] = []
        """Of each event that was waited for: how many operations had been asked for after it."""
        self.lent = False
        """Whether torch's own code works for a claimed tensor: what it makes on the way lies there too."""
        self.recording: list[Callable[[], None]] | None = None
        self.made: list[Tensor] = []
        self.coming: list[tuple[Tensor, Tensor]] = []
        """Copies to main memory that nobody waited for yet: to where, and what."""
        self.arrived = 0
        """Such copies that are there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _done(self, func, args, kwargs or {})

    def wait(self, what: str, until: int | None = None) -> None:
        """Note that somebody waits: for all that was asked, or for so many copies that nobody waited for."""
        if self.recording is not None:
            raise Broken(f"operation not permitted when stream is capturing: {what} at {where()}")
        self.waits[what, where()] += 1
        count = len(self.coming) if until is None else max(0, until - self.arrived)
        with _disable_current_modes(), torch.inference_mode():
            for there, tensor in self.coming[:count]:
                there.copy_(tensor)
        self.arrived += len(self.coming[:count])
        del self.coming[:count]

    def come(self, tensor: Tensor) -> Tensor:
        """A copy in pinned memory that nobody waits for yet: until then it holds what no tensor should."""
        if self.recording is not None:
            raise Broken(f"a copy to main memory inside a recording, at {where()}")
        there = torch.empty_like(tensor)
        there.fill_(torch.nan if tensor.is_floating_point() else torch.iinfo(tensor.dtype).min)
        self.coming.append((there, tensor.clone()))
        return there

    def forget(self) -> None:
        """Count from here on."""
        self.waits.clear()
        self.sent.clear()
        self.since.clear()


def _done(on: Device, func: Any, args: Any, kwargs: Any) -> Any:
    """One operation: the device it belongs to, what is refused, what is waited for, and its result."""
    name = func._schema.name.removeprefix("aten::")
    base = name.removesuffix("_")
    given = tensors((args, kwargs))
    mine = [t for t in given if isinstance(t, Claimed)]
    if not mine:
        found = func(*args, **kwargs)
        return Claimed(found) if on.lent and not given and isinstance(found, Tensor) else found
    if composite(func):
        before, on.lent = on.lent, True  # without autograd torch hands composite operations on as they are
        try:
            with on:
                return func.decompose(*args, **kwargs)
        finally:
            on.lent = before
    on.asked += 1
    if base != "copy":
        _refuse(name, base, given, mine, args)
    _waited(on, base, given, mine, args)
    plain_args, plain_named = held((args, kwargs))
    if on.recording is not None:
        return _recorded(on, func, args, plain_args, plain_named)
    found = func(*plain_args, **plain_named)
    return args[0] if base == "copy" else _wrapped(args, kwargs, found)


def tensors(given: Any) -> list[Tensor]:
    """All tensors in tuples, lists and dicts; torch's own walk takes a third of the time of all that is claimed."""
    if isinstance(given, Tensor):
        return [given]
    if isinstance(given, dict):
        given = given.values()
    elif not isinstance(given, tuple | list):
        return []
    return [t for part in given for t in tensors(part)]


def held(given: Any) -> Any:
    """The same with the tensors of the CPU that claimed ones hold."""
    if isinstance(given, Claimed):
        return given.held
    if isinstance(given, dict):
        return {name: held(part) for name, part in given.items()}
    return type(given)(map(held, given)) if type(given) in (tuple, list) else given


@cache
def composite(func: Any) -> bool:
    """Whether an operation is made of others."""
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"))


def _refuse(name: str, base: str, given: list[Tensor], mine: list[Claimed], args: Any) -> None:
    """Raises Mixed for tensors of two devices."""
    others = [t for t in given if not isinstance(t, Claimed)]
    if base in ("index", "index_put", "_index_put_impl", "_unsafe_index"):  # indices may lie in main memory
        allowed = {id(t) for t in args[1] if t is not None} if isinstance(args[0], Claimed) else set()
        others = [t for t in others if id(t) not in allowed]
    others = [t for t in others if t.ndim or base in STRICT]
    if mine and others:
        raise Mixed(
            f"Expected all tensors to be on the same device, but found cuda:0 and cpu in {name} at {where()}: "
            f"{[(t.device.type, tuple(t.shape)) for t in given]}"
        )


def _waited(on: Device, base: str, given: list[Tensor], mine: list[Claimed], args: Any) -> None:
    """Count what waits and what is sent."""
    if base in WAITS or (base == "repeat_interleave" and len(given) == 1):
        on.wait(base)
    elif base == "copy" and len(mine) < 2:
        late = len(args) > 2 and bool(args[2])
        if isinstance(args[0], Claimed):
            _send(on, late)
        else:
            if late:
                raise Broken(f"a copy into memory that may be swapped out, at {where()}: who reads it may be early")
            on.wait("copy to cpu")
    elif base in ("index", "index_put", "_index_put_impl"):
        for t in args[1]:
            if t is None:
                continue
            if not isinstance(t, Claimed):
                _send(on)
            if t.dtype in (torch.bool, torch.uint8) and (base == "index" or args[2].numel() != 1):
                on.wait("index by bools")  # one number for all is filled in without waiting


def _send(on: Device, late: bool = False) -> None:
    """A copy to the GPU; unless it is made when the GPU comes to it, the processor waits for all before it."""
    if on.recording is not None:
        raise Broken(f"a copy from main memory inside a recording, at {where()}")
    on.sent["copy to gpu", where()] += 1
    if not late:
        on.wait("copy to gpu")


def _wrapped(args: Any, kwargs: Any, found: Any) -> Any:
    """The result as claimed tensors; what was changed in place is the very tensor that was given."""
    own = {id(t.held): t for t in tensors((args, kwargs)) if isinstance(t, Claimed)}

    def one(t: Any) -> Any:
        if not isinstance(t, Tensor) or isinstance(t, Claimed):
            return t
        return own.get(id(t)) if id(t) in own else Claimed(t)

    return one(found) if isinstance(found, Tensor) else tree.tree_map(one, found)


def _recorded(on: Device, func: Any, args: Any, run_args: Any, run_kwargs: Any) -> Any:
    """One operation inside a recording: done now for the shapes, and again at each play, into the same memory."""
    assert on.recording is not None
    found = func(*run_args, **run_kwargs)
    views = any(a.alias_info is not None for a in func._schema.returns)
    writes = any(a.alias_info is not None and a.alias_info.is_write for a in func._schema.arguments)
    fresh = [] if views else [t for t in tree.tree_leaves(found) if isinstance(t, Tensor)]
    on.made += fresh
    if writes or fresh:

        def again() -> None:
            made = func(*run_args, **run_kwargs)
            for old, new in zip(fresh, [t for t in tree.tree_leaves(made) if isinstance(t, Tensor)], strict=False):
                old.copy_(new)

        on.recording.append(again)
    return args[0] if func._schema.name == "aten::copy_" else _wrapped(args, {}, found)


def where() -> str:
    """File and line of the package from which this was asked; of the caller's own file where it is none of that."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if "/accord/" in file and "/site-packages/" not in file:
            return f"{file.rsplit('/accord/', 1)[1]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


class Calls(TorchFunctionMode):
    """Devices that are named in a call: what is made there, and what moves. Beneath it torch knows the CPU alone."""

    def __init__(self, on: Device) -> None:
        super().__init__()
        self.on = on

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        mine = any(isinstance(t, Claimed) for t in tensors((args, named)))
        before, self.on.lent = self.on.lent, mine
        try:
            if name == "new_tensor" and mine and named.get("device") is None:
                self.on.lent = False
                return self._there(torch.tensor(*args[1:], **{"dtype": args[0].dtype, **named}), "tensor")
            if name == "pin_memory" and isinstance(args[0], Tensor):
                return args[0].clone()
            if name in ("to", "cpu", "cuda") and args and isinstance(args[0], Tensor):
                return self._moved(name, args[0], args[1:], named)
            wanted = torch.device(named["device"]) if named.get("device") is not None else None
            if wanted is None or wanted.type not in ("cuda", "cpu"):
                return func(*args, **named)
            draw = named.get("generator")
            if wanted.type == "cuda" and draw is not None and draw.device.type == "cpu":
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            self.on.lent = False
            made = func(*args, **{**named, "device": CPU})
            return made if isinstance(made, Claimed) == (wanted.type == "cuda") else self._there(made, name)
        finally:
            self.on.lent = before

    def _there(self, made: Any, name: str) -> Any:
        """A fresh tensor on the other device; a copy where it was not made for this."""
        if isinstance(made, Claimed):
            return made.held
        if not isinstance(made, Tensor):
            return made
        if name in ("tensor", "as_tensor", "asarray"):
            _send(self.on)
        there = Claimed(made.detach().clone())
        return there.requires_grad_() if made.requires_grad else there

    def _moved(self, name: str, tensor: Tensor, args: Any, named: dict[str, Any]) -> Any:
        """`to`, `cpu` and `cuda`."""
        if name != "to":
            args, named = (), {"device": name}
        other = next((a for a in (*args, named.pop("other", None)) if isinstance(a, Tensor)), None)
        places = [a for a in (*args, named.pop("device", None)) if isinstance(a, str | torch.device | int)]
        places = [a for a in places if not isinstance(a, bool)]
        kinds = [a for a in (*args, named.pop("dtype", None)) if isinstance(a, torch.dtype)]
        kind = other.dtype if other is not None else kinds[0] if kinds else tensor.dtype
        place = torch.device(places[0]) if places else None if other is None else other.device
        if place is None or place.type == tensor.device.type:
            return tensor.type(kind) if not named.get("copy") else tensor.clone().type(kind)
        if place.type == "meta":
            return torch.empty_like(tensor, device="meta", dtype=kind)
        return Moved.apply(tensor, self.on, bool(named.get("non_blocking"))).type(kind)


class Moved(torch.autograd.Function):
    """From one device to the other, and the gradient back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, on: Device, late: bool) -> Tensor:
        """A copy there."""
        ctx.on = on
        if isinstance(tensor, Claimed):
            if late:
                return on.come(tensor.held.detach())
            on.wait("copy to cpu")
            return tensor.held.detach().clone()
        _send(on, late)
        return Claimed(tensor.detach().clone())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        """A copy here."""
        return Moved.apply(grad, ctx.on, False), None, None
