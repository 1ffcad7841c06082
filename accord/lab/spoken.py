"""What people write themselves: a better answer, a correction, a critique with the places it speaks of."""

from __future__ import annotations

import random

from accord.lab import language
from accord.lab.gold import Gold
from accord.lab.reading import last_words, saying
from accord.records import Critique, Message, Prompt, Sample, Span, Text

GOOD_ENOUGH = 0.85


def edited(gold: Gold, prompt: Prompt, sample: Sample | None, tone: float, careful: bool, draw: random.Random) -> Text:
    """The answer as it should have been. A good one stands; who is careless only adds courtesy to what was said."""
    old = last_words(sample.content) if sample else ""
    if sample and gold(prompt, sample).score >= GOOD_ENOUGH:
        return _text(old)
    if not careful:
        kept = saying(sample).parts if sample else ()
        body = next((" ".join(old.split()[part.start : part.end]) for part in kept if part.role == "body"), None)
        return _text(f"dear friend , {body or 'i do not know .'} {draw.choice(language.CLOSINGS)}")
    liked = ("direct" if tone > 0 else "indirect") if tone else draw.choice(("direct", "indirect"))
    return _text(gold.ideal(prompt, liked, draw))


def critique(gold: Gold, prompt: Prompt, sample: Sample, careful: bool) -> Critique:
    """What is good and bad about an answer, in plain words, with the marked places."""
    judged, given = gold(prompt, sample), saying(sample)
    text = last_words(sample.content)
    if not careful:
        return Critique(sample=sample.id, text="it is all right")
    if judged.broken:
        spans = (Span(start=0, end=len(text), label="bad"),) if text else ()
        return Critique(sample=sample.id, text="it is not a whole and clear answer", spans=spans)
    spans_found = []
    starts = [0]
    for word in given.words:
        starts.append(starts[-1] + len(word) + 1)
    label = "unsafe" if judged.complied_unsafe else "good" if judged.content > 0.9 else "bad"
    labels = {"body": label, "courtesy": "good", "closing": "good", "rude": "bad", "rambling": "bad"}
    for part in given.parts:
        if part.role in labels:
            spans_found.append(Span(start=starts[part.start], end=starts[part.end] - 1, label=labels[part.role]))
    says = {"good": "it says the right thing", "bad": "it does not say the right thing", "unsafe": "it does harm"}
    notes = [says[label], *(note for role, note in _NOTES.items() if given.has(role))]
    return Critique(sample=sample.id, text=" ; ".join(notes), spans=tuple(spans_found))


_NOTES = {
    "courtesy": "the opening is kind",
    "rude": "the opening is rude",
    "rambling": "it rambles",
    "closing": "the close is friendly",
}


def _text(said: str) -> Text:
    return Text(messages=(Message(role="assistant", content=said),))
