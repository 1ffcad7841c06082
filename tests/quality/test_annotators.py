"""Reliability in planted worlds, and against the models written out vote by vote."""

import math

import numpy as np
import pytest
from scipy import special

from accord.quality import annotators as ours
from accord.quality.sharpness import preferred, see
from accord.quality.votes import Vote, tabulate


def mixed(crowd, seed: int, pairs: int = 300):
    """Five good, four coins, two left-siders."""
    world = crowd(seed, pairs)
    for i in range(5):
        world.person(f"good{i}", 0.85, share=0.7)
    for i in range(4):
        world.person(f"coin{i}", 0.5, share=0.7)
    for i in range(2):
        world.person(f"left{i}", 0.85, left=0.7, share=0.7)
    return world


def slow_one_coin(rows, people: int, items: int, shrinkage: float):
    """Dawid and Skene's one coin written out, vote by vote, without arrays; two classes, balanced."""
    q = []
    for i in range(items):
        said = [label for item, _, label in rows if item == i]
        q.append((said.count(0) + 0.5) / (len(said) + 1))
    for _ in range(200):
        right, named = [0.0] * people, [0.0] * people
        for i, j, label in rows:
            right[j] += q[i] if label == 0 else 1 - q[i]
            named[j] += 1
        pool = (sum(right) + 7.5) / (sum(named) + 10)
        r = [(x + shrinkage * pool) / (n + shrinkage) for x, n in zip(right, named, strict=True)]
        before = q
        q = []
        for i in range(items):
            odds = 0.0
            for item, j, label in rows:
                if item == i:
                    odds += (1 if label == 0 else -1) * math.log(r[j] / (1 - r[j]))
            q.append(1 / (1 + math.exp(-odds)))
        if max(abs(x - y) for x, y in zip(q, before, strict=True)) < 1e-6:
            break
    return q


def test_one_coin_equals_the_model_written_out():
    g = np.random.default_rng(0)
    truth = g.integers(0, 2, 40)
    rows = [
        (i, j, int(truth[i] ^ (g.random() > 0.6 + 0.1 * j))) for i in range(40) for j in range(4) if g.random() < 0.8
    ]
    item, person, label = np.array(rows).T
    found = ours.dawid_skene(item, person, label, 2, kind="one_coin", balanced=True)
    assert found.posterior[:, 0] == pytest.approx(slow_one_coin(rows, 4, 40, 4.0), abs=1e-4)


def test_full_confusion_of_three_classes_is_found_again():
    g = np.random.default_rng(1)
    planted = np.array(
        [[[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.05, 0.05, 0.9]], [[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.4, 0.1, 0.5]]]
    )
    truth = g.choice(3, 800, p=[0.5, 0.3, 0.2])
    rows = [(i, j, g.choice(3, p=planted[j % 2][z])) for i, z in enumerate(truth) for j in range(6)]
    item, person, label = np.array(rows).T
    found = ours.dawid_skene(item, person, label, 3)
    for j in range(6):
        assert np.abs(found.confusion[j] - planted[j % 2]).max() < 0.12
    assert found.prior == pytest.approx([0.5, 0.3, 0.2], abs=0.05)
    assert (found.posterior.argmax(1) == truth).mean() > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_coins_and_left_siders_are_recognised(crowd, seed):
    world = mixed(crowd, seed)
    people = ours.reliabilities(tabulate(world.votes))
    for name, person in people.items():
        kind = name[:4]
        if kind == "good":
            assert person.accuracy.low > 0.65
            assert not person.left.excludes(0.5) or abs(person.left.estimate - 0.5) < 0.1
        if kind == "coin":
            assert person.accuracy.high < 0.65
            assert person.effective < 0.05 * person.votes
        if kind == "left":
            assert person.left.low > 0.7
    assert people["good0"].effective > 5 * people["left0"].effective


def test_accuracy_intervals_cover_among_good_and_bad_people(crowd):
    hits = []
    for seed in range(20):
        people = ours.reliabilities(tabulate(mixed(crowd, seed).votes))
        hits += [not people[f"good{i}"].accuracy.excludes(0.85) for i in range(5)]
        hits += [not people[f"coin{i}"].accuracy.excludes(0.5) for i in range(4)]
    assert np.mean(hits) > 0.92


def test_dawid_skene_beats_the_majority_where_reliabilities_differ(crowd):
    gains = []
    for seed in range(8):
        world = mixed(crowd, seed, pairs=200)
        table = tabulate(world.votes)
        truth = world.truth_of(table)
        share = np.bincount(table.pair, table.outcome) / np.bincount(table.pair)
        majority = np.where(share == 0.5, 0.5, (share > 0.5) == truth).mean()
        gains.append(((ours.skene_of_pairs(table).posterior[:, 0] > 0.5) == truth).mean() - majority)
    error = np.std(gains, ddof=1) / math.sqrt(len(gains))
    assert np.mean(gains) - 3.5 * error > 0, gains


