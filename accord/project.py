"""The folder where it happens: its store, versions and runs, and the recipe that is followed in it.

`project.yaml`, `store.db`, `versions/` (weights in the Hugging Face layout) and `runs/` (log, checkpoints).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from accord.algorithms import sft
from accord.batches import pack
from accord.bridges.hub import placed
from accord.config import Settings, SettingsError
from accord.lab import Lab
from accord.quality.latest import latest
from accord.recipe import FileData, LabData, Recipe, follow
from accord.records import PLAIN_NAME, Demonstration, Preference, Prompt, Sample, Text, Version, digest, named_id
from accord.run import Run, ranks, seed_of, shards
from accord.store import Store
from accord.store.copies import bring
from accord.store.examples import examples, spelt
from accord.store.exchange import texts
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import open_tokenizer, train_bpe, word_level
from accord.worlds.text.world import TextWorld


class Project:
    """A folder with a store, versions and runs, and the recipe that is followed in it."""

    def __init__(self, folder: str | Path, recipe: Recipe) -> None:
        self.folder, self.recipe = Path(folder), recipe
        self.folder.mkdir(parents=True, exist_ok=True)
        ranks.meet(self.folder)
        ranks.once(self._begin)
        self.store = Store.open(self.folder / "store.db")
        self.lab = Lab(recipe.data.lab) if isinstance(recipe.data, LabData) else None

    def _begin(self) -> None:
        """Write down what is followed here, and make the store."""
        follow(self.recipe, self.folder)
        Store.open(self.folder / "store.db").close()

    def path(self, name: str) -> Path:
        """Folder of a version's weights. Raises SettingsError for a name that would lead elsewhere."""
        if not re.match(PLAIN_NAME, name):
            raise SettingsError(f"{name!r} cannot name a version: a name has no / and \\ and does not begin with a dot")
        return self.folder / "versions" / name

    def version(self, name: str) -> Version | None:
        """The version of that name, when it is finished."""
        return next(iter(self.store.all(Version, name=name)), None)

    def run(self, name: str, settings: Settings, **more: Any) -> Run:
        """The workbench of one stage. Its settings and the recipe's seed are what a checkpoint is checked against."""
        decides = {"stage": settings.model_dump(mode="json"), "seed": self.recipe.seed, **more}
        config = self.recipe.run.model_copy(update={"seed": seed_of(self.recipe.seed, name)})
        return Run(self.folder / "runs" / self.path(name).name, config, decides)

    def keep(
        self,
        name: str,
        role: Any,
        method: str,
        model: nn.Module,
        tokenizer: Any,
        parent: str | None,
        settings: Settings,
        data: Sequence[str],
        figures: dict[str, float],
        also: Callable[[Path], None] | None = None,
        **more: Any,
    ) -> Version:
        """Save the weights, then the record that names them; a version in the store is whole on the disk.

        also: writes further files beside the weights. more: what else decided it, kept beside its settings.
        """
        above = self.version(parent) if parent else None
        with shards.gathered():
            figures = {**figures, **(self._remembers(model, tokenizer, above) if role == "policy" else {})}
        whose = (self.recipe.name, self.recipe.seed, name, *([above.id] if above else []))
        version = Version(
            id=named_id("version", *whose, digest(list(data))),
            name=name,
            role=role,
            parent=above.id if above else None,
            method=method,
            config={**settings.model_dump(mode="json"), **more},
            data=tuple(data),
            data_digest=digest(list(data)),
            weights=f"versions/{name}",
            figures={k: float(v) for k, v in figures.items()},
        )

        def write() -> None:
            models.save(model, tokenizer, self.path(name), {"method": method}, also)
            self.store.put([version])

        with shards.gathered():
            ranks.once(write)
        return version

    def _remembers(self, model: nn.Module, tokenizer: Any, above: Version | None) -> dict[str, float]:
        """Perplexity of held-out plain texts, of the version above too: what was forgotten. Nothing without texts."""
        if not self.unread:
            return {}
        found = {"perplexity": self.perplexity(model, tokenizer)}
        if above is not None:
            known = above.figures.get("perplexity")
            found["perplexity_before"] = known or self.perplexity(self.language_model(above.name, tokenizer), tokenizer)
        return found

    def perplexity(self, model: nn.Module, tokenizer: Any) -> float:
        """exp(nats per token) of a language model on rows of the held-out plain texts, at temperature 1."""
        rows, most = self.encoder(tokenizer).documents(self.unread), self.recipe.forgetting
        rows = rows.rows(torch.arange(0, len(rows), max(1, len(rows) // most))[:most])
        device = next(model.parameters()).device
        return math.exp(min(700.0, sft.loss_on(Policy(model), rows.to(device), self.recipe.sft.micro_tokens)))

    # --- data ----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Bring the recipe's records into the store. Doing it again changes nothing."""
        ranks.once(self._bring)

    def _bring(self) -> None:
        data = self.recipe.data
        if isinstance(data, FileData):
            # A prompt keeps the source of the file that brought it first, and reports are by the preferences' sources.
            for name in (*data.preferences, *data.demonstrations):
                bring(self.store, placed(name, Path(data.root), self.folder / "data"), data.test_share).warn(name)
            self.store.put(examples(self.store, data.imitate) if data.imitate != "none" else [])
            return
        assert self.lab is not None
        shown = self.lab.demonstrations(data.demonstrations)
        self.store.put(record for pair in shown for record in pair)
        self.store.put(
            Demonstration(id=named_id("shown", sample.id), prompt=prompt.id, sample=sample.id)
            for prompt, sample in shown
        )
        self.store.put([*self.prompts("train"), *self.prompts("test")])

    def documents(self) -> list[str]:
        """Plain texts to pretrain on."""
        data = self.recipe.data
        if isinstance(data, LabData):
            assert self.lab is not None
            return self.lab.documents(data.documents)
        files = [placed(name, Path(data.root), self.folder / "data") for name in data.texts]
        return [piece for file in files for piece in texts(file, longest=data.longest_text)]

    @cached_property
    def unread(self) -> list[str]:
        """Plain texts that nobody reads to learn, for measuring what is forgotten; none where that is not wanted."""
        return parted(self.documents())[1] if self.recipe.forgetting else []

    def prompts(self, split: Literal["train", "test"]) -> list[Prompt]:
        """Prompts of a side: of the lab, or those that the imported preferences are about."""
        data = self.recipe.data
        if isinstance(data, LabData):
            assert self.lab is not None
            count = data.test_prompts if split == "test" else self.recipe.collect.prompts * self.recipe.rounds
            return self.lab.prompts(count, split)
        ids = sorted({belief.prompt for belief in self.preferences(split)})  # so that the first ones are of all files
        return list(self.store.get_many(Prompt, ids).values())

    def preferences(self, split: str) -> list[Preference]:
        """All beliefs in the store about prompts of a side; of those made again on the same words the last."""
        return latest(list(self.store.all(Preference, split=split)))

    def looked_up(self, beliefs: Sequence[Preference]) -> tuple[dict[str, Prompt], dict[str, Sample]]:
        """The prompts and samples that beliefs are about."""
        prompts = self.store.get_many(Prompt, dict.fromkeys(b.prompt for b in beliefs))
        samples = self.store.get_many(Sample, dict.fromkeys(s for b in beliefs for s in (b.chosen, b.rejected)))
        return prompts, samples

    # --- things --------------------------------------------------------------------------------------------------

    def tokenizer(self) -> Any:
        """The model's own tokenizer, or one made once from the recipe's texts and kept."""
        folder = self.path("tokenizer")
        if self.recipe.model.name is not None:
            return open_tokenizer(self.recipe.model.name)

        def make() -> None:
            if not (folder / "tokenizer.json").is_file():
                spelling, digits = (getattr(self.recipe.data, name, "") for name in ("spelling", "digits"))
                read = spelt(self.documents, self.store, spelling)
                made = word_level(self.lab.words) if self.lab else train_bpe(read, self.recipe.vocabulary, (), digits)
                with models.whole(folder) as draft:
                    made.save_pretrained(draft)

        ranks.once(make)
        return open_tokenizer(folder)

    def encoder(self, tokenizer: Any) -> Encoder:
        """Text to tokens and back."""
        return Encoder(tokenizer, self.recipe.reading)

    def language_model(self, version: str | None, tokenizer: Any) -> nn.Module:
        """The model of a version, or the one that the recipe starts from."""
        start = self.recipe.model if version is None else named(self.recipe.model, self.path(version))
        model = models.language_model(start, tokenizer, seed_of(self.recipe.seed, "model"))
        places = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        if places is not None and places < self.recipe.reading.limit:
            raise SettingsError(
                f"{start.name or 'the model'} has {places} places for tokens, encode.limit={self.recipe.reading.limit} "
                f"are wanted; set encode.limit to {places} or less (and draw.max_tokens with it)"
            )
        return model

    def policy(self, version: str, device: torch.device | str = "cpu") -> tuple[Policy, Encoder]:
        """A version ready to act and to be asked."""
        tokenizer = open_tokenizer(self.path(version))
        model = self.language_model(version, tokenizer).to(device)
        return Policy(model, self.recipe.draw.temperature), self.encoder(tokenizer)

    def scorer(self, version: str, device: torch.device | str = "cpu") -> tuple[Scorer, Encoder]:
        """A reward model ready to score."""
        tokenizer = open_tokenizer(self.path(version))
        backbone = named(self.recipe.reward_backbone or self.recipe.model, self.path(version))
        return Scorer(models.scorer_model(backbone, tokenizer).to(device)), self.encoder(tokenizer)

    def score(self, version: str) -> Callable[[Sequence[tuple[Prompt, Sample]]], torch.Tensor]:
        """A function from answers to normalised scores [B]; of an ensemble, the mean of its members' scores.

        Raises SettingsError for a process reward model: it says of parts how likely they are right.
        """
        if (made := self.version(version)) is not None and made.method == "process_reward":
            raise SettingsError(f"{version} judges parts of answers and has no score of a whole one; name another")
        tokens = self.recipe.reward_model.micro_tokens
        every = [(s, e, *models.normaliser(s.model)) for s, e in map(self.scorer, self.members(version))]
        return lambda pairs: torch.stack([(scores(s, e, pairs, tokens) - m) / std for s, e, m, std in every]).mean(0)

    def members(self, version: str) -> list[str]:
        """Names of the reward models that stand behind one name: itself, and the others of its ensemble."""
        others = made.config.get("ensemble") if (made := self.version(version)) else None
        return [version, *(str(name) for name in others)] if isinstance(others, list) else [version]

    def world(
        self, policy: Policy, encoder: Encoder, prompts: Sequence[Prompt], name: str, answers: int | None = None
    ) -> TextWorld:
        """Where policies act: all of the distribution is drawn from, so log-probabilities are those of the actions."""
        draw, recipe, count = self.recipe.draw, self.recipe, answers or self.recipe.rollout_answers
        sampling = draw.uncut().sampling(count=count)
        sampler, batch = recipe.engine.over(policy.model, encoder.spell), min(recipe.rollout, len(prompts))
        return TextWorld(encoder, prompts, sampler, sampling, batch, seed_of(recipe.seed, name), name)

    def sample(
        self, version: str, prompts: Sequence[Prompt], count: int, name: str, uncut: bool = False
    ) -> list[tuple[Prompt, Sample]]:
        """Answers of a version, `count` per prompt in order; the same call gives the same answers.

        uncut: from the whole distribution, whatever the recipe's top_k, top_p and min_p.
        """
        policy, encoder = self.policy(version)
        draw, seed = self.recipe.draw, seed_of(self.recipe.seed, name)
        draw, made = draw.uncut() if uncut else draw, self.version(version)
        sampling = draw.sampling(count=count, stop=encoder.stop, seed=seed)
        asked = [encoder.prompt(text_of(prompt)) for prompt in prompts]
        done = Sampler(policy.model, spell=encoder.spell).generate(asked, sampling)
        return [
            (
                prompts[one.prompt],
                Sample(
                    id=named_id("sample", made.id if made else version, seed, prompts[one.prompt].id, one.index),
                    prompt=prompts[one.prompt].id,
                    content=encoder.text(one.tokens, one.finished),
                    finished=one.finished,
                    version=made.id if made else None,
                    sampling=draw.told() | {"seed": seed},
                ),
            )
            for one in sorted(done, key=lambda one: (one.prompt, one.index))
        ]

    def names(self) -> list[str]:
        """Names of all finished versions."""
        return [version.name for version in self.store.all(Version)]


def parted(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts to read, and every fiftieth of all, held out: the first ones may all be of one book. One text is read."""
    return ([one for i, one in enumerate(texts) if i % 50], [*texts[::50]]) if len(texts) > 1 else ([*texts], [])


@torch.no_grad()
def scores(scorer: Scorer, encoder: Encoder, pairs: Sequence[tuple[Prompt, Sample]], tokens: int) -> torch.Tensor:
    """[B] raw scores of answers, in their order."""
    segment = encoder.segment(pairs, scoring=True).to(next(scorer.parameters()).device)
    score = torch.zeros(len(segment), device=segment.length.device)
    for index in pack(segment, tokens):
        score[index] = scorer.score(segment.rows(index)).float()
    return score


def text_of(record: Prompt | Sample) -> Text:
    """The conversation in a record. Raises SettingsError when it holds something else."""
    if not isinstance(record.content, Text):
        raise SettingsError(f"{record.id} holds a {record.content.kind}, not text")
    return record.content


def named(settings: models.ModelSettings, folder: Path) -> models.ModelSettings:
    """The same settings for the weights in a folder."""
    return settings.model_copy(update={"name": str(folder), "lora": None})
