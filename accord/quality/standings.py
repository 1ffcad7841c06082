"""From what people said of answers to games between those who gave them: which model stands where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from accord.quality.tournament import Game
from accord.quality.votes import Vote, standing
from accord.records import Combined, Feedback, Question, Ranking


def games(votes: Iterable[Vote], player: Mapping[str, str]) -> list[Game]:
    """A game for each vote between answers of two players; prompts are the clusters.

    player: sample id -> who gave it. Votes of rankings count too, and those on answers of one and the same player or of
    an unknown one do not. The overall criterion alone.
    """
    return [
        Game(player[vote.a], player[vote.b], vote.outcome, vote.prompt)
        for vote in votes
        if not vote.criterion and player.get(vote.a) and player.get(vote.b) and player[vote.a] != player[vote.b]
    ]


def orders(
    questions: Iterable[Question], feedback: Iterable[Feedback], player: Mapping[str, str]
) -> list[list[list[str]]]:
    """Rankings of players, best place first, from rankings of their answers; where one has two answers the better
    counts, and rankings that name fewer than two players are left out."""
    known = {question.id for question in questions}
    found: list[list[list[str]]] = []
    for said in standing(feedback):
        answer = said.answer.ranking if isinstance(said.answer, Combined) else said.answer
        if said.question not in known or not isinstance(answer, Ranking) or answer.criterion:
            continue
        places, seen = list[list[str]](), set[str]()
        for row in answer.order:
            fresh = [name for sample in row if (name := player.get(sample, "")) and name not in seen]
            names = list(dict.fromkeys(fresh))
            seen.update(names)
            places += [names] if names else []
        if len(seen) > 1:
            found.append(places)
    return found
