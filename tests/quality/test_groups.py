"""Groups that differ are found in planted worlds, and a crowd of one taste, good or bad, is left whole."""

import numpy as np
import pytest

from accord.quality.groups import apart
from accord.quality.votes import tabulate


def two_tastes(crowd, seed: int, differ: float = 0.4, sizes: tuple[int, int] = (8, 5), right: float = 0.85):
    world = crowd(seed, 300)
    other = np.where(world.generator.random(300) < differ, 1 - world.truth, world.truth)
    for i in range(sizes[0]):
        world.person(f"a{i}", right, share=0.5)
    for i in range(sizes[1]):
        world.person(f"b{i}", right, share=0.5, taste=other)
    return world


@pytest.mark.parametrize("seed", range(4))
def test_two_honest_groups_are_found(crowd, seed):
    world = two_tastes(crowd, seed)
    world.person("few", 0.9, share=0.04)
    found = apart(world.votes, np.random.default_rng(seed))
    names = {name: found.of[name] for name in found.of if name != "few"}
    assert names == {name: "group 1" if name[0] == "a" else "group 2" for name in names}
    assert len(names) == 13
    assert found.of["few"] in ("group 1", "group 2")
    [made] = [one for one in found.divisions if one.sure]
    # Two who are right with .85 agree in .745; across, that and its contrary on two fifths of the pairs.
    assert abs(made.across - (0.6 * 0.745 + 0.4 * 0.255)) < 0.04
    for one in made.within:
        assert one.low < 0.745 - made.across < one.high


@pytest.mark.parametrize("seed", range(6))
def test_one_crowd_is_left_whole_whoever_is_careless(crowd, seed):
    world = crowd(seed, 300)
    for i in range(8):
        world.person(f"sharp{i}", 0.95, share=0.5)
    for i in range(6):
        world.person(f"dull{i}", 0.65, share=0.5)
    for i in range(5):
        world.person(f"coin{i}", 0.5, share=0.5)
    for i in range(4):
        world.person(f"left{i}", 0.8, left=0.9, share=0.5)
    found = apart(world.votes, np.random.default_rng(seed))
    assert found.of == {}
    assert not any(one.sure for one in found.divisions)


def test_who_copies_looks_like_a_group_unless_named(crowd):
    world = crowd(3, 300)
    for i in range(9):
        world.person(f"a{i}", 0.8)
    drawn = world.generator.integers(0, 2, 300)
    for i in range(4):
        world.person(f"copy{i}", 1.0, taste=drawn)
    copies = [f"copy{i}" for i in range(4)]
    assert {apart(world.votes, np.random.default_rng(0)).of[name] for name in copies} == {"group 2"}
    assert apart(world.votes, np.random.default_rng(0), without=copies).of == {}


def test_three_groups_are_found_by_dividing_again(crowd):
    world = two_tastes(crowd, 1, differ=0.5, sizes=(6, 6), right=0.95)
    third = world.generator.integers(0, 2, 300)
    for i in range(6):
        world.person(f"c{i}", 0.95, share=0.5, taste=third)
    found = apart(world.votes, np.random.default_rng(0))
    of = [{found.of[f"{kind}{i}"] for i in range(6)} for kind in "abc"]
    assert [len(one) for one in of] == [1, 1, 1]
    assert len(set.union(*of)) == 3


def test_nothing_and_few_are_one_crowd(crowd):
    assert apart([], np.random.default_rng(0)).of == {}
    world = crowd(0, 10).person("a", 0.9).person("b", 0.1)
    assert apart(world.votes, np.random.default_rng(0)).of == {}
    assert len(tabulate(world.votes).people) == 2
