"""Versions judged on prompts never trained on: win rate, ledger, reward card, drift, and what each round added."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from accord.algorithms import sft
from accord.batches import pack
from accord.evaluate.diversity import diversity
from accord.evaluate.findings import Finding
from accord.evaluate.ledger import Ledger, entry, ledger
from accord.evaluate.reward import RewardCard, reward_card
from accord.evaluate.story import Figure
from accord.evaluate.winrate import WinRate, win_rate
from accord.evaluate.wording import made_up, read_in
from accord.feedback.answering import answer
from accord.lab import Gold, agreement
from accord.loop import Round, simulated
from accord.project import Project, text_of
from accord.quality.ceiling import ceiling as ceiling_of
from accord.quality.votes import hear
from accord.records import Asked, Comparison, Feedback, Preference, Prompt, Question, Sample, Version, named_id
from accord.statistics import Interval, mean_interval, paired_difference
from accord.store.examples import spelt

Pairs = list[tuple[Prompt, Sample]]
ANSWERS = 2
"""Answers per test prompt and policy."""
BROKEN = 0.3
"""Share of broken answers from which the fine-tuned policy itself is at fault."""
MADE_UP = 0.2
"""Share of made-up words from which it is at fault; people's own answers have some .03."""
WORDLESS = 0.9
"""Share of answers without a word (numbers, Chinese) from which nothing is said of made-up ones."""
STARTS = (
    ("broken answers", "answers", BROKEN, "its answers are no language",
     "Pretrain and fine-tune for longer, or with a larger learning rate."),
    ("made-up words", "made-up words", MADE_UP, "the words in its answers stand nowhere in what it read",
     "Pretrain and fine-tune for longer, in smaller batches, or with a larger learning rate."),
)  # fmt: skip
"""Figures of the fine-tuned policy from which it is at fault itself: line, check, limit, what is said, the way out."""
WORSE = 0.05
"""By how much a share may get worse before that is called a fault."""


def answers(project: Project, version: str, prompts: Sequence[Prompt], count: int = ANSWERS) -> Pairs:
    """What a version answers to the test prompts; the same call gives the same answers."""
    return project.sample(version, prompts, count, "judge")


def against(prompts: Sequence[Prompt], old: Pairs, new: Pairs, worth: Sequence[Sequence[float]]) -> WinRate:
    """Win rate of new against old. worth: the score of each answer of old, and of new."""
    return win_rate(by_prompt(new, worth[1]), by_prompt(old, worth[0]), {prompt.id: tags(prompt) for prompt in prompts})


def round_by_round(
    project: Project, before: Version, rounds: Sequence[Round], prompts: Sequence[Prompt]
) -> tuple[list[Figure], list[Finding]]:
    """Gold win rate after each round, and whether each further one helped. Empty without gold or with one round."""
    if project.lab is None or len(rounds) < 2:
        return [], []
    gold = Gold(project.lab)
    names = [before.name, *(done.policy.name for done in rounds)]
    said = [answers(project, name, prompts) for name in names]
    worth = [[gold(*pair).score for pair in side] for side in said]
    clusters = [prompt.id for prompt, _ in said[0]]
    figures, findings = [], []
    for number in range(1, len(names)):
        rate = against(prompts, said[0], said[number], (worth[0], worth[number])).rate
        figures.append(Figure(name=f"gold win rate after round {number}", interval=rate, reference=0.5))
        if number == 1:
            continue
        gain = paired_difference(worth[number], worth[number - 1], clusters)
        helped = gain.low > 0
        words_ = "helped" if helped else "made it worse" if gain.high < 0 else "did not help beyond doubt"
        findings.append(
            Finding(
                stage=names[number],
                check="a further round",
                level="ok" if helped else "watch",
                text=f"Round {number} {words_}: gold score changed by {gain}.",
                value=gain.estimate,
                threshold=0.0,
                remedy="" if helped else "Ask about other prompts, or stop here.",
            )
        )
    return figures, findings


