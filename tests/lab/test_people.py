"""People: every form of answer, the same every time, noisy as their dials say, and different in taste."""

import itertools
import math
import random
from collections import Counter
from typing import get_args

import pytest

from accord.lab import Dials, Gold, Person, agreement, ceiling, crowd
from accord.records import Asked, Comparison, Form, Question, Start, Text
from accord.web.fits import fits


def asked(prompt, *samples, form="comparison", criteria=()):
    ids = tuple(s.id for s in samples)
    return Asked(
        question=Question(prompt=prompt.id, samples=ids, form=form, criteria=criteria), prompt=prompt, samples=samples
    )


@pytest.fixture(scope="module")
def pairs(lab):
    return [asked(p, lab.example(p, 1), lab.example(p, 2)) for p in lab.prompts(600, "test")]


@pytest.fixture(scope="module")
def exact(gold):
    return Person(gold, "exact", Dials(reliability=1000, carelessness=0, position=0, tie=0))


def swapped(one):
    return asked(one.prompt, *reversed(one.samples))


def test_answers_do_not_depend_on_the_order_of_asking_or_on_ids(lab, pairs):
    person, again = crowd(lab, 3, seed=5)[2], crowd(lab, 3, seed=5)[2]
    there = person.answer(pairs[:200])
    order = list(range(200))
    random.Random(1).shuffle(order)
    back = dict(zip(order, again.answer([pairs[i] for i in order]), strict=True))
    assert [back[i] for i in range(200)] == there
    one = pairs[0]
    renamed = [s.model_copy(update={"id": f"other-{i}"}) for i, s in enumerate(one.samples)]
    places = {s.id: i for i, s in enumerate(one.samples)}
    said, now = there[0], person.answer([asked(one.prompt, *renamed)])[0]
    assert now.verdict == said.verdict
    if said.better:
        assert now.better == f"other-{places[said.better]}"


def test_another_name_or_seed_answers_differently(gold, pairs):
    said = [Person(gold, name, Dials(), seed).answer(pairs) for name, seed in (("a", 0), ("b", 0), ("a", 1))]
    for other in said[1:]:
        assert 50 < sum(x != y for x, y in zip(said[0], other, strict=True)) < 550


def test_an_exact_person_says_what_gold_says(gold, exact, pairs):
    for one, said in zip(pairs, exact.answer(pairs), strict=True):
        first, second = (gold(one.prompt, s).score for s in one.samples)
        if abs(first - second) > 0.02:
            assert said.better == one.samples[first < second].id


def test_frequencies_are_the_stated_chances(gold, lab, pairs):
    """Many people with the same dials against the formula: first, tie and second, also when careless."""
    dials = Dials(reliability=3, carelessness=0.3, position=0.7, tone=0.5, length=1.0, tie=0.4)
    one = next(p for p in pairs if 0.05 < gold(p.prompt, p.samples[0]).score - gold(p.prompt, p.samples[1]).score < 0.4)
    people = [Person(gold, f"p{i}", dials) for i in range(4000)]
    said = Counter((a.verdict, a.better) for person in people for a in person.answer([one]))
    chances = people[0].chances(one.prompt, *one.samples)
    assert chances.first + chances.tie + chances.second == pytest.approx(1)
    seen = {
        "first": said["better", one.samples[0].id],
        "second": said["better", one.samples[1].id],
        "tie": said["tie", None] + said["both_bad", None],
    }
    for name, count in seen.items():
        assert count / 4000 == pytest.approx(getattr(chances, name), abs=0.03), name


def test_a_careless_person_is_a_coin(gold, pairs):
    said = Person(gold, "careless", Dials(carelessness=1.0, position=5.0)).answer(pairs)
    first = sum(a.better == one.samples[0].id for a, one in zip(said, pairs, strict=True) if a.better)
    assert 0.42 < first / len(pairs) < 0.58


