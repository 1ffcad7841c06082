"""The workbench: dealing, holding, resuming, refusing, one mean, and where randomness comes from."""

import random
from dataclasses import dataclass

import numpy
import pytest
import torch
from torch import nn

from accord.run import NonFinite, OptimiserConfig, Run, RunConfig, newest, read_log, seed_of


def bench(folder, settings=None, **config) -> Run:
    chosen = {"device": "cpu", "trackers": (), "progress": False, "checkpoint_seconds": 0, **config}
    return Run(folder, RunConfig(**chosen), settings)


class Killed(Exception):
    pass


@dataclass(frozen=True)
class Haul:
    numbers: torch.Tensor
    names: tuple[str, ...]
    nothing: torch.Tensor | None = None


class Counter:
    def __init__(self):
        self.turn = 0

    def state_dict(self):
        return {"turn": self.turn}

    def load_state_dict(self, state):
        self.turn = state["turn"]


# --- dealing and drawing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 2), (5, 5), (3, 8), (1, 1), (10, 7)])
def test_each_is_dealt_once_before_any_is_dealt_twice(tmp_path, count, size):
    run = bench(tmp_path)
    dealt = []
    for step in range(3 * count):
        run.at = step
        part = run.deal(count, size).tolist()
        assert len(part) == min(size, count)
        dealt += part
    rounds = [dealt[i : i + count] for i in range(0, 3 * count, count)]
    assert all(sorted(r) == list(range(count)) for r in rounds)
    if count >= 5:
        assert rounds[0] != rounds[1], "each round has an order of its own"


def test_what_is_dealt_depends_on_seed_and_step_alone(tmp_path):
    def orders(seed, first):
        run = bench(tmp_path, seed=seed)
        torch.rand(first)
        for step in (first, 4):
            run.at = step
            last = run.deal(50, 8).tolist()
        return last

    assert orders(0, 0) == orders(0, 3)
    assert orders(0, 0) != orders(1, 0)


def test_generators_differ_by_seed_step_and_name_and_by_nothing_else(tmp_path):
    def drawn(seed, step, *name):
        run = bench(tmp_path, seed=seed)
        run.at = step
        return torch.rand(1, generator=run.generator(*name)).item()

    base = drawn(0, 0, "a", 1)
    assert drawn(0, 0, "a", 1) == base
    assert len({base, drawn(1, 0, "a", 1), drawn(0, 1, "a", 1), drawn(0, 0, "b", 1), drawn(0, 0, "a", "1")}) == 5
    assert 0 <= seed_of("x") < 2**63
    assert seed_of("deal", 3) == 3353938741994007281, "the same on every machine and in every version"


# --- resuming ----------------------------------------------------------------------------------------------------


def walk(folder, die_at=None, keep=2, total=8):
    """A random walk that uses every generator there is. Returns where it ends and how often it collected."""
    run, module, counter, collected = bench(folder, keep=keep), nn.Linear(2, 1), Counter(), []
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[0.1, 0.2]]))
        module.bias.zero_()
    run.track(counter=counter)
    run.optimise(OptimiserConfig(), total, module=module)
    if run.at == 0:
        random.seed(1)
        numpy.random.seed(2)

    def collect(step):
        collected.append(step)
        counter.turn += 1
        return Haul(torch.randn(3) + counter.turn, (f"row{step}",))

    for step in run.steps(total):
        if die_at == (step, "before"):
            raise Killed
        haul = run.hold("haul", Haul, lambda step=step: collect(step))
        assert haul.names == (f"row{step}",)
        assert haul.nothing is None
        if die_at == (step, "holding"):
            raise Killed
        noise = random.random() + float(numpy.random.rand()) + float(torch.rand(()))
        run.backward((module(haul.numbers[:2]) * noise).sum())
        run.log(loss=noise, **run.step())
        if die_at == (step, "after"):
            raise Killed
    return torch.cat([p.flatten() for p in module.parameters()]), counter.turn, collected


@pytest.mark.parametrize("when", [(0, "before"), (0, "after"), (3, "before"), (3, "holding"), (5, "after")])
def test_a_run_that_dies_goes_on_as_if_nothing_had_been(tmp_path, when):
    weights, turn, _ = walk(tmp_path / "calm")
    with pytest.raises(Killed):
        walk(tmp_path / "rough", die_at=when)
    found, found_turn, collected = walk(tmp_path / "rough")
    assert torch.equal(found, weights)
    assert found_turn == turn == 8
    rows = [read_log(tmp_path / place / "log.jsonl") for place in ("calm", "rough")]
    losses = [[(row["step"], row["loss"]) for row in part] for part in rows]
    assert losses[0] == losses[1]
    assert [step for step, _ in losses[1]] == list(range(8)), "each step stands in the log once"
    first = when[0] if when[1] == "before" else when[0] + 1
    assert collected == list(range(first, 8)), "a rollout in hand is not collected again"