def consequences(table: Ledger, before: str, after: str) -> list[Finding]:
    """What the answers themselves say of the stages: a broken start, and what got worse on the way."""
    found = []
    for name, check, most, said, remedy in STARTS:
        line = table.line(name)
        if line is not None and line.before is not None and line.before.estimate > most:
            share = line.before.estimate
            text = f"{share:.0%} of {said}: every later stage learns from noise."
            found.append(
                Finding(stage=before, check=check, level="fault", text=text, value=share, threshold=most, remedy=remedy)
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


def by_half(cards: Mapping[str, RewardCard]) -> list[Figure]:
    """Accuracy of each reward model on each source of held-out pairs, beside that of length alone on the same pairs."""
    return [
        Figure(
            name=f"accuracy of {name} on {part.name}",
            interval=part.accuracy,
            reference=0.5,
            note=f"chance is 50 %; length alone {part.length}",
        )
        for name, card in cards.items()
        for part in card.by_slice
    ]


def read_by(project: Project) -> frozenset[str] | None:
    """Words that a policy could read in a project of files, in its texts or on its training side; None in the lab."""
    return None if project.lab else read_in(spelt(project.documents, project.store, "all"))


def compare(
    old: Pairs,
    new: Pairs,
    gold: Gold | None,
    entropy: tuple[Sequence[float], Sequence[float]] | None = None,
    read: frozenset[str] | None = None,
) -> Ledger:
    """Before and after, measure by measure. entropy: nats per token of each answer of old, and of new.

    read: the words that could be read; without it nothing is said of made-up ones.
    """
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
    if read is not None:
        asked = {prompt.id: " ".join(turn.content for turn in text_of(prompt).messages) for prompt, _ in old}
        unread = each(lambda prompt, s: made_up(words(s), asked[prompt.id], read))
        if np.isnan(np.add(*unread)).mean() < WORDLESS:
            lines.append(entry("made-up words", *unread, names, "lower"))
    repeats = each(lambda _, s: diversity([words(s)]).repetition if words(s) else 0.0)
    lines.append(entry("repetition within an answer", *repeats, names, "lower", "mean"))
    if entropy is not None:
        lines.append(entry("entropy, nats per token", *entropy, names, "neither", "mean"))
    return ledger(lines)


def held_out(project: Project, before: Version, prompts: Sequence[Prompt]) -> tuple[list[Preference], Interval | None]:
    """Beliefs that nothing learned from, and their ceiling: fresh labels in the lab, else the imported test pairs."""
    if project.lab is not None:
        return _fresh(project, before, prompts)
    return project.preferences("test"), people_agree(project)


def chosen_loss(project: Project, beliefs: Sequence[Preference], names: Sequence[str]) -> dict[str, float]:
    """Nats per token of each policy on the answers that people chose; nothing where nobody chose."""
    asked, samples = project.looked_up(beliefs)
    chosen = {belief.chosen: (asked[belief.prompt], samples[belief.chosen]) for belief in beliefs}
    found = {}
    for name in names if beliefs else ():
        policy, encoder = project.policy(name)
        found[name] = sft.loss_on(policy, encoder.segment(list(chosen.values())), project.recipe.sft.micro_tokens)
    return found


def card_of(project: Project, reward: str, beliefs: Sequence[Preference], ceiling: Interval | None) -> RewardCard:
    """A reward model on held-out pairs that have a better side."""
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
        {"": [(tags(asked[b.prompt]) or ("",))[0] for b in beliefs]},
        ceiling,
    )


def people_agree(project: Project) -> Interval | None:
    """How well anybody could predict single votes, where several people answered the same questions; else None."""
    questions = [question for question in project.store.all(Question) if question.wanted > 1]
    if not questions:
        return None
    known = {question.id for question in questions}
    votes = hear(questions, (said for said in project.store.feedback() if said.question in known)).votes
    found = ceiling_of(votes)
    return None if found.why else found.high


def _fresh(project: Project, before: Version, prompts: Sequence[Prompt]) -> tuple[list[Preference], Interval]:
    """Labels without ties of simulated people on answers to test prompts, and how well anybody could predict them."""
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
    return beliefs, Interval(best.decided, best.decided, best.decided, 0.95, best.pairs)


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
    """Nats per answer that the new policy has drifted, on its own answers: mean of log p_new - log p_old.

    answers: those that are judged; where top_k, top_p or min_p cut their distribution, others are drawn from all of it,
    for only so is the mean the divergence.
    """
    (new, encoder), (old, _) = project.policy(after), project.policy(before)
    draw, prompts = project.recipe.draw, list({prompt.id: prompt for prompt, _ in answers}.values())
    if draw.cuts:
        answers = project.sample(after, prompts, ANSWERS, "drift", uncut=True)
    segment = encoder.segment(answers, scoring=True)
    drift = np.zeros(len(segment))
    for index in pack(segment, project.recipe.ppo.micro_tokens):
        micro = segment.rows(index)
        gap = (new.evaluate(micro).logprob - old.evaluate(micro).logprob) * micro.mask
        drift[index.numpy()] = gap.sum(1).numpy()
    return mean_interval(drift, [prompt.id for prompt, _ in answers])


@torch.no_grad()
def entropies(project: Project, version: str, answers: Pairs) -> list[float]:
    """Mean entropy per token, in nats, of a version over each of its own answers; 0 for an empty one."""
    policy, encoder = project.policy(version)
    segment = encoder.segment(answers, scoring=True)
    found = np.zeros(len(segment))
    for index in pack(segment, project.recipe.ppo.micro_tokens):
        micro = segment.rows(index)
        total = (policy.evaluate(micro).entropy * micro.mask).sum(1)
        found[index.numpy()] = (total / micro.mask.sum(1).clamp(min=1)).numpy()
    return [float(value) for value in found]


def words(record: Prompt | Sample) -> str:
    """The last thing said."""
    return text_of(record).messages[-1].content


def by_prompt(pairs: Pairs, worth: Sequence[float]) -> dict[str, list[float]]:
    """Prompt id -> the scores of its answers."""
    found: dict[str, list[float]] = {}
    for (prompt, _), value in zip(pairs, worth, strict=True):
        found.setdefault(prompt.id, []).append(float(value))
    return found


def tags(prompt: Prompt) -> tuple[str, ...]:
    """The family in the lab; elsewhere the source."""
    return prompt.tags[:1] or ((prompt.source,) if prompt.source else ())
