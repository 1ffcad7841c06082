"""From answers to beliefs."""

import math

import numpy as np
import pytest

from accord.quality.believe import METHODS, BelieveConfig, believe, learned_shrinkage, probabilities, weighed
from accord.quality.ceiling import best_accuracy, ceiling
from accord.quality.heldout import held_out
from accord.quality.votes import hear, tabulate
from accord.records import Comparison, Correction, Feedback, Message, Question, Ranking, Text


def asked(votes) -> tuple[list[Question], list[Feedback]]:
    """Questions and feedback that a crowd's votes could have come from."""
    questions = {v.pair: Question(id="q" + v.prompt, prompt=v.prompt, samples=(v.a, v.b)) for v in votes}
    said = []
    for v in votes:
        answer = (
            Comparison(verdict="tie") if v.outcome == "tie" else Comparison(better=v.a if v.outcome == "a" else v.b)
        )
        shown = (v.a, v.b) if v.left == "a" else (v.b, v.a)
        said.append(Feedback(id=v.feedback, question="q" + v.prompt, annotator=v.annotator, answer=answer, shown=shown))
    return list(questions.values()), said


def say(question: Question, who: str, answer) -> Feedback:
    return Feedback(id=f"{who}-{question.id}", question=question.id, annotator=who, answer=answer)


def test_majority_is_the_mean_of_a_beta():
    question = Question(id="q", prompt="p", samples=("x", "y"))
    said = [
        say(question, w, Comparison(better=b, strength=s)) for w, b, s in (("a", "y", 3), ("b", "y", 1), ("c", "x", 1))
    ]
    [belief] = believe([question], said).preferences
    assert (belief.chosen, belief.rejected, belief.margin, belief.weight) == ("y", "x", 2.0, 1.0)
    grid = np.linspace(1e-6, 1 - 1e-6, 200_001)
    posterior = grid ** (2 - 0.5) * (1 - grid) ** (1 - 0.5)
    assert belief.probability == pytest.approx((grid * posterior).sum() / posterior.sum(), abs=1e-5)
    assert set(belief.feedback) == {s.id for s in said}


@pytest.mark.parametrize("planted", [0.2, 1.0, 5.0])
def test_shrinkage_is_learned_from_how_far_people_agree(planted):
    g = np.random.default_rng(9)
    total = np.full(3000, 4.0)
    won = g.binomial(4, g.beta(planted, planted, 3000)).astype(float)
    assert learned_shrinkage(won, total) == pytest.approx(planted, rel=0.2)
    assert learned_shrinkage(won[:10], total[:10]) == 0.5


@pytest.mark.parametrize("method", METHODS)
def test_only_ties_are_a_half_in_the_order_asked(method):
    question = Question(id="q", prompt="p", samples=("z", "a"))
    said = [say(question, w, Comparison(verdict="tie")) for w in "mn"]
    [belief] = believe([question], said, BelieveConfig(method=method)).preferences
    assert (belief.chosen, belief.probability, belief.margin) == ("z", 0.5, 0.0)
    dropped = believe([question], said, BelieveConfig(method=method, ties="drop"))
    assert dropped.preferences == []
    assert set(dropped.left_out) == {s.id for s in said}


@pytest.mark.parametrize("method", METHODS)
def test_making_beliefs_again_makes_the_same_records(crowd, method):
    world = crowd(0, 40).person("a", 0.8).person("b", 0.7).person("c", 0.9, share=0.5)
    questions, said = asked(world.votes)
    config = BelieveConfig(method=method)
    once, again = believe(questions, said, config), believe(iter(questions), iter(said), config)
    assert once == again
    ids = {p.id for p in once.preferences}
    assert len(ids) == 40
    shuffled = [said[i] for i in np.random.default_rng(1).permutation(len(said))]
    assert {p.id for p in believe(questions, shuffled, config).preferences} == ids
    more = [
        *said,
        Feedback(id="new", question=questions[0].id, annotator="d", answer=Comparison(better=questions[0].samples[1])),
    ]
    changed = {p.id for p in believe(questions, more, config).preferences}
    assert len(changed - ids) >= 1


def test_a_ranking_weighs_as_much_as_a_comparison_however_many_rank():
    question = Question(id="q", prompt="p", samples=tuple("wxyz"), form="ranking")
    for people in (1, 5):
        said = [say(question, str(i), Ranking(order=(("w",), ("x",), ("y",), ("z",)))) for i in range(people)]
        beliefs = believe([question], said).preferences
        assert len(beliefs) == 6
        assert sum(b.weight for b in beliefs) == pytest.approx(1, abs=1e-5)
        # Each pair was really voted on: sharing the weight does not make it less sure.
        assert {b.probability for b in beliefs} == {round((people + 0.5) / (people + 1), 6)}