def test_a_run_goes_on_from_the_checkpoint_before_a_broken_one(tmp_path):
    weights, *_ = walk(tmp_path / "calm")
    with pytest.raises(Killed):
        walk(tmp_path / "rough", die_at=(4, "after"), keep=3)
    last = sorted((tmp_path / "rough" / "checkpoints").glob("step-*"))[-1]
    (last / "tensors.safetensors").write_bytes(b"cut")
    with pytest.warns(UserWarning, match=f"{last.name}.*not whole.*Going back"):
        found, *_ = walk(tmp_path / "rough")
    assert torch.equal(found, weights)


def test_a_whole_run_makes_no_more_steps(tmp_path):
    weights, _, _ = walk(tmp_path)
    again, turn, collected = walk(tmp_path)
    assert torch.equal(again, weights)
    assert (turn, collected) == (8, [])
    assert bench(tmp_path).last_figures()["loss"] == read_log(tmp_path / "log.jsonl")[-1]["loss"]


def test_few_checkpoints_are_kept_and_few_are_written(tmp_path):
    walk(tmp_path / "a", keep=3)
    assert len(list((tmp_path / "a" / "checkpoints").iterdir())) == 3
    run = bench(tmp_path / "b", checkpoint_seconds=1000)
    run.track(counter=Counter())
    for _ in run.steps(5):
        assert newest(run.folder / "checkpoints") is None
    assert newest(run.folder / "checkpoints")[0] == 10, "the last step is always kept"


def test_other_settings_are_refused_with_the_names_that_differ(tmp_path):
    settings = {"clip": 0.2, "optimiser": {"learning_rate": 0.1, "beta1": 0.9}}
    run = bench(tmp_path, settings)
    for _ in run.steps(1):
        pass
    other = bench(tmp_path, {"clip": 0.2, "optimiser": {"learning_rate": 0.3, "beta1": 0.9}})
    with pytest.raises(ValueError, match=r"optimiser\.learning_rate: 0\.1 there, 0\.3 here\)\. Set them as"):
        next(other.steps(1))
    assert list(bench(tmp_path, settings).steps(1)) == []


def test_other_tracked_things_are_refused(tmp_path):
    run = bench(tmp_path)
    run.track(world=Counter())
    for _ in run.steps(1):
        pass
    with pytest.raises(ValueError, match=r"tracks \['world'\], this run \[\]"):
        next(bench(tmp_path).steps(2))


def test_tracking_after_the_start_is_refused(tmp_path):
    run = bench(tmp_path)
    for _ in run.steps(1):
        with pytest.raises(RuntimeError, match=r"track\(late\) after steps"):
            run.track(late=Counter())


def test_frozen_weights_stay_out_of_the_checkpoint_and_may_be_absent(tmp_path):
    def model():
        made = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
        made[0].requires_grad_(False)
        return made

    run = bench(tmp_path)
    run.track(model=model())
    for _ in run.steps(1):
        pass
    _, state = newest(tmp_path / "checkpoints")
    assert sorted(state["tracked"]["model"]) == ["1.bias", "1.weight"]
    again, fresh = bench(tmp_path), model()
    frozen = fresh[0].weight.clone()
    again.track(model=fresh)
    assert list(again.steps(1)) == []
    assert torch.equal(fresh[0].weight, frozen)
    assert torch.equal(fresh[1].weight, state["tracked"]["model"]["1.weight"])


def test_a_checkpoint_of_another_shape_is_refused(tmp_path):
    run = bench(tmp_path)
    run.track(model=nn.Linear(2, 2))
    for _ in run.steps(1):
        pass
    again = bench(tmp_path)
    again.track(model=nn.Linear(2, 2, bias=False))
    with pytest.raises(ValueError, match=r"does not fit.*unexpected.*bias"):
        next(again.steps(2))


# --- the step ----------------------------------------------------------------------------------------------------


def test_a_gradient_that_is_no_number_moves_nothing_and_names_the_rows(tmp_path):
    module = nn.Linear(1, 1)
    run = bench(tmp_path)
    run.optimise(OptimiserConfig(), 1, module=module)
    before = module.weight.clone()
    run.backward((module.weight * 0).abs().sqrt().sum(), [f"row{i}" for i in range(10)])
    with pytest.raises(NonFinite, match=r"norm is nan.*row0, row1.* and 2 more"):
        run.step()
    assert torch.equal(module.weight, before)


def test_the_whole_gradient_is_cut_to_its_largest_norm(tmp_path):
    module = nn.Linear(2, 1, bias=False)
    run = bench(tmp_path)
    run.optimise(OptimiserConfig(clip=0.5, learning_rate=0.1, warmup=0, epsilon=1.0), 1, module=module)
    before = module.weight.detach().clone()
    run.backward((module.weight * torch.tensor([[3.0, 4.0]])).sum())
    assert run.step()["gradient_norm"] == pytest.approx(5)
    moved = (before - module.weight.detach()).flatten()
    assert moved.tolist() == pytest.approx([0.1 * 0.3 / 1.3, 0.1 * 0.4 / 1.4], rel=1e-4)


def test_a_count_of_nothing_can_be_divided_by(tmp_path):
    run = bench(tmp_path)
    assert run.total(torch.tensor(3)).item() == 3
    assert torch.isfinite(torch.zeros(()) / run.total(0))
