"""From many answers to one belief: which sample is better, how sure we are, and who said so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import scipy
from pydantic import Field

from accord.config import Settings
from accord.quality.annotators import Reliability, reliabilities, skene_of_pairs
from accord.quality.sharpness import preferred, see
from accord.quality.votes import Floats, Heard, Pair, Table, Vote, hear, tabulate
from accord.records import Demonstration, Feedback, Preference, Question, Sample, named_id

Method = Literal["majority", "dawid_skene", "bradley_terry"]
METHODS: tuple[Method, ...] = ("majority", "dawid_skene", "bradley_terry")


class BelieveConfig(Settings):
    """How votes become beliefs."""

    method: Method = "majority"
    """`majority` counts every person alike. `dawid_skene` learns how reliable each one is and needs several votes on
    a good part of the pairs. `bradley_terry` learns a score for each answer, and how sharply and with what habit
    of side each person sees the gap; it also learns from pairs that share an answer."""
    shrinkage: float | None = Field(0.5, gt=0)
    """Votes for each side that are imagined before the first real one (majority). Higher trusts few votes less: at
    0.5 one lone vote is believed with probability .75, two against none with .83. Null learns it from how far people
    agree on pairs with several votes (0.5 when fewer than 20 pairs have them)."""
    trust: float = Field(4.0, gt=0)
    """Ordinary votes that are imagined of each person before the first real one (dawid_skene). Higher takes people
    with few votes for ordinary for longer."""
    ties: Literal["keep", "drop"] = "keep"
    """Whether a tie is half a vote for each side, or is not heard."""
    strength: Literal["margin", "probability"] = "margin"
    """What it changes how strongly somebody prefers. `margin`: the margin alone, each vote is one vote. `probability`:
    the probability too; slightly, clearly and much better count as half a vote, one, and one and a half, in comparisons
    and by the gap of ratings. Choose it only where strengths were asked for, since a strength left alone is slight."""
    compare: bool = True
    """Whether to say which pairs the other methods would have decided otherwise."""


HEFT = {1: 0.5, 2: 1.0, 3: 1.5}
"""Strength -> votes that one counts as, with `strength="probability"`."""


@dataclass(frozen=True)
class Disagreement:
    """A pair that the methods decide differently."""

    pair: Pair
    """Prompt, first sample, second sample, criterion."""
    probability: dict[str, float]
    """Method -> probability that the first sample is the better one."""


@dataclass(frozen=True)
class Beliefs:
    """What is believed, of what and of whom."""

    preferences: list[Preference] = field(default_factory=list)
    """One for each pair, criterion and group that somebody voted on."""
    demonstrations: list[Demonstration] = field(default_factory=list)
    """Answers that people wrote or corrected."""
    samples: list[Sample] = field(default_factory=list)
    """Those answers."""
    people: dict[str, Reliability] = field(default_factory=dict)
    """Annotator -> what is known of the votes."""
    disagreement: list[Disagreement] = field(default_factory=list)
    """Where another method would have chosen the other sample."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Feedback id -> why it was not used."""


def believe(
    questions: Iterable[Question],
    feedback: Iterable[Feedback],
    config: BelieveConfig | None = None,
    groups: Mapping[str, str] | None = None,
) -> Beliefs:
    """What to believe of everything that was said.

    probability: see `probabilities`; never below .5, since the likelier sample is `chosen`; at exactly .5 the one
    first seen is. weight: the largest share that one answer gave the pair, so 1 for a comparison and 1 / C(k, 2) for
    each pair of a ranking of k: the pairs of a question weigh 1 together, however many people answered. margin: mean
    strength of the votes for `chosen`. Ids are named by everything that the belief says: making it again gives the
    same record, and votes that change a belief give a new one. groups: annotator -> name of a population; each
    group then has beliefs of its own.
    """
    config = config or BelieveConfig()
    heard = hear(questions, feedback)
    votes = [vote for vote in heard.votes if config.ties == "keep" or vote.outcome != "tie"]
    preferences: list[Preference] = []
    disagreement: list[Disagreement] = []
    names = {vote.annotator: (groups or {}).get(vote.annotator, "") for vote in votes}
    for group in dict.fromkeys(names.values()):
        members = [vote for vote in votes if names[vote.annotator] == group]
        table = weighed(members, config)
        preferences.extend(_preferences(members, table, probabilities(table, config), config, group))
        if config.compare:
            disagreement.extend(compare(table, config))
    people = reliabilities(tabulate(votes), config.trust)
    return Beliefs(preferences, heard.demonstrations, heard.samples, people, disagreement, _left_out(heard, votes))


def weighed(votes: Sequence[Vote], config: BelieveConfig) -> Table:
    """Votes as columns, each with the evidence that its strength makes it."""
    table = tabulate(votes)
    if config.strength == "margin":
        return table
    return replace(
        table, evidence=table.evidence * np.array([HEFT[vote.strength] if _put(vote) else 1 for vote in votes])
    )


def _put(vote: Vote) -> bool:
    """Whether the form says how strongly: comparisons do, and ratings by their gap."""
    return vote.outcome != "tie" and (
        vote.form in ("comparison", "rating") or (vote.form == "combined" and vote.criterion != "")
    )