def test_a_correction_becomes_belief_sample_and_demonstration():
    question = Question(id="q", prompt="p", samples=("x",), form="correction")
    words = Text(messages=(Message(role="assistant", content="kinder"),))
    found = believe([question], [say(question, "a", Correction(sample="x", content=words))])
    [belief], [sample], [shown] = found.preferences, found.samples, found.demonstrations
    assert (belief.chosen, belief.rejected, belief.margin) == (sample.id, "x", 2.0)
    assert (shown.sample, sample.content, sample.version) == (sample.id, words, None)


def test_groups_have_beliefs_of_their_own(crowd):
    world = crowd(1, 30)
    world.person("a", 1.0).person("b", 1.0).person("c", 1.0, taste=1 - world.truth)
    questions, said = asked(world.votes)
    found = believe(questions, said, groups={"a": "one", "b": "one", "c": "two"})
    by = {(p.prompt, p.group): p for p in found.preferences}
    assert len(by) == 60
    assert all(by[q.prompt, "one"].chosen == by[q.prompt, "two"].rejected for q in questions)


def test_what_another_method_would_have_believed_is_told(crowd):
    world = crowd(2, 200).person("good", 0.95).person("good2", 0.95)
    for i in range(3):
        world.person(f"coin{i}", 0.5)
    questions, said = asked(world.votes)
    found = believe(questions, said)
    assert found.disagreement
    table = tabulate(world.votes)
    truth = dict(zip(table.pairs, world.truth_of(table), strict=True))
    skene = [(d.probability["dawid_skene"] > 0.5) == truth[d.pair] for d in found.disagreement]
    assert np.mean(skene) > 0.7
    assert believe(questions, said, BelieveConfig(compare=False)).disagreement == []


@pytest.mark.parametrize("method", ["dawid_skene", "bradley_terry"])
def test_beliefs_that_know_the_people_are_better(crowd, method):
    gains = []
    for seed in range(5):
        world = crowd(seed, 150).person("good", 0.9).person("good2", 0.9).person("left", 0.8, left=0.8)
        for i in range(3):
            world.person(f"coin{i}", 0.5)
        table = tabulate(world.votes)
        truth = world.truth_of(table)
        right = [(probabilities(table, BelieveConfig(), m) > 0.5) == truth for m in (method, "majority")]
        gains.append(right[0].mean() - right[1].mean())
    assert np.mean(gains) - 2.78 * np.std(gains, ddof=1) / math.sqrt(5) > 0, gains


def test_nothing_said_is_nothing_believed():
    found = believe([], [])
    assert (found.preferences, found.people, found.disagreement) == ([], {}, [])


# --- the ceiling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [0.0, 0.5])
def test_the_best_accuracy_lies_within_the_ceiling(hard):
    """A planted crowd where each pair has its own chance p; who knows p is right with chance max(p, 1 - p)."""
    from accord.quality.votes import Vote

    g = np.random.default_rng(6)
    p = np.where(g.random(3000) < hard, 0.5, 0.85)
    votes = [
        Vote(f"p{i}", f"{i}a", f"{i}b", "a" if g.random() < p[i] else "b", f"n{j}", f"{i}-{j}")
        for i in range(3000)
        for j in range(3)
    ]
    found, best = ceiling(votes), float(np.maximum(p, 1 - p).mean())
    assert found.agreement.estimate == pytest.approx((p**2 + (1 - p) ** 2).mean(), abs=0.02)
    assert found.low.low <= best <= found.high.high
    assert found.others.estimate < best + 0.02
    if hard == 0:
        assert not found.high.excludes(best)


def test_the_ceiling_says_when_it_knows_nothing():
    assert ceiling([]).why == "no votes"
    assert math.isnan(ceiling([]).high.estimate)
    assert best_accuracy(0.4) == 0.5
    q = best_accuracy(0.68)
    assert q**2 + (1 - q) ** 2 == pytest.approx(0.68)


# --- held-out votes --------------------------------------------------------------------------------------------


def test_knowing_the_people_foretells_their_votes(crowd):
    world = crowd(3, 300)
    for i in range(3):
        world.person(f"good{i}", 0.9).person(f"coin{i}", 0.5)
    found = {h.method: h for h in held_out(world.votes, np.random.default_rng(0))}
    assert found["dawid_skene"].against.high < 0
    assert found["bradley_terry"].against.high < 0
    # Nothing can foretell better than the entropy of the votes themselves.
    floor = np.mean([-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)), math.log(2)])
    assert found["dawid_skene"].loss.high > floor


