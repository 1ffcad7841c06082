"""The circle, told on one page: act, keep, ask, answer, believe, learn worth, learn to act, judge, and again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from accord import build, methods
from accord.config import SettingsError
from accord.earned import asked, unseen
from accord.feedback.answering import answer, unanswered
from accord.lab import crowd
from accord.project import Project
from accord.protocols import FeedbackSource
from accord.quality.believe import Beliefs, believe
from accord.records import Feedback, Preference, Prompt, Question, Sample, Version, named_id
from accord.run import ranks
from accord.worlds.text.models import located

Said = Callable[[str], None]


class Waiting(RuntimeError):
    """The circle stands still until people have answered; the same command goes on from here."""


@dataclass(frozen=True)
class Round:
    """What one way round the circle left behind."""

    number: int
    policy: Version
    reward: Version | None
    """None where rules alone pay and judge."""
    answers: list[tuple[Prompt, Sample]]
    questions: list[Question]
    beliefs: list[Preference]


def loop(project: Project, say: Said = lambda _: None) -> tuple[Version, list[Round]]:
    """Go round the circle as often as the recipe says. Returns the policy before it and what each round left.

    Every line can be killed and started again. Raises Waiting when people's answers are wanted.
    """
    ranks.alone("the circle")
    for other in project.recipe.beside.values():
        located(other.model.name or "")  # a package that is missing is told now, not after the stages before it
    askable(project)
    project.prepare()
    judged_by(project)
    before = policy = start(project, say)
    rounds: list[Round] = []
    for number in range(1, project.recipe.rounds + 1):
        answers = act(project, policy, number, say)
        questions = ask(project, answers, number)
        respond(project, questions, say)
        # By id: without questions every round learns from the same imported beliefs.
        every = [*believed(project, questions), *(belief for done in rounds for belief in done.beliefs)]
        beliefs = list({belief.id: belief for belief in every}.values())
        reward = learn_worth(project, before, beliefs, number, say)
        method, given = project.recipe.method, {"start": policy.name, "reference": before.name}
        say(f"round {number}: {method}, from {policy.name}")
        paid = {"reward": reward.name} if reward else {}
        policy = methods.train(project, method, f"round{number}-{method}", **given, **paid, beliefs=beliefs)
        rounds.append(Round(number, policy, reward, answers, questions, beliefs))
    return before, rounds


def judged_by(project: Project) -> list[Prompt]:
    """Prompts to learn by and prompts to judge by must be there before anything is learned. Returns the latter.

    Raises SettingsError with their numbers when a side is empty.
    """
    if project.recipe.judging.by == "rules":
        asked(project, None)
        return unseen(project)
    learned, judged = project.prompts("train"), project.prompts("test")
    if not learned or not judged:
        share, said = getattr(project.recipe.data, "test_share", 0), project.store.count(Feedback)
        heard = f". What came were {said} answers of people to questions: `accord train reward_heads` hears these as "
        heard = heard + "they are, `accord believe` makes pairs of comparisons and rankings" if said else ""
        raise SettingsError(
            f"the data hold {len(learned)} prompts to learn by and {len(judged)} to judge by (test_share={share}); "
            "both are needed: give more preferences (data.preferences) or another data.test_share" + heard
        )
    return judged


def askable(project: Project) -> None:
    """Raises SettingsError where nothing could be asked about the answers of a round, or nobody is there to say it."""
    collect, draw = project.recipe.collect, project.recipe.draw
    if collect.source != "none" and (draw.top_k == 1 or draw.min_p == 1):
        raise SettingsError(
            f"with draw.top_k={draw.top_k} and draw.min_p={draw.min_p:g} only the likeliest token is drawn: all "
            f"{collect.answers} answers to a prompt would be the same, and nothing could be asked about them"
        )
    if collect.source == "simulated":
        simulated(project)


def learn_worth(
    project: Project, before: Version, beliefs: Sequence[Preference], number: int, say: Said
) -> Version | None:
    """The reward model of a round, and those beside it; None where rules alone pay and judge."""
    if project.recipe.judging.by == "rules" and not project.recipe.worth.learned:
        return None
    say(f"round {number}: learning from {len(beliefs)} beliefs what answers are worth")
    method, name = project.recipe.reward_method, f"round{number}-reward"
    reward = methods.train(project, method, name, start=before.name, beliefs=beliefs)
    for beside in project.recipe.beside:
        build.train(project, "reward_model", f"{reward.name}-{beside}", beliefs=beliefs, beside=beside)
    return reward


def start(project: Project, say: Said) -> Version:
    """Pretrain where the recipe wants it, then fine-tune."""
    first = None
    if project.recipe.pretrain is not None:
        say("pretrain: reading the texts")
        first = build.train(project, "pretrain", "pretrained", start=None).name
    say("sft: imitating the demonstrations")
    return build.train(project, "sft", "sft", start=first)


def act(project: Project, policy: Version, number: int, say: Said) -> list[tuple[Prompt, Sample]]:
    """Answers of the policy to this round's prompts, kept in the store."""
    collect = project.recipe.collect
    if collect.source == "none":
        return []
    say(f"collect: {collect.prompts} prompts, {collect.answers} answers each")
    every = project.prompts("train")
    prompts = every[(number - 1) * collect.prompts :][: collect.prompts] or every[: collect.prompts]
    pairs = project.sample(policy.name, prompts, collect.answers, f"round{number}-collect")
    project.store.put(sample for _, sample in pairs)
    return pairs