def probabilities(table: Table, config: BelieveConfig, method: Method | None = None) -> Floats:
    """[pairs] probability that the first sample of each pair is the better one.

    majority: (votes for a + ties / 2 + s) / (votes + 2 s), s = `shrinkage`: the mean of a Beta(s, s) prior's
    posterior. dawid_skene: share of decided votes * posterior of the full model + share of ties * 1/2.
    bradley_terry: what an ordinary person without a habit of side would choose. The second is the chance that a
    sample *is* better, the others that *a person would say so*: many people make the second go to 1, and the others
    to the share of votes. A person who voted several times on one pair counts once; where strengths count, as much as
    they say (`weighed`).
    """
    size = len(table.pairs)
    total = np.bincount(table.pair, weights=table.evidence, minlength=size)
    if (method or config.method) == "majority" or not size:
        won = np.bincount(table.pair, weights=table.evidence * table.outcome, minlength=size)
        # Ties say that the answers are alike, not that people disagree; they would look like noise.
        # How far people agree is learned from heads, however strongly they put it.
        _, same, times = np.unique(
            table.pair * len(table.people) + table.person, return_inverse=True, return_counts=True
        )
        heads = 1.0 / times[same]
        decided = np.bincount(table.pair, weights=heads * table.decided, minlength=size).astype(float)
        for_a = np.bincount(table.pair, weights=heads * (table.outcome == 1), minlength=size).astype(float)
        s = config.shrinkage or learned_shrinkage(for_a, decided)
        return np.asarray((won + s) / (total + 2 * s))
    if (method or config.method) == "bradley_terry":
        return preferred(see(table))
    tied = np.bincount(table.pair, weights=table.evidence * ~table.decided, minlength=size) / total
    posterior = skene_of_pairs(table, "full", config.trust).posterior[:, 0]
    return np.asarray((1 - tied) * posterior + tied / 2)


def learned_shrinkage(won: Floats, total: Floats, least: int = 20) -> float:
    """The s in .02 .. 20 under which the votes are likeliest: p ~ Beta(s, s), votes for a ~ Binomial(total, p).

    Beta-binomial by maximum likelihood (Griffiths 1973). won, total: [pairs] decided votes for the first sample,
    and all decided votes. Pairs with one vote know nothing of s; with fewer than `least` others it is .5 (Jeffreys).
    """
    several = total > 1.5
    if several.sum() < least:
        return 0.5
    a, b = won[several], (total - won)[several]

    def loss(log_s: float) -> float:
        s = float(np.exp(log_s))
        return -float((scipy.special.betaln(a + s, b + s) - scipy.special.betaln(s, s)).sum())

    return float(np.exp(scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.02), np.log(20)), method="bounded").x))


def compare(table: Table, config: BelieveConfig) -> list[Disagreement]:
    """Pairs for which one method prefers the first sample and another the second."""
    by_method = {method: probabilities(table, config, method) for method in METHODS}
    stacked = np.stack(list(by_method.values())) if table.pairs else np.zeros((len(METHODS), 0))
    open_pairs = np.flatnonzero((stacked.max(0) > 0.5 + 1e-9) & (stacked.min(0) < 0.5 - 1e-9))
    return [Disagreement(table.pairs[i], {name: float(p[i]) for name, p in by_method.items()}) for i in open_pairs]


def _preferences(
    votes: Sequence[Vote], table: Table, probability: Floats, config: BelieveConfig, group: str
) -> list[Preference]:
    """One belief for each pair of the table."""
    by_pair: list[list[Vote]] = [[] for _ in table.pairs]
    for vote, index in zip(votes, table.pair, strict=True):
        by_pair[index].append(vote)
    found = []
    for (prompt, a, b, criterion), said, p in zip(table.pairs, by_pair, probability, strict=True):
        # Sums of floats differ in the last digits between machines; the id must not.
        sure = round(float(max(p, 1 - p)), 6)
        first = p >= 0.5 or sure == 0.5
        agreeing = [vote.strength for vote in said if vote.outcome == ("a" if first else "b")]
        ids = tuple(dict.fromkeys(vote.feedback for vote in said))
        says: dict[str, Any] = {
            "prompt": prompt,
            "chosen": a if first else b,
            "rejected": b if first else a,
            "probability": sure,
            "weight": round(max(vote.weight for vote in said), 6),
            "margin": round(sum(agreeing) / len(agreeing), 6) if agreeing and sure > 0.5 else 0.0,
            "criterion": criterion,
            "group": group,
        }
        name = named_id("preference", config.method, says, sorted(ids))
        found.append(Preference(id=name, feedback=ids, **says))
    return found


def _left_out(heard: Heard, votes: Sequence[Vote]) -> dict[str, str]:
    """Why feedback was not used, with the ties that were not to be heard."""
    used = {vote.feedback for vote in votes}
    unheard = {vote.feedback: "a tie, and ties are dropped" for vote in heard.votes if vote.feedback not in used}
    return {**heard.left_out, **unheard}
