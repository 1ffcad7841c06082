"""The tables of real data: accuracy by part with its interval, calibration, and what a row gains over its control."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from accord.evaluate.page import Table, shown
from accord.evaluate.rates import share
from accord.evaluate.reward import RewardCard, reward_card
from accord.proofs.real_picked import WAYS, curve
from accord.statistics import Interval, auroc, paired_difference

HARD = "llmbar"
TITLES = {"hh": "HH: harmless and helpful", "ultrafeedback": "UltraFeedback", "oasst": "OpenAssistant",
          "pku": "PKU-SafeRLHF: the safer answer",
          "gsm8k": "GSM8K: a verifier and best of n"}  # fmt: skip
Seeds = Mapping[str, Mapping[str, Any]]
"""What the seeds of a row measured, by seed."""


class Line(Protocol):
    """What the tables know of a row."""

    @property
    def says(self) -> str: ...

    @property
    def data(self) -> str: ...

    @property
    def beside(self) -> str: ...


def told(rows: Mapping[str, Seeds], lines: Mapping[str, Line]) -> tuple[dict[str, Any], str]:
    """Figures for JSON, and the tables in Markdown. rows: by name, then by seed."""
    figures: dict[str, Any] = {}
    for name, seeds in rows.items():
        control = rows.get(lines[name].beside)
        make = _sums if lines[name].data == "gsm8k" else _pairs
        figures[name] = {"says": lines[name].says, "data": lines[name].data, **make(seeds, control, lines[name])}
    return figures, page(figures)


def page(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables from the figures of real.json alone."""
    parts = []
    for data, title in TITLES.items():
        some = {name: one for name, one in figures.items() if one["data"] == data}
        if data == "gsm8k":
            parts += [f"### {title}\n\n{_solved(some)}\n"] if some else []
            continue
        for pairs in dict.fromkeys(one[data]["all"]["pairs"] for one in some.values()):
            alike = {name: one for name, one in some.items() if one[data]["all"]["pairs"] == pairs}
            parts.append(f"### {title}, tested on {pairs} pairs\n\n{_ordered(alike, data)}\n")
    return "\n".join(parts)


# --- pairs -----------------------------------------------------------------------------------------------------


def _pairs(seeds: Seeds, control: Seeds | None, line: Line) -> dict[str, Any]:
    """Of one row: a card for its own test and one for LLMBar, and what it gains over its control."""
    first = next(iter(seeds.values()))
    found: dict[str, Any] = {"seeds": len(seeds), "pairs": first["pairs"], "rankings": first.get("rankings", 0),
                             "seconds": _mean([one["seconds"] for one in seeds.values()]),
                             "cut_answers": first["cut_answers"], "peer": first.get("peer", "")}  # fmt: skip
    for name in (line.data, HARD):
        tests = [one["tests"][name] for one in seeds.values()]
        hits, names, cards = _hits(tests), tests[0]["prompt"], [_card(test) for test in tests]
        found[name] = {
            "parts": {part: _part(hits, tests[0], part) for part in sorted(set(tests[0]["part"]))},
            "all": _part(hits, tests[0], None),
            "ece": _mean([card.calibration.ece for card in cards]),
            "ece_after": _mean([card.calibration.ece_after for card in cards]),
            "temperature": _mean([card.calibration.temperature for card in cards]),
        }
        if control is not None:
            other = [one["tests"][name] for one in control.values()]
            same = other[0]["prompt"] == names and len(other[0]["gap"]) == len(names)
            gain = paired_difference(hits, _hits(other), names).to_dict() if same else None
            found[name]["gain"], found["beside"] = gain, line.beside
    return found


def _hits(tests: Sequence[Mapping[str, Any]]) -> list[float]:
    """[N] how often each pair is ordered right over the seeds; a tie is half."""
    gaps = np.array([test["gap"] for test in tests])
    return list(((np.sign(gaps) + 1) / 2).mean(0))


def _card(test: Mapping[str, Any]) -> RewardCard:
    """The reward model's card of one test."""
    gap = test["gap"]
    longer = np.array(test["longer"], dtype=float)
    return reward_card(gap, np.zeros(len(gap)), np.ones(len(gap)), test["prompt"], longer, np.zeros(len(gap)))


def _part(hits: Sequence[float], test: Mapping[str, Any], part: str | None) -> dict[str, Any]:
    """Accuracy on a part of the pairs, and that of a rule that sees length alone, learned on the other half of them."""
    chosen = [n for n, name in enumerate(test["part"]) if part is None or name == part]
    mine = {key: [test[key][n] for n in chosen] for key in ("gap", "prompt", "longer", "part")}
    found = share([hits[n] for n in chosen], mine["prompt"])
    return {"pairs": len(chosen), "accuracy": found.to_dict(), "length": _card(mine).length_accuracy.to_dict()}


