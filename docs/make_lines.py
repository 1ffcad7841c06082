"""Writes the table of lines per method into docs/design.md: `python docs/make_lines.py`."""

from __future__ import annotations

import ast
import io
import os
import tokenize
from pathlib import Path

from accord.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design.md"
BEGIN, END = "<!-- lines: python docs/make_lines.py -->", "<!-- end of lines -->"
SILENT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def main() -> None:
    """Put the table into the page, all of it or nothing."""
    aside = PAGE.with_name(f".{PAGE.name}.{os.getpid()}")
    aside.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    os.replace(aside, PAGE)


def page(text: str) -> str:
    """The page with the table as the files are now. Raises ValueError when its two marks are not there once each."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{PAGE.name} needs {BEGIN!r} and {END!r} once each, where the table belongs")
    before, rest = text.split(BEGIN)
    return before + BEGIN + "\n" + table() + END + rest.split(END)[1]


def table() -> str:
    """A row for each file of accord/algorithms: first those that are a method, then what they share."""
    by: dict[str, list[str]] = {}
    for name, one in METHODS.items():
        by.setdefault({"pretrain": "sft"}.get(one.section, one.section), []).append(f"`{name}`")
    own, shared = [], []
    for path in sorted((ROOT / "accord" / "algorithms").glob("[!_]*.py")):
        source = path.read_text(encoding="utf-8")
        counts = (len(source.splitlines()), code(source))
        what = ", ".join(by[path.stem]) if path.stem in by else caption(source)
        (own if path.stem in by else shared).append((f"`{path.name}`", what, *counts))
    rows = [*own, *shared, ("all", "", *(sum(row[n] for row in [*own, *shared]) for n in (2, 3)))]
    lines = ["| File | Methods, or what is shared | Lines | Of these code |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)]) + "\n"


def code(source: str) -> int:
    """Lines that hold code: not those that are blank, comment or docstring alone."""
    told = {n for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            for n in range(node.lineno, (node.end_lineno or node.lineno) + 1)}  # fmt: skip
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            held |= set(range(token.start[0], token.end[0] + 1))
    return len(held - told)


def caption(source: str) -> str:
    """The first line of a file, short enough for a cell."""
    first = (ast.get_docstring(ast.parse(source)) or "").split("\n")[0].rstrip(".")
    return first.split(" (")[0].replace("|", "\\|")


if __name__ == "__main__":
    main()