@pytest.mark.parametrize("dial", ["position", "length", "confidence", "form", "tone", "agreement"])
def test_each_dial_moves_what_it_names(gold, pairs, dial):
    """Twins that differ in one dial: the share of pairs whose chance moves, and in which direction."""
    plain = Person(gold, "plain", Dials(position=0))
    biased = Person(gold, "biased", Dials(**{"position": 0, dial: 3.0}))

    def feature(one, at):
        text = one.samples[at].content.messages[0].content
        judged = gold(one.prompt, one.samples[at])
        agreed = 0 if judged.agreed is None or judged.broken else 1 if judged.agreed else -1
        return {
            "position": 1 - at,
            "length": len(text.split()),
            "confidence": judged.sure,
            "form": min(2, max(0, text.split().count(".") - 1)),
            "tone": {"direct": 1, "indirect": -1}.get(judged.tone, 0),
            "agreement": agreed,
        }[dial]

    moved = 0
    for one in pairs:
        if one.samples[0].content == one.samples[1].content:
            continue
        gap = feature(one, 0) - feature(one, 1)
        shift = biased.chances(one.prompt, *one.samples).first - plain.chances(one.prompt, *one.samples).first
        if gap == 0:
            assert shift == pytest.approx(0, abs=1e-9)
        else:
            assert shift * gap > 0
            moved += 1
    assert moved > 15


def test_equal_texts_are_a_tie(lab, gold, pairs):
    one = pairs[0]
    twin = one.samples[0].model_copy(update={"id": "twin"})
    for person in crowd(lab, 20):
        assert person.answer([asked(one.prompt, one.samples[0], twin)])[0].verdict in ("tie", "both_bad")


def test_strength_grows_with_the_difference(gold, exact, pairs):
    person = Person(gold, "steady", Dials(carelessness=0))
    by_strength = {1: [], 2: [], 3: []}
    for one, said in zip(pairs, person.answer(pairs), strict=True):
        if isinstance(said, Comparison) and said.better:
            first, second = (gold(one.prompt, s).score for s in one.samples)
            by_strength[said.strength].append(abs(first - second))
    means = [sum(found) / len(found) for found in by_strength.values()]
    assert means == sorted(means)


def test_a_ranking_holds_each_sample_once_and_an_exact_one_follows_gold(lab, gold, exact):
    for prompt in lab.prompts(60, "test"):
        samples = [lab.example(prompt, i) for i in range(5)]
        said = exact.answer([asked(prompt, *samples, form="ranking")])[0]
        score = {s.id: gold(prompt, s).score for s in samples}
        assert sorted(i for place in said.order for i in place) == sorted(score)
        means = [max(score[i] for i in place) for place in said.order]
        assert all(later <= earlier + 0.02 for earlier, later in itertools.pairwise(means))


def test_ratings_cover_each_criterion_and_follow_it(lab, gold):
    person = Person(gold, "steady", Dials(reliability=40, carelessness=0))
    criteria = ("", "correctness", "safety", "courtesy", "form", "tone", "helpfulness", "sparkle")
    low, high = [], []
    for prompt in lab.prompts(200, "test"):
        sample = lab.example(prompt)
        said = person.answer([asked(prompt, sample, form="rating", criteria=criteria)])[0]
        marks = said.scores[sample.id]
        assert set(marks) == set(criteria)
        if prompt.tags[0] == "unsafe":
            (low if gold(prompt, sample).complied_unsafe else high).append(marks["safety"])
    assert sum(low) / len(low) < 2 < 4 < sum(high) / len(high)


def test_corrections_and_demonstrations_are_better_than_what_was_there(lab, gold, say):
    person = Person(gold, "steady", Dials(carelessness=0))
    for prompt in lab.prompts(200, "test"):
        old = lab.example(prompt)
        said = person.answer([asked(prompt, old, form="correction")])[0]
        assert said.sample == old.id
        new = say(prompt, said.content.messages[-1].content)
        assert gold(prompt, new).score >= gold(prompt, old).score
        written = person.answer([asked(prompt, form="demonstration")])[0]
        assert gold(prompt, say(prompt, written.content.messages[-1].content)).score > 0.95


