"""One row of real data: a model learns from pairs, rankings or verdicts, and scores what is kept for the test."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from accord.algorithms import reward_heads, reward_model
from accord.config import SettingsError
from accord.project import scores, text_of
from accord.proofs import real_data
from accord.proofs.ground import aside, compared
from accord.proofs.real_data import Side, Sum
from accord.quality.judged import Judgement
from accord.records import Prompt, Sample
from accord.run import seed_of
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.models import ModelSettings
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import open_tokenizer

PEERS = "ACCORD_PEERS"
"""Environment variable that names a Python with TRL, as in bench/."""
NO_PEER = "no peer here"
Found = dict[str, Any]
"""What a row measured, in values that JSON can hold."""


@dataclass(frozen=True)
class Lesson:
    """What a row learns from, with what, and how."""

    backbone: ModelSettings
    encode: EncoderSettings
    config: reward_model.Config
    seed: int

    def encoder(self, encode: EncoderSettings | None = None) -> Encoder:
        """Of the backbone's tokenizer; with other limits where they are given."""
        return Encoder(open_tokenizer(models.located(str(self.backbone.name))), encode or self.encode)

    def scorer(self, encoder: Encoder) -> Scorer:
        """A model with a new head, drawn from the seed."""
        head = seed_of(self.seed, "real", "head")
        return Scorer(models.scorer_model(self.backbone, encoder.tokenizer, head, fresh_head=True))


def pairs(lesson: Lesson, learned: Side, tests: Mapping[str, Side], wide: EncoderSettings) -> Found:
    """A reward model of pairs, and its scores of the test pairs by set. wide: limits for LLMBar's texts."""
    encoder = lesson.encoder()
    rows, begun = compared(encoder, learned.twos, learned.beliefs), time.process_time()
    scorer = lesson.scorer(encoder)
    with aside("real", seed_of(lesson.seed, "real")) as run:
        figures = reward_model.fit(lesson.config, scorer.to(run.device), rows, run)
    told = {"pairs": len(rows), "seconds": time.process_time() - begun, "loss": figures["loss"], **cuts(encoder)}
    return {**told, "tests": tested(lesson, scorer, tests, wide)}


def ranked(lesson: Lesson, learned: Side, tests: Mapping[str, Side], wide: EncoderSettings) -> Found:
    """The same from rankings, by Plackett and Luce; every prompt weighs one."""
    encoder, said = lesson.encoder(), real_data.rankings(learned)
    samples = {sample.id: sample for two in learned.twos for sample in (two.first, two.second)}
    scorer, told = heard(lesson, encoder, said, {two.prompt.id: two.prompt for two in learned.twos}, samples, "")
    return {**told, "rankings": len(said), "pairs": len(learned.twos), "tests": tested(lesson, scorer, tests, wide)}


def heard(
    lesson: Lesson,
    encoder: Encoder,
    said: Sequence[Judgement],
    prompts: Mapping[str, Prompt],
    samples: Mapping[str, Sample],
    main: str,
) -> tuple[Scorer, Found]:
    """A model of judgements in their own forms, and what is known of its lesson."""
    rows, begun = encoder.judged(said, prompts, samples), time.process_time()
    scorer, plain = lesson.scorer(encoder), lesson.config
    config = reward_heads.Config(
        epochs=plain.epochs, batch=plain.batch, centring=plain.centring, micro_tokens=plain.micro_tokens,
        optimiser=plain.optimiser, main=main,
    )  # fmt: skip
    with aside("real", seed_of(lesson.seed, "real")) as run:
        _, figures = reward_heads.train(config, scorer.to(run.device), rows, run)
    return scorer, {"seconds": time.process_time() - begun, "loss": figures["loss"], **cuts(encoder)}


def tested(lesson: Lesson, scorer: Scorer, tests: Mapping[str, Side], wide: EncoderSettings) -> Found:
    """Of each set of test pairs: gaps of the scores, prompts, parts and lengths."""
    found = {}
    for name, side in tests.items():
        encoder = lesson.encoder(wide if name == "llmbar" else None)
        found[name] = measured(side, _scores(scorer, encoder, side, lesson.config.micro_tokens))
    return found


def measured(side: Side, score: Sequence[float]) -> Found:
    """What the table is made from. score: of the better and the other answer of each pair, in turn."""
    better, worse = score[::2], score[1::2]
    return {
        "gap": [round(b - w, 5) for b, w in zip(better, worse, strict=True)],
        "prompt": [belief.prompt for belief in side.beliefs],
        "part": list(side.parts),
        "longer": [_size(two.first) - _size(two.second) for two in side.twos],
    }


@torch.no_grad()
def _scores(scorer: Scorer, encoder: Encoder, side: Side, tokens: int) -> list[float]:
    asked = [(two.prompt, sample) for two in side.twos for sample in (two.first, two.second)]
    return [float(one) for one in scores(scorer, encoder, asked, tokens)]


def cuts(encoder: Encoder) -> Found:
    """Shares of the rows that were learned from and lost something of the prompt, or the end of the answer."""
    report = encoder.report
    return {"cut_prompts": report.cut_prompts / report.rows, "cut_answers": report.cut_answers / report.rows}


