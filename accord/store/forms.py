"""Rows of other people's data sets, read as records.

Ids are made from the content, so what is read twice is kept once. The same prompt has the same id in every file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

from pydantic import JsonValue

from accord.records import (
    KINDS,
    Comparison,
    Critique,
    Demonstration,
    Feedback,
    Message,
    Preference,
    Prompt,
    Question,
    Rating,
    Record,
    Sample,
    Span,
    Split,
    Text,
    named_id,
)
from accord.store.sides import own_side, split_of
from accord.store.trees import LEAF
from accord.store.turns import answer_turns, cut_prompt, messages, spoken

RowForm = Literal["accord", "preference", "completion", "unpaired", "votes", "ratings", "steps", "prompt"]
"""What a row says; `auto` decides for each row by its names."""

VERDICTS = {"label": "", "desirable": "", "correct": "correct", "safe": "safe"}
"""Names under which a row says whether an answer is good, and in what respect (empty for overall)."""


@dataclass(frozen=True)
class Origin:
    """What is known of a file, for rows that do not say it themselves."""

    source: str
    """Name of the source."""
    licence: str = ""
    """Its terms."""
    project: str = ""
    """Queue of the questions that votes belong to; empty for the name of the source."""
    annotator: str = ""
    """Whose votes they are when a row names nobody; empty for the name of the source."""
    test_share: float = 0.0
    """Share of prompts held back for tests."""
    validation_share: float = 0.0
    """Share of prompts held back for choosing settings."""
    split: Split | None = None
    """One side for all rows; None to use the row's own, or to draw by hash."""


def form_of(row: Mapping[str, Any]) -> RowForm:
    """What a row says, by the names that have a value. Raises ValueError naming what was expected.

    A null is a value that is missing, not a row of another form: half of a pair is no bare prompt, and an answer
    whose verdict is missing is no demonstration.
    """
    names = {name for name, value in row.items() if value is not None}
    if row.get("kind") in KINDS and names & {"id", "record"}:
        return "accord"
    if {"chosen", "rejected"} <= names:
        return "preference"
    if {"prompt", "response_a", "response_b", "label"} <= names:
        return "votes"
    if {"prompt", "ratings"} <= names and names & {"completion", "response"}:
        return "ratings"
    if {"prompt", "completions", "labels"} <= names:
        return "steps"
    if "prompt" in names and names & {"completion", "response"} and "scale" not in names:
        if names & set(VERDICTS):
            return "unpaired"
        if lost := sorted(set(VERDICTS) & set(row)):
            raise ValueError(f"{lost[0]} is null: whether the answer is good is not said (form=completion imitates it)")
        return "completion"
    if "prompt" in names and not names & {"response_a", "response_b", "response"}:
        if {"chosen", "rejected"} & set(row):
            raise ValueError(f"a pair without {' and '.join(sorted({'chosen', 'rejected'} - names))}")
        return "prompt"
    shown = ", ".join(sorted(names)[:8]) or "nothing"
    if set(LEAF) - {"parent_id"} <= names:
        raise ValueError("one message of a tree: name the whole data set in a recipe (hub:OWNER/NAME or hub:FOLDER), "
                         "which makes pairs of its ranked replies")  # fmt: skip
    if isinstance(row.get("text"), str):
        raise ValueError(f"no known form: it has {shown}; a plain text belongs into data.texts")
    raise ValueError(f"no known form: it has {shown}; expected prompt with chosen and rejected, completion or messages")


def records_of(row: Mapping[str, Any], form: RowForm, origin: Origin, voters: Mapping[str, int]) -> list[Record]:
    """The records that a row stands for. Raises ValueError saying what is wrong with it.

    `voters` says how many people answered each question of a file of votes; a question wants so many answers.
    """
    if form == "accord":
        return [_accord(row)]
    row = {name: value for name, value in row.items() if value is not None}  # many writers put a null for what is not
    if isinstance(row.get("rating"), float):
        _number(row, "rating")  # also where it is no more than a note on an answer to imitate
    match form:
        case "preference":
            return _preference(row, origin)
        case "completion":
            prompt = _prompt(row["prompt"], row, origin)
            sample = _sample(prompt, _answer(row, prompt), row, origin)
            id = named_id("demonstration", _source(row, origin), sample.id)
            return [prompt, sample, Demonstration(id=id, prompt=prompt.id, sample=sample.id)]
        case "unpaired":
            return _unpaired(row, origin, voters)
        case "votes":
            return _votes(row, origin, voters)
        case "ratings":
            return _ratings(row, origin, voters)
        case "steps":
            return _steps(row, origin, voters)
        case "prompt":
            return [_prompt(row["prompt"], row, origin)]


