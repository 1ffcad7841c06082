"""Rules of choice: what they like, that their propensities are those of counting, and the honest verdict."""

import numpy as np
import pytest

from accord.feedback import arms, scout
from accord.feedback.select import (
    CONTROL,
    RULES,
    Pool,
    choose,
    disagreement,
    double_thompson,
    proportional,
    uncertainty,
)
from accord.records import Preference


def pool(seed=0, prompts=12, answers=3, members=5, width=4, topics=3):
    """All pairs of the answers to each prompt, seen by members who disagree."""
    draw = np.random.default_rng(seed)
    rows = np.arange(prompts * answers).reshape(prompts, answers)
    pairs = [(p, rows[p, i], rows[p, j]) for p in range(prompts) for i in range(answers) for j in range(i)]
    prompt, first, second = np.array(pairs).T
    skill = draw.normal(size=rows.size)
    worth = skill + draw.normal(size=(members, rows.size)) if members else np.zeros((0, rows.size))
    names = [f"t{p % topics}" for p in prompt]
    return Pool(prompt, first, second, names, draw.normal(size=(rows.size, width)), worth)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("members", [0, 5])
def test_every_rule_keeps_a_control_arm_and_repeats_nothing(rule, members):
    there = pool(members=members)
    for count in (1, 7, 20, 36, 99):
        found = choose(there, count, rule, np.random.default_rng(count))
        assert len({one.index for one in found}) == len(found) == min(count, 36)
        control = [one for one in found if one.arm == "random"]
        assert len(control) >= CONTROL * len(found)
        assert len(control) <= CONTROL * len(found) + 1 or rule == "random"
        assert {one.arm for one in found} <= {"random", rule}
        assert all(0 < one.propensity <= 1 for one in found)
        assert all(one.propensity == len(control) / 36 for one in control)


@pytest.mark.parametrize("rule", ["random", "uncertainty", "disagreement", "double_thompson", "coverage"])
def test_propensities_are_those_of_counting(rule):
    """Drawn many times: each pair is in its arm as often as was said, and 1 / propensity counts the pool."""
    there, draws = pool(3, prompts=6), 4000
    generator = np.random.default_rng(1)
    sizes, times = [], np.zeros(len(there))
    chance = np.zeros(len(there))
    for _ in range(draws):
        found = [one for one in choose(there, 8, rule, generator) if one.arm == rule]
        sizes.append(sum(1 / one.propensity for one in found))
        for one in found:
            times[one.index] += 1
            chance[one.index] += one.propensity
    rest = len(there) - (0 if rule == "random" else 2)
    assert np.mean(sizes) == pytest.approx(rest, abs=4 * np.std(sizes) / draws**0.5)
    seen = times > 50
    assert seen.all()
    # Given what the control arm took, so on average over it: the said chance of those taken is at least the share.
    assert (np.abs(chance / times - times / draws * len(there) / rest) < 0.08).all()


def test_inclusion_is_exactly_in_proportion():
    weight = np.array([8.0, 1, 1, 1, 1, 0, 0, 0])
    generator = np.random.default_rng(0)
    times, said = np.zeros(8), np.zeros(8)
    for _ in range(8000):
        picked = proportional(weight, 3, generator)
        assert len(picked) == 3
        for i, chance in picked:
            times[i] += 1
            said[i] = chance
    assert times[0] == 8000
    assert said[0] == 1
    assert np.abs(times / 8000 - said).max() < 0.02
    assert said.sum() == pytest.approx(3)
    assert len(proportional(weight, 8, generator)) == 8


def test_scores_by_the_definition_written_out():
    there = pool(5, members=4)
    for n in range(len(there)):
        chances = [1 / (1 + np.exp(there.worth[m, there.second[n]] - there.worth[m, there.first[n]])) for m in range(4)]
        mean = float(np.mean(chances))
        nats = [-(p * np.log(p) + (1 - p) * np.log(1 - p)) for p in [mean, *chances]]
        assert uncertainty(there)[n] == pytest.approx(1 - abs(2 * mean - 1))
        assert disagreement(there)[n] == pytest.approx(nats[0] - np.mean(nats[1:]))


def test_double_thompson_by_drawing():
    there = pool(7, prompts=2, members=6)
    draw, wins = np.random.default_rng(2), {}
    answers = [0, 1, 2]
    for _ in range(20_000):
        best = lambda: answers[int(there.worth[draw.integers(6)][answers].argmax())]  # noqa: E731
        a, b = best(), best()
        for _ in range(50):
            if a != b:
                break
            b = best()
        wins[frozenset((a, b))] = wins.get(frozenset((a, b)), 0) + 1
    for n in np.flatnonzero(there.prompt == 0):
        share = wins.get(frozenset((int(there.first[n]), int(there.second[n]))), 0) / 20_000
        assert double_thompson(there)[n] == pytest.approx(share, abs=0.015)