def test_careless_people_still_give_valid_answers(lab):
    people = [p for p in crowd(lab, 6) for p in [Person(Gold(lab), p.name, Dials(carelessness=1))]]
    prompts = lab.prompts(40, "test")
    for form in ("comparison", "rating", "ranking", "correction", "critique", "demonstration"):
        questions = [asked(p, lab.example(p, 0), lab.example(p, 1), form=form) for p in prompts]
        for person in people:
            said = person.answer(questions)
            assert {one.kind for one in said} == {"written" if form == "demonstration" else form}


def test_spans_of_a_critique_lie_on_what_they_name(lab, gold):
    person = Person(gold, "steady", Dials(carelessness=0))
    labels = Counter()
    for prompt in lab.prompts(300, "test"):
        sample = lab.example(prompt)
        text = sample.content.messages[0].content
        said = person.answer([asked(prompt, sample, form="critique")])[0]
        assert said.sample == sample.id
        assert said.text
        for span in said.spans:
            part = text[span.start : span.end]
            assert part == part.strip()
            assert part[-1] in ".," or gold(prompt, sample).broken
            labels[span.label] += 1
            if span.label == "unsafe":
                assert gold(prompt, sample).complied_unsafe
                assert any(verb in part for verb in ("use", "take", "find"))
    assert min(labels[name] for name in ("good", "bad", "unsafe")) > 10


def test_what_cannot_be_answered_is_skipped(lab, gold, pairs):
    person = Person(gold, "anybody")
    one = pairs[0]
    assert person.answer([asked(one.prompt, one.samples[0]), asked(one.prompt, form="critique")]) == [None, None]
    odd = one.prompt.model_copy(update={"content": Start(env="bandit", seed=1)})
    assert isinstance(person.answer([asked(odd, *one.samples)])[0], Comparison)
    assert person.answer([]) == []


def test_the_crowd_agrees_as_far_as_people_do(lab, pairs):
    """The figures of docs/lab.md: the ceiling is 0.75 to 0.79 and nearly three labels in ten differ from gold."""
    people = crowd(lab, 20)
    found = agreement(pairs, people)
    assert 0.74 <= found.ceiling <= 0.79
    assert 0.70 <= found.gold <= 0.75
    assert found.ceiling == ceiling(pairs, people)
    assert found.pairs > 550


def test_the_ceiling_is_what_the_best_predictor_reaches_on_real_labels(lab, pairs):
    """Monte Carlo: the majority of one half of a large crowd predicts single labels of the other half."""
    knowing, asking = crowd(lab, 100, seed=1), crowd(lab, 100, seed=2)
    some = [one for one in pairs[:100] if one.samples[0].content != one.samples[1].content]

    def votes(people, one):
        """Wins of the first sample among the people, half of whom see it first; a tie is half."""
        total = 0.0
        for at, person in enumerate(people):
            said = person.answer([one if at % 4 < 2 else swapped(one)])[0]
            total += 0.5 if said.better is None else said.better == one.samples[0].id
        return total / len(people)

    hits = 0.0
    for one in some:
        believed, share = votes(knowing, one), votes(asking, one)
        hits += share if believed > 0.5 else 1 - share
    assert hits / len(some) == pytest.approx(ceiling(some, crowd(lab, 60, seed=3)), abs=0.025)


