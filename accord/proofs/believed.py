"""Does believing pay: bad people weighed or counted alike, and questions chosen by a rule or drawn at random.

The same answers of a crowd with spammers, left-siders and length lovers become beliefs by each way of believing; and
each rule of `feedback/select.py` chooses as many questions as are drawn at random beside it. A reward model is taught
by each and judged by gold. docs/experiments.md tells more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from accord.config import Settings
from accord.evaluate.page import Part
from accord.feedback import arms, asking, scout
from accord.feedback.answering import answer
from accord.feedback.select import Rule, choose
from accord.lab import Dials, Person, crowd
from accord.proofs import sided
from accord.proofs.ground import Ground, Lesson, Member, taught
from accord.proofs.seeds import Experiment, Rows, Stand
from accord.proofs.standing import gains, gathered, plain, seeds, sentence, table
from accord.proofs.tried import Trial
from accord.quality.believe import BelieveConfig, Method, believe
from accord.records import Feedback, Preference, Question, Sample
from accord.run import seed_of
from accord.store import Store

BAD: Mapping[str, Dials] = {
    "spammer": Dials(carelessness=1.0),
    "left-sider": Dials(reliability=0.0, carelessness=0.0, position=8.0, tie=0.0),
    "length lover": Dials(reliability=0.0, carelessness=0.0, position=0.0, length=40.0, tie=0.0),
}
"""Who answers without regard to what is good: any answer, the one shown first, the longer one."""
CONTROL: Method = "majority"
OTHERS: tuple[Method, ...] = ("dawid_skene", "bradley_terry")
KNOWING = "majority of the good"
"""The same answers less those of the bad people: what somebody who knew them would believe."""
QUEUE = "asked"


class Config(Settings):
    """Settings of the experiment."""

    questions: int = Field(default=600, ge=1)
    """Pairs that people are asked about, drawn at random, for the ways of believing."""
    votes: int = Field(default=3, ge=1)
    """People who answer each of them."""
    bad: float = Field(default=0.3, ge=0, lt=1)
    """Share of these people who are bad, as many of each kind as can be."""
    asked: int = Field(default=500, ge=1)
    """Pairs that each rule of choice asks about, each answered by one person; nobody there is bad."""
    rounds: int = Field(default=4, ge=2)
    """Rounds in which they are asked. The first is drawn at random; then a rule chooses by what is believed so far."""
    rules: tuple[Rule, ...] = ("uncertainty", "disagreement", "d_optimal", "double_thompson", "diversity")
    """Rules beside random. In each a fifth of the questions is drawn at random, as in `accord ask`."""
    pool: int = Field(default=800, ge=1)
    """Prompts whose answers could be asked about."""
    answers: int = Field(default=4, ge=2)
    """Answers to each of them; every two of them are a question."""
    epochs: float = Field(default=6.0, gt=0)
    """How often a reward model sees each belief."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Of the reward model."""
    iterations: int = Field(default=8, ge=0)
    """Iterations of the short PPO that is paid by each reward model of the ways of believing; 0 leaves it out."""
    train_prompts: int = Field(default=1500, ge=1)
    """Prompts of the project; `pool` are the first of them, and PPO answers all."""
    test_prompts: int = Field(default=250, ge=2)
    """Prompts that everything is measured on."""


SMALL: dict[str, Any] = {
    "questions": 200, "asked": 200, "rounds": 2, "pool": 250, "epochs": 4, "iterations": 0, "train_prompts": 300,
    "test_prompts": 80,
}  # fmt: skip
"""The small size."""


@dataclass(frozen=True)
class Asking:
    """What was asked in a store and what it taught."""

    beliefs: list[Preference]
    rules: Mapping[str, str]
    """Belief -> which rule asked about it."""