def test_rules_like_what_they_are_for():
    draw = np.random.default_rng(0)
    prompt, first = np.repeat(np.arange(200), 1), np.arange(0, 400, 2)
    features = np.zeros((400, 3))
    features[first, 0] = 1  # all alike but for ten that show two other directions
    features[first[:5], :2], features[first[5:10], :] = [0, 1], [0, 0, 1]
    worth = np.zeros((4, 400))
    worth[:, first] = 6.0
    worth[:, first[:20]] = 0.0  # open to all members alike
    worth[:, first[20:40]] = np.array([[9.0], [-9.0], [9.0], [-9.0]])  # members contradict each other
    there = Pool(prompt, first, first + 1, ["common"] * 190 + ["rare"] * 10, features, worth)

    def liked(rule, rows, count=40):
        found = [one.index for _ in range(20) for one in choose(there, count, rule, draw) if one.arm == rule]
        return float(np.isin(found, rows).mean()) / (len(rows) / 200)

    assert liked("uncertainty", range(40)) > 3
    assert liked("disagreement", range(20, 40)) > 5
    assert liked("disagreement", range(20)) < 1
    assert liked("d_optimal", range(10)) > 2
    assert liked("coverage", range(190, 200)) > 4
    assert liked("diversity", range(10), 4) > 5


def test_a_rule_that_compares_is_refused_where_one_answer_is_shown():
    there = pool()
    alone = Pool(there.prompt, there.first, there.first, there.topic, there.features, there.worth)
    with pytest.raises(ValueError, match="shows one"):
        choose(alone, 5, "uncertainty", np.random.default_rng(0))
    assert len(choose(alone, 5, "diversity", np.random.default_rng(0))) == 5
    with pytest.raises(ValueError, match=r"0\.2"):
        choose(there, 5, "uncertainty", np.random.default_rng(0), control=0.1)


# --- the verdict -----------------------------------------------------------------------------------------------


def answered(seed, better_arm, count=240):
    """Beliefs of two arms about texts of which the good ones hold a word; the active arm's labels are better or not."""
    draw = np.random.default_rng(seed)
    good, bad = [f"useful{i}" for i in range(30)], [f"useless{i}" for i in range(30)]
    texts, beliefs, arm = [], [], {}
    for i in range(count * 2):
        name = "random" if i < count else "uncertainty"
        noise = 0.35 if name == "random" else (0.0 if better_arm else 0.35)
        pair = [" ".join(draw.choice(words, 4)) for words in (good, bad)]
        texts += pair
        chosen, rejected = (2 * i, 2 * i + 1) if draw.random() >= noise else (2 * i + 1, 2 * i)
        beliefs.append(Preference(id=f"b{i}", prompt=f"p{i}", chosen=str(chosen), rejected=str(rejected)))
        arm[f"b{i}"] = name
    return beliefs, arm, {str(i): i for i in range(len(texts))}, scout.features(texts)


def test_an_arm_that_teaches_more_is_seen_and_one_that_does_not_is_not():
    [found] = arms.compare(*answered(0, True), np.random.default_rng(0))
    assert (found.name, found.beliefs) == ("uncertainty", 120)
    assert found.pays
    assert found.accuracy.estimate > found.control.estimate
    paid = sum(arms.compare(*answered(seed, False), np.random.default_rng(seed))[0].pays for seed in range(6))
    assert paid <= 1
    few = answered(0, True, 100)
    assert arms.compare(*few, np.random.default_rng(0)) == []


def test_the_scout_learns_which_words_are_better_in_any_script():
    texts = ["这是 一个好的回答", "这是一个坏的回答", "a fine answer", "a poor answer", "", "fine"]
    found = scout.features(texts)
    assert np.allclose((found[:4, :-1] ** 2).sum(1), 1)
    assert not found[4].any()
    assert scout.words("Hello, 你好!") == ["hello", ",", "你", "好", "!"]
    one = np.ones(2)
    worth = scout.fit(found, np.array([0, 2]), np.array([1, 3]), one, one, np.random.default_rng(0), 3, ridge=0.1)
    assert worth.shape == (3, 6)
    mean = worth.mean(0)
    assert mean[0] > mean[1]
    assert mean[5] > mean[3]
    assert scout.fit(found, np.array([], int), np.array([], int), one[:0], one[:0], np.random.default_rng(0)).size == 0
