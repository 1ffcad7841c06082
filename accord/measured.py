"""Verbs about what people said: how far they agree, what is believed of it, and which model stands where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from accord.quality.believe import BelieveConfig
    from accord.quality.votes import Vote
    from accord.records import Feedback, Question
    from accord.statistics import Interval
    from accord.store import Store


def agree(
    project: Path = Path("quickstart"),
    store: str = "",
    queue: str = "",
    draws: int = 1000,
    people: bool = False,
    hardest: int = 5,
    seed: int = 0,
) -> int:
    """How far people agree, in every form of what they said, with intervals; and where they do not.

    Raw agreement; Krippendorff's alpha and Gwet's AC1 or AC2 by the type of the values; Kendall's tau of rankings; the
    best accuracy that any model could reach on single votes; the pairs that stay open. A figure that is undefined says
    why.

    Args:
        project: Folder of the project.
        store: Another store: a path, or `postgresql+psycopg://...`.
        queue: Only what was asked in this queue.
        draws: Resamples of an interval.
        people: Also each person as one-coin and full Dawid-Skene, Bradley-Terry and MACE see them.
        hardest: How many of the most open pairs are named.
        seed: Another seed, other resamples.
    """
    import numpy as np

    from accord.quality import agreed
    from accord.quality.ceiling import ceiling
    from accord.quality.votes import hear
    from accord.store import Store

    with Store.of(project, store) as opened:
        questions, said = said_in(opened, queue)
    found = agreed.agreements(questions, said, np.random.default_rng(seed), draws)
    for one in found:
        print(f"{one.what}: {one.answers} answers of {one.people} people")
        for figure in one.figures:
            value = f"undefined: {figure.why}" if figure.undefined else _plain(figure.interval)
            more = (
                f"; over drawn items {_ends(figure.drawn)}" if figure.drawn else f"; {figure.why}" if figure.why else ""
            )
            print(f"  {figure.name:<30}{value}{'' if figure.undefined else more}")
    votes = [vote for vote in hear(questions, said).votes if not vote.criterion]
    best = ceiling(votes)
    if votes:
        shown = f"{best.low.estimate:.3f} to {best.high.estimate:.3f}; the majority of the others reaches"
        print("best accuracy that can be reached on single votes: "
              + (f"unknown: {best.why}" if best.why else f"{shown} {_plain(best.others)}"))  # fmt: skip
    for pair, open_, times in agreed.hardest(votes, hardest):
        print(f"  open {open_:.2f} after {times} votes: prompt {pair[0]}, answers {pair[1]} and {pair[2]}")
    if people and votes:
        _table([("person", "one coin", "full, left and right", "sharpness", "leaning left", "meant", "worth"),
                *((one.name, one.one_coin.percent(), f"{one.full[0]:.2f} {one.full[1]:.2f}", _plain(one.sharpness),
                   _plain(one.leaning), f"{one.honest:.2f}", f"{one.effective:.1f}")
                  for one in agreed.seen_by(votes))])  # fmt: skip
    if not found:
        print("nobody has said anything yet")
    return 0


def rank(
    project: Path = Path("quickstart"),
    store: str = "",
    queue: str = "",
    draws: int = 200,
    ticker: bool = False,
    seed: int = 0,
) -> int:
    """Which model stands where, by what people said of their answers: Bradley-Terry with ties, with intervals.

    Players are versions, or sources of answers that were imported. Prompts are drawn again for the intervals. Rankings
    of four to nine are also read whole, by Plackett-Luce.

    Args:
        project: Folder of the project.
        store: Another store: a path, or `postgresql+psycopg://...`.
        queue: Only what was asked in this queue.
        draws: Resamples of prompts for an interval.
        ticker: Also Elo's points, which depend on the order of the games and have no interval.
        seed: Another seed, other resamples.
    """
    import numpy as np

    from accord.quality import standings
    from accord.quality.tournament import bradley_terry, elo, plackett_luce
    from accord.quality.votes import hear
    from accord.records import Sample, Version
    from accord.store import Store

    with Store.of(project, store) as opened:
        questions, said = said_in(opened, queue)
        names = {one.id: one.name for one in opened.all(Version)}
        shown = opened.get_many(Sample, dict.fromkeys(id for one in questions for id in one.samples))
    player = {id: names.get(one.version or "", one.source) for id, one in shown.items()}
    played = standings.games(hear(questions, said).votes, player)
    if not played:
        print("no games: nobody compared answers of two models, or the files do not say whose answers they are")
        return 0
    points = elo(played) if ticker else {}
    rows: list[tuple[str, ...]] = [("model", "rank", "strength", "games", *(["Elo, for show"] if ticker else []))]
    for one in bradley_terry(played, np.random.default_rng(seed), draws):
        place = f"{one.best}" if one.best == one.worst else f"{one.best} to {one.worst}"
        more = [f"{points[one.name]:.0f}"] if ticker else []
        rows.append((one.name, place, _plain(one.strength), str(one.games), *more))
    _table(rows)
    ties = sum(game.outcome == "tie" for game in played)
    print(f"{len(played)} games on {len({game.cluster for game in played})} prompts, {ties} of them ties; 1 more in "
          "strength is odds of e to 1")  # fmt: skip
    if orders := standings.orders(questions, said, player):
        whole = sorted(plackett_luce(orders).items(), key=lambda one: -one[1])
        print(f"by Plackett-Luce of {len(orders)} rankings: " + ", ".join(f"{name} {u:+.2f}" for name, u in whole))
    return 0


def believe(
    project: Path = Path("quickstart"),
    store: str = "",
    queue: str = "",
    method: Literal["majority", "dawid_skene", "bradley_terry"] = "majority",
    shrinkage: float | None = 0.5,
    trust: float = 4.0,
    ties: Literal["keep", "drop"] = "keep",
    strength: Literal["margin", "probability"] = "margin",
    groups: str = "",
    foretell: bool = False,
    dry_run: bool = False,
) -> int:
    """Make beliefs from what people said, and say what each choice would have believed differently.

    Args:
        project: Folder of the project.
        store: Another store: a path, or `postgresql+psycopg://...`.
        queue: Only what was asked in this queue.
        method: How votes become beliefs; `docs/believing.md` tells when to choose which.
        shrinkage: Imagined votes for each side (majority); `None` learns them.
        trust: Imagined ordinary votes of each person (dawid_skene).
        ties: Whether a tie is half a vote for each side, or is not heard.
        strength: Whether a slight preference is less of a vote than a clear one, or changes the margin alone.
        groups: Whose beliefs are kept apart: `auto` looks for groups that really differ; or a YAML file that says
            the group of each pseudonym. Without it everybody is one crowd.
        foretell: Also measure which method foretells held-out votes best.
        dry_run: Write nothing.
    """
    from accord.config import build
    from accord.quality.believe import BelieveConfig
    from accord.quality.believe import believe as made
    from accord.quality.votes import hear
    from accord.records import Preference
    from accord.store import Store

    given = {"method": method, "shrinkage": shrinkage, "trust": trust, "ties": ties, "strength": strength}
    config = build(BelieveConfig, given, "believe")
    with Store.of(project, store) as opened:
        questions, said = said_in(opened, queue)
        votes = hear(questions, said).votes
        beliefs = made(questions, said, config, _grouped(groups, votes))
        print(f"{len(said)} answers of {len(beliefs.people)} people: {len(votes)} votes on pairs")
        print(f"believed by {method}: {len(beliefs.preferences)} pairs, {len(beliefs.demonstrations)} demonstrations")
        for reason, times in Counter(beliefs.left_out.values()).most_common(5):
            print(f"  not heard: {times}  {reason}")
        _otherwise([vote for vote in votes if ties == "keep" or vote.outcome != "tie"], config)
        if foretell:
            _foretell(votes, config)
        if dry_run:
            print("nothing was written")
            return 0
        old = {(one.prompt, frozenset((one.chosen, one.rejected)), one.criterion) for one in opened.all(Preference)}
        new = opened.put([*beliefs.samples, *beliefs.preferences, *beliefs.demonstrations])
        same = sum((b.prompt, frozenset((b.chosen, b.rejected)), b.criterion) in old for b in beliefs.preferences)
        print(f"{new} new records")
        if new and same:
            print(f"{same} of these pairs had a belief before; both are kept, and where they rest on the same words "
                  "training takes the last")  # fmt: skip
    return 0


def said_in(store: Store, queue: str) -> tuple[list[Question], list[Feedback]]:
    """Questions and what stands of the answers, of a queue or of all."""
    from accord.records import Question

    project = queue or None
    return list(store.all(Question, **({"project": queue} if queue else {}))), list(store.feedback(project=project))


# --- parts -----------------------------------------------------------------------------------------------------


def _otherwise(votes: Sequence[Vote], config: BelieveConfig) -> None:
    """What the other methods would have believed differently."""
    from accord.quality.believe import METHODS, probabilities, weighed

    table = weighed(votes, config)
    ours = probabilities(table, config)
    for other in METHODS if len(table.pairs) else ():
        theirs = probabilities(table, config, other)
        turned = int(((ours - 0.5) * (theirs - 0.5) < -1e-12).sum())
        apart = float(abs(ours - theirs).mean())
        if other != config.method:
            print(f"{other} would have chosen the other answer of {turned} pairs ({turned / len(ours):.1%}), "
                  f"and been {apart:.3f} away in probability on average")  # fmt: skip


def _grouped(asked: str, votes: Sequence[Vote]) -> Mapping[str, str] | None:
    """Whose beliefs are kept apart; says what was found. None for one crowd."""
    import numpy as np

    from accord.config import SettingsError, read
    from accord.quality.flags import flags
    from accord.quality.groups import apart

    if not asked:
        return None
    if asked != "auto":
        given = read(asked)
        if odd := [name for name, group in given.items() if not isinstance(group, str)]:
            raise SettingsError(f"{asked}: the group of {odd[0]!r} should be a word, as in `{odd[0]}: experts`")
        unknown = sorted({vote.annotator for vote in votes} - set(given))
        print(f"groups of {asked}: {len(given)} people; {len(unknown)} who voted are not in it and are one more group")
        return {str(name): str(group) for name, group in given.items()}
    copying = {one.annotator for one in flags(votes) if one.kind == "copying"}
    found = apart(votes, np.random.default_rng(0), copying)
    for one in found.divisions:
        sizes = " and ".join(str(len(side)) for side in one.sides)
        gaps = " and ".join(_plain(gap) for gap in one.within)
        print(f"{sizes} people: two of a side agree oftener by {gaps} than {one.across:.3f} across, on pairs that did "
              f"not divide them: {'kept apart' if one.sure else 'not surely two groups'}")  # fmt: skip
    if not found.of:
        print("no groups that surely differ: everybody is believed together")
        return None
    for name, size in Counter(found.of.values()).most_common():
        print(f"  {name}: {size} people: {', '.join(sorted(who for who, of in found.of.items() if of == name)[:12])}")
    return found.of


def _foretell(votes: Sequence[Vote], config: BelieveConfig) -> None:
    """Which method foretells held-out votes best."""
    import numpy as np

    from accord.quality.heldout import held_out

    try:
        for one in held_out(votes, np.random.default_rng(0), config):
            print(f"{one.method} foretells held-out votes with loss {_plain(one.loss)}, {_plain(one.against)} "
                  "against majority (a coin has .693)")  # fmt: skip
    except ValueError as error:
        print(f"held-out votes: {error}")


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _ends(figure: Interval) -> str:
    return f"[{figure.low:.3f}, {figure.high:.3f}]"


def _plain(figure: Interval) -> str:
    if math.isnan(figure.estimate):
        return "-"
    return f"{figure.estimate:.3f} {_ends(figure)}"
