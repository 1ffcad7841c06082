"""The calculations that people wrote into their solutions of GSM8K, as prompts of their own: the data of `sums.yaml`.

    python recipes/sums.py FOLDER/gsm8k.jsonl.gz OUT/sums.jsonl.gz

People marked what a calculator should do, `<<48/2=24>>`. Each is a row: prompt `48/2`, response and answer `24`, on
the side of its question. To learn from there is also what follows from it, `24*2`, `2*24` and `48/24`. Wrong ones are
left out, each is kept once, and what is there to learn from is not tested. A third word leaves out larger numbers
(100 without a word).
"""

from __future__ import annotations

import ast
import gzip
import json
import operator
import re
import sys
from fractions import Fraction
from pathlib import Path

MARK = re.compile(r"<<([0-9.+\-*/() ]{1,40})=([0-9.]{1,12})>>")
DOES = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def exactly(written: str) -> Fraction:
    """The value of +, -, *, / and brackets over numbers. Raises ValueError or ZeroDivisionError for anything else."""

    def value(node: ast.AST) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in DOES:
            return DOES[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return Fraction(str(node.value))
        raise ValueError(f"{written!r} is no calculation")

    try:
        return value(ast.parse(written, mode="eval").body)
    except SyntaxError as error:
        raise ValueError(f"{written!r} is no calculation") from error


def calculations(solution: str) -> list[tuple[str, str]]:
    """(calculation, result) as they stand in a solution, those that are right; without blanks."""
    found = []
    for written, result in MARK.findall(solution):
        sum_ = written.replace(" ", "")
        try:
            if not sum_.replace(".", "").isdigit() and exactly(sum_) == Fraction(result):
                found.append((sum_, result))
        except (ValueError, ZeroDivisionError):
            continue
    return found


def turned(written: str, result: str) -> list[tuple[str, str]]:
    """What follows from a calculation with two whole numbers: in the other order where that is the same, and back."""
    parts = re.fullmatch(r"([0-9]+)([-+*/])([0-9]+)", written)
    if parts is None or not result.isdigit():
        return []
    a, does, b = parts.groups()
    if does in "+*":
        back = {"+": "-", "*": "/"}[does]
        found = [(f"{b}{does}{a}", result), (f"{result}{back}{a}", b), (f"{result}{back}{b}", a)]
    else:
        back = {"-": "+", "/": "*"}[does]
        found = [(f"{result}{back}{b}", a), (f"{b}{back}{result}", a), (f"{a}{does}{result}", b)]
    return [one for one in found if not one[0].endswith("/0")]


def rows(questions: list[dict[str, str]], most: int) -> list[dict[str, str]]:
    """A row for each different calculation, training side first. questions: rows of GSM8K with `response`, `split`.

    most: no number in it or in its result is larger.
    """
    known: dict[str, dict[str, str]] = {}
    for split in ("train", "test"):
        for question in (one for one in questions if one["split"] == split):
            own = calculations(question["response"])
            more = [one for sum_ in own for one in turned(*sum_)] if split == "train" else []
            for sum_, result in own + more:
                if max(map(float, re.findall(r"[0-9.]+", f"{sum_} {result}"))) > most:
                    continue
                row = {"prompt": sum_, "response": result, "answer": result, "split": split}
                known.setdefault(sum_, {**row, "source": f"calculations in {question['source']}"})
    return list(known.values())


def main(source: Path, target: Path, most: int = 100) -> None:
    """Write the rows of one file from the other."""
    with gzip.open(source, "rt", encoding="utf-8", newline="\n") as file:
        made = rows([json.loads(line) for line in file], most)
    target.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(target, "wt", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(row) + "\n" for row in made)
    split = [row["split"] for row in made]
    sys.stdout.write(f"{target}: {split.count('train')} to learn from, {split.count('test')} unseen\n")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit((__doc__ or "").split("\n\n")[1].strip())
    main(Path(sys.argv[1]), Path(sys.argv[2]), *map(int, sys.argv[3:]))
