"""The verbs about people, from the door: ask, list, believe, erase, and the way back from a model to its teachers."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from accord.cli import main
from accord.records import Comparison, Correction, Feedback, Preference, Question, Sample, Version
from accord.store import Store
from accord.store.office import Office
from tests.flow.circle import write_recipe


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small circle gone round through the door."""
    folder = tmp_path_factory.mktemp("people")
    assert main(["loop", str(write_recipe(folder / "tiny.yaml")), "--project", str(folder / "p")]) == 0
    return folder / "p"


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """Forty prompts with three answers each, from a file, and nobody who said anything."""
    rows = [
        {"prompt": f"Tell me of thing {i}", "chosen": f"It is {i} and more", "rejected": f"no {i}"} for i in range(40)
    ]
    rows += [{"prompt": f"Tell me of thing {i}", "chosen": f"It is {i} and more", "rejected": "hm"} for i in range(40)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    at = tmp_path / "p"
    assert main(["import", str(tmp_path / "pairs.jsonl"), "--project", str(at), "--test-share", "0"]) == 0
    return at


def said(capsys: pytest.CaptureFixture[str], words: list[str], at: Path, status: int = 0) -> str:
    capsys.readouterr()
    try:
        found = main([*words, "--project", str(at)])
    except SystemExit as stop:
        found = int(stop.code or 0)
    told = capsys.readouterr()
    assert found == status, told
    return told.out + told.err


def answered(at: Path, queue: str, *people: str) -> None:
    """Everybody prefers the longest answer, but a few times; the last of several answers by lot."""
    with Store.open(at / "store.db") as store:
        for number, question in enumerate(sorted(store.all(Question, project=queue), key=lambda one: one.id)):
            samples = store.get_many(Sample, question.samples)
            order = sorted(samples, key=lambda id: len(samples[id].content.messages[-1].content))
            for who in people:
                draw = random.Random(f"{who} {number}")
                errs = draw.random() < (0.5 if who == people[-1] != people[0] else 0.15)
                made, shown = (
                    Comparison(better=order[0] if errs else order[-1]),
                    draw.sample(question.samples, len(question.samples)),
                )
                store.put([Feedback(question=question.id, annotator=who, answer=made, shown=tuple(shown), seconds=9)])


def test_asking_shows_what_it_would_ask_and_asks_it_once(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ask", "--queue", "q", "--count", "30", "--wanted", "3", "--rule", "uncertainty"]
    told = said(capsys, [*words, "--dry-run"], imported)
    assert "24 uncertainty" in told
    assert "6 random" in told
    assert "groups of like prompts" in told
    assert "nothing was written" in told
    with Store.open(imported / "store.db") as store:
        assert store.count(Question) == 0
        assert "30 questions in queue 'q'" in said(capsys, words, imported)
        first = list(store.all(Question, project="q"))
        assert {one.arm for one in first} == {"random", "uncertainty"}
        assert all(one.wanted == 3 and 0 < one.propensity < 1 for one in first)
        assert "30 questions" in said(capsys, words, imported)  # others: what was asked is not asked again
        every = list(store.all(Question, project="q"))
        assert len({frozenset(one.samples) for one in every}) == 60
    assert "nothing to ask" in said(capsys, ["ask", "--queue", "q", "--form", "ranking", "--prompts", "0"], imported, 2)
    assert "shows one" in said(capsys, ["ask", "--form", "correction", "--rule", "uncertainty"], imported, 2)
    assert "0.2" in said(capsys, [*words, "--control", "0.1"], imported, 2)
    assert "no store.db" in said(capsys, ["ask"], imported / "not", 2)
    for form in ("ranking", "rating", "critique", "demonstration", "combined", "flags"):
        more = ["--flags", "harmful"] if form == "flags" else []
        assert "7 questions" in said(capsys, ["ask", "--queue", form, "--form", form, "--count", "7", *more], imported)
    assert "name what" in said(capsys, ["ask", "--form", "flags"], imported, 2)


def test_a_version_answers_what_is_asked(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["ask", "round1-ppo", "--queue", "next", "--count", "8", "--prompts", "6", "--reward", "round1-reward"]
    assert "8 questions" not in said(capsys, [*words, "--rule", "uncertainty", "--dry-run"], project)
    assert "questions in queue 'next'" in said(capsys, [*words, "--rule", "uncertainty"], project)
    with Store.open(project / "store.db") as store:
        asked = list(store.all(Question, project="next"))
        made = store.get_many(Sample, (id for one in asked for id in one.samples))
        [version] = store.all(Version, name="round1-ppo")
        assert {sample.version for sample in made.values()} == {version.id}
    assert "there are: pretrained, sft, round1-ppo" in said(capsys, ["ask", "round1-reward"], project, 2)


def test_people_are_listed_with_figures_and_come_and_go(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, ["ask", "--queue", "q", "--count", "90", "--wanted", "5"], imported)
    assert "ada: annotator, known as p-" in said(capsys, ["people", "add", "ada"], imported)
    assert "already" in said(capsys, ["people", "add", "ada"], imported, 2)
    answered(imported, "q", "bea", "cleo", "dora", "eve", "fay")
    told = said(capsys, ["people"], imported)
    rows = {line.split()[0]: line for line in told.splitlines() if line}
    assert "90" in rows["bea"]
    assert " % [" in rows["bea"]
    assert "  fay: length: chose the shorter answer in" in told.split("to look at")[1]
    assert "nothing was changed" in told
    assert "bea: " not in told.split("to look at")[1]
    alone = said(capsys, ["people", "list", "bea"], imported)
    assert "cleo" not in alone
    assert "feedback: 0" in said(capsys, ["trace", "ada"], imported)  # by the name that stands in no record
    assert "cannot come in" in said(capsys, ["people", "pause", "ada"], imported)
    assert "paused" in said(capsys, ["people"], imported)
    assert "again" in said(capsys, ["people", "resume", "ada"], imported)
    assert "accord erase ada" in said(capsys, ["people", "withdraw", "ada"], imported)
    assert "nobody called 'zoe'" in said(capsys, ["people", "pause", "zoe"], imported, 2)
    assert "whom?" in said(capsys, ["people", "pause"], imported, 2)


def test_believing_says_what_each_choice_would_have_believed(
    imported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, ["ask", "--queue", "q", "--count", "60", "--wanted", "3"], imported)
    answered(imported, "q", "bea", "cleo", "fay")
    with Store.open(imported / "store.db") as store:
        before = store.count(Preference)
        told = said(capsys, ["believe", "--queue", "q", "--foretell", "--dry-run"], imported)
        assert "180 answers of 3 people: 180 votes" in told
        assert "dawid_skene would have chosen the other answer of" in told
        assert "bradley_terry would have chosen the other answer of" in told
        assert "foretells held-out votes with loss" in told
        assert store.count(Preference) == before
        told = said(capsys, ["believe", "--queue", "q", "--method", "dawid_skene"], imported)
        assert "60 new records" in told
        assert store.count(Preference) == before + 60
        assert "0 new records" in said(capsys, ["believe", "--queue", "q", "--method", "dawid_skene"], imported)
        assert "both are kept" in said(capsys, ["believe", "--queue", "q"], imported)
    assert "no groups that surely differ" in said(capsys, ["believe", "--groups", "auto", "--dry-run"], imported)
    (imported / "who.yaml").write_text("bea: home\ncleo: away\n")
    told = said(capsys, ["believe", "--groups", str(imported / "who.yaml"), "--queue", "q"], imported)
    assert "2 people; 1 who voted are not in it" in told
    assert "believed by majority: 180 pairs" in told  # sixty of each of the three
    with Store.open(imported / "store.db") as store:
        assert {one.group for one in store.all(Preference)} == {"", "home", "away"}
        home = [one for one in store.all(Preference, group="home") if one.probability > 0.5]
    out = ["export", str(imported / "home.jsonl"), "--group", "home"]
    assert f"{len(home)} rows" in said(capsys, [*out, "--form", "preference"], imported)
    assert "only preferences are believed by group" in said(capsys, out, imported, 2)


def test_agreement_and_standings_are_told(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nobody has said anything yet" in said(capsys, ["agree"], imported)
    assert "no games" in said(capsys, ["rank"], imported)
    rows = [
        {"prompt": f"of {i}", "response_a": f"yes {i}", "response_b": f"no {i}", "model_a": "Ann", "model_b": "Bob",
         "label": "a" if i % 4 else "tie" if i % 8 else "b", "annotator_id": who}
        for i in range(40) for who in ("bea", "cleo")
    ]  # fmt: skip
    (imported / "votes.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert main(["import", str(imported / "votes.jsonl"), "--project", str(imported), "--test-share", "0"]) == 0
    told = said(capsys, ["agree", "--people", "--draws", "50"], imported)
    assert "comparison: 80 answers of 2 people" in told
    assert "pairwise agreement            1.000 [1.000, 1.000]" in told
    assert "; over drawn items [1.000, 1.000]" in told
    assert "Krippendorff alpha (nominal)  1.000" in told
    assert "best accuracy that can be reached on single votes: 1.000 to 1.000" in told
    assert "sharpness" in told
    table = said(capsys, ["rank", "--draws", "20", "--ticker"], imported).splitlines()
    assert [line.split()[0] for line in table[:3]] == ["model", "Ann", "Bob"]
    assert table[1].split()[1] == "1"
    assert "80 games on 40 prompts, 10 of them ties" in table[3]


def test_a_rule_that_does_not_pay_gives_way_to_chance(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two rounds: the second sees that the rule taught nothing more, says so, and draws at random."""
    rows = [{"prompt": f"thing {i} ?", "chosen": f"yes {i} {i % 7}", "rejected": f"no {i} {i % 5}"} for i in range(300)]
    (imported / "more.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert main(["import", str(imported / "more.jsonl"), "--project", str(imported), "--test-share", "0"]) == 0
    ask = ["ask", "--queue", "r", "--prompts", "400", "--rule", "coverage", "--count", "260", "--control", "0.5"]
    told = said(capsys, ask, imported)
    assert "130 coverage" in told
    assert "130 random" in told
    answered(imported, "r", "bea")
    said(capsys, ["believe", "--queue", "r"], imported)
    told = said(capsys, [*ask, "--seed", "1", "--dry-run"], imported)
    assert "coverage has not paid so far" in told
    assert "none that can be shown" in told
    assert "random" in told.split("chosen by:")[1]
    assert "coverage" not in told.split("chosen by:")[1]
    told = said(capsys, [*ask, "--seed", "1", "--insist", "--dry-run"], imported)
    assert "coverage" in told.split("chosen by:")[1]


def test_somebody_is_forgotten_and_the_models_are_made_again(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store.open(project / "store.db") as store:
        person = next(store.feedback(project="round1")).annotator
        other = next(one.annotator for one in store.feedback(project="round1") if one.annotator != person)
    told = said(capsys, ["erase", person], project)
    assert "taught: round1-reward" in told
    assert "nothing was done" in told
    assert "give one of the two" in said(capsys, ["erase", person, "--unlink", "--withdraw"], project, 2)
    assert f"annotators: 4  {person}" in said(capsys, ["trace", "round1-ppo"], project).replace(other, other)
    assert "unlinked: what they said stands as p-" in said(capsys, ["erase", other, "--unlink"], project)
    assert "nobody" in said(capsys, ["erase", other], project, 2)

    told = said(capsys, ["erase", person, "--withdraw"], project)
    assert "tainted: round1-ppo, put aside as round1-ppo-tainted-" in told
    assert "make these again from the rest: round1-reward, round1-ppo" in told
    assert person.encode() not in (project / "store.db").read_bytes()
    assert "no version" in said(capsys, ["trace", "round1-ppo"], project, 2)
    assert main(["loop", str(project.parent / "tiny.yaml"), "--project", str(project)]) == 0
    told = said(capsys, ["trace", "round1-ppo"], project)
    assert person not in told
    assert other not in told
    assert "tainted: 0" in told
    files = [path for path in project.rglob("*") if path.is_file() and person.encode() in path.read_bytes()]
    assert files == []


def test_files_that_still_hold_their_words_are_named(imported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, ["ask", "--queue", "c", "--form", "correction", "--count", "2"], imported)
    with Store.open(imported / "store.db") as store:
        question = next(store.all(Question, project="c"))
        content = store.get(Sample, question.samples[0]).content
        better = content.model_copy(
            update={"messages": (content.messages[0].model_copy(update={"content": "ada wrote this"}),)}
        )
        said_so = Correction(sample=question.samples[0], content=better)
        store.put([Feedback(question=question.id, annotator="p-ada-4711", answer=said_so)])
    said(capsys, ["believe"], imported)
    said(capsys, ["export", str(imported / "out.jsonl.gz")], imported)
    told = said(capsys, ["erase", "p-ada-4711"], imported)  # tells where her words stand, and does nothing
    assert f"stands in: {imported / 'out.jsonl.gz'}" in told
    assert "store.db" not in told
    assert "feedback: 1" in said(capsys, ["trace", "p-ada-4711"], imported)  # of a folder that has no recipe
    told = said(capsys, ["erase", "p-ada-4711", "--withdraw"], imported)
    assert "1 answers, 1 texts of their own, 1 preferences, 1 demonstrations" in told
    assert "still there: " in told
    assert "out.jsonl.gz" in told
    (imported / "out.jsonl.gz").unlink()
    assert b"ada wrote this" not in (imported / "store.db").read_bytes()
    with Store.open(imported / "store.db") as store:
        acts = [(one.annotator, one.act, one.about) for one in Office(store).events()]
        assert acts == [("command line", "withdraw person", ""), ("command line", "export", "out.jsonl.gz")]
    names = imported / "names.txt"
    names.write_text("thing\n")
    told = said(capsys, ["export", str(imported / "clean.jsonl"), "--scrub", "--names", str(names)], imported)
    assert "taken out: 40 NAME" in told
    assert "Tell me of thing" not in (imported / "clean.jsonl").read_text()
