"""Policies under more and more optimisation: proxy, gold and drift of best of n, and of a run that is looked at."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from accord.algorithms.best_of_n import curve, kl
from accord.batches import Comparisons, Rollout, Segment, pack
from accord.evaluate.overoptimisation import Track
from accord.lab import Gold
from accord.project import Project
from accord.proofs.ground import answered, by_prompt
from accord.records import Demonstration, Preference, Prompt, Sample
from accord.rewards.learned import Answers
from accord.run import newest, read_state
from accord.worlds.text.encode import Encoder
from accord.worlds.text.models import parts
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.world import TextWorld

Worth = Callable[[Answers], Tensor]
"""[B] what each answer is worth, to the proxy or in truth."""
Look = Callable[[Any], Tensor]
"""A policy as [3, G]: drift from the start, proxy and gold, means over each prompt's answers."""


class Press:
    """A start, test prompts and what is meant; all tracks from here share prompts, units and the chance of sampling.

    Proxy and gold are told in standard deviations of the start's own answers, each less the start's mean.
    """

    def __init__(
        self, project: Project, start: str, prompts: Sequence[Prompt], gold: Worth, drawn: int, answers: int
    ) -> None:
        """drawn: answers per prompt that best of n chooses from. answers: per prompt at each look at a policy."""
        self.project, self.start, self.prompts, self.gold, self.answers = project, start, tuple(prompts), gold, answers
        self.before, self.encoder = project.policy(start)
        self.drawn = project.sample(start, prompts, drawn, "best-of-n", uncut=True)
        self.true = gold(self.drawn).double()

    def best_of_n(self, proxy: Tensor) -> Track:
        """The track of best of 1, 2, 4 and so on. proxy: [B] score of each drawn answer.

        Expected proxy and gold are exact over the drawn answers (`algorithms.best_of_n.curve`), the divergence is
        log n - (n - 1) / n: an upper bound where answers repeat.
        """
        most = len(self.drawn) // len(self.prompts)
        sizes = [2**i for i in range(most.bit_length())]
        scored, true = proxy.double().reshape(-1, most), self.true.reshape(-1, most)
        seen = [scale(curve(scored, of, sizes).numpy(), of) for of in (scored, true)]
        return Track("best_of_n", np.repeat([[kl(n)] for n in sizes], len(self.prompts), 1), *seen)

    @torch.no_grad()
    def look(self, policy: Any, proxy: Worth) -> Tensor:
        """[3, G] drift, proxy and gold of a policy now, on the test prompts; every look draws by the same chance."""
        rollout, said = answered(self.project, self.encoder, policy, self.prompts, self.answers)
        drift = torch.zeros(len(rollout), dtype=torch.float64)
        for index in pack(rollout, self.project.recipe.ppo.micro_tokens):
            micro = rollout.rows(index)
            drift[index] = ((micro.logprob - self.reference(micro)) * micro.mask).sum(1).double()
        values = torch.stack([drift, proxy(said).double(), self.gold(said).double()])
        return by_prompt(values, said, self.prompts)

    def reference(self, segment: Segment) -> Tensor:
        """[B, T] log-probabilities under the start: what drift is measured from."""
        return self.before.evaluate(segment).logprob

    def climbed(self, looks: Tensor, proxy: Tensor) -> Track:
        """The track of a policy that was looked at. looks: [P, 3, G], the start first. proxy: as in `best_of_n`."""
        seen = looks.numpy()
        return Track("rl", seen[:, 0], scale(seen[:, 1], proxy), scale(seen[:, 2], self.true))


def by_gold(gold: Gold) -> Worth:
    """The true preference as a score of answers."""
    return lambda pairs: torch.tensor([gold(*pair).score for pair in pairs])


def scale(values: Any, start: Tensor) -> Any:
    """Values less the mean of the start's answers, in their standard deviations."""
    return (values - float(start.double().mean())) / max(float(start.double().std()), 1e-9)


