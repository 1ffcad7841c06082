"""The heads beside a reward model's own, read again: other criteria, and the members of an ensemble on one trunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from accord.algorithms.heads_file import read_heads
from accord.algorithms.members import member
from accord.batches import pack
from accord.project import Project
from accord.records import Prompt, Sample
from accord.rewards.learned import Answers

CRITERIA = "criteria.safetensors"
"""File of a version's folder with the heads of the other criteria, and every criterion's normaliser."""


@torch.no_grad()
def by_criterion(project: Project, version: str, pairs: Sequence[tuple[Prompt, Sample]]) -> dict[str, list[float]]:
    """The normalised score of each answer in every criterion that a version of `reward_heads` has a head for."""
    scorer, encoder = project.scorer(version)
    states = scorer.states(encoder.segment(pairs, scoring=True))
    columns, normalisers = read_heads(project.path(version) / CRITERIA, states.shape[1])
    scores, _ = columns(states, scorer.read(states))
    return {name: normalisers[name](column).tolist()
            for name, column in zip(columns.criteria, scores.T, strict=True)}  # fmt: skip


def heads_of(project: Project, version: str) -> int:
    """How many heads of an ensemble a version has on its trunk, beside its own; 0 of one that has none."""
    made = project.version(version)
    count = made.config.get("heads", 0) if made is not None and made.method == "reward_heads" else 0
    return count if isinstance(count, int) else 0


def member_scores(
    project: Project, version: str, device: torch.device, tokens: int
) -> tuple[Callable[[Answers], torch.Tensor], list[tuple[float, float]]]:
    """Answers -> [B, M] raw scores of the heads on one trunk, and mean and spread of each. tokens: computed at once."""
    scorer, encoder = project.scorer(version, device)
    main = str(getattr(project.version(version), "config", {}).get("main", ""))
    names = [member(main, number) for number in range(1, heads_of(project, version) + 1)]
    config: Any = scorer.model.config
    columns, normalisers = read_heads(project.path(version) / CRITERIA, int(config.hidden_size))
    columns, places = columns.to(device), [columns.criteria.index(name) for name in names]

    @torch.no_grad()
    def score(answers: Answers) -> torch.Tensor:
        segment = encoder.segment(answers, scoring=True).to(device)
        found = torch.zeros(len(segment), len(names), device=device)
        for index in pack(segment, tokens):
            states = scorer.states(segment.rows(index))
            found[index] = columns(states, scorer.read(states))[0][:, places].float()
        return found

    return score, [(normalisers[name].mean, normalisers[name].std) for name in names]
