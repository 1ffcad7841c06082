"""One work: are both sides equal, what suits the peer best, and then turn by turn who is faster."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from typing import Any

from bench import material
from bench.lane import Lane
from bench.limit import needed
from bench.works import Work

LOSS, NORM = 1e-4, 1e-3
"""How far apart a loss and a gradient's norm may be, relatively (a loss near 0: absolutely)."""


class Unequal(AssertionError):
    """The two sides did not do the same work, so their times cannot be compared."""


def compare(work: Work, rounds: int, threads: int, peer: str | None, rate: float) -> dict[str, Any]:
    """The row of a work. peer: the Python that has TRL; None leaves the peer out. rate: FLOP/s of the machine.

    Raises Unequal when loss, gradient, tokens or steps differ.
    """
    job = {
        "work": work.kind,
        "model": str(material.folder(work.size)),
        "rows": str(material.rows(work.size)),
        "folder": str(material.MADE),
        "micro": work.micro,
        **work.where,
    }
    lanes: dict[str, Lane] = {"accord": Lane(sys.executable, "bench.ours" + work.side, job, threads)}
    try:
        settings: Mapping[str, Any] = {}
        tried: list[dict[str, Any]] = []
        if peer and work.peers:
            lanes["peer"] = Lane(peer, "bench.theirs" + work.side, job, threads)
            if work.kept:
                lanes["peer_kept"] = Lane(peer, "bench.theirs" + work.side, job, threads, kept=True)
        for lane in lanes.values():
            lane.ready()
        apart: dict[str, float] = {}
        if "peer" in lanes:
            apart = checked(work, lanes)
            settings, tried = chosen(work, lanes["peer"]) if len(work.peers) > 1 else (work.peers[0], [])
        else:
            lanes["accord"].do(**work.amount)
        seen = timed(work, lanes, rounds, settings)
    finally:
        for lane in lanes.values():
            lane.end()
    if "peer" in seen:
        apart = {name: max(apart[name], value) for name, value in same(work, seen).items()}
    busy = statistics.median(told["cpu_seconds"] / told["seconds"] for told in seen["accord"]) / threads
    kernel = statistics.median(told["kernel_seconds"] / told["cpu_seconds"] for told in seen["accord"])
    shares = {"busy": round(busy, 3), "kernel": round(kernel, 3)}
    return {**row(work, seen, rate), **shares, "settings": dict(settings), "tried": tried, "apart": apart}


def checked(work: Work, lanes: Mapping[str, Lane]) -> dict[str, float]:
    """Both sides on the first batch; how far apart they were. It warms them up too."""
    wish = dict(work.check)
    if work.kind in ("grpo", "rloo"):
        wish["answers"] = str(material.MADE / "answers.json")
    seen = {name: [lane.do(**wish, settings=dict(work.peers[0]))] for name, lane in lanes.items()}
    if work.kind == "generate" and seen["accord"][0]["said"] != seen["peer"][0]["said"]:
        raise Unequal(f"{work.name}: greedy answers differ")
    return same(work, seen, first=True)


def same(work: Work, seen: Mapping[str, list[dict[str, Any]]], first: bool = False) -> dict[str, float]:
    """How far losses and norms were apart. Raises Unequal when the work was not the same.

    Where answers were sampled anew by each side, only their number can be the same.
    """
    ours, theirs = seen["accord"][0], seen["peer"][0]
    for name in ("tokens", "learned", "steps"):
        if ours[name] != theirs[name]:
            raise Unequal(f"{work.name}: {name} {ours[name]} against {theirs[name]}")
    worst = {"loss": 0.0, "norm": 0.0}
    if work.kind in ("grpo", "rloo", "generate") and not first:
        return worst
    for name, mine, other in (("loss", ours["losses"], theirs["losses"]), ("norm", ours["norms"], theirs["norms"])):
        # The first step is computed from the same weights; later ones carry what rounding did to Adam's first steps.
        for step, (a, b) in enumerate(zip(mine, other, strict=True)):
            gap = abs(a - b) / max(1.0 if name == "loss" else 1e-8, abs(b))
            allowed = (LOSS if name == "loss" else NORM) * (1 if step == 0 else 10) * work.loose
            if not gap <= allowed:
                raise Unequal(f"{work.name}: {name} of step {step} {a} against {b}, {gap:.1e} apart")
            worst[name] = max(worst[name], gap)
    return worst


def chosen(work: Work, lane: Lane) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """The peer's fastest settings on a part of the amount, and what each took."""
    part = dict(work.amount)
    if work.kind in ("dpo", "simpo", "reward"):
        part["count"] = part["batch"] = min(part["batch"], part["count"])
    tried = []
    for settings in work.peers:
        try:
            seconds = lane.do(**part, settings=dict(settings))["seconds"]
        except RuntimeError as error:
            raise RuntimeError(f"{work.name}: the peer cannot work with {settings}") from error
        tried.append({**settings, "seconds": round(seconds, 3)})
    best = min(range(len(tried)), key=lambda i: tried[i]["seconds"])
    return work.peers[best], tried


def timed(
    work: Work, lanes: Mapping[str, Lane], rounds: int, settings: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """Each side in turn, so many times; who begins changes."""
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in lanes}
    names = list(lanes)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seen[name].append(lanes[name].do(**work.amount, settings=dict(settings)))
    return seen


def amount(work: Work, told: Mapping[str, Any]) -> float:
    """How many units one piece of work has."""
    if work.unit in ("pairs/s", "answers/s"):
        return float(work.units)
    return float(told["steps"] if work.unit == "steps/s" else told["tokens"])


def row(work: Work, seen: Mapping[str, list[dict[str, Any]]], rate: float) -> dict[str, Any]:
    """The figures, medians over the rounds; spread is (largest - smallest) / median of Accord's times."""
    middle = {name: statistics.median(told["seconds"] for told in all_) for name, all_ in seen.items()}
    units = amount(work, seen["accord"][0])
    flop = needed(work.kind, dict(work.amount), material.folder(work.size), material.rows(work.size))

    def wide(name: str) -> float | None:
        times = [told["seconds"] for told in seen.get(name, [])]
        return round((max(times) - min(times)) / middle[name], 3) if times else None

    def most(name: str, what: str) -> int | None:
        return round(max(told[what] for told in seen[name])) if name in seen else None

    peers = {name: units / seconds for name, seconds in middle.items() if name != "accord"}
    mine, peer = units / middle["accord"], peers.get("peer")
    best = max(peers.values(), default=None)
    named = {"gpu_mb": "accord", "peer_gpu_mb": "peer"} if "gpu_mb" in seen["accord"][0] else {}
    return {
        "work": work.title,
        "unit": work.unit,
        "accord": round(mine, 3),
        "peer": peer and round(peer, 3),
        "ratio": peer and round(mine / peer, 2),
        "goal": work.goal,
        "peer_kept": round(peers["peer_kept"], 3) if "peer_kept" in peers else None,
        "ratio_best": best and round(mine / best, 2),
        "limit_share": flop and round(flop / middle["accord"] / rate, 3),
        "peak_mb": most("accord", "peak_mb"),
        "peer_peak_mb": most("peer", "peak_mb"),
        "grew_mb": most("accord", "grew_mb"),
        "peer_grew_mb": most("peer", "grew_mb"),
        "spread": wide("accord"),
        "peer_spread": wide("peer"),
        "tokens": seen["accord"][0]["tokens"],
        "steps": seen["accord"][0]["steps"],
        "losses": [round(loss, 6) for loss in seen["accord"][0]["losses"]],
        **{column: most(side, "gpu_mb") for column, side in named.items()},
    }
