"""Ensembles against loops, and what they are for: less trust where the members were not taught."""

import math

import pytest
import torch

from accord.rewards.ensemble import Ensemble, Heads, agreed_order, averaged, together
from tests.algorithms.conftest import Speaker, told
from tests.rewards.test_mix import drawn

ROLLOUT = told(Speaker())


@pytest.mark.parametrize("rule", ["mean", "worst", "lower", "variance"])
def test_members_as_one_against_loops(rule):
    found = Ensemble([drawn(0), drawn(1), drawn(2)], rule, 0.7)(ROLLOUT)
    tables = [drawn(seed)(None) for seed in range(3)]
    for b in range(20):
        for t in range(6):
            said = [float(table[b, t]) for table in tables]
            mean = sum(said) / 3
            var = sum((x - mean) ** 2 for x in said) / 3
            wanted = {"mean": mean, "worst": min(said), "lower": mean - 0.7 * math.sqrt(var)}
            assert found[b, t].item() == pytest.approx({**wanted, "variance": mean - 0.7 * var}[rule], abs=1e-4)


def test_what_is_seen_of_disagreement():
    ensemble = Ensemble([drawn(0), drawn(1), drawn(2)])
    ensemble(ROLLOUT)
    said = [drawn(seed)(None).sum(1).tolist() for seed in range(3)]
    spread = [math.sqrt(sum((s[b] - sum(x[b] for x in said) / 3) ** 2 for s in said) / 3) for b in range(20)]
    assert ensemble.seen["disagreement"] == pytest.approx(sum(spread) / 20, rel=1e-4)
    alike = [
        (said[m][i] > said[m][j]) == (said[n][i] > said[n][j])
        for m in range(3) for n in range(m) for i in range(20) for j in range(i)
    ]  # fmt: skip
    assert ensemble.seen["agreed_order"] == pytest.approx(sum(alike) / len(alike))
    assert agreed_order(torch.randn(1, 9)) == 1
    tied = torch.tensor([[1.0, 1.0, 2.0], [5.0, 5.0, 4.0]])
    assert agreed_order(tied) == pytest.approx(1 / 3), "both hold the first two equal, and turn the others round"
    assert agreed_order(torch.tensor([[1.0, 1.0], [1.0, 2.0]])) == 0, "equal for one alone"


@pytest.mark.parametrize("rule", ["mean", "worst", "lower", "variance"])
def test_heads_of_one_trunk_are_an_ensemble_of_their_normalised_scores(rule):
    raw = torch.stack([drawn(seed)(None).sum(1) for seed in range(3)], 1)
    norms = [(0.5, 2.0), (-1.0, 0.5), (0.0, 1.0)]
    asked = []
    heads = Heads(lambda rollout: rollout, lambda answers: asked.append(answers) or raw, norms, rule, 0.7)
    at = ROLLOUT.length - 1

    def alone(m):
        def reward(rollout):
            table = torch.zeros(20, 6)
            table[torch.arange(20), at] = (raw[:, m] - norms[m][0]) / norms[m][1]
            return table

        return reward

    each = Ensemble([alone(m) for m in range(3)], rule, 0.7)
    assert torch.allclose(heads(ROLLOUT), each(ROLLOUT), atol=1e-5)
    assert len(asked) == 1, "the trunk reads once"
    assert heads.seen == pytest.approx(each.seen, abs=1e-5)
    with pytest.raises(ValueError, match="std > 0"):
        Heads(lambda rollout: rollout, lambda answers: raw, [(0.0, 0.0)])


def test_members_that_agree_are_one_member_whatever_the_rule():
    for rule in ("mean", "worst", "lower", "variance"):
        ensemble = Ensemble([drawn(4)] * 5, rule, 3.0)
        assert torch.allclose(ensemble(ROLLOUT), drawn(4)(None), atol=1e-5)
        assert ensemble.seen["disagreement"] == pytest.approx(0, abs=1e-5)
        assert ensemble.seen["agreed_order"] == 1


def regressions(points, members):
    """Cubics fitted to resamples of noisy points on [-1, 1]: they agree there and nowhere else."""
    draw = torch.Generator().manual_seed(0)
    fits = []
    for _ in range(members):
        x = 2 * torch.rand(points, generator=draw, dtype=torch.float64) - 1
        y = 1 - x.square() + 0.3 * torch.randn(points, generator=draw, dtype=torch.float64)
        fits.append(torch.linalg.lstsq(torch.stack([x**k for k in range(4)], 1), y[:, None]).solution[:, 0])
    return torch.stack(fits)


def test_a_careful_ensemble_is_not_led_outside_of_what_it_was_taught():
    """The best answer is at 0; far out a member may promise more than anything that it saw."""
    fits = regressions(20, 8)
    x = torch.linspace(-4, 4, 801, dtype=torch.float64)
    scores = fits @ torch.stack([x**k for k in range(4)])
    chosen = {rule: float(x[together(scores, rule, 1.0).argmax()]) for rule in ("worst", "lower")}
    singles = [float(x[one.argmax()]) for one in scores]
    assert sum(abs(s) > 2 for s in singles) >= 3
    assert abs(chosen["worst"]) < 0.6
    assert abs(chosen["lower"]) < 0.6


def test_averaged_weights_are_those_of_a_loop_and_keep_their_type():
    draw = torch.Generator().manual_seed(0)
    members = [
        {"a": torch.randn(3, 2, generator=draw), "b": torch.randn((), generator=draw).half(), "n": torch.tensor([4])}
        for _ in range(3)
    ]
    found = averaged(members, [1.0, 2.0, 5.0])
    for i in range(3):
        for j in range(2):
            wanted = sum(s * float(m["a"][i, j]) for s, m in zip((1, 2, 5), members, strict=True)) / 8
            assert found["a"][i, j].item() == pytest.approx(wanted, rel=1e-6)
    assert found["b"].dtype == torch.float16
    assert found["n"].tolist() == [4]


def test_a_linear_model_s_averaged_weights_are_the_mean_of_its_scores():
    models = [torch.nn.Linear(5, 1) for _ in range(4)]
    rows, one = torch.randn(9, 5), torch.nn.Linear(5, 1)
    one.load_state_dict(averaged([model.state_dict() for model in models]))
    assert torch.allclose(one(rows), torch.stack([model(rows) for model in models]).mean(0), atol=1e-6)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"a": torch.zeros(3)}, "member 1 is of another model than member 0: a does not fit"),
        ({"a": torch.zeros(2), "b": torch.zeros(1)}, "b does not fit"),
    ],
)
def test_other_models_have_no_mean(other, said):
    with pytest.raises(ValueError, match=said):
        averaged([{"a": torch.zeros(2)}, other])


def test_bad_members_are_refused():
    with pytest.raises(ValueError, match="n holds integers that differ"):
        averaged([{"n": torch.tensor(1)}, {"n": torch.tensor(2)}])
    with pytest.raises(ValueError, match="each with a share above 0"):
        averaged([{"a": torch.zeros(2)}], [0.0])
    with pytest.raises(ValueError, match="0 rewards"):
        Ensemble([])
    with pytest.raises(ValueError, match="rule='best'"):
        Ensemble([drawn(0)], "best")