def test_of_labels_without_ties_more_can_be_foretold(gold, pairs):
    """Monte Carlo: where many say "tie", the majority of some people foretells what the others say when they decide."""
    like = Dials(reliability=3, carelessness=0.1, position=0.3, tie=1.2)
    people = [Person(gold, f"p{n}", like) for n in range(120)]
    some = pairs[:30]
    hits = decided = 0
    for one in some:
        first = one.samples[0].id
        said = [person.answer([one if n % 4 < 2 else swapped(one)])[0] for n, person in enumerate(people)]
        knowing, asking = ([s.better == first for s in part if s.better] for part in (said[::2], said[1::2]))
        believed = sum(knowing) * 2 > len(knowing)
        hits, decided = hits + sum(vote == believed for vote in asking), decided + len(asking)
    found = agreement(some, people[:1])
    assert decided < 0.85 * len(some) * 60
    assert found.decided > found.ceiling + 0.02
    assert hits / decided == pytest.approx(found.decided, abs=0.025)


def test_two_populations_differ_in_tone_only(lab, pairs):
    direct, indirect = crowd(lab, 6, 3, "direct"), crowd(lab, 6, 3, "indirect")
    for a, b in zip(direct, indirect, strict=True):
        left, right = a.dials.model_dump(), b.dials.model_dump()
        assert left.pop("tone") == -right.pop("tone") != 0
        assert left == right

    def share(crowd_, one):
        """Chance that one of the crowd prefers the first of two, a tie half."""
        found = [person.chances(one.prompt, *one.samples) for person in crowd_]
        return sum(chance.first + chance.tie / 2 for chance in found) / len(found)

    shares = [(share(direct, one), share(indirect, one)) for one in pairs[:300]]

    def accuracy(of, by):
        return sum(row[by] if row[of] > 0.5 else 1 - row[by] for row in shares) / len(shares)

    assert accuracy(0, 0) > accuracy(0, 1) + 0.08
    assert accuracy(1, 1) > accuracy(1, 0) + 0.08


def test_nothing_to_agree_about_is_a_clear_error(lab, pairs):
    with pytest.raises(ValueError, match="0 pairs"):
        agreement([asked(pairs[0].prompt)], crowd(lab, 2))
    with pytest.raises(ValueError, match="0 people"):
        ceiling(pairs, [])
    assert isinstance(pairs[0].prompt.content, Text)


# --- by yes or no, and two looks at once -------------------------------------------------------------------------


def test_a_flag_is_said_as_often_as_stated_and_true_where_the_person_is_exact(lab, gold, exact):
    dials = Dials(reliability=3, carelessness=0.3, position=2.0, tone=5.0, length=5.0)  # neither taste nor place counts
    prompt = next(p for p in lab.prompts(60, "test") if p.tags[0] == "unsafe")
    drawn = [s for s in (lab.example(prompt, i) for i in range(60)) if not gold(prompt, s).broken]
    harm, good = (next(s for s in drawn if gold(prompt, s).complied_unsafe == bad) for bad in (True, False))
    question = Question(
        prompt=prompt.id, samples=(harm.id, good.id), form="flags", flags=("harmful", "safe", "refused", "sparkle")
    )
    one = Asked(question=question, prompt=prompt, samples=(harm, good))
    yes = Counter()
    for number in range(3000):
        said = Person(gold, f"p{number}", dials).answer([one])[0]
        assert said.kind == "flags"
        assert set(said.flags) == {harm.id, good.id}
        yes.update((name, id == harm.id) for id, by in said.flags.items() for name, so in by.items() if so)
    # By hand: log-odds of 1.5 for a careful person, and a coin for the three in ten who do not read.
    sure = 0.7 * math.exp(1.5) / (1 + math.exp(1.5)) + 0.15
    person = Person(gold, "anybody", dials)
    for name, bad, share in (("harmful", True, sure), ("harmful", False, 1 - sure), ("safe", True, 1 - sure),
                             ("safe", False, sure), ("sparkle", True, 1 - sure)):  # fmt: skip
        assert yes[name, bad] / 3000 == pytest.approx(share, abs=0.03)
        assert person.says(name, prompt, harm if bad else good) == pytest.approx(share)
    said = exact.answer([one])[0]
    assert said.flags[harm.id] == {"harmful": True, "safe": False, "refused": False, "sparkle": False}
    assert said.flags[good.id]["refused"] == gold(prompt, good).refused
    assert not said.flags[good.id]["harmful"]
    # What else is asked, and what else is shown, changes no answer.
    alone = question.model_copy(update={"samples": (good.id,), "flags": ("refused",)})
    for number in range(40):
        person = Person(gold, f"p{number}", Dials(reliability=1, carelessness=0))
        both, single = person.answer([one, Asked(question=alone, prompt=prompt, samples=(good,))])
        assert both.flags[good.id]["refused"] == single.flags[good.id]["refused"]


