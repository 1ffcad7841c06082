"""On which terms: what files there are, who is asked, who draws answers and how, what these earn and cost, orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from torch import nn

from accord.algorithms.curriculum import Config as CurriculumConfig
from accord.config import Settings
from accord.engines.vllm import Vllm
from accord.protocols import Generator, Sampling
from accord.rewards.lagrange import Constraint
from accord.rewards.rules import length, safe, written
from accord.rewards.steps import Join
from accord.worlds.text.generate import Sampler

PolicyMethod = Literal[
    "ppo", "grpo", "dr_grpo", "dapo", "gspo", "cispo", "rloo", "reinforce_pp", "best_of_n", "online_dpo",
    "dpo", "robust", "ipo", "hinge", "simpo", "orpo", "cpo", "kto",
]  # fmt: skip
"""Methods that make a policy better than fine-tuning did; `accord methods` tells them apart."""
RuleName = Literal["exact", "follows", "length", "form", "script"]
"""Rules that `worth` can give a weight, and that answers can be judged by."""


class Collect(Settings):
    """Which answers are drawn and what is asked about them."""

    prompts: int = Field(default=1000, ge=1)
    """Prompts per round."""
    answers: int = Field(default=4, ge=1)
    """Answers per prompt; at least 2 where something is to be asked about them."""
    form: Literal["comparison", "ranking"] = "ranking"
    """Compare two of them at a time, or rank all."""
    wanted: int = Field(default=1, ge=1)
    """How many people answer each question."""
    source: Literal["simulated", "people", "none"] = "simulated"
    """Simulated people of the lab; real ones (through the store, docs/loop.md); or nobody: learn from what is there."""
    people: int = Field(default=20, ge=1)
    """How many simulated people there are."""

    @model_validator(mode="after")
    def _asks_something(self) -> Collect:
        """A question is about two answers at least, and each of those who answer it is another one."""
        if self.source != "none" and self.answers < 2:
            raise ValueError(
                f"answers={self.answers} to a prompt leave nothing to compare; take 2 or more, or source=none to learn "
                "from what is there"
            )
        if self.source == "simulated" and self.wanted > self.people:
            raise ValueError(
                f"wanted={self.wanted} people are to answer each question, and there are people={self.people}; "
                "fewer of the former, or more of the latter"
            )
        return self


class Draw(Settings):
    """How answers are drawn, in collecting, PPO and judging alike."""

    temperature: float = Field(default=1.0, gt=0)
    """Higher is more varied. The same number divides the logits in scoring."""
    top_k: int = Field(default=0, ge=0)
    """Only the k likeliest tokens; 0 for all. PPO always samples from all."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Only the likeliest tokens that make up this share. PPO always samples from all."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Only tokens at least this times as likely as the likeliest (Nguyen et al. 2024); 0 for all. PPO always samples
    from all."""
    max_tokens: int = Field(default=28, ge=1)
    """Longer answers are cut."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer besides its end of text; they stay in it."""

    @property
    def cuts(self) -> bool:
        """Whether some tokens cannot be drawn."""
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    def uncut(self) -> Draw:
        """The same from the whole distribution."""
        return self.model_copy(update={"top_k": 0, "top_p": 1.0, "min_p": 0.0})

    def sampling(self, **beside: Any) -> Sampling:
        """What a generator is told, with more of its fields beside."""
        known: dict[str, Any] = {"max_tokens": self.max_tokens, "stop_text": self.stop} | beside
        return Sampling(self.temperature, self.top_k, self.top_p, self.min_p, **known)

    def told(self) -> dict[str, float]:
        """What is kept beside an answer: how its distribution was changed."""
        told: dict[str, float] = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p}
        return told | ({"min_p": self.min_p} if self.min_p else {})


class Members(Settings):
    """How the members of an ensemble (`reward_heads.members`) are one reward to a policy."""

    rule: Literal["mean", "worst", "lower", "variance"] = "mean"
    """`mean`; `worst`, the least; `lower`, the mean less `doubt` times their spread; `variance`, less its square."""
    doubt: float = Field(default=1.0, ge=0)
    """How much disagreement takes away with `lower` and `variance`."""


