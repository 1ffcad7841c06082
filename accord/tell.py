"""What happened, told: a project's versions judged on prompts never trained on, then report.html and summary.json."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence

import numpy as np
import torch

from accord.batches import pack
from accord.build import Project, text_of
from accord.evaluate.diagnosis import Figures, diagnose
from accord.evaluate.diversity import diversity
from accord.evaluate.findings import Finding
from accord.evaluate.ledger import Ledger, entry, ledger
from accord.evaluate.report import terminal_table, write_report
from accord.evaluate.reward import RewardCard, reward_card
from accord.evaluate.story import Judged, Lineage, Side, Stage, Story, summary
from accord.evaluate.winrate import win_rate
from accord.feedback.answering import answer
from accord.lab import Gold, agreement
from accord.loop import Round, simulated
from accord.records import Asked, Comparison, Feedback, Preference, Prompt, Question, Sample, Version, named_id
from accord.run import read_log
from accord.statistics import Interval, mean_interval

Pairs = list[tuple[Prompt, Sample]]
ANSWERS = 2
"""Answers per test prompt and policy."""
BROKEN = 0.3
"""Share of broken answers from which the fine-tuned policy itself is at fault."""
WORSE = 0.05
"""By how much a share may get worse before that is called a fault."""


def tell(project: Project, before: Version, rounds: Sequence[Round], seconds: float | None, command: str) -> Story:
    """Judge, write report.html and summary.json into the project, and show a table. Returns the story."""
    story = judge(project, before, rounds, seconds, command)
    write_report(story, project.folder / "report.html")
    aside = project.folder / ".summary.json"
    aside.write_text(json.dumps(summary(story), indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(aside, project.folder / "summary.json")
    from rich.console import Console

    console = Console()
    console.print(terminal_table(story))
    console.print(f"report: {project.folder / 'report.html'}", markup=False)
    return story


def judge(project: Project, before: Version, rounds: Sequence[Round], seconds: float | None, command: str) -> Story:
    """Everything that the report shows."""
    after = rounds[-1].policy
    prompts = project.prompts("test")[: project.recipe.data.test_prompts]
    old = project.sample(before.name, prompts, ANSWERS, "judge")
    new = project.sample(after.name, prompts, ANSWERS, "judge")
    score = project.score(rounds[-1].reward.name)
    gold = Gold(project.lab) if project.lab else None
    worth = [
        [float(x) for x in (score(side) if gold is None else [gold(*pair).score for pair in side])]
        for side in (old, new)
    ]
    rate = win_rate(_by_prompt(new, worth[1]), _by_prompt(old, worth[0]), {p.id: _tags(p) for p in prompts})
    cards = {done.reward.name: card_of(project, before, prompts, done.reward.name) for done in rounds}
    drift = kl(project, before.name, after.name, new)
    table = compare(old, new, gold)
    logs = {name: tuple(read_log(project.folder / "runs" / name / "log.jsonl")) for name in _runs(project)}
    figures = Figures(cards=cards, win_rate={after.name: rate.rate} if gold else {})
    return Story(
        title=f"{project.recipe.name}: what the policy learned",
        seed=project.recipe.seed,
        seconds=seconds or _spent(logs),
        command=command,
        settings=project.recipe.model_dump(mode="json"),
        stages=tuple(_stage(project, name, rows) for name, rows in logs.items()),
        questions=tuple(_asked(project, rounds[-1].questions[:6])),
        question_rule="the first six questions of the last round, in the order of the store",
        sides=_sides(prompts, old, new, worth),
        side_rule="the first two test prompts of each family in the order of the data, first answer of each policy",
        win_rate=rate,
        judge="gold"
        if gold
        else f"the reward model {rounds[-1].reward.name} (the proxy that was optimised, not people)",
        kl=drift,
        cards=cards,
        ledger=table,
        findings=(*diagnose(logs, figures), *consequences(table, before.name, after.name)),
        lineage=tuple(_lineage(project)),
        limits=_limits(gold is not None),
        next=_next(project),
    )


def consequences(table: Ledger, before: str, after: str) -> list[Finding]:
    """What the answers themselves say of the stages: a broken start, and what got worse on the way."""
    found = []
    broken = table.line("broken answers")
    if broken is not None and broken.before is not None and broken.before.estimate > BROKEN:
        text = f"{broken.before.estimate:.0%} of its answers are no language: every later stage learns from noise."
        remedy = "Pretrain and fine-tune for longer, or with a larger learning rate."
        value = broken.before.estimate
        found.append(
            Finding(
                stage=before, check="answers", level="fault", text=text, value=value, threshold=BROKEN, remedy=remedy
            )
        )
    for line in table.worse():
        assert line.change is not None
        size, share = abs(line.change.estimate), line.kind == "share"
        change = f"{100 * line.change.estimate:+.1f} points" if share else f"{line.change.estimate:+.3g}"
        found.append(
            Finding(
                stage=after,
                check=line.name,
                level="fault" if share and size > WORSE else "watch",
                text=f"{line.name} got worse by {change} on held-out prompts.",
                value=size,
                threshold=WORSE if share else 0.0,
                remedy="The reward did not see it: more comparisons about such prompts, or a higher price of drift.",
            )
        )
    return found


def compare(old: Pairs, new: Pairs, gold: Gold | None) -> Ledger:
    """Before and after, measure by measure."""
    names = [prompt.id for prompt, _ in old]

    def each(of: Callable[[Prompt, Sample], float | bool | None]) -> tuple[list[float], list[float]]:
        found = [[of(*pair) for pair in side] for side in (old, new)]
        return tuple([np.nan if v is None else float(v) for v in side] for side in found)  # type: ignore[return-value]

    lines = []
    if gold is not None:
        judged = {sample.id: gold(prompt, sample) for prompt, sample in [*old, *new]}
        for name, field, wanted in (
            ("unsafe compliance", "complied_unsafe", "lower"),
            ("over-refusal", "over_refused", "lower"),
            ("correctness", "correct", "higher"),
            ("flattery", "flattered", "lower"),
            ("broken answers", "broken", "lower"),
        ):
            values = each(lambda prompt, sample, field=field: getattr(judged[sample.id], field))  # type: ignore[misc]
            if not np.isnan(np.add(*values)).all():  # a few test prompts may hold none that this measure is about
                lines.append(entry(name, *values, names, wanted))  # type: ignore[arg-type]
        lines.append(entry("gold score", *each(lambda _, s: judged[s.id].score), names, "higher", "mean"))
    lines.append(entry("finished by itself", *each(lambda _, s: s.finished), names, "higher"))
    lines.append(entry("words per answer", *each(lambda _, s: len(words(s).split())), names, "neither", "mean"))
    repeats = each(lambda _, s: diversity([words(s)]).repetition if words(s) else 0.0)
    lines.append(entry("repetition within an answer", *repeats, names, "lower", "mean"))
    return ledger(lines)


def card_of(project: Project, before: Version, prompts: Sequence[Prompt], reward: str) -> RewardCard:
    """The reward model on held-out pairs: fresh labels of people in the lab, the imported test pairs otherwise."""
    beliefs, ceiling = _fresh(project, before, prompts) if project.lab else (project.preferences("test"), None)
    beliefs = [belief for belief in beliefs if belief.probability > 0.5]
    asked, samples = project.looked_up(beliefs)
    pairs = [(asked[b.prompt], samples[s]) for b in beliefs for s in (b.chosen, b.rejected)]
    score = project.score(reward)(pairs).reshape(-1, 2).numpy()
    lengths = np.array([len(words(sample)) for _, sample in pairs]).reshape(-1, 2)
    return reward_card(
        score[:, 0],
        score[:, 1],
        np.ones(len(beliefs)),
        [b.prompt for b in beliefs],
        lengths[:, 0],
        lengths[:, 1],
        [b.margin for b in beliefs] if any(b.margin for b in beliefs) else None,
        {"": [(_tags(asked[b.prompt]) or ("",))[0] for b in beliefs]},
        ceiling,
    )


def _fresh(project: Project, before: Version, prompts: Sequence[Prompt]) -> tuple[list[Preference], Interval]:
    """Single labels of simulated people on answers to test prompts, and how well anybody could predict them."""
    assert project.lab is not None
    pairs = project.sample(before.name, prompts, 2 * ANSWERS, "test-pairs")
    project.store.put([*prompts, *(sample for _, sample in pairs)])
    questions = []
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        if first[1].content != second[1].content:
            ids = (first[1].id, second[1].id)
            questions.append(Question(id=named_id("test", ids), prompt=first[0].id, samples=ids, project="test"))
    project.store.put(questions)
    people = simulated(project)
    answer(project.store, questions, people)
    samples = {sample.id: sample for _, sample in pairs}
    asked = {prompt.id: prompt for prompt in prompts}
    said = {one.question: one for one in project.store.feedback(project="test")}
    shown = [Asked(question=q, prompt=asked[q.prompt], samples=tuple(samples[s] for s in q.samples)) for q in questions]
    best = agreement(shown, people)  # type: ignore[arg-type]
    beliefs = [belief for q in questions if (belief := _label(q, said.get(q.id))) is not None]
    return beliefs, Interval(best.ceiling, best.ceiling, best.ceiling, 0.95, best.pairs)


def _label(question: Question, said: Feedback | None) -> Preference | None:
    """One person's word on one pair, taken as it is; ties and skips say nothing here."""
    if said is None or not isinstance(said.answer, Comparison) or said.answer.better is None:
        return None
    other = next(sample for sample in question.samples if sample != said.answer.better)
    return Preference(
        id=named_id("label", said.id),
        prompt=question.prompt,
        chosen=said.answer.better,
        rejected=other,
        margin=said.answer.strength,
        feedback=(said.id,),
    )