def _ordered(rows: Mapping[str, Mapping[str, Any]], data: str) -> str:
    """A line for each row: its parts, both, calibration, LLMBar and the gain over its control."""
    first = next(iter(rows.values()))
    parts, hard = list(first[data]["parts"]), list(first[HARD]["parts"])
    counts = [f"{part} ({first[data]['parts'][part]['pairs']})" for part in parts]
    counts += [f"all ({first[data]['all']['pairs']})"] if len(parts) > 1 else []
    tough = [f"LLMBar {part} ({first[HARD]['parts'][part]['pairs']})" for part in hard]
    controls = list(dict.fromkeys(one["beside"] for one in rows.values() if "beside" in one))
    less = [f"less {rows[control]['says'] if control in rows else control}" for control in controls]
    columns = ["row", "learned from", *counts, *less, "calibration error", "after a temperature", *tough,
               "seconds"]  # fmt: skip
    every = [*parts, *(["all"] if len(parts) > 1 else [])]

    def of(one: Mapping[str, Any], name: str, part: str, key: str) -> str:
        place = one[name]["all"] if part == "all" else one[name]["parts"][part]
        return shown(Interval(**place[key]))

    lines = [["length alone", "-", *(of(first, data, part, "length") for part in every), *["-"] * (2 + len(less)),
              *(of(first, HARD, part, "length") for part in hard), "-"]]  # fmt: skip
    for one in rows.values():
        gain = one[data].get("gain")
        lines.append(
            [
                one["says"] + (f" ({one['peer']})" if one["peer"] else ""),
                f"{one['rankings']} rankings" if one["rankings"] else f"{one['pairs']} pairs",
                *(of(one, data, part, "accuracy") for part in every),
                *(shown(Interval(**gain)) if gain and one["beside"] == control else "-" for control in controls),
                f"{one[data]['ece']:.3f}",
                f"{one[data]['ece_after']:.3f}",
                *(of(one, HARD, part, "accuracy") for part in hard),
                f"{one['seconds']:.0f}",
            ]
        )
    return Table(columns, lines).markdown()


# --- sums ------------------------------------------------------------------------------------------------------


def _sums(seeds: Seeds, control: Seeds | None, line: Line) -> dict[str, Any]:
    """Of one verifier: the curve of best of n, single models, and what it gains over chance, majority and the best."""
    first = next(iter(seeds.values()))
    curves = [curve(one["score"], one["right"], one["answer"]) for one in seeds.values()]
    sizes = range(1, len(first["models"]) + 1)
    each = {way: {n: np.mean([c[way][n] for c in curves], axis=0) for n in sizes} for way in WAYS}
    right, most = np.array(first["right"], dtype=float), max(sizes)
    best = int(np.argmax(first["first"]))  # by the questions that were learned from
    taken = each["verifier"][most]
    rivals = {"any one": each["any one"][most], "majority": each["majority"][most],
              f"always {first['models'][best]}": right[:, best]}  # fmt: skip
    if control is not None:
        other = [curve(one["score"], one["right"], one["answer"])["verifier"][most] for one in control.values()]
        if all(len(one) == len(taken) for one in other):
            rivals[f"the verifier {line.beside}"] = np.mean(other, axis=0)
    return {
        "seeds": len(seeds),
        "questions": first["questions"],
        "tested": len(right),
        "seconds": _mean([one["seconds"] for one in seeds.values()]),
        "auroc": _mean([auroc(np.ravel(one["score"]), np.ravel(one["right"])) for one in seeds.values()]),
        "curve": {way: {n: share(each[way][n]).to_dict() for n in sizes} for way in WAYS},
        "models": {name: share(right[:, m]).to_dict() for m, name in enumerate(first["models"])},
        "gains": {name: paired_difference(taken, rival).to_dict() for name, rival in rivals.items()},
    }


def _solved(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Best of n by each way, single models, and gains of the best of all."""
    first = next(iter(rows.values()))
    numbers = [str(n) for n in first["curve"][WAYS[0]]]
    columns = ["what is taken", *(f"of {n}" for n in numbers), "learned from", "seconds"]
    lines = []
    for one in rows.values():
        for way in WAYS[:2]:
            found = [shown(Interval(**_at(one["curve"][way], n))) for n in numbers]
            lines.append([f"{one['says']}: {way}", *found, f"{one['questions']} questions", f"{one['seconds']:.0f}"])
    for way in WAYS[2:]:
        lines.append([way, *(shown(Interval(**_at(first["curve"][way], n))) for n in numbers), "-", "-"])
    tables = [Table(columns, lines).markdown()]
    single = [[name, shown(Interval(**found))] for name, found in first["models"].items()]
    tables.append(Table(["always the solution of", f"right, of {first['tested']} questions"], single).markdown())
    gains = [[one["says"], name, shown(Interval(**found))] for one in rows.values() for name, found in
             one["gains"].items()]  # fmt: skip
    tables.append(Table(["best of all by", "less", "gain"], gains).markdown())
    area = "; ".join(f"{one['says']} {one['auroc']:.3f}" for one in rows.values())
    tables.append(f"Chance that a right solution scores above a wrong one, of any questions: {area}.")
    return "\n\n".join(tables)


def _at(by: Mapping[Any, Any], n: str) -> Any:
    """JSON makes names of numbers."""
    return by[n] if n in by else by[int(n)]


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan
