"""Labels of one's own: which are taken, what is learned from, when it stops, and beside supervised alone."""

import math
from dataclasses import replace

import pytest
import torch

from accord.algorithms import pseudo, reward_model
from accord.config import SettingsError
from accord.run import OptimiserConfig
from tests.algorithms.said import Taste, worth
from tests.algorithms.test_curriculum import compared

GAPS = 3 * torch.randn(3, 200, generator=torch.Generator().manual_seed(0)) + 0.5


def slow(gaps, config, temperature, paraphrased=None, kind=None):
    """Pair by pair."""
    sure = {}
    for n in range(gaps.shape[1]):
        said = gaps[:, n].tolist()
        mean = sum(said) / len(said)
        p = 1 / (1 + math.exp(-abs(mean) / temperature))
        agree = sum((x > 0) == (mean > 0) for x in said) / len(said)
        same = paraphrased is None or all((float(x) > 0) == (mean > 0) for x in paraphrased[:, n])
        if p >= config.threshold and agree >= config.agreement - 1e-6 and same:
            sure[n] = (p, mean > 0, mean > 0 if kind is None else int(kind[n]))
    if config.balance:
        names = {False, True} if kind is None else {int(k) for k in kind}
        most = int(config.balance * min(sum(s[2] == c for s in sure.values()) for c in names))
        kept = [
            n for c in names for n in sorted((n for n in sure if sure[n][2] == c), key=lambda n: -sure[n][0])[:most]
        ]
        sure = {n: sure[n] for n in sorted(kept)}
    return sure


@pytest.mark.parametrize("given", [{}, {"balance": 0}, {"agreement": 0.6, "threshold": 0.7}, {"balance": 2.5}])
@pytest.mark.parametrize("more", ["plain", "paraphrased", "kinds"])
def test_what_is_sure_enough_against_a_loop(given, more):
    config = pseudo.Config(**{"threshold": 0.8, **given})
    draw = torch.Generator().manual_seed(1)
    paraphrased = GAPS.mean(0) + 2 * torch.randn(2, 200, generator=draw) if more == "paraphrased" else None
    kind = torch.randint(0, 3, (200,), generator=draw) if more == "kinds" else None
    found = pseudo.choose(GAPS, config, 1.5, paraphrased, kind)
    wanted = slow(GAPS, config, 1.5, paraphrased, kind)
    assert found.index.tolist() == list(wanted)
    assert found.first.tolist() == [first for _, first, _ in wanted.values()]
    assert found.probability.tolist() == pytest.approx([p for p, _, _ in wanted.values()], rel=1e-5)
    assert 5 < len(wanted) < 200


def test_when_one_side_has_nothing_sure_balance_takes_nothing():
    assert len(pseudo.choose(torch.full((2, 9), 8.0), pseudo.Config()).index) == 0
    assert len(pseudo.choose(torch.full((2, 9), 8.0), pseudo.Config(balance=0)).index) == 9
    assert len(pseudo.choose(torch.zeros(2, 9), pseudo.Config(balance=0, threshold=0.500001)).index) == 0


def test_people_s_labels_stay_and_the_model_s_are_turned_its_way():
    pool = replace(compared(6), margin=torch.arange(6.0) + 1)
    people = torch.tensor([True, False, False, True, False, False])
    chosen = pseudo.Chosen(torch.tensor([1, 5]), torch.tensor([True, False]), torch.tensor([0.9, 0.8]))
    made = pseudo.labelled_by(pool, people, chosen, 0.25)

    def plain(batch, n):
        names = batch.segment.names
        both = (names[int(batch.better[n])], names[int(batch.worse[n])])
        return (*both, float(batch.probability[n]), float(batch.weight[n]))

    assert made.names == tuple(pool.names[n] for n in (0, 3, 1, 5))
    assert [plain(made, n) for n in (0, 1)] == [plain(pool, n) for n in (0, 3)]
    better, worse, _, _ = plain(pool, 1)
    assert plain(made, 2)[:2] == (better, worse)
    assert plain(made, 2)[2:] == pytest.approx((0.9, 0.25))
    better, worse, _, _ = plain(pool, 5)
    assert plain(made, 3)[:2] == (worse, better)
    assert plain(made, 3)[2:] == pytest.approx((0.8, 0.25))
    assert made.margin.tolist() == [1, 4, 0, 0], "what people said of strength is theirs; the model says nothing of it"
    with pytest.raises(ValueError, match="1 of the chosen pairs have people's labels"):
        pseudo.labelled_by(pool, ~people, pseudo.Chosen(torch.tensor([0, 5]), people[:2], torch.ones(2)), 1.0)


def planted(prompts, seed):
    """Sure labels of the truth."""
    batch = compared(prompts, seed)
    ones = torch.ones(prompts)
    return type(batch)(batch.segment, batch.better, batch.worse, ones, ones, 0 * ones, batch.names)


