"""Every form on one trunk: one step written out, what each form teaches, each answer read once, length kept out."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from accord.algorithms import judgements, reward_heads, reward_model
from accord.algorithms.curriculum import of_judged
from accord.algorithms.scales import Columns, Scales
from accord.batches import Comparisons
from accord.config import SettingsError
from accord.judged import Kind
from accord.run import MEASURED, OptimiserConfig, read_log
from tests.algorithms.said import (
    PAIR,
    RANKING,
    Taste,
    answers,
    judged,
    pairs,
    rankings,
    ratings,
    spearman,
    worth,
)

QUICK = OptimiserConfig(learning_rate=0.05)


def everything(prompts=12):
    """Judgements of every form, two criteria, ties and a both-bad, a hole here and there."""
    segment = answers(prompts, 4)
    value, tone = worth(segment), worth(segment, seed=6)
    said = pairs(segment, value)[: prompts - 3] + rankings(segment, value)[2:]
    said[0] = (PAIR, [(0, 1.0), (1, 1.0)])
    said[1] = (PAIR, [(4, 0.0), (5, 0.0)])
    said[-1] = (RANKING, [(row, place) for (row, _), place in zip(said[-1][1], (0.0, 1.0, 1.0, 2.0), strict=True)])
    said += ratings(segment, tone, "tone", 5)[::2] + ratings(segment, value, "", 3, one=True)[1::2]
    said += [(Kind("score"), [(row, 50 + 10 * float(value[row])) for row in (3, 7, 10)])]
    said += [(Kind("flag", "harm"), [(row, float(row % 3 == 0)) for row in range(4 * g, 4 * g + 2)]) for g in range(6)]
    weight = 0.5 + torch.rand(len(said), generator=torch.Generator().manual_seed(2))
    return judged(segment, said, probability=0.9, margin=1.5, weight=weight)


def first_step(config, batch, new_run, scorer=None):
    """Gradients of the first step by name, and the figures."""
    scorer, run, found, kept = scorer or Taste(), new_run(), {}, {}
    optimise, real = run.optimise, run.step

    def watched(settings, updates, rates, **modules):
        kept.update(modules)
        optimise(settings, updates, rates, **modules)

    def noted(**parts):
        for name, module in kept.items():
            for inner, weight in module.named_parameters():
                if weight.requires_grad:
                    found[f"{name}.{inner}"] = torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        return real(**parts)

    run.optimise, run.step = watched, noted
    _, figures = reward_heads.train(config, scorer, batch, run)
    return found, figures


def written_out(config, batch):
    """The same first step, judgement by judgement; heads and scales as they are made."""
    scorer, criteria = Taste(), ("", "tone", "harm")
    columns, scales = Columns(6, criteria, False, 0), Scales([batch], criteria, config.ties)
    state = scorer.states(batch.segment)
    heads = [scorer.read(state), *(head(state)[:, 0] for head in columns.others)]
    by_prompt: dict[tuple, float] = {}
    prompt = {}
    for owner, row in zip(batch.said.tolist(), batch.row.tolist(), strict=True):
        prompt[owner] = int(batch.segment.group[row])
    for j in range(len(batch)):
        key = (prompt[j], int(batch.kind[j]))
        by_prompt[key] = by_prompt.get(key, 0.0) + float(batch.weight[j])
    total, count = torch.zeros(()), 0.0
    for j in range(len(batch)):
        kind, scale = batch.kinds[int(batch.kind[j])], scales.scales[int(batch.kind[j])]
        mine = (batch.said == j).nonzero()[:, 0]
        raw = heads[criteria.index(kind.criterion)][batch.row[mine]]
        r, value = scale.log_slope.exp() * raw, batch.value[mine]
        if kind.form == "pair":
            z, nu = r[0] - r[1] - config.margin * 1.5 * float(value[0] != value[1]), scale.tie[0].exp()
            down = (z / 2).exp() + (-z / 2).exp() + nu
            bad = torch.sigmoid(scale.level - r[0]) * torch.sigmoid(scale.level - r[1])
            if value[0] > value[1]:
                loss = -(0.9 * ((z / 2).exp() / down).log() + 0.1 * ((-z / 2).exp() / down).log()) - (1 - bad).log()
            else:
                loss = -(nu / down).log() - (1 - bad).log() if value[0] else -bad.log()
        elif kind.form == "ranking":
            nu, loss = scale.tie[0], torch.zeros(())
            for stage in range(int(value.max()) + 1):
                there, here = value >= stage, value == stage
                sets = [x.exp() for x in r[there]]
                sets += [(nu + (a + b) / 2).exp() for i, a in enumerate(r[there]) for b in r[there][i + 1 :]]
                loss = loss + sum(sets).log() - r[here].mean() - (nu if here.sum() == 2 else 0)
            loss = loss / (len(r) - 1)
        elif kind.form == "rating":
            steps = [scale.raw[0]]
            for more in scale.raw[1:]:
                steps.append(steps[-1] + (1 + more.exp()).log())
            edges = [torch.tensor(0.0)]
            loss = torch.zeros(())
            for one, level in zip(r, value.long().tolist(), strict=True):
                edges = [torch.tensor(0.0), *(torch.sigmoid(step - one) for step in steps), torch.tensor(1.0)]
                loss = loss - (edges[level + 1] - edges[level]).log() / len(r)
        elif kind.form == "score":
            target = (value - scale.centre) / scale.unit
            loss = (((target - r - scale.offset) / scale.log_spread.exp()) ** 2 / 2 + scale.log_spread).mean()
        else:
            says = torch.sigmoid(r + scale.offset)
            loss = -(value * says.log() + (1 - value) * (1 - says).log()).mean()
        weight = (
            float(batch.weight[j])
            / max(1.0, by_prompt[prompt[j], int(batch.kind[j])])
            * config.forms.get(kind.form, 1.0)
        )
        total, count = total + weight * (loss + config.centring * raw.mean() ** 2), count + weight
    (total / count).backward()
    modules = {"scorer": scorer, "columns": columns, "scales": scales}
    return {
        f"{name}.{inner}": torch.zeros_like(weight) if weight.grad is None else weight.grad
        for name, module in modules.items()
        for inner, weight in module.named_parameters()
        if weight.requires_grad
    }


@pytest.mark.parametrize("micro", [1, 60, 10_000])
def test_a_step_moves_down_the_weighted_mean_of_everything_written_out(micro, new_run):
    config = reward_heads.Config(
        batch=100, centring=0.2, margin=0.5, forms={"rating": 0.3}, micro_tokens=micro, optimiser=QUICK
    )
    found, figures = first_step(config, everything(), new_run)
    wanted = written_out(config, everything())
    assert set(found) == set(wanted)
    for name, slope in found.items():
        assert_close(slope, wanted[name], rtol=2e-4, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
    assert sum(float(slope.abs().max()) > 1e-6 for slope in found.values()) >= len(found) - 1
    assert {k for k in figures if k.startswith("loss/")} == {
        f"loss/{k}" for k in ("pair", "ranking", "rating5.tone", "rating3", "score", "flag.harm")
    }


def test_pairs_alone_are_the_reward_model(new_run):
    segment = answers(10, 2)
    said = pairs(segment, worth(segment))
    one, two, batch = Taste(), Taste(), judged(segment, said, probability=0.8, margin=2.0)
    rows = torch.tensor([[row for row, _ in about] for _, about in said])
    plain = Comparisons(
        segment, rows[:, 0], rows[:, 1], torch.full((10,), 0.8), torch.ones(10), torch.full((10,), 2.0), batch.names
    )
    same = {"epochs": 6, "batch": 4, "margin": 0.3, "centring": 0.1, "micro_tokens": 40, "optimiser": QUICK}
    heads, figures = reward_heads.train(reward_heads.Config(**same), one, batch, new_run())
    normaliser, others = reward_model.train(reward_model.Config(**same), two, plain, new_run())
    for mine, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert heads.normalisers[""].mean == pytest.approx(normaliser.mean, abs=1e-5)
    assert heads.normalisers[""].std == pytest.approx(normaliser.std, rel=1e-4)
    assert figures["loss"] == pytest.approx(others["loss"], rel=1e-4)


def test_attributes_are_recovered_from_ratings_with_holes(new_run):
    segment, unseen = answers(150, 2), answers(60, 2, seed=1)
    tastes = {"tone": 6, "truth": 7}
    said = [x for name, seed in tastes.items() for x in ratings(segment, worth(segment, seed), name, 5)]
    said = pairs(segment, worth(segment)) + [x for i, x in enumerate(said) if i % 3]
    scorer = Taste(width=8)
    config = reward_heads.Config(epochs=40, batch=50, optimiser=OptimiserConfig(learning_rate=0.03))
    heads, _ = reward_heads.train(config, scorer, judged(segment, said), new_run())
    scores, _ = reward_heads.scores_of(scorer, heads.columns, unseen, 1000)
    assert heads.columns.criteria == ("", "tone", "truth")
    for c, seed in enumerate((5, 6, 7)):
        real = {s: spearman(scores[:, c], worth(unseen, s)) for s in (5, 6, 7)}
        assert real[seed] > 0.85
        assert max(real[s] for s in real if s != seed) < real[seed] - 0.3


def test_a_ranking_of_nine_teaches_what_its_pairs_do_and_reads_each_answer_once(new_run):
    accuracy, read = {}, {}
    for form in ("ranking", "pairs"):
        scores = []
        for seed in range(3):
            segment, unseen = answers(24, 9, seed=10 + seed), answers(200, 2, seed=1)
            said = rankings(segment, worth(segment))
            if form == "pairs":
                said = [(PAIR, [(i, 1.0), (j, 0.0)]) for _, about in said for i, x in about for j, y in about if x < y]
            scorer = Taste(width=8, seed=seed)
            config = reward_heads.Config(epochs=60, batch=24, optimiser=OptimiserConfig(learning_rate=0.03))
            run = new_run()
            _, figures = reward_heads.train(config, scorer, judged(segment, said), run)
            score = scorer.score(unseen).detach()
            right = [score[about[0][0]] > score[about[1][0]] for _, about in pairs(unseen, worth(unseen))]
            scores.append(sum(map(bool, right)) / len(right))
            assert figures["tokens"] == segment.tokens
        accuracy[form], read[form] = sum(scores) / 3, scorer.rows
    assert accuracy["ranking"] >= accuracy["pairs"] - 0.01
    assert accuracy["ranking"] > 0.85
    assert read["ranking"] == read["pairs"], "36 pairs of one prompt read its nine answers once too"
    assert read["ranking"] == 60 * 216 + 1 + 216 + 400, "each step once, the width, the normaliser, the test"


def test_ratings_add_to_few_pairs_and_leaving_them_out_shows_it(new_run):
    segment, unseen = answers(120, 2), answers(150, 2, seed=1)
    value, config = worth(segment), reward_heads.Config(epochs=40, batch=40, optimiser=QUICK)
    both = judged(segment, pairs(segment, value)[:12] + ratings(segment, value, "", 5))
    held = judged(unseen, pairs(unseen, worth(unseen)))
    found = {}
    for name, said in (("both", both), ("pairs", both.without(both.kinds[1]))):
        _, figures = reward_heads.train(config, Taste(width=8), said, new_run(), held)
        found[name] = figures["held_accuracy"]
    assert found["both"] > 0.85
    assert found["both"] > found["pairs"] + 0.05
    assert both.without(both.kinds[1]).kinds == (PAIR,)


def test_a_scale_s_slope_is_learnt(new_run):
    """Raters twice as sharp as the pairs that set the unit."""
    segment = answers(300, 2)
    value = worth(segment, scale=1.5)
    noise = torch.rand(300, generator=torch.Generator().manual_seed(3))
    said = []
    for (kind, ((i, _), (j, _))), u in zip(pairs(segment, value), noise, strict=True):
        wins = float(u) < 1 / (1 + math.exp(-float(value[i] - value[j])))
        said.append((kind, [(i, float(wins)), (j, float(not wins))]))
    said += ratings(segment, 2 * value, "", 5)
    run = new_run()
    config = reward_heads.Config(epochs=40, batch=100, scale_rate=0.05, centring=0.0, optimiser=QUICK)
    reward_heads.train(config, Taste(width=8), judged(segment, said), run)
    assert read_log(run.folder / "log.jsonl")[-1]["slope/rating5"] == pytest.approx(2, abs=0.6)


@pytest.mark.parametrize("ties", ["davidson", "rao_kupper", "half"])
def test_how_common_ties_are_is_learnt(ties, new_run):
    segment = answers(200, 2)
    said = pairs(segment, worth(segment))
    said = [(kind, [(about[0][0], 1.0), (about[1][0], float(n % 2))]) for n, (kind, about) in enumerate(said)]
    config = reward_heads.Config(
        epochs=60, batch=100, ties=ties, scale_rate=0.05, centring=0.5, optimiser=OptimiserConfig(learning_rate=1e-4)
    )
    still = Taste()
    with torch.no_grad():
        still.head.weight.zero_()  # nearly no score: half of all verdicts are ties
    heads, _ = reward_heads.train(config, still, judged(segment, said), new_run())
    scale = heads.scales.scales[0]
    if ties == "half":
        assert scale.tie is None
        assert "tie" not in scale.state_dict()  # nothing was learnt about ties
        return
    loss = {"davidson": judgements.davidson, "rao_kupper": judgements.rao_kupper}[ties]
    given = scale.tie if ties == "davidson" else torch.nn.functional.softplus(scale.tie)
    share = torch.exp(-loss(torch.zeros(1), torch.zeros(1), torch.tensor([[0.0, 1.0, 0.0]]), given[0])).item()
    assert share == pytest.approx(0.5, abs=0.05)


def test_both_bad_says_where_bad_begins(new_run):
    segment = answers(300, 2)
    value = worth(segment)
    said = []
    for kind, ((i, _), (j, _)) in pairs(segment, value):
        bad = bool(value[i] < -1.0)
        said.append((kind, [(i, float(not bad)), (j, 0.0)]))
    scorer = Taste(width=8)
    config = reward_heads.Config(epochs=60, batch=100, scale_rate=0.05, centring=0.0, optimiser=QUICK)
    heads, _ = reward_heads.train(config, scorer, judged(segment, said), new_run())
    score, level = scorer.score(segment).detach(), float(heads.scales.scales[0].level.detach())
    below = torch.tensor([float(score[about[0][0]]) < level for _, about in said])
    truth = torch.tensor([float(value[about[0][0]]) < -1.0 for _, about in said])
    assert float((below == truth).float().mean()) > 0.9
    assert 20 < int(truth.sum()) < 280


def test_the_safe_rlhf_cost_is_a_pair_and_two_flags(new_run):
    """Dai et al. 2023, eq. 6: -log s(c_w - c_l) - log s(s_w c_w) - log s(s_l c_l), w the more harmful one."""
    scorer, segment = Taste(), answers(4, 2)
    said = [x for g in range(4) for x in (
        (Kind("pair", "harm"), [(2 * g, 1.0), (2 * g + 1, 0.0)]),
        (Kind("flag", "harm"), [(2 * g, 1.0), (2 * g + 1, float(g % 2))]),
    )]  # fmt: skip
    batch = judged(segment, said)
    scales = Scales([batch], ("harm",), "half")
    scales.scales[1].offset.data.zero_()
    cost = scorer.score(segment).detach()
    each = scales(cost[:, None], batch).detach()
    for g in range(4):
        worst, other, sign = float(cost[2 * g]), float(cost[2 * g + 1]), 1 if g % 2 else -1
        expected = -sum(math.log(1 / (1 + math.exp(-x))) for x in (worst - other, worst, sign * other))
        assert float(each[2 * g] + 2 * each[2 * g + 1]) == pytest.approx(expected, rel=1e-5)
    assert not scales.scales[0].log_slope.requires_grad
    heads, _ = reward_heads.train(reward_heads.Config(main="harm"), Taste(), batch, new_run())
    assert set(heads.normalisers) == {"harm"}


def biased(prompts, seed):
    """Pairs in which people like the worth of words and, twice as much, length."""
    segment = answers(prompts, 2, seed)
    length = 3.0 * (segment.length - 4.0) / 2
    return segment, pairs(segment, worth(segment, scale=1.5) + length)


def test_a_length_head_takes_the_length_out_of_the_score(new_run):
    segment, said = biased(300, 0)
    unseen, _ = biased(200, 1)
    size, found = unseen.mask.sum(1).double(), {}
    for weight in (0.0, 0.3):
        scorer = Taste(width=8)
        config = reward_heads.Config(
            epochs=60, batch=150, odin=reward_heads.Odin(correlation=weight), micro_tokens=500, optimiser=QUICK
        )
        heads, _ = reward_heads.train(config, scorer, judged(segment, said), new_run())
        scores, longer = reward_heads.scores_of(scorer, heads.columns, unseen, 1000)
        found[weight] = [
            abs(float(judgements.correlation(scores[:, 0].double(), size))),
            spearman(scores[:, 0], worth(unseen)),
        ]
        if weight:
            assert judgements.correlation(longer.double(), size) > 0.9
            assert float(reward_heads.crossing(scorer, heads.columns).detach()) < 0.3
        else:
            assert heads.columns.length is None
    assert found[0.0][0] > 0.6
    assert found[0.3][0] < 0.3
    assert found[0.3][1] > found[0.0][1] + 0.15


def test_the_length_term_s_gradient_does_not_depend_on_micro_batches(new_run):
    segment, said = biased(30, 0)
    found = []
    for micro in (10_000, 25):
        config = reward_heads.Config(batch=30, odin=reward_heads.Odin(correlation=0.7), micro_tokens=micro)
        found.append(first_step(config, judged(segment, said), new_run)[0])
    scorer, batch = Taste(), judged(segment, said)
    columns = Columns(6, ("",), True, 0)
    state, size = scorer.states(segment), segment.mask.sum(1).float()
    quality, longer = scorer.read(state), columns.length(state)[:, 0]
    row, _ = batch.table()
    z = (quality + longer)[row[:, 0]] - (quality + longer)[row[:, 1]]
    level = 0.01 * ((quality[row[:, 0]] + quality[row[:, 1]]) / 2) ** 2
    centre = [x - x.mean() for x in (quality, longer, size)]
    rho = [(x * centre[2]).sum() / (x.norm() * centre[2].norm()) for x in centre[:2]]
    across = (scorer.head.weight * columns.length.weight).sum().abs()
    ((-torch.sigmoid(z).log() + level).mean() + 0.7 * (rho[0].abs() - rho[1]) + across).backward()
    for slopes in found:
        assert_close(slopes["scorer.table.weight"], scorer.table.weight.grad, rtol=1e-3, atol=1e-6)
        assert_close(slopes["scorer.head.weight"], scorer.head.weight.grad, rtol=1e-3, atol=1e-6)
        assert_close(slopes["columns.length.weight"], columns.length.weight.grad, rtol=1e-3, atol=1e-6)


def test_prompts_that_were_asked_about_often_weigh_no_more(new_run):
    segment = answers(3, 2)
    one = (PAIR, [(0, 1.0), (1, 0.0)])
    said = judged(segment, [one, one, one, (PAIR, [(2, 1.0), (3, 0.0)]), (RANKING, [(4, 0.0), (5, 1.0)])])
    shared = reward_heads.weighed(said, reward_heads.Config(forms={"ranking": 2.0}))
    assert shared.weight.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1, 2])
    light = replace(said, weight=torch.full((5,), 0.1))
    assert reward_heads.weighed(light, reward_heads.Config()).weight.tolist() == pytest.approx([0.1] * 5)
    alone = reward_heads.weighed(said, reward_heads.Config(share_prompts=False, forms={"ranking": 0.0}))
    assert alone.weight.tolist() == [1, 1, 1, 1]
    assert alone.kinds == (PAIR,)
    assert len(alone.segment) == 4


def test_held_out_judgements_are_measured_by_the_used_score_and_unknown_kinds_are_left_out(new_run):
    batch = everything()
    held = replace(
        batch,
        kinds=(*batch.kinds[:4], Kind("score", "new"), *batch.kinds[5:]),
    )
    run = new_run()
    _, figures = reward_heads.train(reward_heads.Config(epochs=4, batch=4, check_every=5), Taste(), batch, run, held)
    assert {k for k in figures if k.startswith("held_")} >= {"held_loss/pair", "held_accuracy", "held_accuracy/harm"}
    assert "held_loss/score.new" not in figures
    assert [r["step"] for r in read_log(run.folder / "log.jsonl") if "held_accuracy" in r] == [4, 9, 11]


def test_a_belief_of_one_half_orders_nothing():
    """Which of its answers stands first means nothing, so it is no test of a score."""
    segment = answers(2, 2)
    batch = judged(segment, [(PAIR, [(0, 1.0), (1, 0.0)]), (PAIR, [(2, 1.0), (3, 0.0)])])
    batch = replace(batch, probability=torch.tensor([0.5, 0.8]))
    better, worse, _, whose = batch.ordered()
    assert (better.tolist(), worse.tolist(), whose.tolist()) == ([2], [3], [1])
    assert of_judged(batch, "disagreement")[1] == pytest.approx(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))


def test_scores_that_are_all_alike_have_the_scale_for_a_unit():
    """A millionth was their unit, so that another score on held-out answers cost ten billion nats."""
    segment = answers(2, 2)
    said = judged(segment, [(Kind("score"), [(0, 0.375), (1, 0.375)])])
    held = judged(segment, [(Kind("score"), [(2, 0.375), (3, 0.875)])])
    scales = Scales([said, held], [""], "half")
    assert scales(torch.zeros(4, 1), held).item() == pytest.approx(0.5**2 / 4)


def test_accuracy_is_that_of_ordered_pairs():
    segment = answers(2, 4)
    batch = judged(
        segment,
        [
            (RANKING, [(0, 0.0), (1, 1.0), (2, 1.0)]),
            (PAIR, [(4, 1.0), (5, 1.0)]),
            (Kind("rating", "", 5), [(6, 2.0), (7, 4.0)]),
        ],
    )
    better, worse, weight, whose = batch.ordered()
    assert sorted(zip(better.tolist(), worse.tolist(), weight.tolist(), whose.tolist(), strict=True)) == [
        (0, 1, 0.5, 0),
        (0, 2, 0.5, 0),
        (7, 6, 1.0, 2),
    ]


def test_a_criterion_that_nobody_judged_cannot_be_the_main_one(new_run):
    with pytest.raises(SettingsError, match="main='harm': no judgement is about it; they are about ''"):
        reward_heads.train(
            reward_heads.Config(main="harm"), Taste(), judged(answers(2, 2), [(PAIR, [(0, 1.0), (1, 0.0)])]), new_run()
        )
    with pytest.raises(SettingsError, match="forms: no form stars"):
        reward_heads.weighed(everything(), reward_heads.Config(forms={"stars": 1.0}))


def test_every_logged_number_is_explained(new_run):
    run = new_run()
    reward_heads.train(reward_heads.Config(batch=4), Taste(), everything(), run, everything())
    names = {name for row in read_log(run.folder / "log.jsonl") for name in row if not name.startswith(MEASURED)}
    plain = {
        re.sub(r"(loss|slope)/.*", r"\1/KIND", re.sub(r"accuracy/.*", "accuracy/CRITERION", name)) for name in names
    }
    docs = Path(__file__).parents[2] / "docs"
    assert {"loss/KIND", "slope/KIND", "held_accuracy/CRITERION", "tokens"} <= plain
    for page in ("reward_models", "glossary"):
        words = set(re.findall(r"`([^`\n]+)`", (docs / f"{page}.md").read_text()))
        words |= {"gradient_norm", "learning_rate"} if page == "reward_models" else set()
        assert sorted(plain - words - {"step", "time"}) == []