def _accord(row: Mapping[str, Any]) -> Record:
    """One record in our own form: its fields with `kind`, or `kind` and the JSON text in `record` (Parquet)."""
    kind = KINDS.get(str(row.get("kind")))
    if kind is None:
        raise ValueError(f"kind {row.get('kind')!r} is none of {', '.join(KINDS)}")
    if isinstance(row.get("record"), str):
        return kind.model_validate_json(row["record"])
    needed = {name for name, field in kind.model_fields.items() if field.is_required()}  # there a null has a meaning
    return kind.model_validate({k: v for k, v in row.items() if k != "kind" and (v is not None or k in needed)})


def _preference(row: Mapping[str, Any], origin: Origin) -> list[Record]:
    """Prompt, two samples, and the belief that one is better."""
    if row["chosen"] == row["rejected"]:
        raise ValueError("chosen and rejected are equal")
    if "prompt" in row:
        prompt = _prompt(row["prompt"], row, origin)
        chosen, rejected = (answer_turns(row[name], name, prompt) for name in ("chosen", "rejected"))
    else:
        before, chosen, rejected = cut_prompt(row["chosen"], row["rejected"])
        prompt = _prompt([dict(turn) for turn in before], row, origin)
    better, worse = (_sample(prompt, turns, row, origin) for turns in (chosen, rejected))
    margin = 0.0
    if "score_chosen" in row and "score_rejected" in row:
        margin = _number(row, "score_chosen") - _number(row, "score_rejected")
        if margin < 0:
            raise ValueError(f"score_chosen is lower than score_rejected, by {-margin:g}")
    elif "margin" in row:
        margin = _number(row, "margin")
    sure = _number(row, "probability") if "probability" in row else 1.0
    if not 0.5 <= sure <= 1:
        raise ValueError(
            f"probability={sure:g} says how surely chosen is better, from .5 (a tie) to 1; turn the two round"
        )
    id = named_id("preference", _source(row, origin), better.id, worse.id, margin, *([] if sure == 1 else [sure]))
    belief = Preference(id=id, prompt=prompt.id, chosen=better.id, rejected=worse.id, probability=sure, margin=margin)
    return [prompt, better, worse, belief]


def _unpaired(row: Mapping[str, Any], origin: Origin, voters: Mapping[str, int]) -> list[Record]:
    """An answer with a thumb up or down: a rating on the scale 0..1, 1 for up."""
    name = next((name for name in VERDICTS if name in row), "label")
    up = _yes(row, name)
    prompt = _prompt(row["prompt"], row, origin)
    sample = _sample(prompt, _answer(row, prompt), row, origin)
    answer = Rating(scores={sample.id: {VERDICTS[name]: float(up)}}, scale=(0, 1))
    return [prompt, sample, *_said(row, origin, prompt, (sample.id,), answer, voters)]


def _votes(row: Mapping[str, Any], origin: Origin, voters: Mapping[str, int]) -> list[Record]:
    """One person's choice between two answers, perhaps by a criterion, and which of them are safe where it is said."""
    prompt = _prompt(row["prompt"], row, origin)
    samples = []
    for side in ("a", "b"):
        before = row.get(f"history_{side}") or []
        last = answer_turns(row[f"response_{side}"], f"response_{side}", prompt)
        turns = [*(messages(before, f"history_{side}") if before else ()), *last]
        samples.append(_sample(prompt, tuple(turns), row, origin, made_by=str(row.get(f"model_{side}", ""))))
    a, b = samples
    if a.id == b.id:
        raise ValueError("response_a and response_b are the same answer")
    criterion, safe = str(row.get("criterion", "")), None
    if "safe_a" in row and "safe_b" in row:
        safe = tuple(one.id for one, side in ((a, "safe_a"), (b, "safe_b")) if _yes(row, side))
    match row["label"]:
        case "a" | "b":
            better = (a if row["label"] == "a" else b).id
            answer = Comparison(better=better, criterion=criterion, safe=safe)
        case "tie" | "both_bad":
            answer = Comparison(verdict=row["label"], criterion=criterion, safe=safe)
        case other:
            raise ValueError(f"label should be a, b, tie or both_bad, not {str(other)[:40]!r}")
    return [prompt, a, b, *_said(row, origin, prompt, (a.id, b.id), answer, voters)]


