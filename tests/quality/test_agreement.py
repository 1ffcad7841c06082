"""Agreement against plain loops, textbook figures and real votes."""

import math
from collections import defaultdict
from itertools import combinations, permutations

import numpy as np
import pytest
from scipy import stats

from accord.quality import agreement as ours
from accord.quality.votes import Vote


def long_form(seed: int, values: list, items: int = 60, people: int = 5, missing: float = 0.3):
    generator = np.random.default_rng(seed)
    base = generator.integers(len(values), size=items)
    rows = []
    for i in range(items):
        for j in range(people):
            if generator.random() > missing:
                k = base[i] if generator.random() < 0.6 else generator.integers(len(values))
                rows.append((i, j, values[k]))
    return rows


def slow_alpha(rows, distance) -> float:
    """Mean distance within items over mean distance of any two values, by listing every pair of ratings."""
    units = defaultdict(list)
    for i, _, value in rows:
        units[i].append(value)
    units = {i: said for i, said in units.items() if len(said) > 1}
    everything = [value for said in units.values() for value in said]
    seen = sum(
        sum(distance(x, y, everything) for x, y in permutations(said, 2)) / (len(said) - 1) for said in units.values()
    ) / len(everything)
    chance = sum(distance(x, y, everything) for x, y in permutations(everything, 2))
    return 1 - seen / (chance / (len(everything) * (len(everything) - 1)))


def between(x, y, everything) -> float:
    low, high = min(x, y), max(x, y)
    inside = sum(low <= v <= high for v in everything)
    return (inside - (everything.count(x) + everything.count(y)) / 2) ** 2


@pytest.mark.parametrize(
    ("measure", "distance"),
    [
        ("nominal", lambda x, y, _: float(x != y)),
        ("interval", lambda x, y, _: (x - y) ** 2),
        ("ordinal", between),
    ],
)
def test_alpha_equals_all_pairs_of_ratings(measure, distance):
    rows = long_form(1, [1, 2, 3, 5], items=25)
    found = ours.krippendorff(ours.count(*zip(*rows, strict=True)), measure, np.random.default_rng(0), 200)
    assert found.interval.estimate == pytest.approx(slow_alpha(rows, distance))
    assert found.interval.low < found.interval.estimate < found.interval.high


