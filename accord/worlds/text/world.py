"""The world of text: prompts are asked, answers are drawn, and records and batches change into each other."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from accord.batches import Comparisons, Rollout, Segment, padded
from accord.config import SettingsError
from accord.protocols import Completion, Generator, Policy, Sampling
from accord.records import Demonstration, Preference, Prompt, Sample, Text, named_id
from accord.worlds.text.encode import Encoder

Lookup = Callable[[Sequence[str]], Mapping[str, Prompt | Sample]]
"""Records by id; what is not there is left out of the answer."""


class TextWorld:
    """Prompts in seeded order, answered by a generator. Its only state is `turn`, so a resumed run goes on exactly.

    A row's name is an id made from version, seed, turn, prompt and index: it is the id of the sample that `keep`
    makes of it, and the same after a crash.
    """

    def __init__(
        self,
        encoder: Encoder,
        prompts: Sequence[Prompt],
        generator: Generator,
        sampling: Sampling,
        batch: int,
        seed: int,
        version: str,
        lookup: Lookup | None = None,
    ) -> None:
        """batch: prompts per turn. version: id of the model that answers. lookup: where prompts and samples of
        beliefs are found that are not among `prompts`. Raises SettingsError for prompts or lengths that cannot work.
        """
        ids = [prompt.id for prompt in prompts]
        if not 1 <= batch <= len(ids) or len(set(ids)) != len(ids):
            raise SettingsError(f"batch={batch} does not fit {len(set(ids))} different prompts (of {len(ids)} given)")
        if sampling.max_tokens > encoder.settings.kept:
            raise SettingsError(
                f"max_tokens={sampling.max_tokens} is more than the encoder's answer_limit={encoder.settings.kept}, "
                "so answers would be cut when they are scored; raise answer_limit (and limit) or lower max_tokens"
            )
        self.encoder, self.prompts, self.generator, self.batch = encoder, tuple(prompts), generator, batch
        self.sampling = sampling if sampling.stop else replace(sampling, stop=encoder.stop)
        self.seed, self.version, self.lookup, self.turn = seed, version, lookup, 0
        self.order: Callable[[int], Sequence[int]] | None = None
        """Which prompts come at a turn, by number and each once, where they come in an order (a curriculum)."""
        self._encoded: dict[str, list[int]] = {}
        self._told = False
        self._orders: dict[int, list[int]] = {}
        self._named: tuple[int, dict[str, tuple[Prompt, int]]] = (-1, {})

    def collect(self, policy: Policy) -> Rollout:
        """Answers to the next `batch` prompts; rows ordered by prompt, then by index; prompts stored once.

        `done` holds at each row's last step, also of a cut answer: nothing follows it. The generator shares its
        weights with the policy, which is therefore not asked itself.
        """
        asked = self.asked(self.turn)
        ids = self._ids(asked)
        drawn = self.generator.generate(ids, replace(self.sampling, seed=_seed(self.seed, self.turn)))
        rows = sorted(drawn, key=lambda c: (c.prompt, c.index))
        if [(c.prompt, c.index) for c in rows] != [(p, i) for p in range(len(ids)) for i in range(self.sampling.count)]:
            raise RuntimeError(f"the generator gave {len(rows)} answers to {len(ids)} prompts x {self.sampling.count}")
        names = tuple(self._name(self.turn, asked[c.prompt], c.index) for c in rows)
        self.turn += 1
        return _rollout(ids, rows, names, self.encoder.pad)

    def _ids(self, asked: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of prompts, made once. Warns when for the first time some had no room."""
        before = self.encoder.report.cut_prompts
        for prompt in asked:
            if prompt.id not in self._encoded:
                self._encoded[prompt.id] = self.encoder.prompt(_conversation(prompt))
        if (cut := self.encoder.report.cut_prompts - before) and not self._told:
            self._told, settings = True, self.encoder.settings
            warnings.warn(
                f"{cut} of the first {len(self._encoded)} prompts lost their oldest part: beside an answer of "
                f"{settings.kept} tokens encode.limit={settings.limit} leaves {settings.limit - settings.kept}; raise "
                "it, or leave such prompts out",
                stacklevel=2,
            )
        return [self._encoded[prompt.id] for prompt in asked]

    def keep(self, rollout: Rollout) -> list[tuple[Prompt, Sample]]:
        """The records of a rollout, row by row, from its tensors and names and this world's prompts alone.

        Raises KeyError for rows that this world did not collect in any turn up to now.
        """
        kept = []
        for row, name in enumerate(rollout.names):
            turn, prompt, index = self._origin(name)
            finished = bool(rollout.finished[row])
            sample = Sample(
                id=name,
                prompt=prompt.id,
                content=self.encoder.text(rollout.action[row, : int(rollout.length[row])].tolist(), finished),
                finished=finished,
                version=self.version,
                sampling={
                    "temperature": self.sampling.temperature,
                    "top_k": self.sampling.top_k,
                    "top_p": self.sampling.top_p,
                    "min_p": self.sampling.min_p,
                    "max_tokens": self.sampling.max_tokens,
                    "seed": _seed(self.seed, turn),
                    "turn": turn,
                    "index": index,
                },
            )
            kept.append((prompt, sample))
        return kept

    def compared(self, beliefs: Sequence[Preference]) -> Comparisons:
        """Beliefs as batches; their prompts and samples come from `lookup`."""
        found = self._find([i for b in beliefs for i in (b.prompt, b.chosen, b.rejected)])
        prompts = {i: r for i, r in found.items() if isinstance(r, Prompt)}
        samples = {i: r for i, r in found.items() if isinstance(r, Sample)}
        return self.encoder.comparisons(beliefs, prompts, samples)

    def shown(self, examples: Sequence[Demonstration]) -> Segment:
        """Demonstrations as a batch with their weights. Raises KeyError when a prompt or sample is not to be found."""
        found = self._find([i for e in examples for i in (e.prompt, e.sample)])
        if absent := [i for e in examples for i in (e.prompt, e.sample) if i not in found]:
            raise KeyError(
                f"{len(absent)} prompts or samples of {len(examples)} demonstrations are not there: {absent[0]}"
            )
        pairs = [(found[e.prompt], found[e.sample]) for e in examples]
        return self.encoder.segment(pairs, [e.weight for e in examples])  # type: ignore[arg-type]

    def asked(self, turn: int) -> list[Prompt]:
        """The prompts of a turn: each epoch is a fresh shuffle of all, drawn from seed and epoch alone.

        A turn may reach over the end of an epoch; a prompt that would then come twice gives way to the next one. Where
        there is an `order`, it says.
        """
        if self.order is not None:
            return [self.prompts[number] for number in self.order(turn)]
        chosen: dict[str, Prompt] = {}
        at = turn * self.batch
        while len(chosen) < self.batch:
            epoch, place = divmod(at, len(self.prompts))
            prompt = self.prompts[self._order(epoch)[place]]
            chosen.setdefault(prompt.id, prompt)
            at += 1
        return list(chosen.values())

    def state_dict(self) -> dict[str, int]:
        """All that changes: how many turns were collected."""
        return {"turn": self.turn}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a saved turn."""
        self.turn = int(state["turn"])

    def agreement(self, rollout: Rollout) -> float:
        """Share of rows whose text, encoded again, gives exactly the sampled tokens.

        Below 1 when the policy spells words in another way than the tokenizer does; the reward then reads the
        tokenizer's spelling of the same text.
        """
        kept = self.keep(rollout)
        same = 0
        for row, (prompt, sample) in enumerate(kept):
            again, _ = self.encoder.answer(prompt, sample)
            same += again == rollout.action[row, : int(rollout.length[row])].tolist()
        return same / max(1, len(kept))

    def _order(self, epoch: int) -> list[int]:
        """A shuffle of the prompts that depends on seed and epoch alone."""
        if epoch not in self._orders:
            draw = torch.Generator().manual_seed(_seed(self.seed, "epoch", epoch))
            recent = {e: order for e, order in self._orders.items() if abs(e - epoch) <= 1}
            self._orders = {**recent, epoch: torch.randperm(len(self.prompts), generator=draw).tolist()}
        return self._orders[epoch]

    def _name(self, turn: int, prompt: Prompt, index: int) -> str:
        """Id of an answer that is the same whenever it is made again."""
        return named_id(self.version, self.seed, turn, prompt.id, index)

    def _origin(self, name: str) -> tuple[int, Prompt, int]:
        """Turn, prompt and index of a row by its name: the turn last found is tried first, then newest to oldest."""
        for turn in (self._named[0], *range(self.turn, -1, -1)):
            if turn != self._named[0]:
                answers = ((prompt, i) for prompt in self.asked(turn) for i in range(self.sampling.count))
                self._named = (turn, {self._name(turn, prompt, i): (prompt, i) for prompt, i in answers})
            if name in self._named[1]:
                return turn, *self._named[1][name]
        raise KeyError(
            f"row {name} was not collected by this world (version {self.version}, seed {self.seed}, {self.turn} turns)"
        )

    def _find(self, ids: Sequence[str]) -> dict[str, Prompt | Sample]:
        """Records by id: own prompts, and what `lookup` has."""
        found: dict[str, Prompt | Sample] = {prompt.id: prompt for prompt in self.prompts}
        absent = [i for i in dict.fromkeys(ids) if i not in found]
        if absent and self.lookup is not None:
            found.update(self.lookup(absent))
        return found


def _rollout(ids: Sequence[Sequence[int]], rows: Sequence[Completion], names: tuple[str, ...], pad: int) -> Rollout:
    """Completions as tensors."""
    observation, observation_length = padded(ids, pad)
    action, length = padded([c.tokens for c in rows], pad)
    steps = torch.arange(action.shape[1])
    logprob = torch.zeros(action.shape, dtype=torch.float32)
    for row, completion in enumerate(rows):
        logprob[row, : len(completion.logprobs)] = torch.tensor(completion.logprobs, dtype=torch.float32)
    return Rollout(
        observation=observation,
        observation_length=observation_length,
        group=torch.tensor([c.prompt for c in rows], dtype=torch.long),
        action=action,
        length=length,
        mask=steps < length[:, None],
        weight=torch.ones(len(rows)),
        names=names,
        logprob=logprob,
        done=steps == length[:, None] - 1,
        finished=torch.tensor([c.finished for c in rows]),
    )


def _seed(*parts: object) -> int:
    """63 bits by hash of what they are for."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def _conversation(prompt: Prompt) -> Text:
    """The text of a prompt. Raises SettingsError when it is none."""
    if not isinstance(prompt.content, Text):
        raise SettingsError(f"prompt {prompt.id} holds a {prompt.content.kind}; a TextWorld asks in text")
    return prompt.content
