"""What happened, told: a project's versions judged on prompts never trained on, then report.html and summary.json."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from shlex import quote

from accord import checked, dialogues
from accord.added import figures_added
from accord.evaluate.diagnosis import Figures, diagnose
from accord.evaluate.findings import Finding
from accord.evaluate.report import terminal_table, write_report
from accord.evaluate.story import Judged, Lineage, Side, Stage, Story, summary
from accord.judge import (
    ANSWERS,
    Pairs,
    against,
    answers,
    by_half,
    card_of,
    chosen_loss,
    compare,
    consequences,
    entropies,
    held_out,
    kl,
    read_by,
    round_by_round,
    tags,
    words,
)
from accord.lab import Gold
from accord.loop import Round, judged_by
from accord.project import Project, text_of
from accord.records import Comparison, Feedback, Prompt, Question, Sample, Version
from accord.run import read_log, speed, where_time_went
from accord.whole import written

LOST = {
    "prompts_cut": "lost the oldest part of the prompt",
    "answers_cut": "lost the end of the answer",
    "rows_left_out": "could not be used",
}
"""What the encoder did to rows, in words, by the figure of the version that counts it."""
SPENT = {
    "speed/tokens_per_second": "{:,.0f} tokens a second",
    "speed/machine_share": "{:.0%} of the machine's rate of matrix products",
    "speed/padding_share": "{:.0%} padding",
    "speed/prompts_saved": "{:.0%} of the prompts' tokens read once instead of again",
    "memory/peak_mb": "{:,.0f} MB at most",
}
"""Figures of a log that the report tells of a stage, with their words."""


def tell(project: Project, before: Version, rounds: Sequence[Round], seconds: float | None, command: str) -> Story:
    """Judge, write report.html and summary.json into the project, and show a table. Returns the story."""
    story = judge(project, before, rounds, seconds, command)
    write_report(story, project.folder / "report.html")
    written(project.folder / "summary.json", json.dumps(summary(story), indent=1, ensure_ascii=False))
    from rich.console import Console

    console = Console()
    console.print(terminal_table(story))
    console.print(f"report: {project.folder / 'report.html'}", markup=False)
    return story


def judge(project: Project, before: Version, rounds: Sequence[Round], seconds: float | None, command: str) -> Story:
    """Everything that the report shows. seconds: how long this process has worked; None when it only judges again."""
    begun = time.time() - (seconds or 0.0)
    after = rounds[-1].policy
    prompts = judged_by(project)[: project.recipe.data.test_prompts]
    rules = checked.rules(project, prompts)
    count = project.recipe.judging.answers if rules else ANSWERS
    old, new = (answers(project, name, prompts, count) for name in (before.name, after.name))
    gold = Gold(project.lab) if project.lab and rules is None else None
    reward = rounds[-1].reward
    score = project.score(reward.name) if reward else None

    def valued(pairs: Pairs) -> list[float]:
        if rules:
            return [rules.passes(*pair) for pair in pairs]
        if gold:
            return [gold(*pair).score for pair in pairs]
        assert score is not None
        return [float(x) for x in score(pairs)]

    worth = [valued(side) for side in (old, new)]
    talked, by_turn = dialogues.told(project, before.name, after.name, prompts, valued)
    rate = against(prompts, old, new, worth)
    beliefs, ceiling = held_out(project, before, prompts) if reward else ([], None)
    beside = [f"{reward.name}-{other}" for other in project.recipe.beside] if reward else []
    names = [*beside, *(done.reward.name for done in rounds if done.reward)]
    cards = {name: card_of(project, name, beliefs, ceiling) for name in names if beliefs or not rules}
    by_round, further = round_by_round(project, before, rounds, prompts) if rules is None else ([], [])
    drift = kl(project, before.name, after.name, new)
    spread = entropies(project, before.name, old), entropies(project, after.name, new)
    table = compare(old, new, gold, spread, read_by(project))
    further += consequences(table, before.name, after.name)
    seen = checked.told(project, rules, before, rounds, (old, new), score, table)
    rate = checked.paired(rate, seen.table) if rules else rate
    logs = {name: tuple(read_log(project.folder / "runs" / name / "log.jsonl")) for name in _runs(project)}
    figures = Figures(
        vocabulary=len(project.tokenizer()),
        chosen_loss=chosen_loss(project, beliefs, [n for n in ("pretrained", before.name) if project.version(n)]),
        cards=cards,
        win_rate={after.name: rate.rate} if gold or rules else {},
    )
    return Story(
        title=f"{project.recipe.name}: what the policy learned",
        text=seen.text,
        seed=project.recipe.seed,
        seconds=_spent(logs) if seconds is None else seconds + _spent(logs, begun),
        command=command,
        settings=project.recipe.model_dump(mode="json"),
        stages=tuple(_stage(project, name, rows) for name, rows in logs.items()),
        questions=tuple(_asked(project, rounds[-1].questions[:6])),
        question_rule="the first six questions of the last round, in the order of the store",
        sides=(*_sides(prompts, old, new, worth, count), *talked),
        side_rule="the first two test prompts of each family in the order of the data, first answer of each policy"
        + ("; then a dialogue from the first prompt of each family" if talked else ""),
        win_rate=rate,
        judge=rules.judge if rules else "gold" if gold else proxy(rounds[-1]),
        kl=drift,
        cards=cards,
        ledger=seen.table,
        figures=(*by_round, *seen.figures, *by_turn, *figures_added(project, names), *(() if gold else by_half(cards))),
        findings=by_stage((*diagnose(logs, figures), *further, *seen.findings), logs),
        lineage=tuple(_lineage(project)),
        limits=checked.LIMITS if rules else _limits(gold is not None),
        next=_next(project),
    )


def by_stage(findings: Sequence[Finding], stages: Iterable[str]) -> tuple[Finding, ...]:
    """The findings in the order of the stages, for what comes after a fault stands on it; those of one as they were."""
    place = {name: at for at, name in enumerate(stages)}
    return tuple(sorted(findings, key=lambda one: place.get(one.stage, len(place))))


def proxy(last: Round) -> str:
    """Who judges where there is no gold, and what that judge was to the policy: its reward, or a pupil of its pairs."""
    assert last.reward is not None
    asked = last.reward.id in last.policy.data
    what = "the proxy that was optimised" if asked else "which learned from the same pairs as the policy"
    return f"the reward model {last.reward.name} ({what}, not people)"


def _runs(project: Project) -> list[str]:
    """Names of the runs, in the order in which they were begun."""
    folders = [path for path in (project.folder / "runs").glob("*") if (path / "log.jsonl").is_file()]
    first = {path.name: (read_log(path / "log.jsonl") or [{"time": 0.0}])[0]["time"] for path in folders}
    return sorted(first, key=lambda name: (first[name], name))


def _spent(logs: dict[str, tuple[dict[str, float | None], ...]], until: float = math.inf) -> float:
    """Seconds of work that all logs account for, in lines written until then (seconds since 1970)."""
    return sum(_length([row for row in rows if (row["time"] or 0.0) < until]) for rows in logs.values())


def _length(rows: Sequence[dict[str, float | None]]) -> float:
    """Seconds of work that the lines of a log account for; a run that lay killed for a night did not work then."""
    total = 0.0
    for row in rows:
        parts = {key: value or 0.0 for key, value in row.items() if key.startswith("seconds/")}
        total += parts.get("seconds/step", sum(parts.values()))  # the step is the whole of its parts
    return total


def _stage(project: Project, name: str, rows: tuple[dict[str, float | None], ...]) -> Stage:
    version = project.version(name)
    method = version.method if version else ""
    given = "".join(f" --{k} {quote(v)}" for k, v in _given(project, version).items())
    command = f"accord train {method} --project {quote(str(project.folder))} --name {quote(name)}{given}"
    figures = version.figures if version else {}
    lost = [f"{figures[key]:.0f} {said}" for key, said in LOST.items() if figures.get(key)]
    text = f"Of {figures['rows_encoded']:.0f} rows {', '.join(lost)}. " if lost else ""
    if "perplexity_before" in figures:
        told = "Perplexity of held-out plain text: {perplexity_before:.3g} before, {perplexity:.3g} after. "
        text += told.format(**figures)
    text += _spending(rows)
    return Stage(name=name, method=method, text=text, seconds=_length(rows), log=rows, command=command)


def _spending(rows: Sequence[dict[str, float | None]]) -> str:
    """Where the time of a stage went, and how well the machine was used; nothing when its log does not say."""
    said = ", ".join(f"{part.name} {part.share:.0%}" for part in where_time_went(rows) if part.share >= 0.01)
    found, words = speed(rows), []
    for name, shown in SPENT.items():
        if found.get(name):
            words.append(shown.format(found[name]))
    return (f"Time: {said}. " if said else "") + ("; ".join(words) + "." if words else "")


def _given(project: Project, version: Version | None) -> dict[str, str]:
    """What a stage started from, as options of `accord train`."""
    if version is None:
        return {}
    beside = [other for other in project.recipe.beside if version.name.endswith(f"-reward-{other}")]
    if version.parent is None:
        return {"beside": beside[0]} if beside else {}
    above = project.store.get(Version, version.parent).name
    costs, given = version.config.get("costs"), version.config.get("given")
    told = {"start": above}
    for option, named in (given if isinstance(given, dict) else {}).items():
        told |= {option: str(named)} if named not in (None, above) else {}
    return told | ({"cost": ",".join(costs)} if isinstance(costs, dict) else {})


def _asked(project: Project, questions: Sequence[Question]) -> list[Judged]:
    """Some questions with what was said."""
    said = {one.question: one for one in project.store.feedback(project=questions[0].project)} if questions else {}
    found = []
    for question in questions:
        if question.id not in said:
            continue
        one = said[question.id]
        order = one.shown or question.samples
        samples = project.store.get_many(Sample, order)
        verdict, better = _in_words(one, order)
        prompt = words(project.store.get(Prompt, question.prompt))
        texts = tuple(words(samples[s]) for s in order)
        found.append(Judged(prompt=prompt, answers=texts, said=verdict, who=one.annotator, better=better))
    return found


def _in_words(said: Feedback, order: Sequence[str]) -> tuple[str, int | None]:
    letter = {sample: chr(65 + place) for place, sample in enumerate(order)}
    match said.answer:
        case Comparison(better=better, verdict=verdict, strength=strength) if better is not None:
            return f"{letter[better]} is better ({verdict}, strength {strength})", order.index(better)
        case Comparison(verdict=verdict):
            return verdict.replace("_", " "), None
        case None:
            return "skipped", None
        case other if other.kind == "ranking":
            places = " > ".join(" = ".join(letter[s] for s in place) for place in other.order)
            return places, order.index(other.order[0][0])
        case other:
            return other.kind, None


def _sides(
    prompts: Sequence[Prompt], old: Pairs, new: Pairs, worth: Sequence[Sequence[float]], count: int
) -> tuple[Side, ...]:
    """The first two prompts of each family, with the first answer of each policy."""
    shown: dict[str, list[Side]] = {}
    for place, prompt in enumerate(prompts):
        family, at = (tags(prompt) or ("",))[0], place * count
        if len(shown.setdefault(family, [])) < 2:
            before, after = old[at][1], new[at][1]
            cut = [side for side, sample in (("before", before), ("after", after)) if not sample.finished]
            shown[family].append(
                Side(
                    prompt="\n".join(f"{m.role}: {m.content}" for m in text_of(prompt).messages),
                    before=words(before),
                    after=words(after),
                    family=family,
                    before_score=worth[0][at],
                    after_score=worth[1][at],
                    note=f"cut at the limit: {', '.join(cut)}" if cut else "",
                )
            )
    return tuple(side for sides in shown.values() for side in sides)


def _lineage(project: Project) -> list[Lineage]:
    found = []
    for version in project.store.all(Version):
        traced = project.store.trace_version(version.id)
        found.append(
            Lineage(
                version=version.name,
                role=version.role,
                method=version.method,
                parent=project.store.get(Version, version.parent).name if version.parent else "",
                people=len(traced.annotators),
                feedback=len(traced.feedback),
                beliefs=len(traced.preferences) + len(traced.demonstrations),
            )
        )
    return found


def _limits(lab: bool) -> tuple[str, ...]:
    if lab:
        return (
            "The lab is a small invented world: it shows whether the method works, not what people prefer.",
            "The test pairs are labelled by the same simulated people who taught, about other prompts: the accuracy is "
            "that of foreseeing these people.",
            "One seed. The intervals cover the choice of prompts, not of seeds; `accord prove lab` runs several.",
        )
    return (
        "The win rate is given by the reward model that was optimised. It must rise; only people can say whether the "
        "answers are better.",
        "Accuracy is on prompts that nothing learned from, against single choices of people, who often disagree with "
        "each other; where nobody else answered the same question there is no ceiling to hold it against.",
        "One seed and one split by prompt. The intervals cover the choice of prompts, not of seeds.",
        "A model of this size, trained on these texts alone, writes like its texts; it can show whether the stages "
        "work and where reward and length part, not whether an assistant is helpful or harmless.",
    )


def _next(project: Project) -> tuple[str, ...]:
    last = [version.name for version in project.store.all(Version) if version.role == "policy"][-1]
    here, further = quote(str(project.folder)), quote(f"{project.folder}-longer")
    return (
        f"accord trace {quote(last)} --project {here}",
        f"accord loop {quote(str(project.folder / 'project.yaml'))} --project {further} "
        f"--rounds {project.recipe.rounds + 1}",
        "accord loop --help",
    )
