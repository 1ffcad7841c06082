"""What holds a policy, through the door: settings reach stage and version, and change nothing when they are off."""

import math
import shutil
from pathlib import Path

import pytest
import torch

from accord import anchors, methods
from accord.cli import main
from accord.config import SettingsError
from accord.project import Project, parted
from accord.recipe import recipe
from accord.run import Run, RunConfig, read_log
from tests.flow.circle import TINY, taught, weights

SMALL = {
    "ppo": {**TINY["ppo"], "iterations": 3},
    "grpo": {"iterations": 2, "minibatches": 2, "kl": {"target": 1.0, "horizon": 100}},
    "best_of_n": {"iterations": 2, "updates": 2, "batch": 4, "missing_end_penalty": None},
    "best_of": 3,
    "dpo": {"batch": 5, "epochs": 2},
    "run": {**TINY["run"], "checkpoint_seconds": 1e9},
}
OFF = {"ptx": {"weight": 0.0, "source": "pretraining", "rows": 16}, "anchor": {"reference": "fixed", "decay": 0.99}}
HELD = {
    "ptx": ("--ptx.weight", "0.5", "--ptx.rows", "4"),
    "anchor": ("--anchor.reference", "ema", "--anchor.decay", "0.9"),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project up to the reward model of its first round."""
    return taught(tmp_path_factory.mktemp("shelf"), **SMALL)[0].folder


def opened(folder: Path, **changes) -> Project:
    return Project(folder, recipe(folder / "project.yaml", changes))


def trained(folder: Path, method: str, name: str, *options: str) -> tuple[Project, list[dict]]:
    """The project after a stage, and the rows of its log."""
    asked = ["--start", "sft", *(() if method == "dpo" else ("--reward", "worth")), "--name", name]
    assert main(["train", method, "--project", str(folder), *asked, *options]) == 0
    return opened(folder), read_log(folder / "runs" / name / "log.jsonl")


@pytest.mark.parametrize("method", ["ppo", "grpo", "best_of_n", "dpo"])
def test_settings_reach_the_stage_and_stand_with_the_version(method, shared, capsys):
    name, foreign = f"held-{method}", {"dpo": "ptx", "best_of_n": "anchor"}.get(method)
    if foreign:
        words = ["train", method, "--project", str(shared), "--start", "sft", "--name", name]
        assert main([*words, *HELD[foreign]]) == 2
        assert f"--{foreign}.* does nothing here" in capsys.readouterr().err
    project, rows = trained(shared, method, name, *(one for key in HELD if key != foreign for one in HELD[key]))
    config = project.version(name).config
    assert ("ptx" in config) == (method != "dpo") == ("beside_loss" in rows[-1])
    assert ("anchor" in config) == (method != "best_of_n")
    if method != "dpo":
        assert config["ptx"] == {"weight": 0.5, "source": "pretraining", "rows": 4}
    if method != "best_of_n":
        assert config["anchor"] == {"reference": "ema", "decay": 0.9}
    given = {"start": "sft"} | ({} if method == "dpo" else {"reward": "worth"})
    with pytest.raises(SettingsError, match=r"other settings of .*(ptx|anchor)"):  # now that they are off again
        methods.train(opened(shared, **OFF), method, name, **given)
    opened(shared, **OFF)


def test_off_they_leave_no_trace_and_replay_learns_demonstrations(shared):
    plain, first = trained(shared, "ppo", "plain")
    assert not {"ptx", "anchor"} & set(plain.version("plain").config)
    assert "beside_loss" not in first[-1]
    replay, rows = trained(shared, "ppo", "replayed", "--ptx.weight", "2", "--ptx.source", "demonstrations")
    assert 0 < rows[-1]["beside_loss"] < 10
    assert "anchor" not in replay.version("replayed").config
    opened(shared, **OFF)


def test_measuring_what_is_forgotten_changes_no_weight_and_is_that_of_a_loop_over_tokens(shared, tmp_path):
    for name in ("measured", "unmeasured"):
        shutil.copytree(shared, tmp_path / name)
    one, first = trained(tmp_path / "measured", "ppo", "new", "--forgetting", "9")
    two, other = trained(tmp_path / "unmeasured", "ppo", "new", "--forgetting", "0")
    assert weights(one.folder)["new"] == weights(two.folder)["new"]
    assert [row["reward"] for row in first] == [row["reward"] for row in other]
    assert not [name for name in two.version("new").figures if "perplexity" in name]
    found = one.version("new").figures
    encoder = one.encoder(one.tokenizer())
    rows = encoder.documents(parted(one.documents())[1])
    assert 1 <= len(rows) <= 9
    for name, version in (("perplexity", "new"), ("perplexity_before", "sft")):
        model = one.language_model(version, one.tokenizer())
        lost = count = 0.0
        for row in range(len(rows)):
            ids = [int(rows.observation[rows.group[row], 0]), *rows.action[row, : int(rows.length[row])].tolist()]
            with torch.no_grad():
                told = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            lost -= sum(float(told[t, ids[t + 1]]) for t in range(len(ids) - 1))
            count += len(ids) - 1
        assert found[name] == pytest.approx(math.exp(lost / count), rel=1e-4)


def test_texts_that_are_held_out_are_never_learned_beside(shared):
    project = opened(shared, ptx={"weight": 1.0, "rows": 50})
    policy, encoder = project.policy("sft")
    run = Run(shared / "runs" / "aside", RunConfig(device="cpu", trackers=(), progress=False))
    taken = anchors.rehearsed(project, policy, encoder, run, 1, 512)
    learned = encoder.documents(anchors.some(parted(project.documents())[0], 50, anchors.seed_of(0, "beside")))
    assert torch.equal(taken.examples.action, learned.action)
    assert len(taken.examples) == 50
    assert not set(parted(project.documents())[1]) & set(parted(project.documents())[0])
    opened(shared, **OFF)


def test_rows_beside_that_cannot_be_used_are_told(shared, tmp_path):
    project = opened(shared, ptx={"weight": 1.0, "rows": 50})
    policy, encoder = project.policy("sft")
    project.documents = lambda: [*(f"some text number {n}" for n in range(40)), ""]
    run = Run(tmp_path / "told", RunConfig(device="cpu", trackers=(), progress=False))
    with pytest.warns(UserWarning, match=r"beside \(ptx\): 1 rows were left out"):
        taken = anchors.rehearsed(project, policy, encoder, run, 4, 512)
    assert len(taken.examples) < 41
    opened(shared, **OFF)


def test_texts_are_learned_at_temperature_one(shared):
    project = opened(shared)
    policy, encoder = project.policy("sft")
    rows = encoder.documents(project.documents()[:3])
    plain = policy.evaluate(rows).logprob
    policy.temperature = 0.5
    assert torch.equal(anchors.at_one(policy, rows).logprob, plain)
    assert policy.temperature == 0.5
    assert not torch.equal(policy.evaluate(rows).logprob, plain)


def test_some_of_many_in_their_order():
    assert anchors.some("abc", 3, 0) == ["a", "b", "c"]
    chosen = anchors.some(range(100), 10, 3)
    assert len(set(chosen)) == 10
    assert chosen == sorted(chosen) == anchors.some(range(100), 10, 3) != anchors.some(range(100), 10, 4)


def test_what_cannot_be_had_is_said_before_work(shared, tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="method=dpo learns nothing beside"):
        recipe(None, {"method": "dpo", "ptx": {"weight": 1.0}})
    project = opened(shared, ptx={"weight": 1.0})
    policy, encoder = project.policy("sft")
    run = Run(tmp_path, RunConfig(device="cpu", trackers=(), progress=False))
    monkeypatch.setattr(project, "documents", list)
    with pytest.raises(SettingsError, match=r"data\.texts"):
        anchors.rehearsed(project, policy, encoder, run, 3, 512)
    project.recipe = project.recipe.model_copy(update={"ptx": recipe(None, {"ptx": {
        "weight": 1.0, "source": "demonstrations"}}).ptx})  # fmt: skip
    monkeypatch.setattr(type(project.store), "all", lambda *_, **__: iter(()))
    with pytest.raises(SettingsError, match="has none; import some"):
        anchors.rehearsed(project, policy, encoder, run, 3, 512)
    monkeypatch.undo()
    monkeypatch.setattr(anchors.ranks, "count", lambda: 2)
    chosen = project.recipe.model_copy(update={"anchor": recipe(None, {"anchor": {"reference": "ema"}}).anchor})
    project.recipe = chosen.model_copy(update={"run": chosen.run.model_copy(update={"shard": True})})
    with pytest.raises(SettingsError, match=r"run\.shard=false"):
        anchors.anchor(project, policy, "sft", run)
    monkeypatch.undo()
    opened(shared, **OFF)


def test_an_average_is_asked_in_the_place_of_the_weights(shared, tmp_path):
    project = opened(shared, anchor={"reference": "ema", "decay": 0.5})
    policy, encoder = project.policy("sft")
    run = Run(tmp_path, RunConfig(device="cpu", trackers=(), progress=False))
    rows = encoder.documents(project.documents()[:4])
    asked = anchors.anchor(project, policy, "sft", run)
    before = policy.evaluate(rows).logprob.detach()
    average = run._tracked["anchor"]
    assert set(average.state_dict()) == {name for name, p in policy.model.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for p in policy.model.parameters():
            p.mul_(0)
    assert torch.equal(asked(rows), before)
    assert not torch.equal(policy.evaluate(rows).logprob, before)
    opened(shared, **OFF)
