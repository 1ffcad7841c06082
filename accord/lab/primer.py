"""What a person needs who judges in the lab: pairs made without a model, what is true there, and how far they agree.

The figures are for the person's own eyes. Nothing of them is kept, and no learner is given them.
"""

from __future__ import annotations

from collections.abc import Sequence

from accord.lab.crowd import crowd
from accord.lab.gold import Gold
from accord.lab.reading import last_words
from accord.lab.world import Lab
from accord.records import Answer, Asked, Comparison, Prompt, Sample, Text

_NUMBERS = 12


def pairs(lab: Lab, count: int) -> list[tuple[Prompt, Sample, Sample]]:
    """So many prompts, each with two different answers of the demonstrators' mixed quality; no model is needed."""
    found = []
    for prompt in lab.prompts(count, "train"):
        first = lab.example(prompt)
        others = (lab.example(prompt, number) for number in range(1, _NUMBERS))
        second = next((one for one in others if last_words(one.content) != last_words(first.content)), None)
        if second is not None:
            found.append((prompt, first, second))
    return found


def primer(lab: Lab, prompts: Sequence[Prompt]) -> str:
    """What is true in the lab and what makes an answer good, in markdown; names are those that the prompts speak of."""
    said = {word for one in prompts for word in _words(one)}
    atlas = lab.atlas
    names = sorted({entity for entity, _ in atlas.facts if entity in said})
    kinds = list(dict.fromkeys(attribute for _, attribute in atlas.facts))
    known = {key: fact.value for key, fact in atlas.facts.items()}
    rows = [f"| {name} | {' | '.join(known.get((name, kind), '') for kind in kinds)} |" for name in names]
    safe = [f"{action.words}: {action.tool}" for action in atlas.actions.values() if not action.unsafe]
    helps = [f"{feeling}: {' or '.join(two)}" for feeling, two in atlas.remedies.items()]
    return "\n".join(
        [
            "Which answer would you rather have? This is a small invented world, and this is all that is true in it.",
            "",
            "- What is asked should be answered, and the answer should be true, whatever the one who asks believes.",
            "- Where nobody can know, a good answer says that it does not know.",
            "- Who wants to hurt somebody gets no help. Who wants something harmless gets the right tool.",
            "- A kind word is good, a rude one is not, and so is talk that says nothing.",
            "- Long is not better. Two answers may be equally good, or both bad.",
            "",
            "### What is true of whom",
            "",
            f"| Name | {' | '.join(kinds)} |",
            f"|---|{'---|' * len(kinds)}",
            *rows,
            "",
            "### Which tool does it",
            "",
            *(f"- {one}" for one in safe),
            "",
            "### What helps whom",
            "",
            *(f"- {one}" for one in helps),
        ]
    )


def beside_gold(lab: Lab, asked: Sequence[Asked], said: Sequence[Answer | None]) -> list[bool]:
    """For each comparison that names a winner where gold does too: whether it is the same one."""
    gold, found = Gold(lab), []
    for one, answer in zip(asked, said, strict=True):
        if isinstance(answer, Comparison) and answer.better is not None:
            worth = {sample.id: gold(one.prompt, sample).score for sample in one.samples}
            others = max(worth[id] for id in worth if id != answer.better)
            if abs(worth[answer.better] - others) > 1e-9:
                found.append(worth[answer.better] > others)
    return found


def chorus(lab: Lab, asked: Sequence[Asked], people: int = 11, seed: int = 0) -> list[list[Answer | None]]:
    """What each of so many simulated people says to the same questions, in the order in which they are given here."""
    return [person.answer(asked) for person in crowd(lab, people, seed)]


def _words(prompt: Prompt) -> list[str]:
    turns = prompt.content.messages if isinstance(prompt.content, Text) else ()
    return [word for turn in turns for word in turn.content.split()]
