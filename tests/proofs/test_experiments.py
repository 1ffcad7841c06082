"""Transfer, curriculum and labels of one's own at toy size: fair to their controls, kept, and honestly told."""

import gzip
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from accord.algorithms import reward_heads, reward_model, sft
from accord.algorithms.curriculum import by_length
from accord.batches import Comparisons
from accord.cli import main
from accord.config import SettingsError
from accord.project import text_of
from accord.proofs import curriculum, ground, imitated, semisupervised, transfer
from accord.proofs.seeds import grounded
from accord.proofs.sided import Cell, cells, collected, each, gain, mean, verdict
from tests.algorithms.test_curriculum import compared
from tests.proofs.toy import CHANGES, told_apart  # noqa: F401

TOYS = {
    "transfer": (transfer, {"labels": (0, 8), "old_labels": 16, "train_prompts": 60, "test_prompts": 24, "steps": 4}),
    "curriculum": (curriculum, {"labels": (16,), "probe": 8, "shown": (12,), "train_prompts": 40, "test_prompts": 12}),
    "semisupervised": (semisupervised, {"labels": (8,), "pool": 16, "calibration": 6, "stop": 6, "members": 2,
                                        "train_prompts": 70, "test_prompts": 12,
                                        "own": {"rounds": 1, "threshold": 0.51, "agreement": 0.51, "balance": 0}}),
}  # fmt: skip
WAYS = {
    "transfer": {(str(n), way) for n in (0, 8) for way in transfer.WAYS},
    "curriculum": {("16", way) for way in ("random", *(f"{s} by {m}" for s in ("easy", "hard", "competence")
                                                       for m in ("length", "margin")))},
    "semisupervised": {("8", way) for way in (semisupervised.CONTROL, semisupervised.TAUGHT, semisupervised.FORCED,
                                              semisupervised.EVERY, semisupervised.STEADY,
                                              semisupervised.HEADS, semisupervised.STEADY_HEADS)},
}  # fmt: skip


@pytest.mark.usefixtures("told_apart")
@pytest.mark.parametrize("name", list(TOYS))
def test_every_way_is_measured_on_the_same_pairs_and_not_made_twice(name, tmp_path, capsys, monkeypatch):
    module, config = TOYS[name]
    first, learn = [], sft.train

    def seen(lesson, policy, examples, run, *rest):
        if run.order is not None:
            dealt = run.order.comes(run.config.seed, 0, 8, 4, torch.Generator())
            first.append(by_length(examples)[dealt].tolist())
        return learn(lesson, policy, examples, run, *rest)

    beside, hear = [], reward_heads.train

    def heard(*given, **more):
        beside.append(more["beside"])
        return hear(*given, **more)

    monkeypatch.setattr(sft, "train", seen)
    monkeypatch.setattr(reward_heads, "train", heard)
    assert module.prove(1, tmp_path, lambda _: None, False, config, CHANGES) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / f"{name}.md").read_text().strip() in printed
    assert (tmp_path / f"{name}.html").read_text().count("<svg") >= 1
    figures = json.loads((tmp_path / f"{name}.json").read_text())
    rows = {
        "transfer": lambda: figures["Reward model"]["new"],
        "curriculum": lambda: figures["Reward model"],
        "semisupervised": lambda: figures["values"],
    }[name]()
    assert {(row["at"], row["way"]) for row in rows} == WAYS[name]
    part = json.loads(next((tmp_path / f"{name}-1" / "parts").glob("[ow]*.json")).read_text())
    values = {"transfer": lambda: part["new"], "semisupervised": lambda: part["right"]}.get(name, lambda: part)()
    assert len({len(one) for one in values.values()}) == 1
    assert {hit for one in values.values() for hit in one} <= {0.0, 0.5, 1.0}

    if name == "transfer":
        gold = {(row["at"], row["way"]): row["mean"]["estimate"] for row in figures["Policy"]["old"]}
        assert set(gold) == {(str(n), way) for n in (0, 8) for way in imitated.WAYS}
        assert gold["0", imitated.TUNED] == gold["0", imitated.LORA]

    if name == "curriculum":
        gold = {row["way"]: row["mean"]["estimate"] for row in figures["Policy"]}
        assert list(gold) == ["random", *(f"{schedule} by length" for schedule in ("easy", "hard", "competence"))]
        chance, easy, hard, growing = first
        assert max(easy) < min(hard)
        assert max(growing) < min(hard)
        assert chance not in (easy, hard)

    if name == "semisupervised":
        alone, steady = beside[:2], beside[2:]
        assert alone == [reward_model.nothing] * 2
        assert [len(term.pool) for term in steady] == [8 + 16] * 2

    def never(*_, **__):
        raise AssertionError("a model was taught again")

    monkeypatch.setattr(reward_model, "train", never)
    monkeypatch.setattr(reward_heads, "train", never)
    monkeypatch.setattr(sft, "train", never)
    assert module.prove(1, tmp_path, lambda _: None, False, config, CHANGES) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.usefixtures("told_apart")