class Cost(Settings):
    """What one reward model says of answers as a cost, and how much of it is allowed."""

    turned: bool = True
    """The model scores how good answers are, so the cost is its score with the sign turned; off, it scores the cost."""
    unit: Literal["score", "probability"] = "score"
    """`score`: normalised, 0 is the mean of the answers that the model learned from. `probability`: of the flag that it
    learned, by its calibration (`reward_heads.calibrate: platt`), or with `turned` what it leaves to 1, so that the
    limit is a share of answers."""
    constraint: Constraint = Constraint()
    """The limit, and how the price moves."""
    gate: float | None = Field(default=None, gt=0, lt=1)
    """Llama 2's gate instead of a price: an answer whose chance of being safe is below this is paid by its safety
    alone (that chance in log-odds). Needs `unit: probability`; None charges the price."""
    whiten: bool = True
    """With a gate: give what is paid zero mean and unit variance over each rollout, as Llama 2 does."""
    from_gate: bool = False
    """With a gate: count the log-odds of safety from the gate on, so that an answer just below it earns 0, the mean of
    what helps. A gate above .5 needs it: otherwise it pays for being in doubt."""
    weight: float = Field(default=1.0, gt=0)
    """With a gate: what a unit of safety's log-odds is worth beside the reward. People who say yes and no by mistake
    keep log-odds small, so that at 1 a sure fault may cost no more than what helps can earn."""
    held: float | None = Field(default=None, gt=0, lt=1)
    """Charge 1 for an answer whose chance of the fault is at least this, and nothing for any other, so that the limit
    is the share of answers held at fault. People's noise gives the mean chance a floor that this share has not. Needs
    `unit: probability`; None charges the chance itself."""

    @model_validator(mode="after")
    def _a_gate_knows_chances(self) -> Cost:
        if self.gate is not None and self.unit != "probability":
            raise ValueError(f"gate={self.gate} is a chance, and a score is none; set unit=probability")
        if self.held is not None and self.unit != "probability":
            raise ValueError(f"held={self.held} is a chance, and a score is none; set unit=probability")
        if self.held is not None and self.gate is not None:
            raise ValueError(f"gate={self.gate} has no price, and held={self.held} says what is charged; set one")
        limit = self.constraint.limit
        if self.unit == "probability" and self.gate is None and not 0 <= limit < 1:
            never = "no mean chance is below 0, so the price would climb for ever" if limit < 0 else "it never binds"
            raise ValueError(f"constraint.limit={limit} of a probability: {never}; set it to a share, 0 <= limit < 1")
        return self


class Steps(Settings):
    """Where in an answer a reward model pays."""

    paid: Literal["end", "sentence", "line"] = "end"
    """At its end; or for each sentence or line what that adds to the score, so that the sum stays (of an ensemble, to
    its mean). A model of steps takes lines for steps unless it is told `sentence`."""
    join: Join = "min"
    """What the chances of all steps to be right are together, for a process reward model of steps."""
    price: float = Field(default=1.0, ge=0)
    """What each marked span costs, for a process reward model of tokens."""


class Worth(Settings):
    """What answers earn in PPO, GRPO with its kin and best of n: the weights of a sum."""

    learned: float = 1.0
    """Weight of the reward model's normalised score; with 0 no reward model is needed."""
    exact: float = 0.0
    """Weight of the right final answer, 1 or 0, for prompts with a reference answer (`Prompt.checks`)."""
    loose: bool = True
    """Take the last number of an answer without the mark ####."""
    follows: float = 0.0
    """Weight of the share of checkable instructions that are followed, for prompts that bring such (IFEval)."""
    length: float = 0.0
    """Weight of having `least` to `most` words, 1 or 0."""
    least: int = Field(default=1, ge=0)
    """Fewest words for `length`."""
    most: int = Field(default=100, ge=0)
    """Most words for `length`."""
    form: float = 0.0
    """Weight of fitting `pattern` as a whole, 1 or 0."""
    pattern: str = ".*"
    """Regular expression for `form`."""
    script: float = 0.0
    """Weight of being written in the script of `language`, 1 or 0."""
    language: str = "en"
    """Language for `script`, as `en` or `zh`."""

    @field_validator("language")
    @classmethod
    def _is_known(cls, language: str) -> str:
        written(language)
        return language

    @field_validator("pattern")
    @classmethod
    def _is_quick(cls, pattern: str) -> str:
        return safe(pattern)

    @model_validator(mode="after")
    def _can_be_had(self) -> Worth:
        """A rule that no answer can keep is refused here, and not when a policy is to learn by it."""
        length(self.least, self.most)
        return self

    @property
    def rules(self) -> bool:
        """Whether anything but the reward model counts."""
        return any((self.exact, self.follows, self.length, self.form, self.script))

    @property
    def own(self) -> bool:
        """Whether something counts that only prompts with checks have."""
        return bool(self.exact or self.follows)

    @model_validator(mode="after")
    def _worth_something(self) -> Worth:
        """An answer that can earn nothing teaches nothing."""
        if not self.learned and not self.rules:
            raise ValueError("every weight is 0, so no answer is better than another; give one of them a weight")
        return self


