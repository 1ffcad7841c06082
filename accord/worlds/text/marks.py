"""Marked places of texts as labels of tokens, and steps of texts as the tokens that end them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any, Literal

import torch

from accord.batches import Segment
from accord.marked import Marked
from accord.records import Prompt, Sample, Span
from accord.worlds.text.encode import Encoder, EncodingError
from accord.worlds.text.places import places
from accord.worlds.text.rows import text_of

Said = tuple[Prompt, Sample, Sequence[Span]]
"""What a critic marked in an answer."""
Range = tuple[int, int]


def marked(
    encoder: Encoder,
    said: Sequence[Said],
    good: Collection[str],
    faults: Collection[str],
    per: Literal["step", "token"] = "step",
) -> Marked:
    """Critiques as answers with labels at their tokens; names are sample ids.

    per `step`: each span with a label of `good` or `faults` is judged at its last token; places marked twice have the
    mean of their labels. per `token`: every token that writes something is judged, 0 inside a fault, else 1. Answers
    whose text cannot be found in their tokens, or in which nothing is judged, are left out and told in the report.
    Raises EncodingError when nothing is left.
    """
    segment = encoder.segment([(prompt, sample) for prompt, sample, _ in said])
    label, count = torch.zeros(segment.action.shape), torch.zeros(segment.action.shape)
    row, kept = 0, []
    for _, sample, spans in said:
        if row == len(segment) or segment.names[row] != sample.id:
            continue  # it could not be encoded
        where = in_message(encoder, segment, row, sample)
        if where is None:
            encoder.report.add(sample.id, "its last message is spelt otherwise in tokens: no place in it can be found")
        else:
            for at, right in judged(where, spans, good, faults, per):
                label[row, at] += right
                count[row, at] += 1
        count[row] *= segment.mask[row]
        if count[row].any():
            kept.append(row)
        row += 1
    if not kept:
        labels = sorted({span.label for _, _, spans in said for span in spans})
        raise EncodingError(
            f"in none of {len(said)} critiques is a place marked that can be learned from; it wants places inside the "
            f"answer's text with a label of {', '.join(sorted({*good, *faults}))}, and the labels are "
            f"{', '.join(map(repr, labels[:6])) or 'none'}"
        )
    plain: dict[str, Any] = {f.name: getattr(segment, f.name) for f in fields(Segment)}
    whole = Marked(**plain, label=label / count.clamp_min(1), judged=count > 0)
    return whole.rows(torch.tensor(kept))


def judged(
    where: Sequence[Range], spans: Sequence[Span], good: Collection[str], faults: Collection[str], per: str
) -> list[tuple[int, float]]:
    """Numbers of judged tokens and whether each is right (1) or wrong (0)."""
    inside = [(span.label, tokens) for span in spans if (tokens := within((span.start, span.end), where))]
    if per == "step":
        known = [(tokens[-1], float(label in good)) for label, tokens in inside if label in good or label in faults]
        return sorted(known)
    wrong = {t for label, tokens in inside if label in faults for t in tokens}
    return [(t, float(t not in wrong)) for t, (start, end) in enumerate(where) if start < end]


def within(part: Range, where: Sequence[Range]) -> list[int]:
    """Numbers of the tokens of which at least one character lies in that part of the text."""
    return [t for t, (start, end) in enumerate(where) if start < end and start < part[1] and part[0] < end]


def in_message(encoder: Encoder, segment: Segment, row: int, sample: Sample) -> list[Range] | None:
    """Where each token of a row stands in the sample's last message; None when that cannot be told.

    Tokens before that message stand before 0 and touch nothing in it.
    """
    tokens = segment.action[row, : int(segment.length[row])].tolist()
    found = places(encoder, tokens, sample.finished)
    text, last = encoder.text(tokens, sample.finished).messages[-1].content, text_of(sample).messages[-1].content
    at = 0 if last.startswith(text) else text.rfind(last)
    if at < 0:
        return None
    return [(start - at, end - at) for start, end in found]


def stops(
    encoder: Encoder, segment: Segment, answers: Sequence[Sample], parts: Sequence[Sequence[Range]]
) -> list[list[int]]:
    """For each answer the numbers of the tokens at which its parts end, in order.

    A part without a token ends at the one before it; where the text cannot be found in the tokens, all of them end with
    the answer. Rows of the segment are those of the answers.
    """
    found = []
    for row, (sample, of_row) in enumerate(zip(answers, parts, strict=True)):
        where, at = in_message(encoder, segment, row, sample), 0
        ends = []
        for part in of_row:
            at = int(segment.length[row]) - 1 if where is None else max(within(part, where), default=at)
            ends.append(max(0, at))
        found.append(ends)
    return found
