"""A circle that takes two seconds, and what can be compared of two projects that went round it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import yaml

from accord import build
from accord.algorithms import ppo, reward_model, sft
from accord.loop import act, ask, believed, respond, start
from accord.project import Project
from accord.recipe import recipe
from accord.records import Feedback, Preference, Prompt, Question, Sample, Version
from accord.run import MEASURED, read_log
from accord.store import Store

LENGTH = 10 if os.environ.get("ACCORD_NIGHTLY") == "1" else 1
"""How many times longer the nightly runs are, so that twenty kills fall into them."""
TINY = {
    "name": "tiny",
    "data": {"kind": "lab", "documents": 120, "demonstrations": 64, "test_prompts": 12, "lab": {"entities": 8}},
    "model": {"width": 16, "layers": 1, "heads": 2, "context": 128},
    "pretrain": sft.Config(epochs=3 * LENGTH, batch=16).model_dump(mode="json"),
    "sft": sft.Config(epochs=4 * LENGTH, batch=16).model_dump(mode="json"),
    "reward_model": reward_model.Config(epochs=5 * LENGTH, batch=4).model_dump(mode="json"),
    "collect": {"prompts": 20, "answers": 3, "people": 4},
    "rollout": 8,
    "rollout_answers": 2,
    "draw": {"max_tokens": 12},
    "ppo": ppo.Config(
        iterations=6 * LENGTH,
        minibatches=2,
        critic_warmup=1,
        kl=ppo.KL(target=1.0, horizon=100),
        entropy_target=1.0,
    ).model_dump(mode="json"),
    "run": {"device": "cpu", "threads": 1, "trackers": [], "checkpoint_seconds": 0, "progress": False},
}
STAGES = {
    "pretrained": ("pretrain",),
    "sft": ("sft", "--start", "pretrained"),
    "round1-reward": ("reward_model", "--start", "sft"),
    "round1-ppo": ("ppo", "--start", "sft", "--reward", "round1-reward", "--reference", "sft"),
}
"""What `accord train` is told for each version of the circle."""


def write_recipe(path: Path, **changes: object) -> Path:
    """The tiny recipe with changes, as a file."""
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


def taught(shelf: Path, **changes: object) -> tuple[Project, list[tuple[Prompt, Sample]], list[Question]]:
    """A project `shared` on the shelf up to the reward model `worth` of its first round, its answers and questions."""
    project = Project(shelf / "shared", recipe(write_recipe(shelf / "tiny.yaml", **changes)))
    project.prepare()
    answers = act(project, start(project, lambda _: None), 1, lambda _: None)
    questions = ask(project, answers, 1)
    respond(project, questions, lambda _: None)
    build.train(project, "reward_model", "worth", start="sft", beliefs=believed(project, questions))
    return project, answers, questions


def figures(log: Path) -> list[dict[str, float]]:
    """The rows of a log without what depends on the machine and the clock."""
    return [{k: v for k, v in row.items() if k != "time" and not k.startswith(MEASURED)} for row in read_log(log)]


def weights(project: Path) -> dict[str, str]:
    """SHA-256 of the weights of every version."""
    files = sorted((project / "versions").glob("*/model.safetensors"))
    return {file.parent.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def kept(project: Path, queue: str = "round1") -> dict[str, list[str]]:
    """What stands in the store of a queue: questions, answers, feedback and beliefs, and all versions."""
    with Store.open(project / "store.db") as store:
        questions = list(store.all(Question, project=queue))
        samples = store.get_many(Sample, sorted({s for question in questions for s in question.samples}))
        return {
            "questions": sorted(one.model_dump_json() for one in questions),
            "samples": sorted(one.model_dump_json() for one in samples.values()),
            "feedback": sorted(one.model_dump_json() for one in store.feedback(project=queue)),
            "every feedback": sorted(
                one.id for one in store.all(Feedback) if one.question in {q.id for q in questions}
            ),
            "beliefs": sorted(one.model_dump_json() for one in store.all(Preference)),
            "versions": sorted(one.model_dump_json() for one in store.all(Version)),
        }
