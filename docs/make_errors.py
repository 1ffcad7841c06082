"""Writes docs/errors.md by running into each guard: `python docs/make_errors.py > docs/errors.md`."""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from accord.algorithms import ppo, sft
from accord.algorithms.gathering import worth_of
from accord.config import build
from accord.loop import Waiting
from accord.protocols import Sampling
from accord.recipe import Recipe
from accord.records import Message, Preference, Prompt, Sample, Text
from accord.run import OptimiserConfig, Run, RunConfig
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.generate import Sampler
from accord.worlds.text.models import ModelSettings, language_model
from accord.worlds.text.policy import Policy, exact
from accord.worlds.text.tokenizer import train_bpe, word_level
from accord.worlds.text.world import TextWorld
from accord.worlds.toy import Bandit, BanditConfig, ToyPolicy

HEAD = """# Messages and what to do

*Each guard that may stop a run or leave a row out: what it says, what it means, and the way out.*

The messages are quoted by running into them: `python docs/make_errors.py > docs/errors.md`. A test compares the two.
Guards of the encoder leave a bad row out and tell it, in a warning, in the version's figures and in the report; when
all rows are bad, or with `encode.strict: true`, they stop the run. All others stop it. On the command line a mistake in
settings, files or the store ends in one line and exit status 2; status 1 means that the run waits for people or that
some rows were refused.
"""


class Guard(NamedTuple):
    """One entry of the page."""

    title: str
    provoke: Callable[[], object]
    meaning: str
    way_out: str


ASKED = Prompt(id="ask-1", content=Text(messages=(Message(role="user", content="where is it ?"),)))
QUIET = RunConfig(trackers=(), progress=False, device="cpu", checkpoint_seconds=0)
TOKENIZER = word_level(["where", "is", "it", "?", "here", "there", "and", "then", "no"])


def said(*turns: tuple[str, str], id: str = "answer-1", finished: bool = True) -> Sample:
    """An answer of these turns."""
    content = Text(messages=tuple(Message(role=role, content=text) for role, text in turns))
    return Sample(id=id, prompt="ask-1", content=content, finished=finished)


def encoder(tokenizer: Any = TOKENIZER, **limits: Any) -> Encoder:
    """An encoder of small texts."""
    return Encoder(tokenizer, EncoderSettings(**{"limit": 24, "strict": True, **limits}))


def no_token_counts() -> object:
    """The assistant's words lie behind the cut."""
    return encoder().segment([(ASKED, said(("user", "and then ? " * 20), ("assistant", "here")))])


def nothing_to_learn() -> object:
    """A batch whose masks are all zero."""
    rows = encoder().segment([(ASKED, said(("assistant", "here")))])
    blank = replace(rows, mask=torch.zeros_like(rows.mask))
    return sft.train(sft.Config(), ToyPolicy(1, 2, "categorical"), blank, Run(folder("mask"), QUIET))


def no_end() -> object:
    """Users' turns end with a mark of their own, and the answer ends with a user's turn."""
    tokenizer = train_bpe(["where is it ? here"], 320, ("<over>",))
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ '<' + m.role + '>' + m.content }}"
        "{{ '<over>' if m.role == 'user' else eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    return encoder(tokenizer, limit=200).segment([(ASKED, said(("assistant", "here"), ("user", "where")))])


def two_beginnings() -> object:
    """A template that writes the beginning of text twice."""
    tokenizer = train_bpe(["a b"], 300)
    tokenizer.chat_template = "{{ bos_token }}" + str(tokenizer.chat_template)
    return encoder(tokenizer).prompt(ASKED.content)  # type: ignore[arg-type]


def equal_pair() -> object:
    """Two answers that differ only behind the cut."""
    long = "here and there and " * 10
    samples = {
        "good": said(("assistant", long + "then"), id="good"),
        "bad": said(("assistant", long + "no"), id="bad"),
    }
    belief = Preference(id="pair-1", prompt="ask-1", chosen="good", rejected="bad")
    return encoder().comparisons([belief], {"ask-1": ASKED}, samples)