def test_without_new_labels_what_was_learned_is_as_it_was_and_a_frozen_trunk_stays(tmp_path):
    config = transfer.Config(**TOYS["transfer"][1])
    made = grounded(config, tmp_path, 1, CHANGES, False, lambda _: None)
    here = transfer._lab(config, lambda: made)
    learned = ground.compared(here.encoder, here.old.twos, here.old.beliefs)
    source = ground.taught(here.lesson, here.encoder, 1, learned)
    transfer.models.save(source.scorer.model, here.encoder.tokenizer, tmp_path / "source")
    asked = [(two.prompt, two.first) for two in here.new_test.twos]
    told = {}
    for way in transfer.WAYS:
        lesson = transfer.lesson_of(way, here.lesson, tmp_path / "source", config, 0)
        told[way] = ground.taught(lesson, here.encoder, 1, None)(asked)
    raw = source(asked) * source.std + source.mean
    for way in (transfer.TUNED, transfer.LORA):
        assert torch.allclose(told[way], raw, atol=1e-5)
    for way in (transfer.SCRATCH, transfer.FROZEN):
        assert not torch.allclose(told[way], raw, atol=1e-3)
    lesson = transfer.lesson_of(transfer.FROZEN, here.lesson, tmp_path / "source", config, 8)
    part = here.new.first(8)
    frozen = ground.taught(lesson, here.encoder, 1, ground.compared(here.encoder, part.twos, part.beliefs))
    names = {n for n, w in frozen.scorer.model.named_parameters() if w.requires_grad}
    assert names == {"score.weight"}
    trunk, was = (ground.models.parts(m.scorer.model)[0].state_dict() for m in (frozen, source))
    assert all(torch.equal(trunk[key], was[key]) for key in was)
    families = [
        {two.prompt.tags[0] for two in side.twos} for side in (here.old, here.new, here.old_test, here.new_test)
    ]
    assert families[0] | families[2] <= set(config.old)
    assert not (families[1] | families[3]) & set(config.old)

    shown = made.project.lab.demonstrations(8)
    start, batch = made.backbone(), made.encoder.segment(shown)
    before = sft.loss_on(imitated.imitated(made, config, imitated.TUNED, start, ()), batch, 4096)
    for way in imitated.WAYS:
        policy = imitated.imitated(made, config, way, start, shown)
        assert sft.loss_on(policy, batch, 4096) < before
        moved = {n for n, w in policy.named_parameters() if w.requires_grad}
        assert (way == imitated.LORA) == all("lora" in n for n in moved)


def test_nobody_is_judged_by_pairs_that_gold_holds_equal(tmp_path, monkeypatch):
    made = grounded(transfer.Config(**TOYS["transfer"][1]), tmp_path, 1, CHANGES, False, lambda _: None)
    prompts = made.project.prompts("test")
    with pytest.raises(SettingsError, match="24 held-out prompts gave no two answers that gold tells apart"):
        made.held(prompts)

    def worth(_, answer):
        return len(text_of(answer).messages[-1].content) % 3

    monkeypatch.setattr(made, "gold", lambda *pair: SimpleNamespace(score=worth(*pair) / 10))
    every, (held, truth) = made.twos(prompts, "held"), made.held(prompts)
    assert held == [two for two in every if worth(two.prompt, two.first) != worth(two.prompt, two.second)]
    assert 0 < len(held) < len(every)
    for two, belief in zip(held, truth, strict=True):
        better, worse = sorted((two.first, two.second), key=lambda one: -worth(two.prompt, one))
        assert (belief.chosen, belief.rejected) == (better.id, worse.id)


def test_ten_labels_get_as_many_steps_as_it_takes():
    config, first = transfer.Config(steps=60), ground.Lesson(transfer.ModelSettings(), reward_model.Config(epochs=3))
    for labels in (10, 30, 100, 1000):
        lesson = transfer.lesson_of(transfer.TUNED, first, None or transfer.Path("x"), config, labels)
        assert reward_model.steps(lesson.config, labels) == max(60, round(3 * labels / 32))
    rates = {way: transfer.lesson_of(way, first, transfer.Path("x"), config, 10).config.optimiser.learning_rate
             for way in transfer.WAYS}  # fmt: skip
    assert rates[transfer.LORA] == pytest.approx(3 * rates[transfer.TUNED])


