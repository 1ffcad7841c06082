"""Planted worlds: who spams, sits left, loves length, colludes, and above all who only thinks otherwise."""

import math
from collections import Counter

import numpy as np
import pytest

from accord.quality.flags import flags
from accord.quality.habits import habits, length_flags
from accord.quality.votes import Vote
from accord.records import Comparison, Feedback

PAIRS = 300
DRAWN = np.random.default_rng(1000).integers(20, 400, (PAIRS, 2)).astype(float) + np.array([0.0, 0.5])
LENGTHS = {f"{i}{side}": float(length) for i, pair in enumerate(DRAWN) for side, length in zip("ab", pair, strict=True)}


def longer_of(i: int) -> str:
    return "a" if LENGTHS[f"{i}a"] > LENGTHS[f"{i}b"] else "b"


def lover(world, name: str, share: float, pull: float = 0.7, right: float = 0.8) -> None:
    """Takes the longer answer without reading, `pull` of the time."""
    before = len(world.votes)
    world.person(name, right, share=share)
    for at in range(before, len(world.votes)):
        if world.generator.random() < pull:
            vote = world.votes[at]
            world.votes[at] = Vote(**{**vars(vote), "outcome": longer_of(int(vote.prompt[1:]))})


def spam(world, name: str, share: float) -> None:
    """Always the right-hand answer, but for a few."""
    before = len(world.votes)
    world.person(name, 0.5, share=share)
    for at in range(before, len(world.votes)):
        vote = world.votes[at]
        other = "b" if vote.left == "a" else "a"
        world.votes[at] = Vote(**{**vars(vote), "outcome": other})


def copied(world, source: str, name: str) -> None:
    world.votes += [
        Vote(**{**vars(v), "annotator": name, "feedback": f"{name}-{v.feedback}"})
        for v in world.votes
        if v.annotator == source
    ]


BAD = {"coin": "careless", "spam": "position", "left": "position", "long": "length", "ring": "copying"}


def planted(crowd, seed: int):
    """Twelve ordinary people, an honest minority of four with a taste of its own, two or three of each bad kind."""
    world = crowd(seed, PAIRS)
    taste = np.where(world.generator.random(PAIRS) < 0.5, 1 - world.truth, world.truth)
    for i in range(12):
        world.person(f"good{i}", float(world.generator.uniform(0.72, 0.92)), share=0.5)
    for i in range(4):
        world.person(f"few{i}", 0.85, share=0.5, taste=taste)
    for i in range(2):
        world.person(f"coin{i}", 0.5, share=0.5)
        world.person(f"left{i}", 0.8, left=0.6, share=0.5)
        spam(world, f"spam{i}", 0.5)
        lover(world, f"long{i}", 0.5)
    world.person("ring0", 0.6, share=0.7)
    copied(world, "ring0", "ring1")
    copied(world, "ring0", "ring2")
    return world


def test_recall_and_precision_in_planted_worlds(crowd):
    """Of the bad people nearly all are shown, with the right word; of the honest ones hardly anybody."""
    hits, misses, wrong, contrary = Counter(), Counter(), [], 0
    honest = 0
    for seed in range(4):
        world = planted(crowd, seed)
        found: dict[str, set[str]] = {}
        for flag in [*flags(world.votes), *length_flags(world.votes, LENGTHS)]:
            found.setdefault(flag.annotator, set()).add(flag.kind)
        for name in {vote.annotator for vote in world.votes}:
            kind = name.rstrip("0123456789")
            if kind in BAD:
                (hits if BAD[kind] in found.get(name, ()) else misses)[kind] += 1
            else:
                honest += 1
                contrary += found.get(name) == {"contrary"}
                wrong += [(seed, name, word) for word in found.get(name, ()) if word != "contrary"]
    recall = sum(hits.values()) / (sum(hits.values()) + sum(misses.values()))
    precision = sum(hits.values()) / (sum(hits.values()) + len(wrong))
    print(
        f"recall {recall:.2f} {dict(hits)}, missed {dict(misses)}; precision {precision:.2f}, wrong {wrong} of {honest}"
    )
    assert recall >= 0.9
    assert precision >= 0.95
    assert not [one for one in wrong if one[1].startswith("few")], "an honest minority was called careless"


def test_two_honest_groups_of_equal_size_are_left_alone(crowd):
    for seed in range(3):
        world = crowd(seed, PAIRS)
        for i in range(6):
            world.person(f"one{i}", 0.85, share=0.5)
            world.person(f"two{i}", 0.85, share=0.5, taste=1 - world.truth)
        found = [*flags(world.votes), *length_flags(world.votes, LENGTHS)]
        assert [flag for flag in found if flag.kind != "contrary"] == []


def test_a_taste_for_length_that_all_share_is_no_flag(crowd):
    world = crowd(3, PAIRS)
    for i in range(10):
        lover(world, f"all{i}", 0.6, pull=0.5)
    assert length_flags(world.votes, LENGTHS) == []
    lover(world, "short", 0.9, pull=0.0)
    for at, vote in enumerate(world.votes):
        if vote.annotator == "short":
            world.votes[at] = Vote(**{**vars(vote), "outcome": "ab"[longer_of(int(vote.prompt[1:])) == "a"]})
    [flag] = length_flags(world.votes, LENGTHS)
    assert flag.annotator == "short"
    assert "shorter answer in 100 %" in flag.evidence


def test_habits_by_loops(crowd):
    world = crowd(4, 60)
    for i in range(4):
        lover(world, f"n{i}", 0.7, pull=0.3)
    said = [Feedback(question="q", annotator="n0", answer=Comparison(better="x"), seconds=s) for s in (1.0, 9.0, 4.0)]
    found = habits(world.votes, LENGTHS, said)
    for name, one in found.items():
        mine = [v for v in world.votes if v.annotator == name]
        took = [v.outcome == longer_of(int(v.prompt[1:])) for v in mine]
        assert one.longer.estimate == pytest.approx(np.mean(took))
        assert one.longer.n == len(mine)
        apart, with_most, open_pairs = [], 0, 0
        for vote, long in zip(mine, took, strict=True):
            others = [v for v in world.votes if v.pair == vote.pair and v.annotator != name]
            if others:
                apart.append(long - np.mean([v.outcome == longer_of(int(v.prompt[1:])) for v in others]))
            votes = sum(1 if v.outcome == "a" else -1 for v in others)
            if votes:
                open_pairs += 1
                with_most += (votes > 0) == (vote.outcome == "a")
        assert one.beyond.estimate == pytest.approx(np.mean(apart))
        assert (one.agrees.n, one.agrees.estimate) == (open_pairs, pytest.approx(with_most / open_pairs))
    assert found["n0"].seconds == 4
    assert math.isnan(found["n1"].seconds)
    assert habits([], {}) == {}