def dropout_on() -> object:
    """A model with dropout, in training mode, asked for scores."""
    model = language_model(ModelSettings(width=16, layers=1, heads=2, context=32, dropout=0.1), TOKENIZER)
    policy = Policy(model).train()
    rows = encoder().segment([(ASKED, said(("assistant", "here")))])
    with torch.no_grad():
        return policy.evaluate(rows)


def sampler_apart() -> object:
    """A sampler of another temperature, seen before the first update."""
    world, policy = Bandit(BanditConfig(contexts=4, answers=2)), ToyPolicy(4, 5, "categorical")
    rollout = world.collect(policy)
    with torch.no_grad():
        other = replace(rollout, logprob=policy.evaluate(rollout).logprob - 0.5)
    return ppo.look_again(other, policy, None, ppo.Config())


def sampler_apart_in_a_row() -> object:
    """The strict gate, which names the row and the step."""
    rows = encoder().segment([(ASKED, said(("assistant", "here")))])
    return exact(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.0, -2.5]]), rows)


def loss_is_no_number() -> None:
    """A loss that is no number."""
    Run(folder("loss"), QUIET).backward(torch.tensor(math.nan), ["answer-1", "answer-2"])


def reward_is_no_number() -> object:
    """A reward of one's own that divides by nothing."""
    world, policy = Bandit(BanditConfig(contexts=4, answers=2)), ToyPolicy(4, 5, "categorical")
    return worth_of(world.collect(policy), lambda rollout: torch.zeros_like(rollout.logprob) / 0)


def gradient_is_nothing() -> None:
    """Each step has a gradient of 0."""
    run, model = Run(folder("still"), QUIET), torch.nn.Linear(1, 1)
    run.optimise(OptimiserConfig(), 2, model=model)
    for _ in run.steps(2):
        run.backward((model.weight * 0).sum())
        run.log(**run.step())


def gradient_is_no_number() -> object:
    """A finite loss with an infinite gradient."""
    run, model = Run(folder("gradient"), QUIET), torch.nn.Linear(1, 1, bias=False)
    run.optimise(OptimiserConfig(), 1, model=model)
    torch.nn.init.zeros_(model.weight)
    run.backward(model.weight.abs().sum().sqrt(), ["answer-1"])
    return run.step()


def answers_too_long() -> object:
    """PPO would draw longer answers than the encoder keeps."""
    model = language_model(ModelSettings(width=16, layers=1, heads=2, context=64), TOKENIZER)
    made = Sampler(model)
    return TextWorld(encoder(), [ASKED], made, Sampling(max_tokens=40), batch=1, seed=0, version="sft")


def unknown_setting() -> object:
    """A setting that nobody knows, and one out of its range."""
    return build(Recipe, {"seed": 1, "ppo": {"clipp": 0.1, "clip": 3}}, "my.yaml")


def other_settings() -> object:
    """A folder with a checkpoint of another learning rate."""
    model = torch.nn.Linear(1, 1)
    for rate in (0.1, 0.2):
        run = Run(folder("ppo"), QUIET, {"stage": {"optimiser": {"learning_rate": rate}}})
        run.optimise(OptimiserConfig(), 1, model=model)
        for _ in run.steps(1):
            run.log(loss=0.0)
    return None


def torn_checkpoint() -> object:
    """The newest checkpoint was cut; the one before it is used."""
    for length in (1, 2):
        run = Run(folder("torn"), QUIET)
        run.optimise(OptimiserConfig(), 2, model=torch.nn.Linear(1, 1))
        for _ in run.steps(length):
            run.log(loss=0.0)
    newest = max((folder("torn") / "checkpoints").glob("step-*"))
    (newest / "tensors.safetensors").write_bytes(b"")
    run = Run(folder("torn"), QUIET)
    run.optimise(OptimiserConfig(), 2, model=torch.nn.Linear(1, 1))
    return next(iter(run.steps(2)))