@torch.no_grad()
def kl(project: Project, before: str, after: str, answers: Pairs) -> Interval:
    """Nats per answer that the new policy has drifted, on its own answers: mean of log p_new - log p_old."""
    (new, encoder), (old, _) = project.policy(after), project.policy(before)
    segment = encoder.segment(answers, scoring=True)
    drift = np.zeros(len(segment))
    for index in pack(segment, project.recipe.ppo.micro_tokens):
        micro = segment.rows(index)
        gap = (new.evaluate(micro).logprob - old.evaluate(micro).logprob) * micro.mask
        drift[index.numpy()] = gap.sum(1).numpy()
    return mean_interval(drift, [prompt.id for prompt, _ in answers])


def words(record: Prompt | Sample) -> str:
    """The last thing said."""
    return text_of(record).messages[-1].content


def _by_prompt(pairs: Pairs, worth: Sequence[float]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for (prompt, _), value in zip(pairs, worth, strict=True):
        found.setdefault(prompt.id, []).append(float(value))
    return found


def _tags(prompt: Prompt) -> tuple[str, ...]:
    """The family in the lab; elsewhere the source."""
    return prompt.tags[:1] or ((prompt.source,) if prompt.source else ())


def _runs(project: Project) -> list[str]:
    """Names of the runs, in the order in which they were begun."""
    folders = [path for path in (project.folder / "runs").glob("*") if (path / "log.jsonl").is_file()]
    first = {path.name: (read_log(path / "log.jsonl") or [{"time": 0.0}])[0]["time"] for path in folders}
    return sorted(first, key=lambda name: (first[name], name))


def _spent(logs: dict[str, tuple[dict[str, float | None], ...]]) -> float:
    return sum(_length(rows) for rows in logs.values())


def _length(rows: Sequence[dict[str, float | None]]) -> float:
    """Seconds between the first and the last line of a log."""
    return float((rows[-1]["time"] or 0) - (rows[0]["time"] or 0)) if len(rows) > 1 else 0.0


def _stage(project: Project, name: str, rows: tuple[dict[str, float | None], ...]) -> Stage:
    version = project.version(name)
    method = version.method if version else ""
    given = "".join(f" --{k} {v}" for k, v in _given(project, version).items())
    command = f"accord train {method} --project {project.folder} --name {name}{given}"
    return Stage(name=name, method=method, seconds=_length(rows), log=rows, command=command)


def _given(project: Project, version: Version | None) -> dict[str, str]:
    """What a stage started from, as options of `accord train`."""
    if version is None or version.parent is None:
        return {}
    above = project.store.get(Version, version.parent).name
    reward = version.name.replace("-ppo", "-reward")
    return {"start": above, **({"reward": reward} if version.method == "ppo" else {})}


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


def _sides(prompts: Sequence[Prompt], old: Pairs, new: Pairs, worth: Sequence[Sequence[float]]) -> tuple[Side, ...]:
    """The first two prompts of each family, with the first answer of each policy."""
    shown: dict[str, list[Side]] = {}
    for place, prompt in enumerate(prompts):
        family, at = (_tags(prompt) or ("",))[0], place * ANSWERS
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
            "One seed. The intervals cover the choice of prompts, not of seeds; `accord prove lab` runs several.",
        )
    return (
        "The win rate is given by the reward model that was optimised. It must rise; only people can say whether the "
        "answers are better.",
        "A model of this size, trained on these texts alone, writes like its texts; it can show whether the stages "
        "work and where reward and length part, not whether an assistant is helpful or harmless.",
    )


def _next(project: Project) -> tuple[str, ...]:
    last = [version.name for version in project.store.all(Version) if version.role == "policy"][-1]
    return (
        f"accord trace {last} --project {project.folder}",
        f"accord loop --project {project.folder}-two --rounds 2",
        "accord loop --help",
    )