def _size(sample: Sample) -> int:
    """Characters of an answer."""
    return sum(len(message.content) for message in text_of(sample).messages)


# --- the peer --------------------------------------------------------------------------------------------------


def peer(lesson: Lesson, learned: Side, tests: Mapping[str, Side], wide: EncoderSettings) -> Found:
    """TRL's RewardTrainer on the same token ids at equal epochs and settings; `missing` where there is no TRL.

    The model, the rows and AdamW's settings are the same. What stays its own: the order of the pairs, its head (not
    drawn anew), and that it has no centring.
    """
    python = os.environ.get(PEERS, "")
    if not Path(python).is_file():
        return {"missing": NO_PEER}
    if lesson.config.margin:
        raise SettingsError("the peer's row learns without margins")
    encoder, config = lesson.encoder(), lesson.config
    rows = compared(encoder, learned.twos, learned.beliefs)
    ids = [row[:length] for row, length in zip(rows.segment.action.tolist(), rows.segment.length.tolist(), strict=True)]
    if not encoder.pairwise:
        raise SettingsError("the peer's row is for encoders: a decoder's prompt stands in another column here")
    test: list[list[int]] = []
    for name, side in tests.items():
        reading = lesson.encoder(wide if name == "llmbar" else None)
        seen = reading.segment([(t.prompt, s) for t in side.twos for s in (t.first, t.second)], scoring=True)
        test += [row[:n] for row, n in zip(seen.action.tolist(), seen.length.tolist(), strict=True)]
    job = {
        "model": models.located(str(lesson.backbone.name)),
        "seed": seed_of(lesson.seed, "real") % 2**31,
        "pairs": [[ids[b], ids[w]] for b, w in zip(rows.better.tolist(), rows.worse.tolist(), strict=True)],
        "rows": test,
        "settings": trl_settings(config),
    }
    with aside("peer", 0) as run:
        place = run.folder / "job"
        place.write_text(json.dumps({**job, "folder": str(run.folder)}), encoding="utf-8")
        script = Path(__file__).with_name("real_trl.py")
        quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        done = subprocess.run([python, "-I", str(script), str(place)], capture_output=True, text=True, env=quiet)
        if done.returncode:
            raise SettingsError(f"the peer ({python}) ended with {done.returncode}: {done.stderr.strip()[-800:]}")
        said = json.loads(place.with_suffix(".answer").read_text(encoding="utf-8"))
    found, at = {}, 0
    for name, side in tests.items():
        found[name] = measured(side, said["scores"][at : at + 2 * len(side.twos)])
        at += 2 * len(side.twos)
    told = {"pairs": len(rows), "seconds": said["seconds"], "loss": None, **cuts(encoder)}
    return {**told, "tests": found, "peer": f"TRL {said['trl']}"}


def trl_settings(config: reward_model.Config) -> dict[str, Any]:
    """Our settings by TRL's names, in micro-batches that fit both."""
    plain, at_once = config.optimiser, min(32, config.batch)
    return {
        "num_train_epochs": config.epochs,
        "per_device_train_batch_size": at_once,
        "gradient_accumulation_steps": -(-config.batch // at_once),
        "learning_rate": plain.learning_rate,
        "lr_scheduler_type": {"cosine": "cosine_with_min_lr", "linear": "linear"}.get(plain.schedule, "constant"),
        **({"lr_scheduler_kwargs": {"min_lr_rate": plain.final}} if plain.schedule == "cosine" else {}),
        "warmup_steps": plain.warmup,
        "weight_decay": plain.weight_decay,
        "adam_beta1": plain.beta1,
        "adam_beta2": plain.beta2,
        "adam_epsilon": plain.epsilon,
        "max_grad_norm": plain.clip,
    }


# --- a verifier ------------------------------------------------------------------------------------------------


def verifier(lesson: Lesson, learned: Sequence[Sum], test: Sequence[Sum]) -> Found:
    """A model that tells right solutions from wrong ones (Cobbe et al. 2021), and its scores of other questions'."""
    encoder = lesson.encoder()
    samples = {sample.id: sample for one in learned for sample in one.solutions}
    prompts = {one.prompt.id: one.prompt for one in learned}
    scorer, told = heard(lesson, encoder, real_data.verdicts(learned), prompts, samples, "correct")
    with torch.no_grad():
        asked = [(one.prompt, sample) for one in test for sample in one.solutions]
        said = [round(float(s), 5) for s in scores(scorer, lesson.encoder(), asked, lesson.config.micro_tokens)]
    size = len(test[0].solutions)
    return {
        **told,
        "questions": len(learned),
        "models": list(test[0].models),
        "score": [said[at : at + size] for at in range(0, len(said), size)],
        "right": [list(one.right) for one in test],
        "answer": [list(one.answers) for one in test],
        "first": [sum(one.right[m] for one in learned) / len(learned) for m in range(size)],
    }


Make = Callable[[Lesson, Side, Mapping[str, Side], EncoderSettings], Found]
"""Makes a row of what it learns from, the test pairs by set, and the limits for LLMBar's texts."""
