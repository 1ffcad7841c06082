"""The experiment at toy size: what is measured, what goes on after a kill, what a project's versions show."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from accord import build
from accord.algorithms import ppo, reward_model
from accord.algorithms.best_of_n import kl
from accord.cli import main
from accord.config import SettingsError
from accord.proofs import overoptimisation as proof
from accord.proofs.ground import Ground, Kept, Proxy, Two, lab
from accord.proofs.pressed import Press, Watched, by_gold, spread
from accord.proofs.turned import ONE, Condition
from accord.run import RunConfig
from accord.worlds.text.world import TextWorld
from tests.flow.circle import TINY
from tests.proofs.toy import CHANGES, told_apart  # noqa: F401

TOY = {"labels": (12, 24), "flips": (0.25,), "members": 2, "rules": ("worst",), "drawn": 8, "test_prompts": 6,
       "train_prompts": 30, "prices": (0.0, 0.5), "iterations": 4, "growth": 3, "answers": 2, "rollout": 4}  # fmt: skip


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return Ground(
        lab(tmp_path_factory.mktemp("ground"), 1, {**CHANGES, "collect": {"prompts": 30, "people": 4}}, False),
        lambda _: None,
    )


@pytest.mark.usefixtures("told_apart")
def test_the_proof_measures_every_condition_and_is_not_made_twice(tmp_path, capsys, monkeypatch):
    config = {**TOY, "labels": (12,)}
    assert proof.prove(1, tmp_path, lambda _: None, False, config, CHANGES) == 0
    found = json.loads((tmp_path / "overoptimisation.json").read_text())
    names = {(row["where"], row["how"], row["way"]) for row in found["tracks"]}
    hows = ("best of n", "PPO, no KL", "PPO, KL at 0.5")
    assert names == {("12 labels, 25% flipped", how, way) for how in hows for way in (ONE, "worst")}
    for row in found["tracks"]:
        (seed,) = row["seeds"]
        drift, gold = np.array(seed["divergence"]), np.array(seed["gold"])
        assert drift.shape == gold.shape == (4, 6)
        assert np.abs(drift[0]).max() < 1e-4  # the start has not moved from itself
    of = {row["how"]: np.array(row["seeds"][0]["divergence"]) for row in found["tracks"] if row["way"] == ONE}
    assert of["best of n"][:, 0] == pytest.approx([kl(n) for n in (1, 2, 4, 8)], abs=1e-4)
    page = (tmp_path / "overoptimisation.html").read_text()
    assert page.count("<svg") == 6
    assert "http" not in page.replace("http://www.w3.org/", "").replace("http-equiv", "")
    assert (tmp_path / "overoptimisation.md").read_text().strip() in capsys.readouterr().out

    def never(*_, **__):
        raise AssertionError("a stage was made again")

    for one in (ppo, reward_model):
        monkeypatch.setattr(one, "train", never)
    assert proof.prove(1, tmp_path, lambda _: None, False, config, CHANGES) == 0
    assert json.loads((tmp_path / "overoptimisation.json").read_text()) == found
    with pytest.raises(SettingsError, match="other settings"):
        proof.prove(1, tmp_path, lambda _: None, False, {**config, "members": 3}, CHANGES)


@pytest.mark.usefixtures("told_apart")
def test_a_seed_made_by_itself_is_the_one_that_a_proof_of_several_takes(tmp_path, monkeypatch):
    config = {**TOY, "labels": (12,), "rules": (), "prices": (0.5,)}

    def tracks():
        rows = json.loads((tmp_path / "overoptimisation.json").read_text())["tracks"]
        return {row["how"]: row["seeds"] for row in rows}

    said = []
    assert proof.prove(1, tmp_path, said.append, False, config, CHANGES, first=2) == 0
    alone = tracks()
    assert said[0] == "seed 2 (1 of 1)"
    assert all(len(seeds) == 1 for seeds in alone.values())
    assert "accord prove overoptimisation --first 2 --seeds 1" in (tmp_path / "overoptimisation.html").read_text()
    learn, taught = ppo.train, []
    monkeypatch.setattr(ppo, "train", lambda *given, **more: taught.append(1) or learn(*given, **more))
    assert proof.prove(2, tmp_path, lambda _: None, False, config, CHANGES) == 0
    both = tracks()
    assert len(taught) == 1
    assert {how: seeds[1:] for how, seeds in both.items()} == alone
    assert all(seeds[0] != seeds[1] for seeds in both.values())


@pytest.mark.usefixtures("told_apart")
def test_one_model_is_measured_without_its_ensemble_and_stays_as_it_is_when_rules_are_added(tmp_path, monkeypatch):
    taught, learn = [], reward_model.train
    monkeypatch.setattr(reward_model, "train", lambda *given, **more: taught.append(1) or learn(*given, **more))
    config, found = {**TOY, "labels": (12,), "prices": ()}, []
    for rules, models in (((), 1), (("worst",), 2), (("worst", "mean"), 2)):
        assert proof.prove(1, tmp_path, lambda _: None, False, {**config, "rules": rules}, CHANGES) == 0
        found.append(json.loads((tmp_path / "overoptimisation.json").read_text())["tracks"])
        assert len(taught) == models
        assert [row["way"] for row in found[-1]] == [ONE, *rules]
        assert found[-1][0] == found[0][0]
    parts = tmp_path / "overoptimisation-1" / "tracks"
    single, other = (json.loads((parts / f"12-0.25-{number}-said.json").read_text()) for number in (0, 1))
    assert len(single) == len(other) == 8 * 6
    assert not np.allclose(single, other)


def test_what_was_finished_is_used_where_the_same_settings_decide_it(tmp_path):
    config = proof.Config(**TOY)
    kept, climbs = proof.kept_in(tmp_path / "new", config)
    assert kept.folder != climbs.folder
    for more in ({"labels": (12, 24, 40)}, {"flips": (0.0,)}, {"rules": ("mean",)}, {"prices": (0.3,)}):
        again = proof.kept_in(tmp_path / "new", config.model_copy(update=more))
        assert [one.folder for one in again] == [kept.folder, climbs.folder]
    shorter = proof.kept_in(tmp_path / "new", config.model_copy(update={"iterations": 3}))
    assert shorter[0].folder == kept.folder
    assert shorter[1].folder not in (kept.folder, climbs.folder)
    with pytest.raises(SettingsError, match="other settings"):
        proof.kept_in(tmp_path / "new", config.model_copy(update={"drawn": 16}))


def test_a_folder_of_before_goes_on(tmp_path):
    """Best of n under any settings of PPO; PPO too where it takes as many prompts and passes as it did then."""
    old = {key: value for key, value in proof.Config(**TOY).model_dump(mode="json").items()
           if key not in ("epochs", "rollout")}  # fmt: skip
    Kept(tmp_path, old).part("12-0-said", lambda: [1.0])
    for epochs, rollout, one in ((1, 32, False), (2, 64, True), (1, 64, False)):
        config = proof.Config(**{**TOY, "epochs": epochs, "rollout": rollout})
        kept, climbs = proof.kept_in(tmp_path, config)
        assert kept.part("12-0-said", lambda: pytest.fail("made again")) == [1.0]
        assert (climbs.folder == kept.folder) == one
    assert json.loads((tmp_path / "settings.json").read_text()) == old


def test_labels_are_gold_s_and_a_share_of_them_is_turned_round(ground):
    lab_, prompts = ground.project.lab, ground.project.prompts("train")
    twos = [
        Two(prompt, lab_.example(prompt, 2 * n), lab_.example(prompt, 2 * n + 1)) for prompt in prompts for n in (0, 1)
    ]
    truth = [np.sign(ground.gold(t.prompt, t.first).score - ground.gold(t.prompt, t.second).score) for t in twos]

    def agreed(beliefs):
        said = [1 if b.chosen == t.first.id else -1 for b, t in zip(beliefs, twos, strict=True)]
        return np.mean([s == t for s, t in zip(said, truth, strict=True) if t])

    assert agreed(ground.labelled(twos)) == 1
    assert agreed(ground.labelled(twos, 1.0)) == 0
    assert sum(t != 0 for t in truth) > 30
    assert 0.6 < agreed(ground.labelled(twos, 0.25)) < 0.9
    assert 0.5 < agreed(ground.labelled(twos, by="people")) < 1
    assert [b.chosen for b in ground.labelled(twos[5:], 0.25)] == [b.chosen for b in ground.labelled(twos, 0.25)[5:]]


def test_nobody_has_a_second_pair_before_everybody_had_a_first(ground):
    twos = ground.twos(ground.project.prompts("train"), "labels")
    first = [two.prompt.id for two in twos]
    assert len(first) > len(set(first)) > 20
    assert len(set(first[: len(set(first))])) == len(set(first))
    assert all(two.first.content != two.second.content for two in twos)
    assert ground.twos(ground.project.prompts("train"), "labels", 7) == twos[:7]
    with pytest.raises(SettingsError, match=f"gave {len(twos)} pairs"):
        ground.twos(ground.project.prompts("train"), "labels", len(twos) + 1)


def test_best_of_n_is_what_drawing_again_and_again_gives(ground):
    press = Press(ground.project, ground.start, ground.project.prompts("test")[:3], by_gold(ground.gold), 8, 2)
    proxy = torch.randn(24, generator=torch.Generator().manual_seed(0))
    press.true = torch.randn(24, generator=torch.Generator().manual_seed(1)).double()
    found = press.best_of_n(proxy)
    draw, said = np.random.default_rng(0), proxy.reshape(3, 8).numpy()
    true = press.true.reshape(3, 8).numpy()
    for g in range(3):
        sets = [draw.permutation(8)[:4] for _ in range(6000)]
        best = [one[said[g][one].argmax()] for one in sets]
        wanted = (true[g][best].mean() - true.mean()) / true.std(ddof=1)
        assert found.gold[2, g] == pytest.approx(wanted, abs=0.06)
        assert found.proxy[3, g] == pytest.approx((said[g].max() - said.mean()) / said.std(ddof=1), abs=1e-5)


def test_a_cut_answer_earns_the_penalty_whatever_the_members_say(ground):
    twos = ground.twos(ground.project.prompts("test"), "held")[:2]
    pairs = [(twos[0].prompt, twos[0].first), (twos[1].prompt, twos[1].first.model_copy(update={"finished": False}))]
    said = torch.tensor([[1.0, 9.0], [0.0, 7.0]])
    whole = [(p, s.model_copy(update={"finished": True})) for p, s in pairs]
    proxy = Proxy((), "worst", cut=-2.0)
    assert proxy.of(said, [whole[0], pairs[1]]).tolist() == [0.0, -2.0]
    assert replace(proxy, rule="mean").of(said, whole).tolist() == [0.5, 8.0]


def test_what_was_seen_on_the_way_is_in_the_checkpoint(ground):
    policy, _ = ground.project.policy(ground.start)
    prompts = ground.project.prompts("train")

    def watched():
        world = ground.project.world(policy, ground.encoder, prompts, "seen")
        return Watched(world, lambda _: torch.full((3, 2), float(world.turn)), {0, 2, 4})

    whole, first, second = watched(), watched(), watched()
    for _ in range(5):
        whole.collect(policy)
    for _ in range(3):
        first.collect(policy)
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.collect(policy)
    assert second.looks()[:, 0, 0].tolist() == whole.looks()[:, 0, 0].tolist() == [0, 2, 4]


def test_looks_lie_close_where_the_curve_turns():
    assert sorted(spread(60, 1.25)) == [0, 1, 2, 3, 4, 5, 7, 9, 12, 15, 19, 24, 30, 38, 48]
    assert spread(5, 1) == {0, 1, 2, 3, 4}
    assert spread(1, 9) == {0}


def test_a_run_that_went_far_enough_ends_with_the_points_that_it_would_have_had(ground, tmp_path, monkeypatch):
    config = proof.Config(**{**TOY, "labels": (12,), "prices": (0.0,), "rules": (), "members": 1, "growth": 1})
    project, look = ground.project, Press.look
    monkeypatch.setattr(Press, "look", lambda *given: look(*given) + torch.tensor([[0.5], [0.0], [0.0]]))
    press = Press(project, ground.start, project.prompts("test"), by_gold(ground.gold), 8, 2)
    twos, found = ground.twos(project.prompts("train"), "labels", 12), {}
    for reach in (0.0, 0.1, 10.0):
        chosen = config.model_copy(update={"reach": reach})
        here = proof.Setting(ground, press, twos, 0.0, chosen, Kept(tmp_path / "tracks", {}))
        shutil.rmtree(project.folder / "runs" / "ppo-reach", ignore_errors=True)
        found[reach] = proof.climbed(here, ONE, 0.0, "ppo-reach")
    assert [len(track["gold"]) for track in found.values()] == [5, 3, 5]
    for name in ("divergence", "proxy", "gold"):
        assert found[0.1][name] == found[0.0][name][:3]
        assert found[10.0][name] == found[0.0][name]
    assert found[0.0]["proxy"][1] != found[0.0]["proxy"][4]


def test_a_look_measures_the_drift_of_the_policy_that_is_shown(ground, monkeypatch):
    """Against the models themselves, answer by answer."""
    press = Press(ground.project, ground.start, ground.project.prompts("test")[:3], by_gold(ground.gold), 4, 2)
    warmer, _ = ground.project.policy(ground.start)
    with torch.no_grad():
        for weight in warmer.parameters():
            weight.mul_(1.2)
    heard, collect = [], TextWorld.collect
    monkeypatch.setattr(TextWorld, "collect", lambda *given: heard.append(collect(*given)) or heard[-1])
    seen = press.look(warmer, lambda pairs: torch.arange(len(pairs)).float())
    asked = {tuple(ground.encoder.prompt(prompt.content)): prompt.id for prompt in press.prompts}
    drift, rollout = {prompt.id: 0.0 for prompt in press.prompts}, heard[0]
    for row in range(len(rollout)):
        g = int(rollout.group[row])
        before = rollout.observation[g, : int(rollout.observation_length[g])].tolist()
        ids = torch.tensor([[*before, *rollout.action[row, : int(rollout.length[row])].tolist()]])
        for policy, sign in ((warmer, 0.5), (press.before, -0.5)):
            with torch.no_grad():
                each = policy.model(ids).logits[0].log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])
            drift[asked[tuple(before)]] += sign * float(each[len(before) - 1 :].sum())
    assert seen[0].tolist() == pytest.approx(list(drift.values()), abs=1e-3)
    assert seen[1].sum() == pytest.approx(sum(range(6)) / 2)
    assert torch.equal(seen, press.look(warmer, lambda pairs: torch.arange(len(pairs)).float()))
    assert float(press.look(press.before, lambda pairs: torch.zeros(len(pairs)))[0].abs().max()) < 1e-4


def test_a_project_s_versions_and_checkpoints_are_a_run(tmp_path, capsys):
    changes = {**CHANGES, "collect": {"prompts": 20, "answers": 3, "people": 4}, "run": {**TINY["run"], "keep": 9}}
    changes["ppo"] = {**CHANGES["ppo"], "iterations": 3}
    project = lab(tmp_path / "p", 1, {**changes, "data": {**changes["data"], "test_prompts": 6}}, False)
    here = Ground(project, lambda _: None)
    twos = here.twos(project.prompts("train"), "labels")
    project.store.put(record for two in twos for record in (two.first, two.second))
    build.train(project, "reward_model", "round1-reward", start="sft", beliefs=here.labelled(twos))
    build.train(project, "ppo", "round1-ppo", start="sft", reward="round1-reward")
    project.store.close()
    given = ["evaluate", "overoptimisation", "--project", str(tmp_path / "p"), "--drawn", "4", "--prompts", "6"]
    assert main([*given, "--along", "round1-ppo"]) == 0
    assert "| best of n | one model |" in capsys.readouterr().out
    found = json.loads((tmp_path / "p" / "overoptimisation.json").read_text())
    climbed = next(row for row in found["tracks"] if row["how"] == "round1-ppo")
    drift = np.array(climbed["seeds"][0]["divergence"]).mean(1)
    assert len(drift) == 4  # the start, after the first and second iteration, and the version
    assert abs(drift[0]) < 1e-4
    assert drift[1] != drift[2] != drift[3]
    assert main([*given, "--gold", "round1-reward"]) == 0
    same = json.loads((tmp_path / "p" / "overoptimisation.json").read_text())["tracks"][0]["seeds"][0]
    assert same["gold"] == same["proxy"]
    for few in (["--drawn", "3"], ["--prompts", "1"]):
        assert main([*given, *few]) == 2
        assert "best of 1, 2, 4 on two prompts at least" in capsys.readouterr().err
    assert main([*given, "--reward", "sft"]) == 2
    assert "sft is a policy model" in capsys.readouterr().err


def test_an_unfinished_part_is_made_and_a_finished_one_is_not(tmp_path):
    made = []
    kept = Kept(tmp_path, {"a": 1})
    assert [kept.part("x", lambda: made.append(1) or [1.5]) for _ in range(2)] == [[1.5], [1.5]]
    assert made == [1]
    with pytest.raises(SettingsError, match="other settings"):
        Kept(tmp_path, {"a": 2})


def test_the_small_size_is_a_smaller_size():
    small, full = proof.Config(**proof.SMALL), proof.Config()
    assert set(proof.SMALL) <= set(proof.Config.model_fields)
    assert max(small.labels) < max(full.labels) <= 2 * full.train_prompts
    assert full.labels[0] == 300
    assert full.labels[-1] == 6000
    assert 0.25 in full.flips
    assert full.members == 5
    assert RunConfig().keep == 2
    assert Condition("a", "b", "c")._replace(way=ONE).way == ONE
