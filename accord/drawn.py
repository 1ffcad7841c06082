"""Answers of a version at the desk: as they come, or the best of several by what a reward model says of them."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional


def sample(
    version: Positional[str],
    /,
    prompt: str,
    project: Path = Path("quickstart"),
    count: int = 4,
    seed: int = 0,
    best_of: int = 1,
    reward: str = "",
) -> int:
    """Let a version answer a prompt; with --best-of N --reward NAME each answer shown is the best of N.

    Args:
        version: Name of a version, as in `sft` or `round1-ppo`.
        prompt: What is asked.
        project: Folder of the project.
        count: How many answers, at least one.
        seed: Another seed, other answers.
        best_of: Answers that each one shown is chosen from (docs/best_of_n.md).
        reward: Reward model that chooses, as in `round1-reward`; of an ensemble its members' mean, of a model of steps
            or of faults what it pays for the whole answer. Scores are shown.
    """
    import torch

    from accord.algorithms.best_of_n import best, kl
    from accord.config import SettingsError
    from accord.project import text_of
    from accord.records import Message, Prompt, Text, named_id
    from accord.steps import worth
    from accord.verbs import known, opened

    if min(best_of, count) < 1 or (best_of > 1 and not reward):
        needed = "give --reward NAME" if min(best_of, count) >= 1 else "both are at least 1"
        raise SettingsError(f"--best-of {best_of} --count {count}: the best is what a reward model says; {needed}")
    at = opened(project)
    known(at, version)
    if reward:
        known(at, reward, "reward", f"--reward {reward}: ")
    asked = Prompt(id=named_id("asked", prompt), content=Text(messages=(Message(role="user", content=prompt),)))
    drawn = at.sample(version, [asked], count * best_of, f"asked-{seed}")
    if not reward:
        for _, answer in drawn:
            print(f"- {text_of(answer).messages[-1].content}")
        return 0
    score = worth(at, reward)(drawn)
    chosen = best(score, torch.arange(len(drawn)) // best_of, count)
    for row in chosen.tolist():
        print(f"- {float(score[row]):+.2f}  {text_of(drawn[row][1]).messages[-1].content}")
    if best_of > 1:
        print(f"each the best of {best_of} by {reward}: at most {kl(best_of):.2f} nats from {version}")
    return 0
