"""The checks of each kind of stage: one question each, answered with a number, a threshold and a way out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from accord.evaluate.findings import Figures, Finding, Level, Rows, Thresholds, begin, end, judge, newest, series, shown

Method = Literal["pretrain", "sft", "reward_model", "ppo"]


# --- imitation -------------------------------------------------------------------------------------------------


def _predicts(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Has it learned to predict at all?"""
    loss = end(rows, "loss", limits)
    if loss is None or figures.vocabulary is None:
        return
    uniform = math.log(figures.vocabulary)
    limit = limits.uniform_share * uniform
    yield judge(
        stage, "loss against guessing", loss, limit, loss <= limit,
        f"The loss ends at {loss:.2f} nats per token; guessing among {figures.vocabulary} tokens costs {uniform:.2f}.",
        "Train longer or with a higher learning rate; look at one decoded batch and at its mask.",
    )  # fmt: skip


def _generalises(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Does what it learned hold on rows that it has not seen?"""
    train, held = end(rows, "loss", limits), newest(rows, "held_out_loss")
    if train is None or held is None:
        return
    yield judge(
        stage, "held-out gap", held - train, limits.held_out_gap, held - train <= limits.held_out_gap,
        f"The held-out loss is {held:.2f}, the training loss {train:.2f} nats per token.",
        "It learns rows by heart: fewer epochs, more data, a smaller model, or check that the split is by prompt.",
    )  # fmt: skip


def _knows_the_chosen(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Did fine-tuning make the answers that people like likelier?"""
    mine = figures.chosen_loss.get(stage)
    others = [name for name in figures.chosen_loss if name != stage and "pretrain" in name.lower()]
    if mine is None or not others:
        return
    before = figures.chosen_loss[others[0]]
    gain = before - mine
    yield judge(
        stage, "loss on chosen answers", gain, limits.chosen_gain, gain > limits.chosen_gain,
        f"On answers that people chose the loss went from {before:.2f} to {mine:.2f} nats per token.",
        "The demonstrations do not look like what people choose: check the chat template, the masks and the data.",
    )  # fmt: skip


# --- the reward model ------------------------------------------------------------------------------------------


def _beats_chance(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Is it better than a coin and than the length of the answer?"""
    card = figures.cards.get(stage)
    if card is None:
        held = newest(rows, "held_out_accuracy")
        if held is not None:
            yield judge(
                stage, "accuracy against chance", held, 0.5, held > 0.5,
                f"Held-out accuracy is {held:.3f}; a coin has 0.5.",
                "Policies that follow it learn noise. More comparisons, or look for swapped sides in the data.",
            )  # fmt: skip
        return
    sure = card.over_chance.low > 0
    yield judge(
        stage, "accuracy against chance", card.accuracy.estimate, 0.5, sure,
        f"Held-out accuracy is {shown(card.accuracy)}; "
        + ("a coin has 0.5." if sure else "that cannot be told from a coin's 0.5."),
        "Policies that follow it learn noise. More comparisons, or look for swapped sides in the data.",
    )  # fmt: skip
    level: Level = "ok" if card.over_length.low > 0 else "watch" if card.over_length.high > 0 else "fault"
    yield Finding(
        stage=stage, check="accuracy against length", level=level,
        text=f"A rule that looks at length alone has {shown(card.length_accuracy)}; "
        f"the reward model is {card.over_length.estimate:+.3f} from it.",
        value=card.over_length.estimate, threshold=0.0,
        remedy="" if level == "ok" else "It may be a measure of length: balance the lengths of the pairs, or add data.",
    )  # fmt: skip


def _nears_the_ceiling(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """How near is it to what people's agreement allows?"""
    card = figures.cards.get(stage)
    if card is None or card.ceiling is None or card.share_of_ceiling is None:
        return
    value = card.share_of_ceiling.estimate
    yield judge(
        stage, "share of the ceiling", value, limits.ceiling_share, value >= limits.ceiling_share,
        f"It reaches {100 * value:.0f} % of the agreement ceiling {card.ceiling.estimate:.3f}.",
        "Prompts run out before answers do: compare answers to more prompts, or use a larger backbone.", "watch",
    )  # fmt: skip


def _not_by_heart(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Does accuracy on training pairs hold on others?"""
    card, train = figures.cards.get(stage), end(rows, "accuracy", limits)
    held = card.accuracy.estimate if card else newest(rows, "held_out_accuracy")
    if held is None or train is None:
        return
    yield judge(
        stage, "training against held-out accuracy", train - held, limits.reward_gap, train - held <= limits.reward_gap,
        f"Accuracy is {train:.3f} on training pairs and {held:.3f} on held-out ones.",
        "It learns pairs by heart: one epoch, a smaller learning rate, or more prompts.", "watch",
    )  # fmt: skip


def _no_length_habit(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Is it right only where length points the right way?"""
    card = figures.cards.get(stage)
    by = {part.name: part for part in card.by_length} if card else {}
    if "better one longer" not in by or "better one shorter" not in by:
        return
    long, short = by["better one longer"].accuracy, by["better one shorter"].accuracy
    gap, sure = long.estimate - short.estimate, long.low > short.high or short.low > long.high
    yield judge(
        stage, "accuracy by length", abs(gap), limits.length_gap, abs(gap) <= limits.length_gap or not sure,
        f"It is right in {long.estimate:.3f} of pairs whose better answer is longer, in {short.estimate:.3f} of those "
        "where it is shorter.",
        "The policy will learn to write long (or short) answers: balance lengths, or collect pairs of equal length.",
        "watch",
    )  # fmt: skip


def _hears_the_strong(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Is it better on pairs that people find clear?"""
    card = figures.cards.get(stage)
    if card is None or len(card.by_margin) < 2:
        return
    weak, strong = card.by_margin[0].accuracy, card.by_margin[-1].accuracy
    yield judge(
        stage, "accuracy by margin", strong.estimate, weak.estimate, strong.high >= weak.low,
        f"On '{card.by_margin[-1].name}' pairs accuracy is {strong.estimate:.3f}, on '{card.by_margin[0].name}' ones "
        f"{weak.estimate:.3f}.",
        "Clear cases should be the easy ones: check how strength became margin and how beliefs were made.", "watch",
    )  # fmt: skip


def _is_calibrated(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Is its confidence earned?"""
    card = figures.cards.get(stage)
    if card is None:
        return
    c = card.calibration
    yield judge(
        stage, "calibration", c.ece, limits.ece, c.ece <= limits.ece,
        f"Confidence and accuracy differ by {c.ece:.3f} on average (temperature {c.temperature:.2f}).",
        f"Divide score differences by {c.temperature:.2f} where they serve as probabilities.", "watch",
    )  # fmt: skip


# --- PPO -------------------------------------------------------------------------------------------------------


def _within_budget(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Has it moved, and not too far?"""
    kl = end(rows, "kl", limits)
    if kl is None:
        return
    least = kl <= limits.kl_least
    limit = limits.kl_least if least else limits.kl_budget
    yield judge(
        stage, "drift from the reference", kl, limit, not least and kl <= limit,
        f"The policy ends {kl:.3f} nats per answer from the reference"
        + (": it has learned nothing." if least else f"; the budget is {limit:g}."),
        "Raise the learning rate, lower kl.coefficient, and see that rewards differ between answers."
        if least
        else "Raise kl.coefficient or set kl.target; judge answers by eye before the reward is believed.",
    )  # fmt: skip


def _keeps_its_entropy(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Does it still say different things?"""
    first, last = begin(rows, "entropy", limits), end(rows, "entropy", limits)
    if first is None or last is None:
        return
    limit = limits.entropy_share * first
    yield judge(
        stage, "entropy", last, limit, last >= limit,
        f"Entropy went from {first:.2f} to {last:.2f} nats per token.",
        "It says the same thing always: add an entropy bonus or target, raise the price of drift, stop earlier.",
    )  # fmt: skip


def _still_ends(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Do answers end by themselves, and at a like length?"""
    first, last = begin(rows, "finished", limits), end(rows, "finished", limits)
    if first is not None and last is not None:
        yield judge(
            stage, "answers that end", first - last, limits.finished_drop, first - last <= limits.finished_drop,
            f"{100 * first:.0f} % of answers ended by themselves at first, {100 * last:.0f} % at the end.",
            "Set missing_end_penalty, allow more tokens, and see that the reward model was trained with the end token.",
        )  # fmt: skip
    short, long = begin(rows, "length", limits), end(rows, "length", limits)
    if short and long:
        factor = max(long / short, short / long)
        yield judge(
            stage, "length of answers", factor, limits.length_factor, factor <= limits.length_factor,
            f"Mean length went from {short:.1f} to {long:.1f} tokens.",
            "See whether the reward model pays for length; raise the price of drift; balance lengths in the pairs.",
        )  # fmt: skip


def _steps_are_right(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Are updates neither too large nor too small?"""
    values = series(rows, "clip_fraction")
    if not values:
        return
    clipped = sum(values) / len(values)
    if clipped > limits.clip_high:
        yield judge(
            stage, "clip fraction", clipped, limits.clip_high, False,
            f"{100 * clipped:.0f} % of actions hit the clip on average: updates are too large.",
            "Lower the learning rate, the epochs or the number of minibatches, or set stop_kl.",
        )  # fmt: skip
        return
    yield judge(
        stage, "clip fraction", clipped, limits.clip_low, clipped > limits.clip_low,
        f"{100 * clipped:.2f} % of actions hit the clip on average.",
        "Updates never reach the clip: the learning rate may be raised.", "watch",
    )  # fmt: skip


def _critic_knows(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Is the critic of use?"""
    explained = end(rows, "explained_variance", limits)
    if explained is None:
        return
    yield judge(
        stage, "critic", explained, limits.explained_least, explained > limits.explained_least,
        f"The critic explains {explained:.2f} of the variance of returns at the end.",
        "It is of no use: start it from the reward model, give it a warm-up, or another learning rate.",
    )  # fmt: skip


def _sampler_agrees(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Do sampler and trainer speak of the same policy?"""
    drift, first = series(rows, "sampler_drift"), series(rows, "first_ratio")
    if drift:
        yield judge(
            stage, "sampler drift", max(drift), limits.drift, max(drift) <= limits.drift,
            f"Sampler and trainer differ by at most {max(drift):.2g} nats per token.",
            "Look for another temperature, dropout, old weights or precision in the sampler.",
        )  # fmt: skip
    if first:
        yield judge(
            stage, "first ratio", max(first), limits.first_ratio, max(first) <= limits.first_ratio,
            f"Before the first update of a rollout the ratio is off 1 by at most {max(first):.2g}.",
            "Log-probabilities are not those of the policy that is updated: dropout, padding or precision.",
        )  # fmt: skip


def _groups_teach(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Do answers to one prompt earn differently, where nothing else tells a good one from a bad one?"""
    flat = end(rows, "flat_groups", limits)
    if flat is None:
        return
    yield judge(
        stage, "groups that teach", flat, limits.flat_groups, flat <= limits.flat_groups,
        f"Of {flat:.0%} of the prompts all answers earned the same; they teach nothing.",
        "Let answers end (draw.max_tokens, missing_end_penalty); other prompts, more answers to each, or grpo.filter.",
    )  # fmt: skip


def _reward_is_real(stage: str, rows: Rows, figures: Figures, limits: Thresholds) -> Iterator[Finding]:
    """Does what the reward model likes go with what is good?"""
    first, last = begin(rows, "reward", limits), end(rows, "reward", limits)
    won = figures.win_rate.get(stage)
    if first is None or last is None or won is None:
        return
    risen, fallen, gained = last > first, won.high < 0.5, won.low > 0.5
    level: Level = "fault" if fallen else "ok" if gained else "watch"
    if fallen and risen:
        text = "The reward rose while the answers got worse: over-optimisation."
        remedy = "Stop earlier, raise the price of drift, and collect comparisons of this policy's own answers."
    elif fallen:
        text, remedy = "Answers got worse.", "Look at the other findings of this stage and of the reward model."
    elif gained:
        text, remedy = "The reward rose and the answers got better.", ""
        text = text if risen else "Answers got better although the reward did not rise."
    else:
        text = "Answers got neither better nor worse beyond doubt."
        remedy = "Judge more prompts; then train longer, or improve the reward model."
    yield Finding(
        stage=stage, check="reward against truth", level=level, value=won.estimate, threshold=0.5, remedy=remedy,
        text=f"{text} Reward {first:.2f} to {last:.2f}, win rate {shown(won)}.",
    )  # fmt: skip


Check = Callable[[str, Rows, Figures, Thresholds], Iterator[Finding]]
CHECKS: Mapping[Method, tuple[Check, ...]] = {
    "pretrain": (_predicts, _generalises),
    "sft": (_predicts, _generalises, _knows_the_chosen),
    "reward_model": (
        _beats_chance,
        _nears_the_ceiling,
        _not_by_heart,
        _no_length_habit,
        _hears_the_strong,
        _is_calibrated,
    ),
    "ppo": (
        _sampler_agrees,
        _within_budget,
        _keeps_its_entropy,
        _still_ends,
        _steps_are_right,
        _critic_knows,
        _groups_teach,
        _reward_is_real,
    ),
}
