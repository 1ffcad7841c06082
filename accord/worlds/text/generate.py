"""Our own sampler: prompts are read once, ended answers make room at once, and chance belongs to the request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accord.batches import padded
from accord.protocols import Completion, Sampling
from accord.run import dealing, ranks, shards
from accord.sending import Coming, sent, together
from accord.worlds.text.draw import check, draw, stream, uniform
from accord.worlds.text.played import IDLE, Player
from accord.worlds.text.prepared import prepared, worded
from accord.worlds.text.said import NOBODY, Drawn, Said
from accord.worlds.text.shape import count_sampling
from accord.worlds.text.slots import Reading, Slots, widths
from accord.worlds.text.tree import tree
from accord.worlds.text.trunk import Trunk, still, unwrapped


class Sampler:
    """Answers from a causal language model; a `protocols.Generator`.

    It works on the living model, LoRA layers included: what a learner did to the weights is in the next answer, and
    what is copied (see `prepared`) is copied anew at each call. While it works the model is in evaluation mode;
    afterwards every module has its own mode back.
    """

    def __init__(
        self,
        model: nn.Module,
        slots: int = 1024,
        memory: int = 1 << 29,
        tokens: int = 16384,
        spell: Callable[[list[int]], str] | None = None,
    ) -> None:
        """slots: answers that may be under way together. tokens: prompt tokens that are read in one pass.
        memory: bytes that keys and values may take at once, prompts' and answers', padding included; what one answer
        needs is taken in any case. spell: the text of tokens, for `Sampling.stop_text`."""
        self.model, self.spell = model, spell
        self.version = ""
        self.slots, self.memory, self.tokens = slots, memory, tokens
        self.trunk = Trunk(model)

    def load(self, weights: Mapping[str, Tensor], version: str) -> None:
        """Put weights into the model, in place. Raises ValueError for names that are unknown or missing."""
        own = self.model.state_dict()
        unknown = [name for name in weights if name not in own]
        places = {own[name].data_ptr() for name in weights if name in own}
        missing = [name for name, weight in own.items() if weight.data_ptr() not in places]
        if unknown or missing:
            raise ValueError(
                f"version {version!r} does not fit {type(unwrapped(self.model)).__name__}: "
                f"{len(unknown)} unknown names ({', '.join(unknown[:3])}), "
                f"{len(missing)} missing ({', '.join(missing[:3])})"
            )
        with torch.no_grad():
            for name, weight in weights.items():
                own[name].copy_(weight)
        self.version = version

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """`sampling.count` answers to each prompt, in the order of the prompts.

        An answer depends on the weights, its prompt, the settings, and (seed, number of the prompt, number of the
        answer); not on what else is asked, and several processes share the requests. Raises ValueError for an empty
        prompt, a text longer than the model's positions, or settings that cannot be used.
        """
        check(sampling)
        if sampling.stop_text and self.spell is None:
            raise ValueError(
                f"stop_text={sampling.stop_text} needs a sampler that can spell: Sampler(..., spell=decode)"
            )
        if sampling.numbers and len(sampling.numbers) != len(prompts):
            raise ValueError(f"{len(sampling.numbers)} numbers for {len(prompts)} prompts; give each one, or none")
        longest = max((len(prompt) for prompt in prompts), default=0)
        empty = [i for i, prompt in enumerate(prompts) if len(prompt) == 0]
        if empty:
            raise ValueError(
                f"prompt {empty[0]} is empty: nothing predicts its first token; begin it with that of text"
            )
        limit = getattr(unwrapped(self.model).config.get_text_config(), "max_position_embeddings", None)
        if limit is not None and longest + sampling.max_tokens > limit:
            raise ValueError(
                f"a prompt of {longest} tokens and max_tokens={sampling.max_tokens} need "
                f"{longest + sampling.max_tokens} positions; the model has {limit}"
            )
        if not prompts:
            return []
        with shards.gathered(), torch.inference_mode(), still(self.model):
            work = _Work(self, prompts, sampling, longest)
            while work.queue or work.count:
                if work.queue and (work.count == 0 or work.room() >= work.worth):
                    work.admit()
                else:
                    work.step()
        return work.answers()


class _Work:
    """One call of `generate`: which request is in which slot, and what has been said so far.

    All of that is in main memory, and the device holds keys, values and newest tokens. A token is waited for once: on
    a CPU when it is drawn, on a GPU after the next one has been asked for of all slots; what that draws for an answer
    which turns out to have ended is thrown away.
    """

    def __init__(self, sampler: Sampler, prompts: Sequence[Sequence[int]], sampling: Sampling, longest: int) -> None:
        self.trunk, self.sampling, self.prompts = sampler.trunk, sampling, prompts
        self.read = read = prepared(sampler.trunk)
        self.device = next(sampler.model.parameters()).device
        requests, width = len(prompts) * sampling.count, longest + sampling.max_tokens
        fair, self.most = -(-requests // ranks.count()), sampler.memory // self._bytes(sampler)
        # An answer's own places and its part of its prompt's; and beside all slots there is room for a whole prompt.
        shared = self.most // (sampling.max_tokens + -(-longest // sampling.count))
        beside = (self.most - longest) // sampling.max_tokens
        self.limit = max(1, min(fair, sampler.slots, shared, beside))
        self.budget = sampler.tokens
        self.worth = min(max(self.limit // 8, min(sampling.count, self.limit)), self.limit)
        """So many slots must be free before prompts are read again: one pass for several is cheaper."""
        order = sorted(range(len(prompts)), key=lambda p: -len(prompts[p]))
        answers = range(sampling.count)
        cuts = range(0, sampling.count, self.limit)
        asked = [(p, list(answers[c : c + self.limit])) for p in order for c in cuts]
        prices = [len(prompts[p]) + len(some) * sampling.max_tokens for p, some in asked]
        self.mine = [asked[i] for i in dealing.dealt(prices, ranks.count())[ranks.rank()]]
        self.queue = deque(self.mine)
        self.memory = Slots(self.limit, sampling.max_tokens, self.device)
        self.logits = logits = worded(self.trunk, self.limit, sampling.max_tokens)
        # Nothing here may point back at this object: its memory must go with the call, not when Python looks for rings.
        self.player = Player(self.memory, lambda i, p, to: logits(read(i, p, to, None)), self.device)
        self.streams: NDArray[np.uint64] = np.array(
            [stream(sampling.seed, p, a) for p in sampling.numbers or range(len(prompts)) for a in answers],
            dtype=np.uint64,
        )
        self.said = Said(requests, sampling, sampler.spell)
        self.drawn: deque[Drawn] = deque()
        """Tokens that were not waited for yet."""
        self.ahead = int(self.trunk.shares and self.device.type == "cuda")
        """For how many tokens of each answer nobody waits while the next one is asked for."""
        self.count = 0
        self.request = np.zeros(self.limit, dtype=np.int64)  # of each slot
        self.spoken = np.zeros(self.limit, dtype=np.int64)  # tokens of its answer
        self.place = np.zeros(self.limit, dtype=np.int64)  # of its newest token
        self.idle = np.zeros(self.limit, dtype=bool)
        """Slots whose answers have ended and that were not closed up yet."""
        self.idling = 0
        self.newest = torch.zeros(self.limit, dtype=torch.long, device=self.device)
        self.text = np.zeros((self.limit, 0 if self.trunk.shares else width), dtype=np.int64)
        """Of each slot, where everything is read anew at each token."""

    def _bytes(self, sampler: Sampler) -> int:
        """Of the keys and values of one token."""
        config = unwrapped(sampler.model).config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return int(2 * config.num_hidden_layers * heads * size * next(sampler.model.parameters()).element_size())

    @property
    def free(self) -> int:
        """Places that memory has left for prompts, beside those of all slots and of the prompts that are known."""
        return self.most - self.limit * self.sampling.max_tokens - self.memory.held

    def room(self) -> int:
        """Free slots; none while memory has no places for the next prompt."""
        return self.limit - self.count if self.queue and len(self.prompts[self.queue[0][0]]) <= self.free else 0

    def admit(self) -> None:
        """Read the prompts of as many requests as fit, and draw the first token of each answer."""
        self._listen(0)
        taken: list[tuple[int, list[int]]] = []
        read = held = 0
        free, slots = self.free, self.limit - self.count
        # The longest prompt comes first, so that what the next one takes does not hang on those behind it.
        for width, (p, answers) in zip(widths(len(self.prompts[p]) for p, _ in self.queue), self.queue, strict=True):
            read, held, slots = read + len(self.prompts[p]), held + width, slots - len(answers)
            if slots < 0 or (taken and (read > self.budget or held > free)):
                break
            taken.append((p, answers))
        for _ in taken:
            self.queue.popleft()
        prompts = [self.prompts[p] for p, _ in taken]
        length = np.array([len(prompt) for prompt in prompts])
        source = np.repeat(np.arange(len(taken)), [len(answers) for _, answers in taken])
        new = slice(self.count, self.count + len(source))
        self.request[new] = [p * self.sampling.count + a for p, answers in taken for a in answers]
        self.spoken[new] = 0
        self.place[new] = length[source] - 1
        if self.trunk.shares:
            state = self._read(prompts, length, source)
        else:
            table = padded(prompts)[0]
            self.text[new, : table.shape[1]] = table.numpy()[source]
            state = self._plain(table, length - 1)
        self.count += len(source)
        if self.trunk.shares:
            self.memory.arrange(self.count)
        of, chance = self._sent(source, self._chance(new))
        self._say(self.logits(state)[of], new, chance)

    def _sent(self, *tables: NDArray[np.int64] | NDArray[np.float64]) -> list[Tensor]:
        """Tables of 8 bytes a number on the device, in one copy."""
        there = together([torch.from_numpy(table.view(np.int64)) for table in tables], self.device)
        return [t.view(torch.float64) if o.dtype == np.float64 else t for t, o in zip(there, tables, strict=True)]

    def _chance(self, slots: slice) -> NDArray[np.float64]:
        """[n]: the numbers that decide the next token of each slot."""
        return uniform(self.streams[self.request[slots]], self.spoken[slots].astype(np.uint64))

    def _read(self, prompts: Sequence[Sequence[int]], length: NDArray[np.int64], source: NDArray[np.int64]) -> Tensor:
        """[G, D] states at the last token of each prompt, which is known to the new slots from now on."""
        start = length.cumsum() - length
        total = int(length.sum())
        ids = np.fromiter(chain.from_iterable(prompts), dtype=np.int64, count=total)
        row, at, last = self._sent(ids, np.arange(total) - start.repeat(length), start + length - 1)
        none = torch.zeros(0, dtype=torch.long)
        begin, tall = torch.from_numpy(start), torch.from_numpy(length)
        layout = Reading(
            tree(total, begin, tall, none, none, none, none, self.device),
            self.memory.admit(start, length, source, self.count),
        )
        return self.read(row[None], at[None], layout, last)

    def step(self) -> None:
        """One token more for every answer under way."""
        now = slice(0, self.count)
        if self.drawn and not self._open(now).any():  # they all end with what is not heard yet
            self._listen(0)
            return
        place, read = self.place[now], self.spoken[now] - 1
        if self.trunk.shares:
            at, past, chance = self._sent(place, read, self._chance(now))
            reach = int(read.min()), int(read.max())
            logits = self.player.step(self.newest[now, None], at[:, None], past, reach)
        else:
            (chance,) = self._sent(self._chance(now))
            logits = self.logits(self._plain(torch.from_numpy(self.text[now, : place.max() + 1]), place))
        self._say(logits, now, chance)

    def _open(self, slots: slice) -> NDArray[np.bool_]:
        """[n]: slots whose answers may have one token more, as far as is known."""
        return ~self.idle[slots] & (self.spoken[slots] < self.sampling.max_tokens)

    def _plain(self, table: Tensor, last: NDArray[np.int64]) -> Tensor:
        """[n, D] states at one place of each row, everything read anew: for models without a layout."""
        at, ids = torch.from_numpy(last), sent(table, self.device)
        real = sent((torch.arange(table.shape[1]) <= at[:, None]).long(), self.device)
        state = self.trunk.body(input_ids=ids, attention_mask=real, use_cache=False).last_hidden_state
        found: Tensor = state[torch.arange(len(last), device=self.device), sent(at, self.device)]
        return found

    def _say(self, logits: Tensor, slots: slice, chance: Tensor) -> None:
        """Draw a token for each of those slots; what earlier ones are is found out now."""
        token, logprob = draw(logits, self.sampling, chance)
        self.newest[slots] = token
        more = self._open(slots)
        request = np.where(more, self.request[slots], NOBODY)
        self.drawn.append(Drawn(slots, request, self.spoken[slots].copy(), Coming(token), logprob))
        self.spoken[slots] += more
        self.place[slots] += more
        self._listen(self.ahead)

    def _listen(self, left: int) -> None:
        """Hear tokens until so many of each answer are left unheard, and let go of the answers that they end."""
        while len(self.drawn) > left:
            drawn = self.drawn.popleft()
            self.idle[drawn.slots] |= self.said.hear(drawn)
            if not self.trunk.shares:
                at = np.arange(drawn.slots.start, drawn.slots.stop)
                self.text[at, self.place[at]] = drawn.token.here().numpy()
        self.idling = int(self.idle[: self.count].sum())
        if self.idling and not (self.player.able and self.trunk.shares and self.idling * IDLE < self.count):
            if self.drawn:
                self._listen(0)
            else:
                self._close()

    def _close(self) -> None:
        """Fill the holes that ended answers leave with the last of those still under way."""
        alive = ~self.idle[: self.count]
        self.idle[:] = False
        left, self.idling = self.count - self.idling, 0
        hole, last = (~alive[:left]).nonzero()[0], alive[left:].nonzero()[0] + left
        if len(hole):
            for noted in (self.request, self.spoken, self.place, self.text):
                noted[hole] = noted[last]
            self.memory.move(last, hole, int(self.spoken[:left].max()) - 1)
            (self.newest[:left],) = self._sent(self.said.tokens[self.request[:left], self.spoken[:left] - 1])
        self.count = left
        if self.trunk.shares:
            self.memory.arrange(left)

    def answers(self) -> list[Completion]:
        """Everything said by all processes, in the order of the requests."""
        length = self.said.length.tolist()
        read = [len(self.prompts[p]) for p, _ in self.mine]
        drawn = [[length[p * self.sampling.count + a] for a in some] for p, some in self.mine]
        count_sampling(self.trunk.shape, read, drawn)
        tables = (self.said.tokens, self.said.logprobs(), self.said.length, self.said.ended.astype(np.int64))
        told = [ranks.summed(torch.from_numpy(table).to(self.device)).tolist() for table in tables]
        return [
            Completion(
                prompt=r // self.sampling.count,
                index=r % self.sampling.count,
                tokens=tuple(said[:length]),
                logprobs=tuple(logprob[:length]),
                finished=bool(ended),
            )
            for r, (said, logprob, length, ended) in enumerate(zip(*told, strict=True))
        ]