@pytest.mark.parametrize("source", ["llmfao", "mt_bench"])
def test_real_votes_are_foretold(real_votes, source):
    found = {h.method: h for h in held_out(real_votes(source), np.random.default_rng(1), BelieveConfig(shrinkage=None))}
    for method, result in found.items():
        print(source, method, result.loss, "against majority", result.against)
        assert result.loss.high < math.log(2)
    if source == "llmfao":
        assert found["dawid_skene"].against.high < 0


# --- how strongly ----------------------------------------------------------------------------------------------


def strong(seed: int) -> tuple[list[Question], list[Feedback]]:
    """Comparisons of any strength, ties, and rankings."""
    g = np.random.default_rng(seed)
    asked_, said = [], []
    for i in range(25):
        question = Question(id=f"q{i}", prompt=f"p{i}", samples=(f"{i}a", f"{i}b"), wanted=4)
        asked_.append(question)
        for who in "uvwx"[: 1 + int(g.integers(4))]:
            better = question.samples[int(g.integers(2))]
            if g.random() < 0.2:
                answer = Comparison(verdict="tie")
            elif g.random() < 0.2:
                other = next(one for one in question.samples if one != better)
                answer = Ranking(order=((better,), (other,)))
            else:
                answer = Comparison(better=better, strength=int(g.integers(1, 4)))
            said.append(say(question, who, answer))
    return asked_, said


def test_strengths_count_as_parts_of_votes_where_asked_for():
    """Against sums over the answers themselves."""
    questions, said = strong(3)
    for shrinkage in (0.5, 2.0):
        config = BelieveConfig(strength="probability", shrinkage=shrinkage)
        found = {p.prompt: p for p in believe(questions, said, config).preferences}
        for question in questions:
            won = total = 0.0
            for one in said:
                if one.question != question.id:
                    continue
                if isinstance(one.answer, Ranking):
                    counts, better = 1.0, one.answer.order[0][0]
                else:
                    counts = {1: 0.5, 2: 1.0, 3: 1.5}[one.answer.strength] if one.answer.better else 1.0
                    better = one.answer.better
                won += counts * (0.5 if better is None else better == question.samples[0])
                total += counts
            p = (won + shrinkage) / (total + 2 * shrinkage)
            belief = found[question.prompt]
            assert belief.probability == pytest.approx(max(p, 1 - p), abs=1e-6)
            assert p == pytest.approx(0.5) or belief.chosen == question.samples[int(p < 0.5)]


@pytest.mark.parametrize("method", METHODS)
def test_a_slighter_preference_is_weaker_evidence_in_every_method(method):
    questions = [Question(id=f"q{i}", prompt=f"p{i}", samples=(f"{i}a", f"{i}b"), wanted=2) for i in range(30)]
    sure = []
    for strength in (1, 2, 3):
        said = [say(q, who, Comparison(better=q.samples[0], strength=2)) for q in questions[1:] for who in "uv"]
        said.append(say(questions[0], "u", Comparison(better="0a", strength=strength)))
        config = BelieveConfig(method=method, strength="probability")
        sure.append(next(p.probability for p in believe(questions, said, config).preferences if p.prompt == "p0"))
        if strength == 2:
            assert (
                believe(questions, said, config).preferences
                == believe(questions, said, BelieveConfig(method=method)).preferences
            )
    assert 0.5 < sure[0] < sure[1] < sure[2] < 1


def test_strengths_leave_the_learned_shrinkage_and_the_people_alone():
    questions, said = strong(5)
    plain, weighty = (BelieveConfig(shrinkage=None, strength=s) for s in ("margin", "probability"))
    assert believe(questions, said, plain).people == believe(questions, said, weighty).people
    votes = hear(questions, said).votes
    slow = [sum(v.outcome == "a" for v in votes if v.pair == pair) for pair in dict.fromkeys(v.pair for v in votes)]
    decided = [
        sum(v.outcome != "tie" for v in votes if v.pair == pair) for pair in dict.fromkeys(v.pair for v in votes)
    ]
    s = learned_shrinkage(np.array(slow, float), np.array(decided, float))
    fixed = BelieveConfig(shrinkage=s, strength="probability")
    assert probabilities(weighed(votes, weighty), weighty) == pytest.approx(probabilities(weighed(votes, fixed), fixed))
