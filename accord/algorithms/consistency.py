"""The same opinion in other words: a pair's chance must not hang on how its prompt is put. No label is needed.

Unsupervised data augmentation (Xie et al. 2020) for reward models: what the model thinks of a pair as it stands is
kept, sharpened, and taught to the model about the same pair in other words; pairs that it is not sure of are left out.
Beside people's labels it makes one loss,  L = L_people + weight mean over pairs of `inconsistency`.
Ours: a divergence in place of the cross-entropy, so that no drift shows as 0; all pairs of answers may be taken along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.batches import Comparisons
from accord.config import Settings
from accord.records import digest
from accord.run import Run, seed_of
from accord.run.order import dealt, shuffled

if TYPE_CHECKING:
    from accord.algorithms.reward_model import Scorer

Way = Literal["template", "punctuation", "case", "space"]


class Config(Settings):
    """Opinions that stay the same in other words (docs/reward_models.md)."""

    weight: float = Field(default=0.0, ge=0)
    """Weight of the term beside people's labels; 0 turns it off, 1 is usual."""
    pairs: int = Field(default=32, ge=1)
    """Pairs, with or without a label, that each optimiser step takes along."""
    sharpen: float = Field(default=0.4, gt=0, le=1)
    """What the gap that is kept is divided by: below 1 the opinion that is taught is surer than the one held."""
    threshold: float = Field(default=0.8, ge=0.5, lt=1)
    """Least chance, before sharpening, of an opinion that is taught; .5 takes all."""
    phrasings: int = Field(default=2, ge=1)
    """Ways in which each prompt is put anew; the steps take turns."""
    ways: tuple[Way, ...] = ("template", "punctuation", "case", "space")
    """What is done to a prompt for which `file` has nothing: a polite frame, other marks at the end and between, other
    capitals, other gaps. Empty leaves such prompts out."""
    file: str = ""
    """File with paraphrases of your own: JSON Lines of `text` and `paraphrases`, `.gz` too."""
    answers: bool = False
    """Put the answers anew as well. People may prefer an answer for its form: then leave this off."""


def inconsistency(gap: Tensor, other: Tensor, sharpen: float = 1.0, threshold: float = 0.5) -> Tensor:
    """m KL(q, p), q = sigmoid(gap / sharpen) held fixed, p = sigmoid(other), m = 1 where sigmoid(|gap|) >= threshold.

    All [N]; gap: score of `better` less that of `worse` as the pair stands, other: the same in other words. KL(q, p) =
    q log(q / p) + (1 - q) log((1 - q) / (1 - p)). Returns [N] in nats; the gradient reaches `other` alone.
    """
    kept = gap.detach() / sharpen
    q = kept.sigmoid()
    own = q * logsigmoid(kept) + (1 - q) * logsigmoid(-kept)
    taught = q * logsigmoid(other) + (1 - q) * logsigmoid(-other)
    return torch.where(gap.detach().abs().sigmoid() >= threshold, own - taught, 0.0)


class Consistency:
    """Some pairs at each step of a reward model, as they stand and in other words; `beside` of `reward_model.train`.

    What comes depends on the run's seed and step alone, so a resumed run goes on exactly.
    """

    def __init__(
        self,
        config: Config,
        scorer: Scorer,
        pool: Comparisons,
        others: Sequence[Comparisons],
        run: Run,
        micro_tokens: int = 8192,
    ) -> None:
        """pool: pairs as they stand, labels are not read. others: the same pairs in other words, known by their names.

        A pair that is missing in one of them is left out. Raises ValueError when none is left.
        """
        places = [{name: n for n, name in enumerate(one.names)} for one in others]
        names = [name for name in pool.names if places and all(name in place for place in places)]
        if not names:
            raise ValueError(f"none of {len(pool)} pairs is there in other words ({len(others)} phrasings): name ways "
                             "to put a prompt (consistency.ways), or a file that has some of them")  # fmt: skip
        self.config, self.scorer, self.run, self.micro_tokens = config, scorer, run, micro_tokens
        self.pool = _named(pool, {name: n for n, name in enumerate(pool.names)}, names)
        self.others = [_named(one, place, names) for one, place in zip(others, places, strict=True)]
        run.track(consistency=self)

    def __call__(self) -> dict[str, float]:
        """Adds weight * mean of `inconsistency` over the pairs that come now. Returns figures to be summed over ranks.

        consistency_loss: that mean without its weight; consistency_sure: share of the pairs that counted;
        consistency_same: share that is ordered alike in other words.
        """
        run, config, count = self.run, self.config, len(self.pool)
        seed = seed_of(run.config.seed, "consistency")
        index = dealt(lambda turn: shuffled(seed, turn, count), run.at, count, config.pairs)
        kept = self.gaps(self.pool.pairs(index).to(run.device))
        batch = run.share(self.others[run.at % len(self.others)].pairs(index)).to(run.device)
        total = run.total(float(len(batch)))
        sums = dict.fromkeys(("consistency_loss", "consistency_sure", "consistency_same"), 0.0)
        for micro in run.split(batch, self.micro_tokens):
            gap = torch.tensor([kept[name] for name in micro.names], device=run.device)
            with run.learning(self.scorer):
                score = self.scorer.score(micro.segment)
                other = score[micro.better] - score[micro.worse]
                each = inconsistency(gap, other, config.sharpen, config.threshold)
                run.backward(config.weight * each.sum() / total, micro.names)
            sure, same = gap.abs().sigmoid() >= config.threshold, (gap > 0) == (other.detach() > 0)
            for name, part in zip(sums, (each.detach(), sure, same), strict=True):
                sums[name] += float(part.sum() / total)
        return sums

    def state_dict(self) -> dict[str, str]:
        """For the checkpoint: which pairs these are, and in which words."""
        told = [[part.tolist() for part in (one.segment.observation.sum(0), one.segment.action.sum(0))]
                for one in (self.pool, *self.others)]  # fmt: skip
        return {"pairs": digest([self.pool.names, told])}

    def load_state_dict(self, state: dict[str, str]) -> None:
        """From the checkpoint. Raises ValueError when there were other pairs, or the same in other words than now."""
        if state["pairs"] != self.state_dict()["pairs"]:
            raise ValueError(f"the checkpoint was made with other pairs or other paraphrases than the {len(self.pool)} "
                             "there are now; give the same ones, or another name to begin anew")  # fmt: skip

    @torch.no_grad()
    def gaps(self, pairs: Comparisons) -> Mapping[str, float]:
        """The gap of each pair as it stands, by name: what the model thinks now."""
        found: dict[str, float] = {}
        for micro in pairs.split(self.micro_tokens):
            score = self.scorer.score(micro.segment).float()
            found |= dict(zip(micro.names, (score[micro.better] - score[micro.worse]).tolist(), strict=True))
        return found


def _named(pairs: Comparisons, place: Mapping[str, int], names: Sequence[str]) -> Comparisons:
    """The pairs of these names, in this order."""
    return pairs.pairs(torch.tensor([place[name] for name in names], dtype=torch.long))
