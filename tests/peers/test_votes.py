"""Agreement, reliability, tournaments and intervals are those of crowd-kit, evalica, choix and statsmodels.

`make peers` makes `.venv-peers-votes` and runs this; ACCORD_PEERS_VOTES names another Python that has all four.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from accord.quality import agreement, annotators
from accord.quality.sharpness import see
from accord.quality.tournament import Game, bradley_terry, plackett_luce
from accord.quality.votes import Vote, tabulate
from accord.statistics import mean_interval, wilson
from tests.peers.oracles import DATA, needs_peers, told

pytestmark = needs_peers


def ratings(seed: int, values: list[int], items: int = 60, share: float = 0.8) -> list[tuple[int, int, int]]:
    """(item, person, value) of five people around a truth, with holes."""
    draw = np.random.default_rng(seed)
    truth = draw.choice(values, items)
    return [
        (i, j, int(truth[i] if draw.random() < 0.6 else draw.choice(values)))
        for i in range(items)
        for j in range(5)
        if draw.random() < share
    ]


def crowd(seed: int, items: int, classes: int) -> tuple[np.ndarray, list[tuple[int, int, int]]]:
    """Truths, and labels of ten people of very different care."""
    draw = np.random.default_rng(seed)
    truth, care = draw.integers(classes, size=items), np.linspace(0.45, 0.95, 10)
    rows = [
        (i, j, int(truth[i]) if draw.random() < care[j] else int(draw.integers(classes)))
        for i in range(items)
        for j in range(10)
        if draw.random() < 0.7
    ]
    return truth, rows


def real_ratings() -> dict[str, list[tuple[str, str, Any]]]:
    """(item, person, value) of the real ratings, by task. Skips with the reason where they are not."""
    path = DATA / "multi_annotator_ratings.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the real votes are not here: {path.name} is not in shared/data beside the repository")
    found: dict[str, dict[tuple[str, str], Any]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for row in map(json.loads, file):
            found.setdefault(row["task"], {})[row["item_id"], row["annotator_id"]] = row["label"]
    return {task: [(i, j, v) for (i, j), v in rows.items()] for task, rows in found.items()}


def test_agreement_is_theirs(tmp_path: Path) -> None:
    rows, full = ratings(0, [1, 2, 3, 5]), ratings(1, [0, 1, 2], share=2)
    counts = agreement.count(*zip(*full, strict=True))
    a, b = ([v for _, j, v in full if j == who] for who in (0, 1))
    square = np.zeros((3, 3))
    np.add.at(square, (a, b), 1)
    job: dict[str, Any] = {m: ("alpha", rows, m) for m in ("nominal", "ordinal", "interval")}
    job |= {f"cohen {w}": ("cohen", square.tolist(), w) for w in (None, "linear", "quadratic")}
    job["fleiss"] = ("fleiss", counts.table.tolist())
    theirs, draw = told(tmp_path, **job), np.random.default_rng(0)
    for measure in ("nominal", "ordinal", "interval"):
        ours = agreement.krippendorff(agreement.count(*zip(*rows, strict=True)), measure, draw, 10).interval
        assert ours.estimate == pytest.approx(theirs[measure], abs=1e-9)
    assert agreement.fleiss(counts, draw, 10).interval.estimate == pytest.approx(theirs["fleiss"], abs=1e-12)
    for ours_, weights in (("nominal", None), ("ordinal", "linear"), ("interval", "quadratic")):
        kappa = agreement.cohen(a, b, draw, ours_, 10).interval.estimate  # type: ignore[arg-type]
        assert kappa == pytest.approx(theirs[f"cohen {weights}"], abs=1e-12)


def test_agreement_on_real_ratings_is_theirs(tmp_path: Path) -> None:
    by_task, job, counts = real_ratings(), {}, {}
    for task, rows in by_task.items():
        order = {value: k for k, value in enumerate(sorted({v for _, _, v in rows}))}
        coded = [(i, j, order[v]) for i, j, v in rows]
        measure = "ordinal" if all(str(v).lstrip("-").isdigit() for v in order) else "nominal"
        counts[task] = (agreement.count(*zip(*coded, strict=True)), measure)
        job[task] = ("alpha", coded, measure)
    theirs = told(tmp_path, **job)
    assert len(job) >= 3
    for task, (table, measure) in counts.items():
        ours = agreement.krippendorff(table, measure, np.random.default_rng(0), 10).interval  # type: ignore[arg-type]
        print(f"{task}: alpha ({measure}) {ours.estimate:.4f}, evalica {theirs[task]:.4f}, {ours.n} items")
        assert ours.estimate == pytest.approx(theirs[task], abs=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_reliability_is_crowdkits(classes: int, tmp_path: Path) -> None:
    """With next to no shrinkage the same likelihood has the same top: truths, confusions and accuracies agree."""
    truth, rows = crowd(3, 600, classes)
    item, person, label = np.array(rows).T
    theirs = told(tmp_path, **{kind: ("crowd", rows, kind) for kind in ("dawid_skene", "one_coin", "mace")})
    for kind, ours_kind in (("dawid_skene", "full"), ("one_coin", "one_coin")):
        ours = annotators.dawid_skene(item, person, label, classes, kind=ours_kind, shrinkage=1e-3)  # type: ignore[arg-type]
        other = np.array(
            [[theirs[kind]["posterior"][str(i)].get(str(c), 0.0) for c in range(classes)] for i in range(600)]
        )
        apart = np.abs(ours.posterior - other).max(1)
        right = [float((p.argmax(1) == truth).mean()) for p in (ours.posterior, other)]
        print(
            f"{kind}, {classes} classes: posteriors {apart.mean():.1e} apart, right {right[0]:.3f} and {right[1]:.3f}"
        )
        assert apart.mean() < 0.01
        assert (ours.posterior.argmax(1) == other.argmax(1)).mean() > 0.99
        for j in range(10):
            if kind == "one_coin":
                assert ours.confusion[j, 0, 0] == pytest.approx(theirs[kind]["skills"][str(j)], abs=0.02)
                continue
            for true in range(classes):
                for said in range(classes):
                    assert ours.confusion[j, true, said] == pytest.approx(
                        theirs[kind]["skills"].get(f"{j} {true} {said}", 0.0), abs=0.03
                    )
    ours_mace = annotators.mace(item, person, label, classes)
    other = np.array(
        [[theirs["mace"]["posterior"][str(i)].get(str(c), 0.0) for c in range(classes)] for i in range(600)]
    )
    assert (ours_mace.posterior.argmax(1) == other.argmax(1)).mean() > 0.97


def test_persons_in_bradley_terry_are_found_at_least_as_well_as_by_crowdkit(tmp_path: Path) -> None:
    """NoisyBT mixes coins in where ours scales the gap: other models of one planted world."""
    draw = np.random.default_rng(7)
    worth, care = draw.normal(0, 1.5, 12), np.linspace(0.5, 0.97, 8)
    rows, votes = [], []
    for number in range(2500):
        a, b = draw.choice(12, 2, replace=False)
        j = int(draw.integers(8))
        better = a if (worth[a] > worth[b]) == (draw.random() < care[j]) else b
        rows.append((j, int(a), int(b), int(better)))
        first, second = min(a, b), max(a, b)
        outcome = "a" if better == first else "b"
        left = "a" if a == first else "b"
        votes.append(Vote("p", str(first), str(second), outcome, str(j), f"f{number}", strength=1, left=left))  # type: ignore[arg-type]
    theirs, table = told(tmp_path, noisy=("noisy", rows))["noisy"], tabulate(votes)
    ours, gap = see(table), worth[:, None] - worth[None, :]
    planted = [gap[int(a), int(b)] for _, a, b, _ in table.pairs]
    their_gaps = [theirs["scores"][a] - theirs["scores"][b] for _, a, b, _ in table.pairs]
    answers = [float(stats.spearmanr(found, planted).statistic) for found in (ours.gap, their_gaps)]
    skills = [theirs["skills"][name] for name in table.people]
    true_care = [care[int(name)] for name in table.people]
    people = [float(stats.spearmanr(found, true_care).statistic) for found in (ours.sharpness, skills)]
    print(
        f"order of answers {answers[0]:.3f}, theirs {answers[1]:.3f}; of people {people[0]:.3f}, theirs {people[1]:.3f}"
    )
    assert answers[0] > max(0.9, answers[1] - 0.02)
    assert people[0] > max(0.9, people[1] - 0.02)


def test_tournaments_are_those_of_choix_and_evalica(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    worth = draw.normal(0, 1, 6)
    pairs = [draw.choice(6, 2, replace=False) for _ in range(6000)]
    games = [
        (int(a), int(b)) if draw.random() < 1 / (1 + np.exp(worth[b] - worth[a])) else (int(b), int(a))
        for a, b in pairs
    ]
    ranked = [np.argsort(-(worth + draw.gumbel(size=6))).tolist() for _ in range(1500)]
    theirs = told(tmp_path, games=("bradley_terry", games, 6), rankings=("plackett_luce", ranked, 6))
    standings = bradley_terry([Game(str(a), str(b), "a") for a, b in games], draw, draws=100)
    ours = {one.name: one.strength for one in standings}
    luce = plackett_luce([[[str(i)] for i in row] for row in ranked])
    for i in range(6):
        for peer in ("choix", "evalica"):
            assert ours[str(i)].estimate == pytest.approx(theirs["games"][peer][i], abs=2e-3)
        assert luce[str(i)] == pytest.approx(theirs["rankings"][i], abs=2e-3)
        assert not ours[str(i)].excludes(theirs["games"]["choix"][i])


def test_intervals_are_those_of_statsmodels(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    clusters = draw.integers(0, 40, 400)
    values = draw.normal(size=400) + draw.normal(size=40)[clusters]
    cases = [(0, 9), (3, 9), (50, 80), (80, 80)]
    job: dict[str, Any] = {f"wilson {k} {n}": ("wilson", k, n) for k, n in cases}
    theirs = told(tmp_path, clustered=("clustered", values.tolist(), clusters.tolist()), **job)
    for k, n in cases:
        ours = wilson(k, n)
        assert [ours.low, ours.high] == pytest.approx(theirs[f"wilson {k} {n}"], abs=1e-9)
    mean, error = theirs["clustered"]
    found = mean_interval(values, clusters)
    assert found.estimate == pytest.approx(mean)
    size = len(set(clusters.tolist()))
    wide = stats.t.ppf(0.975, size - 1) * error * np.sqrt(size / (size - 1))  # ours adds the factor for few clusters
    assert found.high - found.estimate == pytest.approx(wide, rel=0.02)
