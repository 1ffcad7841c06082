"""Who taught what, both ways, against a walk over all records."""

import random

import pytest

from accord.records import Comparison, Demonstration, Feedback, Preference, Version
from accord.store import Missing

from .conftest import pairs


def world(seed: int):
    """Random feedback, beliefs and a family of versions."""
    draw = random.Random(seed)
    said = [
        Feedback(
            id=f"f{i}", question=f"q{i % 8}", annotator=draw.choice("abcd"), answer=Comparison(better=f"s{i % 8}a")
        )
        for i in range(20)
    ]
    beliefs = [
        Preference(
            id=f"b{i}",
            prompt="p0",
            chosen="s0a",
            rejected="s0b",
            feedback=tuple({f"f{draw.randrange(20)}" for _ in "12"}),
        )
        for i in range(8)
    ]
    beliefs += [Demonstration(id=f"d{i}", prompt="p0", sample="s0a", feedback=(f"f{i}",)) for i in range(4)]
    versions = []
    for i in range(10):
        data = {draw.choice(beliefs).id for _ in range(draw.randrange(3))} | (
            {f"v{draw.randrange(i)}"} if i % 3 == 2 else set()
        )
        parent = f"v{draw.randrange(i)}" if i and draw.random() < 0.5 else None
        versions.append(Version(id=f"v{i}", name=f"v{i}", role="policy", data=tuple(sorted(data)), parent=parent))
    return said, beliefs, versions


@pytest.mark.parametrize("seed", range(5))
def test_lineage_equals_a_walk_over_all_records(store, seed):
    said, beliefs, versions = world(seed)
    store.put([*pairs(8, wanted=9), *said, *beliefs, *versions])
    elders = {v.id: {v.id} for v in versions}
    for v in versions:  # in order of making, so elders are complete
        for other in [v.parent, *v.data]:
            elders[v.id] |= elders.get(other, set())
    for who in "abcd":
        theirs = {f.id for f in said if f.annotator == who}
        rest = {b.id for b in beliefs if theirs & set(b.feedback)}
        first = {v.id for v in versions if rest & set(v.data)}
        found = store.trace_person(who)
        assert set(found.feedback) == theirs
        assert set(found.preferences) | set(found.demonstrations) == rest
        assert all(id.startswith("d") for id in found.demonstrations)
        assert set(found.versions) == first
        assert set(found.related) == {v.id for v in versions if elders[v.id] & first} - first
    for v in versions:
        items = {item for other in versions if other.id in elders[v.id] for item in other.data}
        word = {f for b in beliefs if b.id in items for f in b.feedback}
        found = store.trace_version(v.id)
        assert set(found.related) == elders[v.id] - {v.id}
        assert set(found.preferences) | set(found.demonstrations) == {b.id for b in beliefs if b.id in items}
        assert set(found.feedback) == word
        assert set(found.annotators) == {f.annotator for f in said if f.id in word}


def test_nobody_and_nothing(store):
    assert store.trace_person("nobody").versions == ()
    with pytest.raises(Missing):
        store.trace_version("none")


def test_a_family_with_a_loop_ends(store):
    store.put([Version(id=a, name=a, role="policy", parent=b) for a, b in ("ab", "ba")])
    assert store.trace_version("a").related == ("b",)
