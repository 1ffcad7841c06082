"""Whether an answer is of the form that was asked for, and leaves nothing out."""

from __future__ import annotations

from accord.records import Answer, Combined, Comparison, Flags, Form, Question, Ranking, Rating
from accord.store import Refused

SAYS: dict[Form, str] = {
    "comparison": "comparison",
    "rating": "rating",
    "ranking": "ranking",
    "correction": "correction",
    "critique": "critique",
    "demonstration": "written",
    "flags": "flags",
    "combined": "combined",
}
"""Which kind of answer each form of question takes."""


def fits(question: Question, said: Answer | None) -> None:
    """Raises Refused when an answer is not of the form that was asked for, or leaves something out."""
    if said is None:
        return
    if said.kind != SAYS[question.form]:
        raise Refused(f"question {question.id} asks for a {SAYS[question.form]}, the answer is a {said.kind}")
    match said:
        case Comparison():
            _compared(question, said)
        case Rating():
            _rated(question, said)
        case Ranking():
            _ranked(question, said)
        case Flags():
            _flagged(question, said.flags)
        case Combined():
            _rated(question, said.rating)
            _ranked(question, said.ranking)
            _flagged(question, said.flags)


def _compared(question: Question, said: Comparison) -> None:
    if question.criteria and said.criterion not in question.criteria:
        raise Refused(f"criterion {said.criterion!r} is none of {', '.join(question.criteria)}")
    if question.safety != (said.safe is not None):
        asked = (
            "asks which answers are safe (`safe`, perhaps empty)" if question.safety else "does not ask about safety"
        )
        raise Refused(f"question {question.id} {asked}")


def _rated(question: Question, said: Rating) -> None:
    names, criteria = set(question.samples), set(question.criteria) or {""}
    off = names ^ set(said.scores) or {c for by in said.scores.values() for c in criteria ^ set(by)}
    if off:
        raise Refused(f"a rating scores every sample by every criterion, nothing else; look at {sorted(off)[:3]}")
    if tuple(said.scale) != tuple(question.scale):
        raise Refused(f"question {question.id} is rated on the scale {question.scale}, the answer on {said.scale}")


def _ranked(question: Question, said: Ranking) -> None:
    names = set(question.samples)
    if {sample for place in said.order for sample in place} != names:
        raise Refused(f"a ranking of question {question.id} places each of its {len(names)} samples")


def _flagged(question: Question, said: dict[str, dict[str, bool]]) -> None:
    names = set(question.samples) if question.flags else set()
    off = names ^ set(said) or {f for by in said.values() for f in set(question.flags) ^ set(by)}
    if off:
        raise Refused(f"every sample gets a yes or no to each of {list(question.flags)}; look at {sorted(off)[:3]}")
