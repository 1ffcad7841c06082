"""Episodes as bytes, so that they can be kept, shown and learned from again; one encoding for both toy worlds.

An episode's JSON: `{"env": "bandit", "start": 7, "observation": [...], "action": [...], "finished": true}`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from accord.batches import Comparisons, Rollout, Segment
from accord.records import Blob, Demonstration, Preference, Prompt, Sample, Start, named_id

MEDIA = "application/json"


def name_of(env: str, start: int, count: int, action: Tensor) -> str:
    """Name of a row: where it began, its number there, and what was done. The start can be read from it again."""
    done = hashlib.sha256(json.dumps(action.tolist()).encode()).hexdigest()[:16]
    return f"{env}:{start}:{count}:{done}"


def start_of(name: str) -> int:
    """The start's seed, from a row's name."""
    return int(name.split(":")[1])


class Episodes:
    """The episodes that were kept by this process, by sample id."""

    def __init__(self, env: str) -> None:
        self.env = env
        self._bytes: dict[str, bytes] = {}
        self._samples: dict[str, str] = {}

    def keep(self, rollout: Rollout) -> list[tuple[Prompt, Sample]]:
        """Records of each row; the bytes can be had from `content` afterwards."""
        kept = []
        for b, name in enumerate(rollout.names):
            episode = {
                "env": self.env,
                "start": start_of(name),
                "observation": rollout.observation[rollout.group[b]].tolist(),
                "action": rollout.action[b, : rollout.length[b]].tolist(),
                "finished": bool(rollout.finished[b]),
            }
            content = json.dumps(episode, separators=(",", ":")).encode()
            sha256 = hashlib.sha256(content).hexdigest()
            self._bytes[sha256], self._samples[name] = content, sha256
            start = Start(env=self.env, seed=start_of(name))
            prompt = Prompt(id=named_id(self.env, start.seed), content=start, source=f"accord.worlds.toy.{self.env}")
            blob = Blob(media=MEDIA, sha256=sha256)
            kept.append((prompt, Sample(id=name, prompt=prompt.id, content=blob, finished=bool(rollout.finished[b]))))
        return kept

    def content(self, sha256: str) -> bytes:
        """The bytes of a kept episode. Raises KeyError when this process has not kept it."""
        return self._bytes[sha256]

    def compared(self, beliefs: Sequence[Preference]) -> Comparisons:
        """Beliefs about kept episodes as a batch; each episode stands in it once."""
        samples = list(dict.fromkeys(s for belief in beliefs for s in (belief.chosen, belief.rejected)))
        place = {sample: row for row, sample in enumerate(samples)}
        return Comparisons(
            segment=self._segment(samples, [1.0] * len(samples)),
            better=torch.tensor([place[b.chosen] for b in beliefs]),
            worse=torch.tensor([place[b.rejected] for b in beliefs]),
            probability=torch.tensor([b.probability for b in beliefs]),
            weight=torch.tensor([b.weight for b in beliefs]),
            margin=torch.tensor([b.margin for b in beliefs]),
            names=tuple(b.id for b in beliefs),
        )

    def shown(self, examples: Sequence[Demonstration]) -> Segment:
        """Kept episodes as something to imitate."""
        return self._segment([e.sample for e in examples], [e.weight for e in examples])

    def _segment(self, samples: Sequence[str], weights: Sequence[float]) -> Segment:
        """Rows of those samples. Those that saw the same from the same start share their observation."""
        unknown = [s for s in samples if s not in self._samples]
        if unknown or not samples:
            raise KeyError(
                f"{len(unknown)} of {len(samples)} samples were not kept by this {self.env} world: {unknown[:3]}"
            )
        episodes: list[dict[str, Any]] = [json.loads(self._bytes[self._samples[s]]) for s in samples]
        seen = [json.dumps([e["start"], e["observation"]]) for e in episodes]
        groups = {key: g for g, key in enumerate(dict.fromkeys(seen))}
        action = torch.tensor([e["action"] for e in episodes])
        observation = torch.tensor([json.loads(key)[1] for key in groups], dtype=torch.float32)
        return Segment(
            observation=observation,
            observation_length=torch.full((len(groups),), observation.shape[1]),
            group=torch.tensor([groups[key] for key in seen]),
            action=action,
            length=torch.full((len(samples),), action.shape[1]),
            mask=torch.ones(action.shape[:2], dtype=torch.bool),
            weight=torch.tensor(weights, dtype=torch.float32),
            names=tuple(samples),
        )