def test_alpha_of_krippendorffs_own_example():
    # Krippendorff 2011, section C: four observers, twelve units, missing data.
    said = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    rows = [(i, j, int(v)) for j, line in enumerate(said) for i, v in enumerate(line.split()) if v != "."]
    counts = ours.count(*zip(*rows, strict=True))
    for measure, published in (("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)):
        figure = ours.krippendorff(counts, measure, np.random.default_rng(0), 50).interval.estimate
        assert figure == pytest.approx(published, abs=5e-4)


def test_fleiss_kappa_of_the_textbook():
    # Fleiss 1971 in the form everybody copies: 10 subjects, 14 raters, kappa = .210.
    table = """0 0 0 0 14|0 2 6 4 2|0 0 3 5 6|0 3 9 2 0|2 2 8 1 1|7 7 0 0 0|3 2 6 3 0|2 5 3 2 2|6 5 2 1 0|0 2 2 3 7"""
    counts = ours.Counts(list(range(5)), np.array([[float(x) for x in row.split()] for row in table.split("|")]))
    assert ours.fleiss(counts, np.random.default_rng(0), 50).interval.estimate == pytest.approx(0.210, abs=5e-4)


def test_cohens_kappa_by_its_definition():
    a, b = (np.random.default_rng(s).integers(1, 5, 300).tolist() for s in (2, 3))
    b = [x if i % 2 else y for i, (x, y) in enumerate(zip(a, b, strict=True))]
    loss = {"nominal": lambda x, y: x != y, "ordinal": lambda x, y: abs(x - y), "interval": lambda x, y: (x - y) ** 2}
    for measure, cost in loss.items():
        seen = np.mean([cost(x, y) for x, y in zip(a, b, strict=True)])
        chance = np.mean([cost(x, y) for x in a for y in b])
        found = ours.cohen(a, b, np.random.default_rng(0), measure, 50)
        assert found.interval.estimate == pytest.approx(1 - seen / chance)


def test_gwet_by_loops_and_steady_where_kappa_collapses():
    rows = [*long_form(4, [1, 2, 3]), *((100 + i, 0, 1 + i % 2) for i in range(20))]  # and judged by one alone
    units = defaultdict(list)
    for i, _, value in rows:
        units[i].append(value)
    twice = {i: said for i, said in units.items() if len(said) > 1}
    assert 0 < len(twice) < len(units)
    for measure, near in (("nominal", lambda x, y: float(x == y)), ("ordinal", lambda x, y: 1 - abs(x - y) / 2)):
        seen = np.mean([np.mean([near(x, y) for x, y in combinations(said, 2)]) for said in twice.values()])
        share = {v: np.mean([said.count(v) / len(said) for said in units.values()]) for v in (1, 2, 3)}
        weights = sum(near(x, y) for x in share for y in share)
        chance = weights / 6 * sum(s * (1 - s) for s in share.values())
        found = ours.gwet(ours.count(*zip(*rows, strict=True)), np.random.default_rng(0), measure, 50)
        assert found.interval.estimate == pytest.approx((seen - chance) / (1 - chance))
    one_sided = [(i, j, int(i == 3 and j == 0)) for i in range(50) for j in range(3)]
    counts = ours.count(*zip(*one_sided, strict=True))
    assert ours.fleiss(counts, np.random.default_rng(0), 50).interval.estimate < 0.05
    assert ours.gwet(counts, np.random.default_rng(0), draws=50).interval.estimate > 0.95


def test_kendall_is_the_mean_over_pairs_of_people():
    generator = np.random.default_rng(5)
    questions = [[generator.permutation(5).tolist() for _ in range(3)] for _ in range(6)]
    slow = np.mean([np.mean([stats.kendalltau(x, y)[0] for x, y in combinations(q, 2)]) for q in questions])
    assert ours.kendall(questions).interval.estimate == pytest.approx(slow)


def test_an_undefined_figure_says_why():
    generator = np.random.default_rng(0)
    same = ours.count([1, 1, 2, 2], ["x", "y", "x", "y"], ["a"] * 4)
    for found, words in (
        (ours.krippendorff(same, "nominal", generator, 10), "all said 'a'"),
        (ours.krippendorff(ours.count([1, 2], ["x", "x"], [1, 2]), "nominal", generator, 10), "0 of 2 items"),
        (ours.gwet(same, generator, draws=10), "all said 'a'"),
        (ours.cohen(["a"], ["a"], generator, draws=10), "nothing could differ"),
        (ours.kendall([]), "0 questions"),
        (ours.pairwise(ours.count([], [], [])), "0 of 0 items"),
    ):
        assert math.isnan(found.interval.estimate)
        assert words in found.why


def test_no_agreement_is_nothing_and_the_interval_covers():
    hits = []
    for seed in range(60):
        g = np.random.default_rng(seed)
        counts = ours.count(np.repeat(np.arange(80), 3), np.tile(np.arange(3), 80), g.integers(0, 2, 240).tolist())
        hits.append(not ours.krippendorff(counts, "nominal", g, 200).interval.excludes(0))
    assert np.mean(hits) > 0.85


def test_votes_are_summed_up():
    votes = [
        Vote(f"p{i}", f"{i}x", f"{i}y", "a" if i % 4 else "b", who, f"{who}{i}", strength=1)
        for i in range(20)
        for who in "mn"
    ]
    found = ours.of_votes(votes, np.random.default_rng(0), 20)
    assert [f.interval.estimate for f in found] == [1.0] * 5


def test_pandalm_agrees_as_published(real_votes):
    votes = real_votes("PandaLM")
    by_pair = defaultdict(list)
    for vote in votes:
        by_pair[vote.pair].append(vote.outcome)
    slow = np.mean([np.mean([x == y for x, y in combinations(said, 2)]) for said in by_pair.values()])
    found = ours.of_votes(votes, np.random.default_rng(0), 100)[0].interval
    assert found.estimate == pytest.approx(slow)
    assert not found.excludes(0.920)  # all 999 items; here are 832 of them


def test_real_ratings_by_all_pairs(rated):
    for task, measure in (("refusal", "nominal"), ("bias_type", "nominal"), ("user_abuse_severity", "ordinal")):
        cast = int if measure == "ordinal" else str
        rows = [(r["item_id"], r["annotator_id"], cast(r["label"])) for r in rated if r["task"] == task]
        kept = sorted({i for i, *_ in rows})[:80]
        rows = [row for row in rows if row[0] in set(kept)]
        rows = [(i, j, v) for (i, j), v in {(i, j): v for i, j, v in rows}.items()]
        distance = between if measure == "ordinal" else (lambda x, y, _: float(x != y))
        if measure == "ordinal":
            rows = [row for row in rows if row[0] in set(kept[:40])]
        found = ours.krippendorff(ours.count(*zip(*rows, strict=True)), measure, np.random.default_rng(0), 20)
        assert found.interval.estimate == pytest.approx(slow_alpha(rows, distance)), task


def test_means_over_items_have_ends_from_drawn_items_too():
    """Against a loop that draws items one by one, and by how often the ends hold the truth."""
    rows = long_form(11, ["a", "b"], items=50)
    counts = ours.count(*zip(*rows, strict=True))
    found = ours.pairwise(counts, generator=np.random.default_rng(1), draws=4000)
    assert found.drawn is not None
    by_item = defaultdict(list)
    for i, _, value in rows:
        by_item[i].append(value)
    shares = [np.mean([x == y for x, y in combinations(v, 2)]) for v in by_item.values() if len(v) > 1]
    g = np.random.default_rng(2)
    slow = sorted(sum(shares[g.integers(len(shares))] for _ in shares) / len(shares) for _ in range(4000))
    assert found.drawn.estimate == found.interval.estimate == pytest.approx(np.mean(shares))
    assert (found.drawn.low, found.drawn.high) == pytest.approx((slow[100], slow[3899]), abs=0.012)
    assert found.drawn.n == len(shares)
    # Blocks only bound memory: the draws are the same.
    one, many = (ours.resampled(np.array(shares), np.random.default_rng(3), 100, block) for block in (10**6, 120))
    assert np.array_equal(one, many)


def test_drawn_ends_of_kendall_hold_the_truth_about_as_often_as_they_say():
    held = []
    for seed in range(150):
        g = np.random.default_rng(seed)  # two people who sort at random: the tau in the crowd is 0
        questions = [[g.permutation(4).tolist(), g.permutation(4).tolist()] for _ in range(40)]
        found = ours.kendall(questions, generator=g, draws=300).drawn
        assert found is not None
        held.append(not found.excludes(0))
    assert 0.88 <= np.mean(held) <= 0.99
    undefined = ours.kendall([], generator=np.random.default_rng(0))
    assert undefined.undefined
    assert undefined.drawn is None
    assert "2 needed" in undefined.why


def test_figures_beyond_chance_keep_their_draws_beside_the_new_ends():
    votes = [
        Vote(f"p{i}", f"{i}x", f"{i}y", "ab"[(i * j) % 3 == 0], f"u{j}", f"{i}-{j}") for i in range(30) for j in (1, 2)
    ]
    together = ours.of_votes(votes, np.random.default_rng(4), 50)
    sides = ours.count([v.pair for v in votes], [v.annotator for v in votes], [v.outcome for v in votes])
    assert together[1].interval == ours.krippendorff(sides, "nominal", np.random.default_rng(4), 50).interval
    assert together[0].drawn is not None


def test_ends_that_most_draws_leave_undefined_say_why():
    table = ours.Counts(["a", "b"], np.array([[2.0, 0.0], [0.0, 2.0]]))
    for seed in range(20):
        found = ours.krippendorff(table, "nominal", np.random.default_rng(seed), 21)
        assert found.interval.estimate == 1
        assert math.isnan(found.interval.low) == bool(found.why)
    whys = {ours.krippendorff(table, "nominal", np.random.default_rng(seed), 21).why for seed in range(20)}
    assert len(whys) == 2, "two items: about half of the draws say one value throughout"