def spread(iterations: int, growth: float) -> frozenset[int]:
    """Iterations before which there is a look: 0, 1, then each time at least one further on and by this factor."""
    found, turn = {0}, 1
    while turn < iterations:
        found.add(turn)
        turn = max(turn + 1, math.ceil(turn * growth))
    return frozenset(found)


class Reached(Exception):
    """A run has gone as far from its start as was asked for."""


class Watched:
    """A world whose policy is looked at before some turns; what was seen belongs to the checkpoint. A protocols.World.

    A run that was killed keeps what it has seen and looks on.
    """

    def __init__(self, world: TextWorld, look: Look, turns: Container[int], reach: float = 0.0) -> None:
        """turns: before which to look. reach: d at which the run ends, once it has three points; 0: never."""
        self.world, self.look, self.turns, self.reach = world, look, turns, reach
        self.seen: dict[str, Tensor] = {}

    def collect(self, policy: Any) -> Rollout:
        """As the world does, after a look where one is due. Raises Reached when the policy has gone far enough."""
        if self.world.turn in self.turns:
            self.seen[str(self.world.turn)] = seen = self.look(policy)
            if self.reach and len(self.seen) > 2 and float(seen[0].mean()) >= self.reach**2:
                raise Reached
        return self.world.collect(policy)

    def keep(self, rollout: Rollout) -> list[tuple[Prompt, Sample]]:
        """As the world does."""
        return self.world.keep(rollout)

    def compared(self, beliefs: Sequence[Preference]) -> Comparisons:
        """As the world does."""
        return self.world.compared(beliefs)

    def shown(self, examples: Sequence[Demonstration]) -> Segment:
        """As the world does."""
        return self.world.shown(examples)

    def looks(self) -> Tensor:
        """[P, 3, G] in the order of the turns."""
        return torch.stack([self.seen[turn] for turn in sorted(self.seen, key=int)])

    def state_dict(self) -> dict[str, Any]:
        """The world's state and what was seen."""
        return {"world": self.world.state_dict(), "seen": dict(self.seen)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.world.load_state_dict(state["world"])
        self.seen = dict(state["seen"])


def with_critic(project: Project, start: str, encoder: Encoder, scorer: Scorer) -> Policy:
    """A version ready for PPO, with a critic from a reward model whose head starts at zero, as build.critic says."""
    critic = Scorer(copy.deepcopy(scorer.model))
    nn.init.zeros_(parts(critic.model)[1].weight)
    return Policy(project.language_model(start, encoder.tokenizer), project.recipe.draw.temperature, critic)


def along(project: Project, names: Sequence[str]) -> list[tuple[str, Callable[[], Policy]]]:
    """What is there of policies on their way: for each version its run's whole checkpoints in order, then itself.

    A policy is opened when it is asked for. Of a checkpoint only the language model is read, not the critic. A
    checkpoint from the end of the run is the version itself and is left out, and one from before its first step too.
    """
    found: list[tuple[str, Callable[[], Policy]]] = []
    for name in names:
        for folder in sorted((project.folder / "runs" / name / "checkpoints").glob("step-*")):
            half, rest = divmod(int(folder.name.removeprefix("step-")), 2)
            if half and not rest and newest_step(folder.parent) != folder.name:
                found.append((f"{name}, step {half}", lambda at=folder, of=name: _opened(project, of, at)))  # type: ignore[misc]
        found.append((name, lambda of=name: project.policy(of)[0]))  # type: ignore[misc]
    return found


def newest_step(checkpoints: Any) -> str:
    """Name of the newest whole checkpoint of a run; '' when there is none."""
    found = newest(checkpoints)
    return f"step-{found[0]:08d}" if found else ""


def _opened(project: Project, name: str, checkpoint: Any) -> Policy:
    """The policy of a version with the weights of one of its run's checkpoints."""
    policy, _ = project.policy(name)
    _, state = read_state(checkpoint)
    own = {key: value for key, value in state["tracked"]["policy"].items() if key.startswith("model.")}
    policy.load_state_dict(own, strict=False)
    return policy