def people_wanted() -> object:
    """The circle waits for people."""
    raise Waiting(waiting_text())


def waiting_text() -> str:
    """What the circle says when nobody has answered: a project whose stages are stood in for."""
    from accord import loop as circle
    from accord.project import Project
    from accord.records import Question

    recipe = build(Recipe, {"collect": {"source": "people"}, "data": {"kind": "lab", "documents": 1}})
    project = Project(folder("mine"), recipe)
    answers = [said(("assistant", "here"), id="answer-1"), said(("assistant", "there"), id="answer-2")]
    question = Question(id="question-1", prompt="ask-1", samples=("answer-1", "answer-2"), project="round1")
    project.store.put([ASKED, *answers, question])
    try:
        circle.respond(project, [question], lambda _: None)
    except Waiting as wait:
        return str(wait)
    finally:
        project.store.close()
    raise AssertionError("nobody was waited for")


GUARDS: tuple[Guard, ...] = (
    Guard(
        "All-zero mask, one row",
        no_token_counts,
        (
            "No token of the row is the assistant's, so there is nothing to learn from it. Here a long foreign "
            "turn fills the window and the answer lies behind the cut."
        ),
        "Raise `encode.limit` or `encode.answer_limit`, or look whether the roles of the turns are right.",
    ),
    Guard(
        "All-zero mask, whole data",
        nothing_to_learn,
        "Fine-tuning was given examples none of which has a token that counts.",
        (
            "Decode a few rows and look at their masks; a foreign chat template that marks nothing as the "
            "assistant's is the usual cause."
        ),
    ),
    Guard(
        "Missing end of text",
        no_end,
        (
            "The answer is said to have ended by itself, and its last token ends nothing. A model that learns it "
            "never learns to stop."
        ),
        (
            "End the conversation with the assistant's turn; or set `finished: false` for an answer that was cut;"
            " or give the tokenizer the `eos_token` that its template writes."
        ),
    ),
    Guard(
        "Two beginnings of text",
        two_beginnings,
        (
            "The template writes the beginning-of-text token and something else does too. Models were trained "
            "with one and behave strangely with two."
        ),
        "Take one of them out of the tokenizer's `chat_template`.",
    ),
    Guard(
        "Equal pair after the cut",
        equal_pair,
        (
            "Both answers begin alike and are cut to the same tokens, so the pair says that a text is better than"
            " itself."
        ),
        (
            "Raise `encode.limit`, or leave such pairs out: that is what happens without `strict`, and "
            "`encoder.report` counts them."
        ),
    ),
    Guard(
        "Empty answer",
        lambda: encoder().segment([(ASKED, said(("assistant", "")))]),
        "The answer has no word of the assistant's.",
        (
            "Nothing: the row is left out. When there are many, look at what wrote them. In scoring, an empty "
            "answer is kept and scored as its end of text alone."
        ),
    ),
    Guard(
        "Dropout in a scoring pass",
        dropout_on,
        "Two looks at the same answer would give two numbers; ratios, drift and scores would be noise.",
        "Leave `model.dropout` at 0 (the default for every model that is made or opened here), or call `.eval()`.",
    ),
    Guard(
        "Sampler drift, before an update of PPO",
        sampler_apart,
        (
            "The log-probabilities with which answers were drawn are not those that the trainer computes for the "
            "same tokens. PPO would correct for a policy that never acted."
        ),
        (
            "Same weights? Same temperature? Dropout off? Same precision? With a sampler in lower precision raise"
            " `ppo.drift_limit` knowingly; the ratio is taken from the trainer's own numbers in any case."
        ),
    ),
    Guard(
        "Sampler drift, one step",
        sampler_apart_in_a_row,
        "The strict form of the same gate (`accord.worlds.text.policy.exact`), for tests and for a new sampler.",
        "As above; the row and the step say where to begin.",
    ),
    Guard(
        "The loss is no number",
        loss_is_no_number,
        (
            "The loss of a micro-batch is infinite or NaN. Nothing has been learned from it, and the last "
            "checkpoint is whole."
        ),
        "Look at the rows that are named; lower the learning rate; use `model.dtype: float32`.",
    ),
    Guard(
        "The gradient is no number",
        gradient_is_no_number,
        "The loss was finite and its gradient is not. The parameters have not been moved.",
        "As above.",
    ),
    Guard(
        "The reward is no number",
        reward_is_no_number,
        (
            "What answers earned is infinite or NaN. A comparison, a filter or a maximum would pass over such a number "
            "unheard, so PPO, GRPO with its kin, online DPO and best of n stop before they learn from it."
        ),
        (
            "Score the answers that are named by hand; an empty answer divided by its length is the usual cause. To "
            "refuse answers give them a low number, not minus infinity; `best_of_n.least` refuses below a bound."
        ),
    ),
    Guard(
        "The gradient was 0 throughout (warning)",
        gradient_is_nothing,
        (
            "The run went through and its weights are those that it began with, whatever its method: there was nothing "
            "to tell better from worse."
        ),
        (
            "Where answers are judged by each other look at `flat_groups`, `finished` and `reward_std` in the log: "
            "longer answers (`draw.max_tokens`), more of them (`rollout_answers`) or a finer reward. Where beliefs are "
            "learned, `accord agree` tells whether people prefer anything."
        ),
    ),
    Guard(
        "Answers longer than the encoder keeps",
        answers_too_long,
        "PPO would draw answers that are cut when they are scored: what is rewarded would not be what was written.",
        "Raise `encode.answer_limit` and `encode.limit`, or lower `draw.max_tokens`.",
    ),
    Guard(
        "A setting that cannot be used",
        unknown_setting,
        "A name is unknown or a value lies outside its range. All problems are told at once.",
        "Correct them; [all settings](settings.md) lists what there is.",
    ),
    Guard(
        "A checkpoint of other settings",
        other_settings,
        (
            "The folder holds a run that was made under other settings; going on would give a model that no "
            "settings describe."
        ),
        "Use another `--project`, or delete the run's folder to begin that stage anew.",
    ),
    Guard(
        "A torn checkpoint (warning)",
        torn_checkpoint,
        (
            "A file of the newest checkpoint is missing, cut or changed. The one before it is used; nothing else "
            "is lost."
        ),
        "None needed. When it comes again, check the disk.",
    ),
    Guard(
        "Waiting for people",
        people_wanted,
        (
            "`collect.source: people`: the questions are in the store and not all of them are answered. This is "
            "no fault."
        ),
        (
            "Have people answer, see [the circle](loop.md#people-instead-of-the-simulation); then run the same "
            "command again."
        ),
    ),
)


_ROOM = Path(tempfile.mkdtemp(prefix="guards-"))


def folder(name: str) -> Path:
    """A fresh place for a run of that name."""
    return _ROOM / name


def message(guard: Guard) -> tuple[str, str]:
    """(kind, text) of what a guard says; places on this machine are left out."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            guard.provoke()
        except Exception as error:
            return type(error).__name__, _plain(str(error))
    told = [w for w in heard if issubclass(w.category, UserWarning)]
    if not told:
        raise AssertionError(f"{guard.title}: nothing was said")
    return "Warning", _plain(str(told[-1].message))


def _plain(text: str) -> str:
    """The text without places and digests, which differ from run to run."""
    return re.sub(r"\b[0-9a-f]{12}\b", "...", text.replace(str(_ROOM) + os.sep, ""))


def page() -> str:
    """The page as text."""
    torch.manual_seed(0)
    parts = [HEAD]
    for guard in GUARDS:
        kind, text = message(guard)
        quoted = "\n".join(f"    {line}" for line in f"{kind}: {text}".splitlines())
        parts.append(f"## {guard.title}\n\n{quoted}\n\n{guard.meaning}\n\n**Way out.** {guard.way_out}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(page())
