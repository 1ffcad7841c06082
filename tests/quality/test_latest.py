"""Beliefs that were made again stand once; others stay beside each other in their order."""

from accord.quality.latest import latest
from accord.records import Preference


def belief(name: str, *feedback: str, pair: tuple[str, str] = ("x", "y"), criterion: str = "", group: str = ""):
    return Preference(
        id=name, prompt="p", chosen=pair[0], rejected=pair[1], feedback=feedback, criterion=criterion, group=group
    )


def names(*beliefs: Preference) -> str:
    return " ".join(one.id for one in latest(beliefs))


def test_a_later_belief_on_the_same_words_stands_for_the_earlier_even_turned_round():
    assert names(belief("old", "f", "g"), belief("new", "f", "g", "h", pair=("y", "x"))) == "new"
    assert names(belief("a", "f"), belief("b", "g"), belief("both", "f", "g")) == "both"


def test_other_words_pairs_criteria_and_files_stay():
    kept = [belief("1", "f"), belief("2", "g"), belief("3"), belief("4"), belief("5", "f", criterion="truth")]
    assert names(*kept, belief("6", "f", pair=("x", "z"))) == "1 2 3 4 5 6"
    assert names() == ""


def test_beliefs_of_groups_stand_for_that_of_all_and_beside_each_other():
    assert names(belief("all", "f", "g"), belief("one", "f", group="1"), belief("two", "g", group="2")) == "one two"
