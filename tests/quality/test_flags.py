"""Who should be looked at, and above all who should not."""

import numpy as np

from accord.quality.flags import fast, flags
from accord.records import Comparison, Feedback


def kinds(found) -> dict[str, set[str]]:
    by: dict[str, set[str]] = {}
    for flag in found:
        by.setdefault(flag.annotator, set()).add(flag.kind)
    return by


def test_careless_and_left_sided_people_are_found(crowd):
    missed = wrong = 0
    for seed in range(4):
        world = crowd(seed, 300)
        for i in range(7):
            world.person(f"good{i}", 0.8, share=0.6)
        for i in range(2):
            world.person(f"coin{i}", 0.5, share=0.6).person(f"left{i}", 0.8, left=0.8, share=0.6)
        found = kinds(flags(world.votes))
        missed += sum("careless" not in found.get(f"coin{i}", ()) for i in range(2))
        missed += sum("position" not in found.get(f"left{i}", ()) for i in range(2))
        wrong += sum(f"good{i}" in found for i in range(7))
    assert missed <= 1
    assert wrong == 0


def test_an_order_that_a_file_gives_to_everybody_is_nobodys_habit(crowd):
    """As in MT-bench, where the models stand in the order of the alphabet: the first is better in four of five."""
    world = crowd(3, 300)
    world.truth[:] = world.generator.random(300) < 0.8
    for i in range(6):
        world.person(f"n{i}", 0.85, share=0.6)
    named = [v.__class__(**{**vars(v), "left": "a"}) for v in world.votes]
    assert flags(named) == []
    drawn = crowd(4, 300)
    drawn.truth = world.truth
    sided = [
        v.__class__(**{**vars(v), "left": "a", "outcome": "a"}) for v in drawn.person("left", 0.5, share=0.6).votes
    ]
    [found] = [one for one in flags([*named, *sided]) if one.kind == "position"]
    assert found.annotator == "left"
    assert "points more often than others on the same pairs" in found.evidence


def test_an_honest_minority_is_not_called_careless(crowd):
    for seed in range(5):
        world = crowd(seed, 300)
        taste = np.where(world.generator.random(300) < 0.7, 1 - world.truth, world.truth)
        for i in range(8):
            world.person(f"most{i}", 0.85, share=0.5)
        for i in range(3):
            world.person(f"few{i}", 0.85, share=0.5, taste=taste)
        found = flags(world.votes)
        assert {flag.kind for flag in found} <= {"contrary"}, [f for f in found if f.kind != "contrary"]
        for flag in found:
            assert flag.annotator.startswith("few")
            assert "not careless" in flag.evidence


def test_copying_and_drift(crowd):
    world = crowd(5, 400)
    for i in range(6):
        world.person(f"n{i}", 0.7)
    world.person("source", 0.6)
    said = {v.pair: v for v in world.votes if v.annotator == "source"}
    world.votes += [
        v.__class__(**{**vars(v), "annotator": "copy", "feedback": "c" + v.feedback}) for v in said.values()
    ]
    found = kinds(flags(world.votes))
    assert {name for name, of in found.items() if "copying" in of} == {"source", "copy"}

    tired = crowd(6, 600)
    for i in range(5):
        tired.person(f"n{i}", 0.85)
    first = crowd(6, 600).person("tired", 0.95).votes[:300]
    last = [v for v in crowd(6, 600).person("tired", 0.5).votes if int(v.prompt[1:]) >= 300]
    found = kinds(flags([*tired.votes, *first, *last]))
    assert found == {"tired": {"drift"}}


def test_few_votes_say_nothing(crowd):
    assert flags(crowd(7, 10).person("a", 0.5).person("b", 0.5, left=1.0).person("c", 0.9).votes) == []
    assert flags([]) == []


def test_fast_people_are_told_with_their_share():
    g = np.random.default_rng(8)
    said = [
        Feedback(question="q", annotator=name, answer=Comparison(better="x"), seconds=float(s))
        for name, middle in (("slow", 20.0), ("usual", 15.0), ("other", 15.0), ("quick", 1.5))
        for s in middle * g.lognormal(0, 0.3, 60)
    ]
    [flag] = fast(said)
    assert (flag.annotator, flag.kind) == ("quick", "fast")
    assert "60 answers took less than 0.25" in flag.evidence
