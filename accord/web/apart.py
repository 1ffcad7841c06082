"""How far people are apart in what they said to one question, by a measure for each form, and where."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from accord.records import Answer, Combined, Comparison, Feedback, Flags, Ranking, Rating

SPREAD = 0.5
SHARE = 0.25
DISTANCE = 1 / 3
STRENGTHS = ("slightly", "clearly", "much")


@dataclass(frozen=True)
class Apart:
    """People are so far apart, by one measure, that somebody should look."""

    measure: str
    """`verdict`: not all say the same. `spread`: highest less lowest score, over the length of the scale. `share`: of
    those who say otherwise than most about a flag. `distance`: between two rankings, the share of pairs of samples in
    the other order, half for a pair that only one of them ties (Kendall's distance with the penalty of Fagin et al.
    2006)."""
    value: float
    """The greatest, from 0 to 1."""
    where: tuple[tuple[str, str], ...] = ()
    """Sample and criterion or flag; for rankings two samples that not all order alike; none for a verdict."""

    def told(self, letters: Mapping[str, str]) -> str:
        """In words; samples are named by letters."""
        if self.measure == "verdict":
            return "People name different winners."
        named = [f"{letters.get(one, '?')} {letters.get(two, two)}".strip() for one, two in self.where]
        what = {
            "spread": f"Scores are apart by {self.value:.0%} of the scale",
            "share": f"{self.value:.0%} say otherwise than the rest",
            "distance": f"Two rankings order {self.value:.0%} of the pairs otherwise",
        }[self.measure]
        return f"{what}: {', '.join(named)}."


def apart(said: Sequence[Feedback]) -> tuple[Apart, ...]:
    """Every measure by which answers to one question are apart; nothing when they agree well enough or are texts.

    Enough to look: any two verdicts; scores half of the scale apart; a quarter of the people against the rest on a
    flag; two rankings at a distance of a third.
    """
    answers = [one.answer for one in said]
    verdicts = {(one.criterion, one.better or one.verdict) for one in answers if isinstance(one, Comparison)}
    found = [Apart("verdict", 1.0)] if len(verdicts) > 1 else []
    found += spread([rating for one in answers if (rating := _rating(one)) is not None])
    found += share([one.flags for one in answers if isinstance(one, Flags | Combined)])
    by_criterion: dict[str, list[Ranking]] = defaultdict(list)
    for one in answers:
        if (ranking := _ranking(one)) is not None:
            by_criterion[ranking.criterion].append(ranking)
    for rankings in by_criterion.values():
        found += far(rankings)
    return tuple(found)


def spread(said: Sequence[Rating]) -> list[Apart]:
    """Scores that are `SPREAD` of the scale apart or more."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in said:
        low, high = one.scale
        for sample, by in one.scores.items():
            for name, score in by.items():
                found[sample, name].append((score - low) / (high - low))
    widths = {key: max(scores) - min(scores) for key, scores in found.items()}
    return _beyond("spread", widths, SPREAD)


def share(said: Sequence[Mapping[str, Mapping[str, bool]]]) -> list[Apart]:
    """Flags on which `SHARE` of the people or more are against the rest."""
    found: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for one in said:
        for sample, by in one.items():
            for name, yes in by.items():
                found[sample, name].append(yes)
    fewer = {key: min(sum(votes), len(votes) - sum(votes)) / len(votes) for key, votes in found.items()}
    return _beyond("share", fewer, SHARE)


def far(said: Sequence[Ranking]) -> list[Apart]:
    """Whether two of the rankings are at a distance of `DISTANCE` or more, and the pairs that not all order alike."""
    worst = max((distance(one, other) for one, other in combinations(said, 2)), default=0.0)
    if worst < DISTANCE:
        return []
    orders = [dict(_orders(one)) for one in said]
    where = tuple(pair for pair in orders[0] if len({order.get(pair) for order in orders}) > 1)
    return [Apart("distance", worst, where)]


def distance(one: Ranking, other: Ranking) -> float:
    """Share of pairs of samples in the other order, half for those that only one ties; 1 for the reverse."""
    first, second = dict(_orders(one)), dict(_orders(other))
    both = first.keys() & second.keys()
    return sum(abs(first[pair] - second[pair]) / 2 for pair in both) / len(both) if both else 0.0


def spoken(said: Answer | None, letters: Mapping[str, str]) -> str:
    """An answer in a line of words; samples are named by letters."""
    match said:
        case Comparison(better=str(better), strength=strength):
            return f"{letters.get(better, '?')} is better, {STRENGTHS[strength - 1]}"
        case Comparison(verdict=verdict):
            return "equally good" if verdict == "tie" else "both bad"
        case Rating():
            return _rows(
                {sample: {name: f"{x:g}" for name, x in by.items()} for sample, by in said.scores.items()}, letters
            )
        case Flags():
            return _rows(
                {s: {n: "yes" if yes else "no" for n, yes in by.items()} for s, by in said.flags.items()}, letters
            )
        case Ranking():
            return " > ".join(" = ".join(letters.get(id, "?") for id in place) for place in said.order)
        case Combined():
            flags = spoken(Flags(flags=said.flags), letters) if said.flags else ""
            return "; ".join(filter(None, (spoken(said.rating, letters), flags, spoken(said.ranking, letters))))
        case _:
            return "nothing that can be set side by side"


def _rows(said: Mapping[str, Mapping[str, str]], letters: Mapping[str, str]) -> str:
    rows = [
        f"{letters.get(id, '?')} " + ", ".join(f"{name} {x}".strip() for name, x in by.items())
        for id, by in said.items()
    ]
    return "; ".join(sorted(rows))


def _rating(said: Answer | None) -> Rating | None:
    return said if isinstance(said, Rating) else said.rating if isinstance(said, Combined) else None


def _ranking(said: Answer | None) -> Ranking | None:
    return said if isinstance(said, Ranking) else said.ranking if isinstance(said, Combined) else None


def _beyond(measure: str, values: Mapping[tuple[str, str], float], least: float) -> list[Apart]:
    where = tuple(sorted(key for key, value in values.items() if value >= least))
    return [Apart(measure, max(values[key] for key in where), where)] if where else []


def _orders(said: Ranking) -> Iterator[tuple[tuple[str, str], int]]:
    """Each two samples by name, and 1, 0 or -1 as the first is above, tied with or below the second."""
    place = {id: at for at, tied in enumerate(said.order) for id in tied}
    for one, other in combinations(sorted(place), 2):
        yield (one, other), (place[one] < place[other]) - (place[one] > place[other])
