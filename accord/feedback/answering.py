"""Let sources of feedback answer what was asked, through the store, as people would.

Who answers a question is fixed by the question's id, not by who comes first, so a loop that was killed in the
middle and started again ends with the same answers.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from accord.protocols import FeedbackSource
from accord.records import Feedback, Question, named_id
from accord.store import Store

BATCH = 500


def assigned(question: Question, names: Sequence[str]) -> list[str]:
    """The `wanted` names that answer a question, drawn by its id. Raises ValueError when there are too few."""
    if question.wanted > len(names):
        raise ValueError(f"question {question.id} wants {question.wanted} answers and there are {len(names)} sources")
    return random.Random(question.id).sample(sorted(names), question.wanted)


def answer(store: Store, questions: Sequence[Question], sources: Sequence[FeedbackSource]) -> int:
    """Have every question answered by those assigned to it; how many answers were new.

    What a source gives no answer to is kept as a skip. Answers are written in batches; a batch is kept whole.
    """
    by_name = {source.name: source for source in sources}
    new = 0
    for start in range(0, len(questions), BATCH):
        batch = questions[start : start + BATCH]
        theirs: dict[str, list[Question]] = defaultdict(list)
        for question in batch:
            for name in assigned(question, list(by_name)):
                theirs[name].append(question)
        said: list[Feedback] = []
        for name in sorted(theirs):
            asked = store.ask(theirs[name], name)
            for one, given in zip(asked, by_name[name].answer(asked), strict=True):
                said.append(
                    Feedback(
                        id=named_id("feedback", one.question.id, name),
                        question=one.question.id,
                        annotator=name,
                        answer=given,
                        shown=tuple(sample.id for sample in one.samples),
                        made=0.0,
                    )
                )
        # Who withdrew, or was unlinked, is not heard again when a simulated person would say the same once more.
        known = store.get_many(Feedback, store.feedback_state(one.id for one in said))
        new += store.put(one for one in said if one.id not in known or known[one.id].annotator == one.annotator)
    return new


def unanswered(store: Store, questions: Sequence[Question]) -> int:
    """How many answers are still wanted. A skip is none."""
    wanted = {question.id: question.wanted for question in questions}
    for project in {question.project for question in questions}:
        for said in store.feedback(project=project):
            if said.question in wanted and said.answer is not None:
                wanted[said.question] -= 1
    return sum(max(0, left) for left in wanted.values())
