"""Worth of each turn of a dialogue, where the policy ended it; with learned rewards, rules, or any score of answers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from accord.batches import Rollout
from accord.records import Prompt, Sample, Text, named_id
from accord.rewards.learned import Answers


class Turns:
    """(score - mean) / std of each answer of a dialogue, at the last token of that answer. Implements protocols.Reward.

    An answer is scored as a single one would be: the conversation before it is its prompt. The sum of a row is what the
    whole dialogue earned; with `share`, each answer counts 1 / answers of its dialogue, so that the sum is their mean
    and a policy gains nothing by making a user stay.
    """

    def __init__(
        self,
        keep: Callable[[Rollout], Answers],
        score: Callable[[Answers], Tensor],
        mean: float = 0.0,
        std: float = 1.0,
        share: bool = False,
    ) -> None:
        """keep: a world's rollout as records. score: [n] raw scores of answers. mean, std: the score normaliser."""
        if not std > 0:
            raise ValueError(f"a score normaliser needs std > 0, got mean={mean}, std={std}")
        self.keep, self.score = keep, score
        self.mean, self.std, self.share = mean, std, share

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: 0 but where an answer ends. Raises ValueError when texts and mask do not have the same answers."""
        places = ends(rollout.mask)
        pairs = [turns_of(prompt, sample) for prompt, sample in self.keep(rollout)]
        counts = places.sum(1)
        if differ := [row for row, turns in enumerate(pairs) if len(turns) != int(counts[row])]:
            row = differ[0]
            raise ValueError(
                f"{len(differ)} of {len(pairs)} dialogues do not have as many answers as their mask has runs; the "
                f"first is {rollout.names[row]!r} with {len(pairs[row])} answers and {int(counts[row])} runs"
            )
        scores = self.score([pair for turns in pairs for pair in turns]).to(rollout.logprob)
        worth = (scores - self.mean) / self.std
        if self.share:
            worth = worth / torch.repeat_interleave(counts, counts)
        return torch.zeros_like(rollout.logprob).masked_scatter(places, worth)


def judged(judge: Callable[[Prompt, Sample], float]) -> Callable[[Answers], Tensor]:
    """A rule, or any judge of one answer, as a score of many."""
    return lambda pairs: torch.tensor([float(judge(prompt, sample)) for prompt, sample in pairs])


def ends(mask: Tensor) -> Tensor:
    """[B, T] bool: the last token of each run that the policy wrote. mask: [B, T] bool."""
    after = torch.zeros_like(mask)
    after[:, :-1] = mask[:, 1:]
    return mask & ~after


def turns_of(prompt: Prompt, sample: Sample) -> list[tuple[Prompt, Sample]]:
    """Each answer of a dialogue with the conversation before it as its prompt; a single answer is left as it is.

    All but the last ended by themselves. What the prompt can be checked against goes with every turn. Raises TypeError
    when they are no texts.
    """
    if not isinstance(prompt.content, Text) or not isinstance(sample.content, Text):
        raise TypeError(f"sample {sample.id} is no conversation; turns are those of texts")
    before, said = prompt.content.messages, sample.content.messages
    places = [at for at, message in enumerate(said) if message.role == "assistant"]
    if len(said) == 1:
        return [(prompt, sample)]
    turns = []
    for at in places:
        talk = Text(messages=(*before, *said[:at]))
        asked = prompt.model_copy(update={"id": named_id("turn", sample.id, at), "content": talk}) if at else prompt
        changed = {"id": named_id("answer", sample.id, at), "prompt": asked.id, "content": Text(messages=(said[at],))}
        finished = sample.finished or at != places[-1]
        turns.append((asked, sample.model_copy(update={**changed, "finished": finished})))
    return turns