def test_an_unsafe_answer_never_beats_a_safe_one_where_safety_is_asked(lab, gold, pairs, exact):
    asks = [one.model_copy(update={"question": one.question.model_copy(update={"safety": True})}) for one in pairs]
    for person in (exact, Person(gold, "noisy", Dials(reliability=1, carelessness=0.5))):
        answers = person.answer(asks)
        assert {said.safe is None for said in answers} == {False}
        split = [said for said in answers if len(said.safe) == 1]
        assert len(split) > 20
        assert all(said.better == said.safe[0] for said in split)
    plain = Person(gold, "noisy", Dials(reliability=1, carelessness=0.5)).answer(pairs)
    assert all(said.safe is None for said in plain)
    same = [(a, b) for a, b in zip(answers, plain, strict=True) if len(a.safe) != 1]
    assert same
    assert all(a.model_copy(update={"safe": None}) == b for a, b in same)


def test_two_looks_from_one_reading_agree_and_stay_on_the_scale(lab, gold):
    person = Person(gold, "steady", Dials(position=0, carelessness=0, tie=0))
    seen = set()
    for prompt in lab.prompts(80, "test"):
        samples = [lab.example(prompt, i) for i in range(4)]
        question = Question(
            prompt=prompt.id, samples=tuple(s.id for s in samples), form="combined", scale=(1, 7), flags=("harmful",)
        )
        said = person.answer([Asked(question=question, prompt=prompt, samples=samples)])[0]
        assert said.kind == "combined"
        fits(question, said)
        marks = {id: by[""] for id, by in said.rating.scores.items()}
        seen |= set(marks.values())
        alike = {s.content.messages[0].content for s in samples}
        if len(alike) == len(samples):
            order = [id for place in said.ranking.order for id in place]
            assert [marks[id] for id in order] == sorted(marks.values(), reverse=True)
    assert {1.0, 7.0} <= seen
    assert all(mark.is_integer() for mark in seen)


def test_every_form_that_the_room_offers_is_answered_as_it_would_accept_it(lab):
    """One of the crowd against the web room's own check, careless people too."""
    people = [*crowd(lab, 3), Person(Gold(lab), "careless", Dials(carelessness=1))]
    for form in get_args(Form):
        for prompt in lab.prompts(12, "test"):
            shown = [lab.example(prompt, i) for i in range(0 if form == "demonstration" else 3)]
            question = Question(
                prompt=prompt.id, samples=tuple(s.id for s in shown), form=form, scale=(0, 10),
                safety=form == "comparison",
                criteria=("safety", "tone") if form in ("rating", "combined") else (),
                flags=("harmful", "off-topic") if form in ("flags", "combined") else (),
            )  # fmt: skip
            for person in people:
                said = person.answer([Asked(question=question, prompt=prompt, samples=shown)])[0]
                assert said is not None
                fits(question, said)
    bare = Question(prompt=prompt.id, samples=("a",), form="flags")
    shown = [lab.example(prompt).model_copy(update={"id": "a"})]
    combined = bare.model_copy(update={"form": "combined"})
    asks = [Asked(question=one, prompt=prompt, samples=shown) for one in (bare, combined)]
    assert people[0].answer(asks) == [None, None]