class Here:
    """One seed: the lab, answers that can be asked about, and the trial of reward models."""

    def __init__(self, ground: Ground, config: Config) -> None:
        self.ground, self.config, self.seed = ground, config, ground.seed
        self.prompts = {one.id: one for one in ground.project.prompts("train")[: config.pool]}
        drawn = ground.project.sample(ground.start, list(self.prompts.values()), config.answers, "asked about")
        self.samples = {sample.id: sample for _, sample in drawn}
        self.trial = Trial(ground, ground.project.prompts("test")[: config.test_prompts])

    @cached_property
    def people(self) -> list[Person]:
        """The crowd with its bad people."""
        return mixed(self.ground, self.config.bad)

    @contextmanager
    def store(self) -> Iterator[Store]:
        """A store with the prompts and answers and nothing else, which vanishes."""
        with (
            tempfile.TemporaryDirectory(prefix="accord-believed-") as folder,
            Store.open(Path(folder) / "store.db") as store,
        ):
            store.put([*self.prompts.values(), *self.samples.values()])
            yield store

    def questions(self, store: Store, rule: Rule, count: int, wanted: int, generator: Any) -> list[Question]:
        """More questions as `accord ask` puts them: chosen by a rule from all that could be asked."""
        before = store.all(Question, project=QUEUE)
        items = asking.possible(self.prompts, self.samples.values(), "comparison", before)
        there = asking.opened(store, items, generator)
        chosen = choose(there.pool, count, rule, generator)
        found = asking.questions(there, chosen, "comparison", QUEUE, wanted)
        store.put(found)
        return found

    @cached_property
    def voted(self) -> tuple[list[Question], list[Feedback]]:
        """Questions drawn at random, and what the crowd with its bad people said."""
        with self.store() as store:
            draw = np.random.default_rng(seed_of(self.seed, "voted"))
            asked = self.questions(store, "random", self.config.questions, self.config.votes, draw)
            answer(store, asked, self.people)
            return asked, list(store.feedback(project=QUEUE))

    def believing(self, way: str) -> dict[str, list[float]]:
        """What one way of believing makes of the same answers, and what is learned from that."""
        asked, said = self.voted
        if way == KNOWING:
            bad = {one.name for one in self.people if one.name.startswith(tuple(BAD))}
            said = [one for one in said if one.annotator not in bad]
        method: Any = CONTROL if way == KNOWING else way
        beliefs = believe(asked, said, BelieveConfig(method=method, compare=False)).preferences
        measured = self.measured(beliefs, self.config.iterations, f"believed {way}")
        return {"beliefs right": self.right(asked, beliefs), **measured}

    def right(self, asked: Sequence[Question], beliefs: Sequence[Preference]) -> list[float]:
        """Of each question whose answers gold tells apart 1, 1/2 or 0: whether the believed better one is better; of no
        such question one half."""
        chosen = {frozenset((one.chosen, one.rejected)): one for one in beliefs}
        found = []
        for question in asked:
            first, second = (self.gold(id) for id in question.samples)
            one = chosen.get(frozenset(question.samples))
            if abs(first - second) > 1e-9:
                sure = one is not None and one.probability > 0.5
                better = question.samples[0] if first > second else question.samples[1]
                found.append(float(one.chosen == better) if one is not None and sure else 0.5)
        return found or [0.5]

    def gold(self, sample: str) -> float:
        """True worth of an answer that was asked about."""
        one: Sample = self.samples[sample]
        return self.ground.gold(self.prompts[one.prompt], one).score

    def asking(self, rule: Rule) -> Asking:
        """All rounds of one rule; what was asked is believed before the next questions are chosen."""
        config = self.config
        sizes = [len(part) for part in np.array_split(np.arange(config.asked), config.rounds)]
        with self.store() as store:
            asked: list[Question] = []
            beliefs: list[Preference] = []
            for number, size in enumerate(sizes):
                now: Rule = rule if number else "random"
                draw = np.random.default_rng(seed_of(self.seed, "asked", now, number))
                new = self.questions(store, now, size, 1, draw)
                answer(store, new, self.ground.people)
                asked += new
                mine = {one.id for one in new}
                said = [one for one in store.feedback(project=QUEUE) if one.question in mine]
                found = believe(new, said, BelieveConfig(compare=False)).preferences
                store.put(found)
                beliefs += found
            whose = {one.id: one.question for one in store.feedback(project=QUEUE)}
        rules = {one.id: one.arm for one in asked}
        return Asking(beliefs, {one.id: rules[whose[one.feedback[0]]] for one in beliefs})

    def chosen(self, rule: Rule) -> dict[str, Any]:
        """What is learned from the questions of one rule, and what the service itself would say of the rule."""
        found = self.asking(rule)
        by = {id: at for at, id in enumerate(self.samples)}
        features = scout.features([asking.said(one.content) for one in self.samples.values()])
        draw = np.random.default_rng(seed_of(self.seed, "arms", rule))
        seen = {one.name: one for one in arms.compare(found.beliefs, found.rules, by, features, draw)}
        pays = {"gain": seen[rule].gain.estimate, "pays": seen[rule].pays} if rule in seen else None
        return {"ways": self.measured(found.beliefs, 0, f"asked by {rule}"), "service": pays}

    def measured(self, beliefs: Sequence[Preference], iterations: int, name: str) -> dict[str, list[float]]:
        """A reward model that learned from beliefs, tried."""
        member = self.taught(beliefs)
        found = {"accuracy": self.trial.accuracy(member), "best of 16": self.trial.best_of(member)}
        return found | ({"PPO": self.trial.climbed(member, iterations, name)} if iterations else {})

    def taught(self, beliefs: Sequence[Preference]) -> Member:
        """The same start, head and chance for all beliefs."""
        config = self.ground.project.recipe.reward_model.model_copy(update={"epochs": self.config.epochs})
        rate = {"learning_rate": self.config.learning_rate, "weight_decay": 0.0}
        config = config.model_copy(update={"optimiser": config.optimiser.model_copy(update=rate)})
        learned = self.ground.encoder.comparisons(list(beliefs), self.prompts, self.samples)
        return taught(Lesson(self.ground.backbone(), config), self.ground.encoder, self.seed, learned)