def test_domains_come_from_files_too(tmp_path):
    for name, good in (("old", "yes"), ("new", "no")):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt") as file:
            for n in range(40):
                file.write(
                    json.dumps({"prompt": f"{name} question {n}", "chosen": f"{good} {n}", "rejected": f"bad {n}"})
                )
                file.write("\n")
    sides = transfer._file(tmp_path / "old.jsonl.gz", 0.3)
    assert 4 < len(sides[1].twos) < 24
    assert len(sides[0].twos) + len(sides[1].twos) == 40
    assert transfer.given(transfer.Config(source="a/old.gz", target="b/new.gz")) == " --source old.gz --target new.gz"
    assert not transfer.given(transfer.Config())
    assert not {t.prompt.id for t in sides[0].twos} & {t.prompt.id for t in sides[1].twos}
    assert all(b.chosen == t.first.id for side in sides for t, b in zip(side.twos, side.beliefs, strict=True))
    with pytest.raises(SettingsError, match="come in two"):
        transfer.prove(1, tmp_path, lambda _: None, settings={"source": "a"})
    with pytest.raises(SettingsError, match="for the test"):
        transfer._file(tmp_path / "old.jsonl.gz", 1e-9)


def test_seeds_from_before_a_way_was_there_are_told_without_it(tmp_path):
    def row(*ways):
        return {"right": {f"{n}|{way}": [1.0, 0.0] for n in (30, 8) for way in ways},
                "own": {str(n): {"best": 0, "rounds": []} for n in (30, 8)}}  # fmt: skip

    old, new = (
        row(semisupervised.CONTROL, "all labels"),
        row(semisupervised.CONTROL, "all labels", semisupervised.STEADY),
    )
    assert semisupervised.STEADY not in semisupervised.told({1: new, 2: old}, tmp_path, "c")
    text = semisupervised.told({1: new, 2: new}, tmp_path, "c")
    assert text.count(f"| {semisupervised.STEADY} |") == 2
    assert text.index("| 8 | with consistency") < text.index("| 30 | people's labels")


def test_heads_with_consistency_stand_beside_heads_without(tmp_path):
    hits = {
        semisupervised.CONTROL: [0.0, 0.0],
        semisupervised.HEADS: [1.0, 1.0],
        semisupervised.STEADY_HEADS: [1.0, 0.0],
    }
    row = {"right": {f"8|{way}": those for way, those in hits.items()}, "own": {"8": {"best": 0, "rounds": []}}}
    told = semisupervised.told({1: row, 2: row}, tmp_path, "c").split("\n")
    lines = {line.split("|")[2].strip(): line for line in told if line.startswith("| 8 |")}
    assert lines[semisupervised.HEADS].endswith("| - | - |")
    assert "-0.500" in lines[semisupervised.STEADY_HEADS]


def test_the_sides_of_pairs_without_a_label_tell_nothing():
    pool = compared(400)
    known = torch.arange(400) < 100
    seen: Comparisons = semisupervised.blind(pool, known, 1)
    turned = seen.better != pool.better
    assert not turned[known].any()
    assert 100 < int(turned.sum()) < 200
    assert torch.equal(torch.where(turned, seen.worse, seen.better), pool.better)
    assert torch.equal(torch.where(turned, seen.better, seen.worse), pool.worse)


def test_a_gain_is_told_as_it_is_known():
    draw = np.random.default_rng(0)
    base = (draw.random(200) < 0.6).astype(float)
    up = np.where(draw.random(200) < 0.3, 1.0, base)
    values = collected(
        [{Cell("1", "control"): base.tolist(), Cell("1", "up"): up.tolist(), Cell("1", "same"): base.tolist()}]
    )
    told = {cell.way: (found, over) for cell, found, over in each(values, lambda cell: cell._replace(way="control"))}
    assert told["control"][1] is None
    assert told["up"][0].estimate == pytest.approx(up.mean())
    assert verdict(told["up"][1]) == "better"
    assert verdict(told["same"][1]) == "no gain that can be seen"
    assert cells(Cell("1", "control"), *told["control"])[-1] == "-"
    seeds = [[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]]
    assert mean(seeds).n == gain(seeds, seeds[::-1]).n == 3
    assert gain(seeds, [[0.0, 0.0]] * 3).estimate == pytest.approx(mean(seeds).estimate)


def test_options_of_one_proof_are_refused_by_the_others(capsys):
    assert main(["prove", "lab", "--small"]) == 2
    assert "neither --small nor --settings" in capsys.readouterr().err
    assert main(["prove", "curriculum", "--source", "x"]) == 2
    assert "curriculum has no --source" in capsys.readouterr().err
