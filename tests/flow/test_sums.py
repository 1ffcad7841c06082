"""The recipe of sums: what people calculated becomes prompts, nothing tested is there to learn from, and it runs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from accord.cli import main
from tests.flow.test_hh import DATA, RECIPES, words


def script(name: str = "sums") -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_calculations_are_taken_as_they_stand_and_only_where_they_are_right() -> None:
    said = (
        "half of 48 / 2 = <<48/2=24>>24, <<3*(2+1)=9>>, wrong <<2+2=5>>, a number <<7=7>>, <<__import__=1>>, <<1/0=1>>"
    )
    assert script().calculations(said) == [("48/2", "24"), ("3*(2+1)", "9")]


def test_what_follows_from_a_calculation_is_right_too() -> None:
    made = script()
    assert set(made.turned("6*4", "24")) == {("4*6", "24"), ("24/6", "4"), ("24/4", "6")}
    assert set(made.turned("9-2", "7")) == {("7+2", "9"), ("2+7", "9"), ("9-7", "2")}
    assert made.turned("0*5", "0") == [("5*0", "0"), ("0/5", "0")]
    assert made.turned("0.5*4", "2") == made.turned("1+2+3", "6") == []
    for written, result in (("12+30", "42"), ("50-8", "42"), ("6*7", "42"), ("84/2", "42")):
        assert all(made.exactly(one) == int(found) for one, found in made.turned(written, result))


def test_nothing_that_is_tested_is_there_to_learn_from() -> None:
    train = {"response": "<<6*4=24>> <<500+500=1000>> <<1000+1=1001>>", "split": "train", "source": "s"}
    test = {"response": "<<24/4=6>> <<5+5=10>> <<5+5=10>>", "split": "test", "source": "s"}
    made = script().rows([test, train], 1000)
    assert [row["prompt"] for row in made if row["split"] == "test"] == ["5+5"]
    assert {"6*4", "4*6", "24/6", "24/4", "500+500"} <= {row["prompt"] for row in made}
    assert not any("1001" in row["prompt"] + row["answer"] for row in made)


def test_sums_go_round(quick_folder: Path) -> None:
    if not (DATA / "gsm8k.jsonl.gz").is_file():
        reason = f"{DATA / 'gsm8k.jsonl.gz'} is not there"
        print(reason)
        pytest.skip(reason)
    script().main(DATA / "gsm8k.jsonl.gz", quick_folder / "data" / "sums.jsonl.gz", 12)
    short = ("--grpo.iterations", "2", "--judging.answers", "2", "--sft.epochs", "0.2")
    given = words("sums", quick_folder / "data", quick_folder / "p", *short)
    at = given.index("--pretrain.batch")  # naming a setting of a section that is empty would begin it
    assert main(["loop", *given[:at], *given[at + 2 :]]) == 0
    told = json.loads((quick_folder / "p" / "summary.json").read_text())
    assert set(told["rules"]) == {"pass@1", "pass@2", "final answer given"}
    marks = json.loads((quick_folder / "p/versions/tokenizer/tokenizer.json").read_text())["model"]["vocab"]
    assert not [piece for piece in marks if sum(c.isdigit() for c in piece) > 1]