def test_a_few_pairs_that_are_all_right_make_no_label_certain():
    """Their own best temperature is the least there is, and each gap then gave a chance of 1."""
    few, pool, taken = planted(5, 1), planted(40, 0), {}

    class Knows:
        def score(self, segment):
            return 0.3 * worth(segment)

    def teach(name, comparisons):
        taken[name] = comparisons
        return [Knows()]

    people = torch.arange(40) < 5
    pseudo.self_train(pseudo.Config(rounds=1, threshold=0.51, balance=0), teach, pool, people, few, few)
    labels = taken["round1"].probability[5:]
    assert len(labels) > 20
    assert float(labels.min()) < 0.8


class Nearly:
    """A scorer that knows the truth but for a prejudice."""

    def score(self, segment):
        table = torch.randn(2, 24, generator=torch.Generator().manual_seed(5))
        return torch.where(segment.present, (table[0] - table[0].mean() + table[1])[segment.action], 0.0).sum(1)


class Lessons:
    """Fresh members in fresh runs, and a note of what they were taught."""

    def __init__(self, new_run, members=2):
        self.new_run, self.members, self.heard = new_run, members, {}

    def __call__(self, name, comparisons):
        self.heard[name] = comparisons
        made = []
        for seed in range(self.members):
            scorer = Taste(width=6, seed=seed)
            config = reward_model.Config(
                epochs=max(1.0, 1000 / len(comparisons)), batch=40, optimiser=OptimiserConfig(learning_rate=0.03)
            )
            reward_model.train(config, scorer, comparisons, self.new_run(seed=seed))
            made.append(scorer)
        return made


def test_beside_supervised_alone_with_the_same_labels(new_run):
    """Eighty labels and 400 pairs without: what is taken is right more often than the rest, and nothing is lost."""
    pool, calibration, held, test = planted(480, 0), planted(150, 1), planted(150, 2), planted(400, 3)
    people = torch.arange(480) < 80
    turn = (torch.arange(480) % 2 == 1) & ~people  # what the pool says of open pairs is no label: half are turned
    hidden = type(pool)(
        pool.segment,
        torch.where(turn, pool.worse, pool.better),
        torch.where(turn, pool.better, pool.worse),
        pool.probability,
        pool.weight,
        pool.margin,
        pool.names,
    )
    lessons = Lessons(new_run)
    config = pseudo.Config(rounds=2, threshold=0.75, agreement=0.6, patience=2)
    found = pseudo.self_train(config, lessons, hidden, people, calibration, held)
    control = pseudo.self_train(config.model_copy(update={"rounds": 0}), lessons, hidden, people, calibration, held)
    assert len(found.rounds) == 3
    assert found.rounds[0] == control.rounds[0]
    assert len(lessons.heard["round0"]) == 80
    truth = worth(pool.segment)
    value = {name: float(v) for name, v in zip(pool.segment.names, truth, strict=True)}
    taught = lessons.heard["round1"]
    own = range(80, len(taught))
    right = [
        value[taught.segment.names[int(taught.better[n])]] > value[taught.segment.names[int(taught.worse[n])]]
        for n in own
    ]
    everywhere = found.rounds[0].accuracy
    assert len(right) == found.rounds[1].labels > 20
    assert sum(right) / len(right) > everywhere + 0.03
    sides = [taught.names[n] in {pool.names[k] for k in turn.nonzero()[:, 0].tolist()} for n in own]
    assert 0.2 < sum(sides) / len(sides) < 0.8
    scores = [pseudo.accuracy(one.members, test, 10_000) for one in (found, control)]
    assert scores[0] > scores[1] - 0.02
    assert found.rounds[found.best].accuracy == max(one.accuracy for one in found.rounds)


def test_it_stops_when_nothing_gets_better_or_nothing_is_sure(new_run):
    pool, other = planted(60, 0), planted(60, 1)
    people = torch.arange(60) < 30
    fixed = [Nearly()]
    names: list[str] = []
    config = pseudo.Config(rounds=9, threshold=0.501, balance=0, patience=2)
    found = pseudo.self_train(config, lambda name, _: names.append(name) or fixed, pool, people, other, other)
    assert names == ["round0", "round1", "round2"]
    assert found.best == 0
    names.clear()
    never = config.model_copy(update={"threshold": 1.0})
    assert pseudo.self_train(never, lambda name, _: names.append(name) or fixed, pool, people, other, other).best == 0
    assert names == ["round0"]
    with pytest.raises(SettingsError, match="none of 60 pairs has a label"):
        pseudo.self_train(config, lambda *_: fixed, pool, people & ~people, other, other)


def test_paraphrases_that_turn_the_order_round_are_not_believed(new_run):
    pool, other = planted(60, 0), planted(60, 1)
    people = torch.arange(60) < 30
    heard = {}
    turned = type(pool)(pool.segment, pool.worse, pool.better, pool.probability, pool.weight, pool.margin, pool.names)
    config = pseudo.Config(rounds=1, threshold=0.501, balance=0)
    for name, said in (("same", pool), ("turned", turned)):
        taught = pseudo.self_train(config, lambda *_: [Nearly()], pool, people, other, other, paraphrases=[said])
        heard[name] = [one.labels for one in taught.rounds[1:]]
    assert heard["same"][0] > 20
    assert heard["turned"] == []
