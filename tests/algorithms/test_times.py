"""Where a method's time went: sampling, scoring and learning each under their own name, whatever the method."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import Tensor

from accord.algorithms import best_of_n, grpo, online_dpo, ppo
from accord.batches import Rollout
from accord.run import account, read_log, where_time_went
from accord.worlds.toy import Bandit, BanditConfig, ToyPolicy

FREE = ppo.KL(place="none")


class Slow(Bandit):
    """A world in which answering takes ten seconds and judging a hundred, by the clock of the account."""

    clock = 0.0

    def collect(self, policy: object) -> Rollout:
        self.clock += 10
        return super().collect(policy)  # type: ignore[arg-type]

    def judged(self, rollout: Rollout) -> Tensor:
        self.clock += 100
        return self.reward(rollout)


@pytest.mark.parametrize("method", ["ppo", "grpo", "best_of_n", "online_dpo"])
def test_time_is_told_under_the_name_of_what_was_done(method: str, new_run, monkeypatch) -> None:
    world, policy, run = Slow(BanditConfig(contexts=8)), ToyPolicy(4, 5, "categorical"), new_run()
    monkeypatch.setattr(account, "time", SimpleNamespace(perf_counter=lambda: world.clock))
    account.HERE.pass_over()
    if method == "ppo":
        ppo.train(ppo.Config(iterations=2, kl=FREE), policy, world, world.judged, run)
    elif method == "grpo":
        grpo.train(grpo.Config(iterations=2, kl=FREE), policy, world, world.judged, run)
    elif method == "best_of_n":
        best_of_n.train(best_of_n.Config(iterations=2), policy, world, world.judged, run)
    else:
        free = online_dpo.Config(iterations=2).model_copy(update={"objective": online_dpo.dpo.Config(loss="simpo")})
        online_dpo.train(free, policy, world, world.judged, run)
    took = {part.name: part.seconds for part in where_time_went(read_log(run.folder / "log.jsonl"))}
    monkeypatch.undo()
    account.HERE.pass_over()
    assert (took["generate"], took["score"]) == (20, 200)