def test_a_tie_says_nothing_of_the_side():
    votes = [Vote("p", "x", "y", "tie", who, who) for who in "abc"]
    assert ours.skene_of_pairs(tabulate(votes)).posterior == pytest.approx(np.array([[0.5, 0.5]]))


def test_mace_names_the_spammers():
    g = np.random.default_rng(2)
    truth = g.integers(0, 4, 300)
    rows = []
    for i, z in enumerate(truth):
        for j in range(6):
            meant = g.random() < (0.8 if j < 4 else 0.0)
            rows.append((i, j, z if meant else 2 if j == 4 else g.integers(0, 4)))
    item, person, label = np.array(rows).T
    found = ours.mace(item, person, label, 4)
    assert found.honest[:4] == pytest.approx([0.8] * 4, abs=0.08)
    assert found.honest[4:].max() < 0.12
    assert found.habit[4, 2] > 0.9
    counts = np.zeros((300, 4))
    np.add.at(counts, (item, label), 1)
    assert (found.posterior.argmax(1) == truth).mean() > (counts.argmax(1) == truth).mean() + 0.02


def test_effective_votes():
    bits = 1 + 0.9 * math.log2(0.9) + 0.1 * math.log2(0.1)
    assert ours.effective_votes(0.9, 10) == pytest.approx(10 * bits)
    assert ours.effective_votes(0.1, 10) == pytest.approx(10 * bits)
    assert ours.effective_votes(0.5, 1000) == pytest.approx(0)
    assert ours.effective_votes(1.0, 7) == 7
    assert ours.difficulty(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx([0, 1])


def test_nothing_to_learn_from_is_said():
    none = np.zeros(0, dtype=np.int64)
    for fit in (lambda: ours.dawid_skene(none, none, none, 2), lambda: ours.mace(none, none, none, 2)):
        with pytest.raises(ValueError, match="from nothing"):
            fit()
    with pytest.raises(ValueError, match="no votes"):
        see(tabulate([]))
    assert ours.reliabilities(tabulate([])) == {}


# --- Bradley-Terry with persons --------------------------------------------------------------------------------


def seen_world(seed: int):
    g = np.random.default_rng(seed)
    score = g.normal(size=(150, 4))
    sharp, lean = [2.0, 1.5, 1.0, 0.0, -1.5], [0.0, 0.0, 1.5, 0.0, 0.0]
    votes = []
    for i in range(150):
        for x in range(4):
            for y in range(x + 1, 4):
                for j in range(5):
                    side = 1 if g.random() < 0.5 else -1
                    p = special.expit(sharp[j] * (score[i, x] - score[i, y]) + lean[j] * side)
                    left = "a" if side > 0 else "b"
                    outcome = "a" if g.random() < p else "b"
                    votes.append(Vote(f"p{i}", f"{i}-{x}", f"{i}-{y}", outcome, f"n{j}", f"{len(votes)}", left=left))
    return score, sharp, lean, votes


def test_sharpness_and_leaning_are_found_again():
    score, sharp, lean, votes = seen_world(3)
    found = see(tabulate(votes))
    gap = np.array([score[i, x] - score[i, y] for i in range(150) for x in range(4) for y in range(x + 1, 4)])
    assert np.corrcoef(found.gap, gap)[0, 1] > 0.85
    # Scores and sharpness are known up to a common factor.
    scale = found.sharpness[0] / sharp[0]
    assert found.sharpness / scale == pytest.approx(sharp, abs=0.35)
    assert found.leaning == pytest.approx(lean, abs=0.25)
    for j, (_, leaning) in enumerate(found.intervals()):
        assert abs(leaning.estimate - lean[j]) < 2 * (leaning.high - leaning.low)
    assert ((preferred(found) > 0.5) == (found.gap > 0)).all()


def test_the_mode_is_a_mode():
    """No small step away from what was found is likelier, by the model written out vote by vote."""
    *_, votes = seen_world(4)
    table = tabulate(votes[:600])
    found = see(table)
    names = {x: k for k, x in enumerate(dict.fromkeys(x for pair in table.pairs for x in pair[1:3]))}

    def slow(score, sharp, lean) -> float:
        total = (score @ score) / 1.5**2 / 2 + ((sharp - 1) ** 2).sum() / 2 + (lean @ lean) / 2
        for n in range(len(table.pair)):
            _, x, y, _ = table.pairs[table.pair[n]]
            j = table.person[n]
            z = sharp[j] * (score[names[x]] - score[names[y]]) + lean[j] * table.side[n]
            total += math.log1p(math.exp(-z)) if table.outcome[n] == 1 else math.log1p(math.exp(z))
        return total

    best, g = slow(found.score, found.sharpness, found.leaning), np.random.default_rng(0)
    for _ in range(30):
        step = [x + g.normal(size=x.shape) * 0.02 for x in (found.score, found.sharpness, found.leaning)]
        assert slow(*step) > best - 1e-3