def _ratings(row: Mapping[str, Any], origin: Origin, voters: Mapping[str, int]) -> list[Record]:
    """An answer with a mark in each of several respects, from `lowest` to `highest`."""
    given = row["ratings"]
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"ratings should be numbers by name, not {str(given)[:40]!r}")
    marks = {str(name): _number(given, name) for name, mark in given.items() if mark is not None}
    low, high = (int(_number(row, name)) if name in row else known for name, known in (("lowest", 1), ("highest", 5)))
    prompt = _prompt(row["prompt"], row, origin)
    sample = _sample(prompt, _answer(row, prompt), row, origin)
    answer = Rating(scores={sample.id: marks}, scale=(low, high))
    return [prompt, sample, *_said(row, origin, prompt, (sample.id,), answer, voters, (low, high))]


def _steps(row: Mapping[str, Any], origin: Origin, voters: Mapping[str, int]) -> list[Record]:
    """An answer in steps, one below the other, each of which is right or wrong: a critique with a place for each."""
    steps, labels = row["completions"], row["labels"]
    if not isinstance(steps, list) or not isinstance(labels, list) or len(steps) != len(labels):
        raise ValueError("completions and labels should be two lists of the same length, a label for each step")
    if not all(isinstance(step, str) and step.strip() for step in steps):
        raise ValueError("completions should be steps in words, none of them empty")
    ends = list(accumulate(len(step) + 1 for step in steps))
    prompt = _prompt(row["prompt"], row, origin)
    sample = _sample(prompt, (spoken("assistant", "\n".join(steps), "completions"),), row, origin)
    spans = [Span(start=end - len(step) - 1, end=end - 1, label="good" if _yes({"labels": right}, "labels") else "bad")
             for step, end, right in zip(steps, ends, labels, strict=True)]  # fmt: skip
    answer = Critique(sample=sample.id, spans=tuple(spans))
    return [prompt, sample, *_said(row, origin, prompt, (sample.id,), answer, voters)]


def _yes(row: Mapping[str, Any], name: str) -> bool:
    """True or false."""
    if not (isinstance(row[name], bool) or row[name] in (0, 1)):
        raise ValueError(f"{name} should be true or false, not {str(row[name])[:40]!r}")
    return bool(row[name])


def _said(
    row: Mapping[str, Any],
    origin: Origin,
    prompt: Prompt,
    samples: tuple[str, ...],
    answer: Rating | Comparison | Critique,
    voters: Mapping[str, int],
    scale: tuple[int, int] = (1, 5),
) -> list[Record]:
    """A question and what somebody said to it. When it was said is not known, so `made` is 0."""
    source = _source(row, origin)
    project = origin.project or source
    who = str(row.get("annotator_id") or row.get("judge") or origin.annotator or source)
    # Both orders of a pair are two questions: a judge who is asked twice with sides swapped answers twice.
    asked = named_id("question", project, answer.kind, prompt.id, samples)
    wanted = max(voters.get(asked, 1), 1)
    # Rows of one source may ask the same of the same answers in several respects; the ids of plain ones know none.
    respects = (str(row["criterion"]),) if row.get("criterion") else tuple(row.get("ratings", ()))
    question = Question(
        id=named_id(asked, wanted, *respects), prompt=prompt.id, samples=samples, form=answer.kind, wanted=wanted,
        criteria=tuple(filter(None, sorted(_criteria(answer)))), project=project, scale=scale,
        safety=isinstance(answer, Comparison) and answer.safe is not None,
    )  # fmt: skip
    id = named_id("feedback", question.id, who, answer.model_dump())
    # The answers of a file of votes are named left and right by it; that is the order they were shown in.
    shown = samples if isinstance(answer, Comparison) else ()
    return [question, Feedback(id=id, question=question.id, annotator=who, answer=answer, shown=shown, made=0.0)]


