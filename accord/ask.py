"""`accord ask`: what people are asked next about a version's answers, and how varied that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from accord.feedback.arms import Arm
    from accord.feedback.asking import Scorer
    from accord.feedback.select import Rule
    from accord.project import Project
    from accord.records import Prompt, Sample
    from accord.store import Store


def ask(
    version: Positional[str] = "",
    /,
    project: Path = Path("quickstart"),
    store: str = "",
    queue: str = "default",
    count: int = 100,
    form: Literal[
        "comparison", "rating", "ranking", "flags", "combined", "correction", "critique", "demonstration"
    ] = "comparison",
    wanted: int = 1,
    rule: Literal[
        "random", "uncertainty", "disagreement", "d_optimal", "double_thompson", "diversity", "coverage"
    ] = "random",
    control: float = 0.2,
    insist: bool = False,
    reward: tuple[str, ...] = (),
    criteria: tuple[str, ...] = (),
    scale: tuple[int, int] = (1, 5),
    flags: tuple[str, ...] = (),
    safety: bool = False,
    prompts: int = 200,
    answers: int = 2,
    scrub: bool = False,
    names: Path | None = None,
    presidio: str = "",
    seed: int = 0,
    dry_run: bool = False,
) -> int:
    """Put questions about a version's answers into a queue, chosen at random or by a rule.

    Shows how varied the questions are beside all that could be asked, and whether the rule has paid so far; one that
    was tried and has not surely paid gives way to chance. Asking the same again adds nothing.

    Args:
        version: Whose answers; it answers prompts of the project now when it has not yet. Without one: answers that
            were imported.
        project: Folder of the project.
        store: Another store: a path, or `postgresql+psycopg://...`; there only imported answers are asked about.
        queue: Name of the queue (`accord serve` shows them as projects).
        count: How many questions.
        form: What people are to do.
        wanted: How many people answer each question.
        rule: What to prefer: nothing; pairs that models find open; on which they contradict each other; that tell
            most of the features; that two sampled models would choose; unlike those before; evenly over topics.
        control: Share that is drawn at random beside a rule; at least 0.2.
        insist: Follow the rule also when it has not paid.
        reward: Reward models that score the answers; without one a small reader of words learns from the beliefs.
        criteria: Respects to judge by, for ratings.
        scale: Lowest and highest score, for ratings.
        flags: What is asked of each answer by yes or no (forms `flags` and `combined`).
        safety: Whether a comparison also asks which answers are safe.
        prompts: How many prompts the version answers.
        answers: How many answers to each.
        scrub: Take e-mail, telephone, ids, cards and names out of the answers before anybody sees them; prompts that
            have any are not asked about.
        names: File of further names to take out, one a line; turns --scrub on.
        presidio: Language, as `en`, in which presidio looks for more; turns --scrub on.
        seed: Another seed, another draw.
        dry_run: Only show what would be asked.
    """
    import numpy as np

    from accord.config import SettingsError
    from accord.feedback import asking
    from accord.feedback.coverage import told
    from accord.feedback.select import choose
    from accord.records import Question
    from accord.store import Store

    if store and version:
        raise SettingsError("--store: a version answers in its own project; leave one of the two out")
    if form == "flags" and not flags:
        raise SettingsError("--form flags asks by yes or no: name what, as --flags harmful off-topic")
    generator = np.random.default_rng(seed)
    with Store.of(project, store) as opened:
        there, made = _answers(opened, project, version, form, prompts, answers, f"ask-{queue}-{seed}")
        if scrub or names or presidio:
            there, made = _shown(opened, there, made, names, presidio)
        before = list(opened.all(Question, project=queue))
        items = asking.possible(there, made, form, before)
        if not items:
            raise SettingsError(
                f"nothing to ask: {len(there)} prompts with {len(made)} answers give no new {form} "
                f"({len(before)} questions stand in queue {queue!r} already)"
            )
        found = asking.opened(opened, items, generator, _scorer(project, reward) if reward else None)
        followed = _followed(opened, rule, insist, generator)
        try:
            chosen = choose(found.pool, count, followed, generator, control)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        print("\n".join(told(asking.covered(found, chosen), asking.covered(found))))
        print(f"chosen by: {', '.join(f'{n} {arm}' for arm, n in Counter(one.arm for one in chosen).most_common())}")
        if dry_run:
            print(f"would ask {len(chosen)} questions of {wanted} people each in queue {queue!r}; nothing was written")
            return 0
        opened.put(made)
        more = {"criteria": criteria, "scale": scale, "flags": flags, "safety": safety}
        new = opened.put(asking.questions(found, chosen, form, queue, wanted, **more))
        print(f"{new} questions in queue {queue!r}; `accord serve --project {project}` opens the room")
    return 0


# --- parts -----------------------------------------------------------------------------------------------------


def _opened(folder: Path) -> Project:
    """The project in a folder, under its own recipe. Raises SettingsError when it has none."""
    from accord.config import SettingsError
    from accord.project import Project
    from accord.recipe import recipe
    from accord.store.near import hint

    if not (folder / "project.yaml").is_file():
        raise SettingsError(
            f"{folder} is no project{hint(folder)}: it has no project.yaml, so no model of it can be opened"
        )
    return Project(folder, recipe(folder / "project.yaml"))


def _answers(
    store: Store, folder: Path, version: str, form: str, prompts: int, answers: int, name: str
) -> tuple[dict[str, Prompt], list[Sample]]:
    """Prompts and the answers to ask about: those of a version, made now when there are none; or those imported."""
    from accord.config import SettingsError
    from accord.records import Prompt, Sample, Version

    def asked(found: Iterable[Sample]) -> tuple[dict[str, Prompt], list[Sample]]:
        kept = list(found)
        there = store.get_many(Prompt, dict.fromkeys(one.prompt for one in kept))
        chosen = [id for id, one in there.items() if one.split == "train"][:prompts]
        return {id: there[id] for id in chosen}, [one for one in kept if one.prompt in set(chosen)]

    if form == "demonstration" and not version:
        return {one.id: one for one in list(store.all(Prompt, split="train"))[:prompts]}, []
    if not version:
        return asked(one for one in store.all(Sample) if one.version is None)
    made = next(iter(store.all(Version, name=version)), None)
    if made is None or made.role != "policy":
        names = ", ".join(one.name for one in store.all(Version, role="policy")) or "none"
        raise SettingsError(f"no version {version!r} that answers; there are: {names}")
    there, kept = asked(store.all(Sample, version=made.id))
    if len(kept) >= answers * len(there) > 0:
        return there, kept
    project = _opened(folder)
    pairs = project.sample(version, project.prompts("train")[:prompts], answers, name)
    return {prompt.id: prompt for prompt, _ in pairs}, [sample for _, sample in pairs]


def _shown(
    store: Store, there: dict[str, Prompt], made: Sequence[Sample], names: Path | None, presidio: str
) -> tuple[dict[str, Prompt], list[Sample]]:
    """Prompts and answers without what points at people. Says what was taken out."""
    from accord.store.scrub import looked_for, told
    from accord.store.shown import shown

    found = shown(store, there, made, *looked_for(names, presidio))
    print(told(found.counts))
    if found.left_out:
        print(f"{found.left_out} prompts point at people and are not asked about (accord import --scrub cleans them)")
    return found.prompts, found.samples


def _scorer(folder: Path, names: Sequence[str]) -> Scorer:
    """Scores by reward models of the project."""
    import numpy as np

    project = _opened(folder)
    scores = [project.score(name) for name in names]
    return lambda pairs: np.stack([one(pairs).double().numpy() for one in scores])


def _followed(store: Store, rule: Rule, insist: bool, generator: object) -> Rule:
    """The rule, or random when the rule has been tried and surely does not pay. Says what is known of each arm."""
    found = next((one for one in _arms(store, generator) if one.name == rule), None)
    if rule == "random" or found is None or found.pays or insist:
        return rule
    print(f"{rule} has not paid so far, so all questions are drawn at random (--insist follows it anyhow)")
    return "random"


def _arms(store: Store, generator: object) -> list[Arm]:
    """Each rule that was tried in this store against the control arm, told in a line."""
    from accord.feedback import arms, asking
    from accord.records import Feedback, Preference, Question

    rules = {one.id: one.arm for one in store.all(Question)}
    if not set(rules.values()) - {"random"}:
        return []
    asked = {one.id: one.question for one in store.all(Feedback)}
    beliefs = [one for one in store.all(Preference) if one.feedback and one.feedback[0] in asked]
    arm_of = {one.id: rules[asked[one.feedback[0]]] for one in beliefs}
    features, rows = asking.read(store, beliefs)
    found = arms.compare(beliefs, arm_of, rows, features, generator)  # type: ignore[arg-type]
    for one in found:
        print(
            f"{one.name}: {one.accuracy.percent()} of held-out beliefs right, random {one.control.percent()} from as "
            f"many ({one.beliefs}); gain {one.gain.percent()}{'' if one.pays else ': none that can be shown'}"
        )
    return found
