"""The workbench: device, seeds, optimiser step, one mean, log, atomic checkpoint, exact resume.

A loop owns its pages; it calls `run.steps`, `run.backward`, `run.step`, `run.log`. Kill the process at any
instant and start the same command again: the final weights are bit for bit those of an undisturbed run. Started by
`torchrun`, several processes are one run: a loop takes its part of a batch (`run.share`) and adds up (`run.total`,
`run.step`); it never asks how many there are.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from accord.batches import Comparisons, Segment
from accord.config import SettingsError
from accord.judged import Judged
from accord.run import gradients, ranks, shards
from accord.run.account import HERE, MEASURED
from accord.run.alone import alone
from accord.run.average import follow
from accord.run.checkpoint import generator_states, newest, restore_generators
from accord.run.log import Log, read_log, still
from accord.run.optimiser import OptimiserConfig, make_optimiser, pace
from accord.run.order import Order, dealt, shuffled
from accord.run.progress import steps_shown
from accord.run.settings import RunConfig, seed_of
from accord.run.stateful import Stateful, difference, load_state, state_of
from accord.run.together import write_together

T = TypeVar("T")
B = TypeVar("B", bound=Segment | Comparisons)


class NonFinite(ArithmeticError):
    """A loss or gradient that is no number; names the rows that were being learned from."""


class Run:
    """One training run in one folder."""

    def __init__(self, folder: str | Path, config: RunConfig, settings: Mapping[str, Any] | None = None) -> None:
        """settings: everything that decides the result; a checkpoint made under others is refused.

        Raises SettingsError while another process has a run in this folder.
        """
        self.folder = Path(folder)
        self.config = config
        self.folder.mkdir(parents=True, exist_ok=True)
        self._alone = alone(self.folder) if ranks.leads() else None
        self.device = ranks.device(config.device)
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.settings: dict[str, Any] = json.loads(json.dumps(dict(settings or {}), default=str, sort_keys=True))
        self.at = 0
        self.total_steps = 0
        self._tracked: dict[str, Stateful] = {}
        self._optimiser: torch.optim.AdamW | None = None
        self._optimiser_config = OptimiserConfig()
        self._precision = torch.float32
        self._updates, self._updates_planned = 0, 1
        self._held: dict[str, Any] = {}
        self._names: list[str] = []
        self._lessons = 0
        self._even = False
        self._saved = time.monotonic()
        self._log: Log | None = None
        self._started = False
        self.last: dict[str, float] = {}
        self.order: Order | None = None
        self.noted: Callable[[], Mapping[str, float]] = dict  # figures that a loop does not know of, for its log

    # --- what a loop prepares -----------------------------------------------------------------------------------

    def track(self, **things: Stateful) -> None:
        """Put things into every checkpoint. Of a module, only what is trained and its buffers are kept.

        An Average follows its module at each step from then on.
        """
        if self._started:
            raise RuntimeError(f"track({', '.join(things)}) after steps(): a resumed run could not restore it")
        self._tracked.update(things)

    def optimise(
        self, config: OptimiserConfig, updates: int, rates: Mapping[str, float] | None = None, **modules: Any
    ) -> None:
        """Train these nn.Modules, in `updates` optimiser steps altogether; they are tracked too."""
        self.track(**modules)
        shards.shard(modules, self.device, self.config.shard)
        self._optimiser = make_optimiser(modules, config, rates or {})
        self._optimiser_config, self._updates_planned = config, max(1, updates)
        self._precision = max((p for m in modules.values() for p in m.parameters()), key=Tensor.numel).dtype

    def generator(self, *name: object) -> torch.Generator:
        """A generator that depends on the seed, the step and the name alone, so it needs no checkpoint."""
        return torch.Generator().manual_seed(seed_of(self.config.seed, self.at, *name))

    # --- the loop -----------------------------------------------------------------------------------------------

    def steps(self, total: int) -> Iterator[int]:
        """Count from 0, or from the newest checkpoint, to `total`; a checkpoint is written between steps."""
        self.total_steps = total
        self._resume()
        self._started = True
        leads = ranks.leads()
        self._log = Log(self.folder, self.config.trackers, self.at, self.settings) if leads else None
        HERE.begin(str(self.folder))
        try:
            shown = self.config.progress and leads
            for step in steps_shown(self.at, total, self.folder.name, shown, lambda: self.last):
                self.at, self._lessons = step, 0
                yield step
                self._held.clear()
                self.at = step + 1
                self._save(force=self.at == total)
            still(self.folder, leads)
        finally:
            if self._log is not None:
                self._log.close()
            self._log = None

    def hold(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        """What `make` returns, kept with the checkpoint: a run killed later in this step does not make it again.

        kind: a dataclass of tensors, strings and tuples, such as a Rollout.
        """
        if name in self._held:
            found = self._held[name]
            return kind(**{k: v.to(self.device) if isinstance(v, Tensor) else v for k, v in found.items()})
        made = make()
        self._held[name] = {f.name: getattr(made, f.name) for f in fields(made)}  # type: ignore[arg-type]
        self._save()
        return made

    def deal(self, count: int, size: int) -> Tensor:
        """[size] int64: the numbers that come at this step when `count` things are dealt, all once before any twice.

        The order is a fresh shuffle each time round, fixed by the seed and the step alone; or it is that of `order`.
        """
        if self.order is not None:
            return self.order(self, count, size)
        return dealt(lambda turn: shuffled(self.config.seed, turn, count), self.at, count, size)

    def last_figures(self) -> dict[str, float]:
        """The figures of the last step in the log, for a run that was already whole when it was started again."""
        rows = read_log(self.folder / "log.jsonl")
        plain = {k: v for k, v in (rows[-1] if rows else {}).items() if v is not None}
        return {k: v for k, v in plain.items() if k not in ("step", "time") and not k.startswith(MEASURED)}

    def total(self, count: Tensor | float) -> Tensor:
        """The sum over all ranks, at least 1e-8 so that it can be divided by."""
        return ranks.summed(torch.as_tensor(count, dtype=torch.float32, device=self.device)).clamp_min(1e-8)

    def share(self, batch: B) -> B:
        """This rank's part of a batch that all ranks have, dealt by tokens; all of it where there is one process."""
        return shards.share(batch)

    def split(self, batch: B, tokens: int) -> Iterator[B]:
        """Micro-batches of this rank's part, of at most `tokens`; as many on every rank where weights are shared."""
        self._even = True
        return shards.split(batch, tokens)

    def parts(self, batch: Segment | Judged, tokens: int) -> Iterator[tuple[Tensor, float]]:
        """Numbers of this rank's rows (or judgements) by micro-batch, each with what it counts: 1, a shadow 0."""
        self._even = True
        return shards.parts(batch, tokens)

    def whole(self, part: Tensor) -> Tensor:
        """A table in which each rank has filled in its own rows, the rest being zero, with the rows of all."""
        return ranks.summed(part)

    def sum(self, **parts: Tensor | float) -> dict[str, float]:
        """Figures that each rank has summed over its own part of a batch, summed over all ranks."""
        return ranks.figures({name: float(value) for name, value in parts.items()})

    def backward(self, loss: Tensor, names: Sequence[str] = ()) -> None:
        """Add the loss's gradient. Raises NonFinite, naming rows, when the loss is no number."""
        self._names.extend(names)
        if shards.sharded() and not self._even:
            raise SettingsError(
                f"{self.folder.name}: this method cannot work on shares of weights; set run.shard=false"
            )
        if loss.device.type == "cpu" and not torch.isfinite(loss):  # a GPU is not waited for: `step` looks at the norm
            raise NonFinite(
                f"{self.folder.name}: the loss is {loss.item()} at step {self.at}, rows {_some(names)}. "
                "Look at these rows; a smaller learning rate or fp32 often helps."
            )
        gradients.backward(loss, direct=not shards.sharded())

    @HERE.time("update")
    def step(self, **parts: Tensor | float) -> dict[str, float]:
        """Add up over all ranks, clip, move the parameters, forget the gradient.

        parts: figures as for `sum`. Returns them, the gradient's norm and the learning rate. Raises NonFinite when the
        gradient is no number; the parameters have not been moved then.
        """
        assert self._optimiser is not None, "call run.optimise(...) before run.step()"
        groups = self._optimiser.param_groups
        parameters = [p for g in groups for p in g["params"]]
        if shards.sharded():
            norm = shards.clip(parameters, self._optimiser_config.clip)
        else:
            ranks.add_gradients(parameters)
            norm = gradients.clipped(parameters, self._optimiser_config.clip)
        if not math.isfinite(norm):
            self._optimiser.zero_grad(set_to_none=True)
            raise NonFinite(
                f"{self.folder.name}: the gradient's norm is {norm} at step {self.at}, rows {_some(self._names)}. "
                "Nothing was changed by it; a smaller learning rate, or fp32, often helps."
            )
        rate = pace(self._optimiser, self._optimiser_config, self._updates, self._updates_planned)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        follow(self._tracked.values())
        self._updates += 1
        self._names.clear()
        self._even = False
        return {**self.sum(**parts), "gradient_norm": norm, "learning_rate": rate}

    def forgo(self, updates: int) -> None:
        """Pass over updates that were planned and will not be made, so that the schedule still comes to its end."""
        self._updates += updates

    def log(self, **figures: Tensor | float) -> None:
        """Keep figures of this step; they also stand beside the progress bar."""
        assert self._log is not None or not ranks.leads(), "log() belongs inside the loop over steps()"
        self.last = {name: float(value) for name, value in {**figures, **self.noted()}.items()}
        account = ranks.spending(self.device, self._precision)
        if self._log is not None:
            self._log.write(self.at, {**self.last, **account})

    @contextlib.contextmanager
    def learning(self, module: object) -> Iterator[None]:
        """Training mode inside (dropout and checkpointing act), evaluation mode after: elsewhere nothing is random.

        The backward pass belongs inside too: what checkpointing computes again must be computed alike.
        """
        assert isinstance(module, nn.Module), f"{type(module).__name__} has no parameters to learn"
        module.train()
        try:
            with HERE.time("update"), self._own_chance():
                yield
        finally:
            module.eval()

    @contextlib.contextmanager
    def _own_chance(self) -> Iterator[None]:
        """What is random inside (dropout) is this rank's own, by seed and step; outside, all ranks stay alike."""
        if ranks.count() == 1:
            yield
            return
        self._lessons += 1
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed_of(self.config.seed, self.at, "rank", ranks.rank(), self._lessons))
            yield

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `seconds/name` of this step's log line; an inner name takes its own."""
        with HERE.time(name):
            yield

    # --- checkpoints --------------------------------------------------------------------------------------------

    @HERE.time("save")
    def _save(self, force: bool = False) -> None:
        due = force or time.monotonic() - self._saved >= self.config.checkpoint_seconds
        if shards.sharded():
            due = ranks.gathered(str(due))[0] == "True"  # all write their shares, or none
        elif not ranks.leads():
            return
        if not due:
            return
        state = {
            "at": self.at,
            "total": self.total_steps,
            "updates": self._updates,
            "held": self._held,
            "settings": json.dumps(self.settings, sort_keys=True),
            "random": generator_states(),
            "tracked": {name: state_of(thing) for name, thing in self._tracked.items()},
            "optimiser": self._optimiser.state_dict() if self._optimiser else None,
        }
        write_together(self.folder / "checkpoints", 2 * self.at + bool(self._held), state, self.config.keep)
        self._saved = time.monotonic()

    def _resume(self) -> None:
        found = newest(self.folder / "checkpoints", whole=not shards.sharded())
        ranks.agree(f"a checkpoint of half step {found[0]}" if found else "no checkpoint", "in " + str(self.folder))
        if found is None:
            return
        _, state = found
        mine = json.dumps(self.settings, sort_keys=True)
        if state["settings"] != mine:
            raise SettingsError(
                f"{self.folder} holds a checkpoint of other settings ({difference(state['settings'], mine)}). "
                "Set them as they are there, give this run another name, or delete that folder to begin anew."
            )
        if set(state["tracked"]) != set(self._tracked):
            raise ValueError(f"{self.folder} tracks {sorted(state['tracked'])}, this run {sorted(self._tracked)}")
        for name, thing in self._tracked.items():
            load_state(thing, state["tracked"][name])
        if self._optimiser is not None:
            self._optimiser.load_state_dict(shards.moments(state["optimiser"], self._optimiser))
        restore_generators(state["random"])
        self.at, self._updates, self._held = int(state["at"]), int(state["updates"]), dict(state["held"])


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8]) or "unnamed"
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