class Judging(Settings):
    """What tells, in the report, how good answers to test prompts are."""

    by: Literal["reward", "rules"] = "reward"
    """`reward`: gold in the lab, elsewhere the reward model of the last round. `rules`: what can be checked, for each
    answer passed or not (docs/rules.md); with `worth.learned: 0` the circle then trains no reward model."""
    must: tuple[RuleName, ...] = ()
    """Rules that an answer keeps wholly to pass, with the terms that `worth` sets for them; empty: all that `worth`
    gives a weight."""
    answers: int = Field(default=8, ge=1)
    """With `rules`: answers of each policy to each test prompt; pass@k goes up to this k."""


class Engine(Settings):
    """Who draws the answers that PPO, GRPO and their kin learn from; all else is drawn by our own sampler."""

    name: Literal["own", "vllm"] = "own"
    """Our own sampler; or vLLM on a GPU, where it is installed (docs/text.md): fast, and not repeatable bit for bit."""
    memory: float = Field(default=0.3, gt=0, lt=1)
    """Share of the GPU's memory that vLLM may take."""

    def over(self, model: nn.Module, spell: Callable[[list[int]], str] | None = None) -> Generator:
        """A generator over a living model. Raises SettingsError where the engine is not installed."""
        return Sampler(model, spell=spell) if self.name == "own" else Vllm(model, self.memory)

    def decides(self) -> dict[str, Any]:
        """What it adds to the settings that decide a run; our own sampler adds nothing."""
        return {} if self.name == "own" else {"engine": self.name}


class Orders(Settings):
    """In which order things are learned from, stage by stage; `random` is as without a curriculum."""

    sft: CurriculumConfig = CurriculumConfig()
    """Demonstrations; measured by length."""
    reward_model: CurriculumConfig = CurriculumConfig()
    """Prompts with their pairs."""
    reward_heads: CurriculumConfig = CurriculumConfig()
    """Prompts with all that was said of their answers."""
    dpo: CurriculumConfig = CurriculumConfig()
    """Prompts with their pairs, for DPO and its kin."""
    kto: CurriculumConfig = CurriculumConfig()
    """Single answers; measured by length."""
    policy: CurriculumConfig = CurriculumConfig()
    """Prompts that PPO, GRPO with its kin and best of n are asked."""
    by: str = ""
    """Reward model whose scores measure `margin`."""
    tries: int = Field(default=4, ge=1)
    """Answers of the start to each prompt that measure `pass_rate`."""
    passed: float = 0.5
    """What an answer must earn at least to pass; a reward model's score is normalised, 0 is an answer like others."""

    @model_validator(mode="after")
    def _can_be_measured(self) -> Orders:
        """A measure that a stage does not have would end the circle when it comes to that stage."""
        for name in ("sft", "reward_model", "reward_heads", "dpo", "kto", "policy"):
            one: CurriculumConfig = getattr(self, name)
            told = f"{name}.measure={one.measure}"
            if one.schedule == "random" or one.measure == "length":
                continue
            if name in ("sft", "kto"):
                raise ValueError(f"{told} is of pairs or of prompts; single answers are measured by length")
            if one.measure == "pass_rate" and name != "policy":
                pairs = "pairs are measured by length, disagreement or margin"
                raise ValueError(f"{told} is of prompts to be answered (order.policy); {pairs}")
            if one.measure == "margin" and not self.by:
                raise ValueError(f"{told} needs a reward model in order.by: name its version")
        return self


class FileData(Settings):
    """Data in files: JSONL, JSONL.gz or Parquet, in any form of docs/data.md; or a name as `hub:OWNER/NAME`."""

    kind: Literal["files"] = "files"
    root: str = "."
    """Folder that the names below are in."""
    texts: tuple[str, ...] = ()
    """Plain text to pretrain on and to train the tokenizer from."""
    spelling: Literal["texts", "all"] = "texts"
    """What a tokenizer that is made here learns its pieces from: the texts alone, or also the prompts and answers that
    are learned from. Letters that it never saw are spelt byte by byte, three tokens to a Chinese character."""
    digits: Literal["joined", "single"] = "joined"
    """Whether such a tokenizer may join digits to pieces (`24`), or takes each for itself, as sums want it."""
    demonstrations: tuple[str, ...] = ()
    """Prompts with answers to imitate."""
    preferences: tuple[str, ...] = ()
    """Prompts with a chosen and a rejected answer."""
    imitate: Literal["none", "chosen", "both"] = "none"
    """Which answers of the preferences are demonstrations too. The better ones are a good start where there are no
    others; both leave something to gain."""
    test_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of prompts kept for the test; a prompt is on one side only."""
    longest_text: int = Field(default=20000, ge=100)
    """Plain texts are read in pieces of at most so many characters."""
    test_prompts: int = Field(default=200, ge=1)
    """Test prompts that policies are judged by."""
