"""Our own sampler: prompts are read once, ended answers make room at once, and chance belongs to the request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from accord.batches import padded
from accord.protocols import Completion, Sampling
from accord.run import dealing, ranks, shards
from accord.worlds.text.draw import check, draw, stream, uniform
from accord.worlds.text.played import IDLE, Player
from accord.worlds.text.prepared import prepared, worded
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
    """One call of `generate`: which request is in which slot, and what has been said so far."""

    def __init__(self, sampler: Sampler, prompts: Sequence[Sequence[int]], sampling: Sampling, longest: int) -> None:
        self.trunk, self.sampling, self.prompts = sampler.trunk, sampling, prompts
        self.spell = sampler.spell
        self.tail = 4 + max((len(text.encode()) for text in sampling.stop_text), default=0)
        """Newest tokens that a text which ends an answer can reach over: each spells a byte or more, mostly."""
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
        self.idle = torch.zeros(self.limit, dtype=torch.bool, device=self.device)
        """Slots whose answers have ended and that were not closed up yet."""
        self.idling = 0
        self.stop = torch.tensor(sampling.stop, dtype=torch.long, device=self.device)
        self.streams: NDArray[np.uint64] = np.array(
            [stream(sampling.seed, p, a) for p in sampling.numbers or range(len(prompts)) for a in answers],
            dtype=np.uint64,
        )
        self.said = torch.zeros(requests, sampling.max_tokens, dtype=torch.long, device=self.device)
        self.logprob = torch.zeros(requests, sampling.max_tokens, device=self.device)
        self.ended = torch.zeros(requests, dtype=torch.bool, device=self.device)
        self.length = torch.zeros(requests, dtype=torch.long, device=self.device)
        self.count = 0
        self.request = torch.zeros(self.limit, dtype=torch.long, device=self.device)  # of each slot
        self.spoken = torch.zeros(self.limit, dtype=torch.long, device=self.device)  # tokens of its answer
        self.place = torch.zeros(self.limit, dtype=torch.long, device=self.device)  # of its newest token
        self.text = torch.zeros(self.limit, width, dtype=torch.long, device=self.device)

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
        table, length = (t.to(self.device) for t in padded([self.prompts[p] for p, _ in taken]))
        counts = torch.tensor([len(answers) for _, answers in taken], device=self.device)
        source = torch.repeat_interleave(torch.arange(len(taken), device=self.device), counts)
        new = slice(self.count, self.count + len(source))
        self.request[new] = torch.tensor(
            [p * self.sampling.count + a for p, answers in taken for a in answers], device=self.device
        )
        self.spoken[new] = 0
        self.place[new] = length[source] - 1
        self.text[new, : table.shape[1]] = table[source]
        state = self._read(table, length, source) if self.trunk.shares else self._plain(table, length - 1)
        self.count += len(source)
        if self.trunk.shares:
            self.memory.arrange(self.count)
        self._say(self.logits(state)[source], new)

    def _read(self, table: Tensor, length: Tensor, source: Tensor) -> Tensor:
        """[G, D] states at the last token of each prompt [G, P], which is known to the new slots from now on."""
        start = length.cumsum(0) - length
        step = torch.arange(table.shape[1], device=self.device)
        row, at = (step < length[:, None]).nonzero(as_tuple=True)
        none = torch.zeros(0, dtype=torch.long)
        layout = Reading(
            tree(len(row), start.cpu(), length.cpu(), none, none, none, none, self.device),
            self.memory.admit(start, length, source, self.count),
        )
        return self.read(table[row, at][None], at[None], layout, start + length - 1)

    def step(self) -> None:
        """One token more for every answer under way."""
        now = slice(0, self.count)
        place = self.place[now]
        if self.trunk.shares:
            newest = self.text[now].gather(1, place[:, None])
            logits = self.player.step(newest, place[:, None], self.spoken[now] - 1)
        else:
            logits = self.logits(self._plain(self.text[now, : int(place.max()) + 1], place))
        self._say(logits, now)

    def _plain(self, table: Tensor, last: Tensor) -> Tensor:
        """[n, D] states at one place of each row, everything read anew: for models without a layout."""
        real = (torch.arange(table.shape[1], device=self.device) <= last[:, None]).long()
        state = self.trunk.body(input_ids=table, attention_mask=real, use_cache=False).last_hidden_state
        found: Tensor = state[torch.arange(len(last), device=self.device), last]
        return found

    def _say(self, logits: Tensor, slots: slice) -> None:
        """Draw a token for each of those slots, note it, and let go of the answers that it ends."""
        at = torch.arange(slots.start, slots.stop, device=self.device)
        if self.idling:
            at = at[~self.idle[slots]]
            logits = logits[at - slots.start]
        request, spoken = self.request[at], self.spoken[at]
        chance = uniform(self.streams[request.cpu().numpy()], spoken.cpu().numpy().astype(np.uint64))
        token, logprob = draw(logits, self.sampling, chance)
        self.said[request, spoken] = token
        self.logprob[request, spoken] = logprob.to(self.logprob.dtype)
        self.spoken[at] = spoken = spoken + 1
        self.place[at] = place = self.place[at] + 1
        self.text[at, place] = token
        stopped = torch.isin(token, self.stop)
        if self.sampling.stop_text:
            stopped |= self._worded(request, spoken)
        over = stopped | (spoken >= self.sampling.max_tokens)
        if bool(over.any()):
            self.ended[request[stopped]] = True
            self.length[request[over]] = spoken[over]
            alive = ~self.idle[: self.count]
            alive[at] = ~over
            self.idling = self.count - int(alive.sum())
            if self.player.able and self.trunk.shares and self.idling * IDLE < self.count:
                self.idle[: self.count] = ~alive
            else:
                self._close(alive)

    def _worded(self, request: Tensor, spoken: Tensor) -> Tensor:
        """[n] bool: answers whose newest token completes a text that ends them."""
        assert self.spell is not None
        found = []
        for row, length in zip(self.said[request].tolist(), spoken.tolist(), strict=True):
            newest = self.spell(row[max(0, length - self.tail) : length])
            found.append(any(text in newest for text in self.sampling.stop_text))
        return torch.tensor(found, dtype=torch.bool, device=self.device)

    def _close(self, alive: Tensor) -> None:
        """Fill the holes that ended answers leave with the last of those still under way. alive: [count] bool."""
        self.idle.zero_()
        self.idling = 0
        left = int(alive.sum())
        hole, last = (~alive[:left]).nonzero()[:, 0], alive[left:].nonzero()[:, 0] + left
        if len(hole):
            for noted in (self.request, self.spoken, self.place, self.text):
                noted[hole] = noted[last]
            self.memory.move(last, hole, int(self.spoken[:left].max()) - 1)
        self.count = left
        if self.trunk.shares:
            self.memory.arrange(left)

    def answers(self) -> list[Completion]:
        """Everything said by all processes, in the order of the requests."""
        length = self.length.tolist()
        read = [len(self.prompts[p]) for p, _ in self.mine]
        drawn = [[length[p * self.sampling.count + a] for a in some] for p, some in self.mine]
        count_sampling(self.trunk.shape, read, drawn)
        said, logprob = ranks.summed(self.said).tolist(), ranks.summed(self.logprob).tolist()
        length, ended = ranks.summed(self.length).tolist(), ranks.summed(self.ended.long()).tolist()
        return [
            Completion(
                prompt=r // self.sampling.count,
                index=r % self.sampling.count,
                tokens=tuple(said[r][: length[r]]),
                logprobs=tuple(logprob[r][: length[r]]),
                finished=bool(ended[r]),
            )
            for r in range(len(said))
        ]