def ask(project: Project, answers: Sequence[tuple[Prompt, Sample]], number: int) -> list[Question]:
    """Questions about the answers to each prompt that differ in their text, put into the store's queue."""
    collect, queue = project.recipe.collect, f"round{number}"
    by_prompt: dict[str, list[Sample]] = {}
    for prompt, sample in answers:
        seen = by_prompt.setdefault(prompt.id, [])
        if all(sample.content != other.content for other in seen):
            seen.append(sample)
    questions = []
    for prompt_id, samples in by_prompt.items():
        ids = tuple(sample.id for sample in samples)
        sets = [ids] if collect.form == "ranking" else [ids[i : i + 2] for i in range(0, len(ids) - 1, 2)]
        for chosen in sets:
            form = "comparison" if len(chosen) == 2 else collect.form
            if len(chosen) >= 2:
                name = named_id("question", project.recipe.name, project.recipe.seed, queue, chosen)
                questions.append(
                    Question(id=name, prompt=prompt_id, samples=chosen, form=form, wanted=collect.wanted, project=queue)
                )
    project.store.put(questions)
    return questions


def respond(project: Project, questions: Sequence[Question], say: Said) -> None:
    """Simulated people answer at once; real ones are waited for. Raises Waiting when answers are missing."""
    collect = project.recipe.collect
    if collect.source == "simulated" and questions:
        say(f"ask: {len(questions)} questions for {collect.people} simulated people")
        answer(project.store, questions, simulated(project))
        return
    missing = unanswered(project.store, questions)
    if missing:
        raise Waiting(
            f"{missing} answers to {len(questions)} questions are still wanted in queue {questions[0].project!r} of "
            f"{project.folder / 'store.db'}. Have people answer (or import their feedback), then run this again."
        )


def simulated(project: Project) -> list[FeedbackSource]:
    """The people of the lab. Raises SettingsError when the project's data are not the lab's."""
    if project.lab is None:
        raise SettingsError(
            "collect.source=simulated needs the lab's data: only there is a true preference to simulate from. With "
            "data from files set collect.source to people (docs/loop.md), or to none and learn from what is there"
        )
    return list(crowd(project.lab, project.recipe.collect.people, project.recipe.seed))


def believed(project: Project, questions: Sequence[Question]) -> list[Preference]:
    """What to believe of the answers to these questions, kept in the store; imported beliefs when none were asked."""
    if not questions:
        return project.preferences("train")
    wanted = {question.id for question in questions}
    said = [one for one in project.store.feedback(project=questions[0].project) if one.question in wanted]
    order = {question.id: place for place, question in enumerate(questions)}
    said.sort(key=lambda one: (order[one.question], one.annotator))
    found: Beliefs = believe(questions, said, project.recipe.believe)
    project.store.put([*found.samples, *found.preferences, *found.demonstrations])
    return found.preferences
