"""What a reference said is taken again only for the same weights and the same words."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from accord.algorithms import dpo, kto
from accord.algorithms.kept import Frozen, asked_once
from accord.batches import Comparisons
from accord.run import ranks, read_log
from accord.run.account import HERE
from tests.algorithms.conftest import Speaker, told


class Counted(Speaker):
    """Counts the rows that it was asked about."""

    read = 0

    def evaluate(self, segment):
        self.read += len(segment)
        return super().evaluate(segment)


class Accounted(Speaker):
    """Says how many tokens it read."""

    def evaluate(self, segment):
        HERE.add(flops=1.0, tokens=int(segment.length.sum()), places=0)
        return super().evaluate(segment)


class Guessed:
    def __init__(self, policy):
        self.policy = policy

    def ask(self, segment):
        return self.policy.evaluate(segment).logprob


def test_what_an_adapter_stands_on_is_known_by_the_weights_of_its_policy(rows, new_run):
    policy, run, asked = Counted(), new_run(), []

    def without(segment):
        asked.append(len(segment))
        return -torch.ones(segment.action.shape)

    for _ in range(2):
        found = asked_once("reference", Frozen(policy, without), policy, rows, 23, run)
        torch.testing.assert_close(found, -rows.mask.sum(1).float())
    assert (sum(asked), policy.read) == (len(rows), 0)


@pytest.fixture
def rows():
    return told(Speaker())


def test_a_run_that_begins_again_does_not_ask_again(rows, new_run):
    policy, run = Counted(), new_run()
    first = asked_once("reference", None, policy, rows, 23, run)
    assert policy.read == len(rows)
    assert torch.equal(asked_once("reference", Frozen(policy), policy, rows, 9999, run), first)
    assert policy.read == len(rows), "neither how it is asked nor in which parts makes another answer"
    wanted = torch.where(rows.mask, policy.evaluate(rows).logprob, 0.0).sum(1)
    torch.testing.assert_close(first, wanted)


@pytest.mark.parametrize("change", ["weights", "word", "order", "mask", "broken", "ranks", "unknown", "alike"])
def test_anything_else_is_asked(change, rows, new_run, monkeypatch):
    policy, run = Counted(), new_run()
    asked_once("reference", None, policy, rows, 99, run)
    policy.read, reference = 0, None
    if change == "weights":
        policy.logits.data[0, 0] += 1e-6
    elif change == "word":
        rows.action[0, 0] = (rows.action[0, 0] + 1) % 7
    elif change == "order":
        rows = rows.rows(torch.arange(len(rows)).flip(0))
    elif change == "mask":
        rows.mask[0, 0] = False
    elif change == "broken":
        file = run.folder / "reference.safetensors"
        file.write_bytes(file.read_bytes()[:40])
    elif change == "ranks":
        monkeypatch.setattr(ranks, "count", lambda: 2)
    elif change == "alike":  # a thing with the same weights in it, which does not say that these are what it asks
        reference = Guessed(policy).ask
    else:
        reference = lambda segment: policy.evaluate(segment).logprob  # noqa: E731
    found = asked_once("reference", reference, policy, rows, 99, run)
    assert policy.read == len(rows)
    torch.testing.assert_close(found, torch.where(rows.mask, policy.evaluate(rows).logprob, 0.0).sum(1))


def pairs(rows) -> Comparisons:
    better, count = torch.arange(0, len(rows), 2), len(rows) // 2
    return Comparisons(
        segment=rows, better=better, worse=better + 1, probability=torch.ones(count), weight=torch.ones(count),
        margin=torch.zeros(count), names=tuple(map(str, range(count))),
    )  # fmt: skip


def test_dpo_and_kto_keep_what_they_asked(rows, new_run, tmp_path):
    for method in ("dpo", "kto"):
        run, policy = new_run(), Speaker()
        if method == "dpo":
            dpo.train(dpo.Config(batch=5), policy, pairs(rows), run, held_out=pairs(rows))
            assert (run.folder / "reference-held-out.safetensors").is_file()
        else:
            kto.train(kto.Config(batch=10), policy, rows, torch.arange(20) % 2 == 0, run)
            assert (run.folder / "reference-foreign.safetensors").is_file()
        start = Counted()
        kept = (run.folder / "reference.safetensors").stat().st_mtime_ns
        plain = replace(pairs(rows)).segment
        asked_once("reference", Frozen(start), policy, plain, 99, run)
        assert start.read == 0, "the weights that were started from are known again"
        assert (run.folder / "reference.safetensors").stat().st_mtime_ns == kept


@pytest.mark.parametrize("method", ["dpo", "kto", "simpo", "ema"])
def test_the_log_tells_what_asking_the_reference_took(method, rows, new_run):
    tokens, told = int(rows.length.sum()), "speed/reference_tokens"

    def train(run):
        if method == "kto":
            kto.train(kto.Config(batch=10), Accounted(), rows, torch.arange(20) % 2 == 0, run)
        else:
            config = dpo.Config(batch=5, epochs=2, loss="simpo" if method == "simpo" else "dpo")
            dpo.train(config, Accounted(), pairs(rows), run, held_out=pairs(rows), moving=method == "ema")
        return read_log(run.folder / "log.jsonl")

    run = new_run(checkpoint_seconds=0)
    first, *others = train(run)
    if method == "simpo":
        assert not any(name in row for row in (first, *others) for name in (told, "seconds/reference"))
        return
    if method == "ema":
        assert all(0 < row[told] < tokens for row in (first, *others[:-1])), "each batch anew"
        assert others[-2][told] < tokens <= others[-1][told], "at the end those held out too"
        return
    assert first[told] == 2 * tokens, "those held out, or with foreign prompts, too"
    assert all(told not in row and "seconds/reference" not in row for row in others)
    parts = [value for name, value in first.items() if name.startswith("seconds/") and name != "seconds/step"]
    assert sum(parts) == pytest.approx(first["seconds/step"], abs=1e-3)