def _criteria(answer: Rating | Comparison | Critique) -> set[str]:
    """The respects that an answer speaks of."""
    if isinstance(answer, Critique):
        return set()
    if isinstance(answer, Comparison):
        return {answer.criterion}
    return {criterion for by in answer.scores.values() for criterion in by}


def voters_of(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Question (before it knew how many answers it wants) and annotator of each answer in a row of votes."""
    asked = {one.id: named_id("question", one.project, one.form, one.prompt, one.samples)
             for one in records if isinstance(one, Question)}  # fmt: skip
    return [(asked[one.question], one.annotator) for one in records if isinstance(one, Feedback)]


def _prompt(given: Any, row: Mapping[str, Any], origin: Origin) -> Prompt:
    """The prompt of a row. Rows that open with the same user turn stand on the same side of the fence."""
    turns = messages(given, "prompt") if not isinstance(given, str) else (spoken("user", given, "prompt"),)
    if turns[-1].role == "assistant":
        raise ValueError("prompt ends with the assistant's turn; it should end with the one to be answered")
    opening = next((turn.content for turn in turns if turn.role == "user"), turns[0].content)
    content = Text(messages=turns)
    tags = tuple(f"{name}:{row[name]}" for name in ("lang", "category", "subset") if isinstance(row.get(name), str))
    return Prompt(
        id=named_id("prompt", content.model_dump()),
        content=content,
        split=origin.split or own_side(row) or split_of(opening, origin.test_share, origin.validation_share),
        tags=tags,
        source=_source(row, origin),
        licence=str(row.get("licence", origin.licence)),
        checks=_checks(row),
    )


def _checks(row: Mapping[str, Any]) -> dict[str, JsonValue]:
    """The right final answer, and instructions with their arguments (as IFEval has them), where a row brings any."""
    answer = str(said).strip() if isinstance(said := row.get("answer"), str | int | float) else ""
    found: dict[str, JsonValue] = {"answer": str(said)} if answer else {}
    if isinstance(names := row.get("instruction_id_list"), list):
        given = row.get("kwargs") or json.loads(row.get("kwargs_json") or "[]")
        if len(names) != len(given) or not all(isinstance(one, Mapping) for one in given):
            raise ValueError(f"{len(names)} instructions, and their arguments are {str(given)[:60]!r}")
        found |= {"instructions": [str(name) for name in names], "arguments": [dict(one) for one in given]}
    return found


def _sample(
    prompt: Prompt, turns: tuple[Message, ...], row: Mapping[str, Any], origin: Origin, made_by: str = ""
) -> Sample:
    """An answer to a prompt. Who made it belongs to what it is: two models may say the same."""
    if turns[0].role != "assistant" or turns[-1].role != "assistant":
        raise ValueError(f"an answer begins and ends with the assistant's turn, not {turns[0].role}..{turns[-1].role}")
    content, source = Text(messages=turns), made_by or str(row.get("model") or "") or _source(row, origin)
    parts = ("sample", prompt.id, content.model_dump(), made_by)
    return Sample(id=named_id(*parts), prompt=prompt.id, content=content, source=source)


def _answer(row: Mapping[str, Any], prompt: Prompt) -> tuple[Message, ...]:
    """The turns in `completion` or `response`."""
    name = "completion" if "completion" in row else "response"
    return answer_turns(row[name], name, prompt)


def _source(row: Mapping[str, Any], origin: Origin) -> str:
    """Where a row came from."""
    own = row.get("source")
    return own if isinstance(own, str) and own else origin.source


def _number(row: Mapping[str, Any], name: str) -> float:
    """A finite number."""
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} should be a finite number, not {str(value)[:40]!r}")
    return float(value)