def mixed(ground: Ground, share: float) -> list[Person]:
    """The lab's crowd with a share of it replaced by bad people, as many of each kind as can be."""
    project = ground.project
    assert project.lab is not None, "only the lab's people can be made bad"
    people = crowd(project.lab, project.recipe.collect.people, ground.seed)
    kinds = list(BAD)
    for number in range(round(share * len(people))):
        kind = kinds[number % len(kinds)]
        people[number] = Person(ground.gold, f"{kind} {ground.seed}-{number}", BAD[kind], ground.seed)
    return people


def measured(stand: Stand) -> dict[str, Any]:
    """Every way of believing and every rule of choice of one seed; what is made is not made again."""
    config: Config = stand.config
    made: list[Here] = []

    def here() -> Here:
        if not made:
            made.append(Here(stand.ground(), config))
        return made[0]

    believing, chosen = {}, {}
    for way in (CONTROL, *OTHERS, KNOWING):
        stand.say(f"believe: {way}")
        believing[way] = stand.parts.part(f"believe-{way}", lambda way=way: here().believing(way))  # type: ignore[misc]
    for rule in ("random", *config.rules):
        stand.say(f"ask: {rule}")
        chosen[rule] = stand.parts.part(f"ask-{rule}", lambda rule=rule: here().chosen(rule))  # type: ignore[misc]
    return {"believing": believing, "asking": chosen, "bad": config.bad}


def told(rows: Rows, folder: Path, command: str) -> str:
    """Write tables, page and figures. Returns the tables in Markdown."""
    believing = {seed: row["believing"] for seed, row in rows.items()}
    asking_ = {seed: {rule: one["ways"] for rule, one in row["asking"].items()} for seed, row in rows.items()}
    one, other = gathered(list(believing.values())), gathered(list(asking_.values()))
    share = f"{next(iter(rows.values()))['bad']:.0%}".replace("%", " %")
    said = " ".join([seeds(rows), *(sentence(way, CONTROL, over) for way, over in gains(one, CONTROL).items())])
    parts = [
        Part(f"Believing, {share} bad people", said, table(one, CONTROL, "beliefs by")),
        Part("Asking, equal numbers of questions", verdict_of_rules(rows, gains(other, "random")),
             table(other, "random", "asked by")),
    ]  # fmt: skip
    lead = "The same answers believed in several ways, and as many questions chosen in several ways. Gold judges."
    seen = {str(seed): {rule: one["service"] for rule, one in row["asking"].items()} for seed, row in rows.items()}
    figures = {"believing": plain(believing), "asking": plain(asking_), "service": seen,
               "over seeds": {"believing": sided.plain(one), "asking": sided.plain(other)}}  # fmt: skip
    return sided.kept(folder, "believed", "Believed", lead, parts, command, figures)


def verdict_of_rules(rows: Rows, over: Mapping[str, Mapping[str, Any]]) -> str:
    """Which rules surely pay, each against random; and how often the service would have seen it so."""
    up = [rule for rule, by in over.items() if by and all(found.low > 0 for found in by.values())]
    some = [rule for rule, by in over.items() if rule not in up and any(found.low > 0 for found in by.values())]
    lost = [rule for rule, by in over.items() if any(found.high < 0 for found in by.values())]
    first = f"{seeds(rows)} Better than random in every measure: {', '.join(up) or 'no rule'}."
    first += f" In some measure: {', '.join(some)}." if some else ""
    first += f" Worse in some measure: {', '.join(lost)}." if lost else ""
    seen = [(rule, row["asking"][rule]["service"]) for row in rows.values() for rule in over]
    known = [(rule, one["pays"]) for rule, one in seen if one]
    pays = [rule for rule, one in known if one]
    service = (
        f"From the answers alone, without gold, the service would have said that a rule pays in {len(pays)} of "
        f"{len(known)} cases."
    )
    return " ".join([first, *(sentence(rule, "random", by) for rule, by in over.items()), service])


prove = Experiment("believed", Config, SMALL, measured, told).prove
