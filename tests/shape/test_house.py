"""The house keeps its shape: small files with a caption, no cupboards for everything, few steps to the loss."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "accord"
FILES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST = 320
LONGER = {
    "records.py": (460, "all nouns that are kept, on one page to be read together"),
    "statistics.py": (360, "all that says how sure we are; each function stands alone"),
    "store/forms.py": (360, "one function per form of other people's rows"),
}
"""Files that may be longer, how long, and why."""
TO_THE_LOSS = ("cli.py", "build.py", "algorithms/ppo.py")
CUPBOARDS = re.compile(r"(^|_)(utils?|common|helpers?|misc|base|manager|handler|wrapper|stuff|tools?)(_|$)")
ONLY_ITSELF = {"Protocol", "Record", "Settings", "Module", "Enum", "Segment", "Function"}
"""What may be inherited: interfaces, records, settings, modules; a Rollout is a Segment with more fields."""


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_outgrows_a_sitting() -> None:
    assert len(FILES) > 60
    long = {name(path): lines(path) for path in FILES if lines(path) > LONGER.get(name(path), (LONGEST, ""))[0]}
    assert long == {}, "split them by what they are about, or give a reason in LONGER"


def test_no_excuse_is_kept_that_nobody_needs() -> None:
    assert [file for file in LONGER if lines(PACKAGE / file) <= LONGEST] == []


def test_a_method_is_never_more_than_two_hundred_and_fifty_lines() -> None:
    methods = sorted((PACKAGE / "algorithms").glob("*.py"))
    assert {path.stem for path in methods} >= {"ppo", "sft", "reward_model", "functional"}
    assert {path.name: lines(path) for path in methods if lines(path) > 250} == {}


def test_three_short_files_lie_between_the_command_and_the_loss_of_ppo() -> None:
    door, built, method = (PACKAGE / file for file in TO_THE_LOSS)
    assert "from accord.methods import" in door.read_text()
    assert "return build.train(" in (PACKAGE / "methods.py").read_text()  # the table by name, passed through in a line
    assert "ppo.train(" in built.read_text()
    assert "def surrogate(" in method.read_text()
    assert "surrogate(" in method.read_text().split("def update(")[1]
    assert sum(lines(PACKAGE / file) for file in TO_THE_LOSS) < 900


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_opens_with_its_caption(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "__init__.py" and not text and "tests" in path.relative_to(ROOT).parts:
        return
    first = text.split("\n", 1)[0]
    assert first.startswith('"""'), f"{path} opens with {first!r}"
    caption = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
    assert first.removeprefix('"""').removesuffix('"""').rstrip() == caption.rstrip()
    assert 10 <= len(caption) <= 117
    assert not re.search(r"licen[cs]e|copyright", caption, re.IGNORECASE)


def test_nothing_is_named_after_a_cupboard() -> None:
    found = [name(path) for path in FILES for part in path.relative_to(PACKAGE).parts if CUPBOARDS.search(part[:-3])]
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                plain = re.sub(r"(?<!^)(?=[A-Z])", "_", node.name).lower()
                found += [f"{name(path)}: {node.name}"] if CUPBOARDS.search(plain) else []
    assert found == []


def test_classes_are_abstract_or_final() -> None:
    """Nothing concrete of ours is inherited: only interfaces, records, settings, modules and errors."""
    bases: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]
    wrong = {
        child: base
        for child, over in bases.items()
        for base in over
        if base in bases and base not in ONLY_ITSELF and not base.endswith("Error")
    }
    assert wrong == {}


def test_importing_a_room_prints_and_opens_nothing() -> None:
    """Every module can be imported by itself, in any order, without a word."""
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]
    for module in names:
        importlib.import_module(module)
    code = f"import importlib\nfor n in reversed({names!r}): importlib.import_module(n)"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:accord", "-c", code], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]


def test_prose_and_code_name_no_place_of_a_machine() -> None:
    """A recipe may say where its data lie beside the project: that is a setting, `--data.root`."""
    absolute, beside = re.compile(r"/(work|home|root|Users)/"), re.compile(r"\.\./shared")
    pages = [*FILES, *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    everything = [*pages, *(ROOT / "recipes").glob("*.yaml")]
    assert [str(path) for path in everything if absolute.search(path.read_text(encoding="utf-8"))] == []
    assert [str(path) for path in pages if beside.search(path.read_text(encoding="utf-8"))] == []


def test_who_may_import_whom() -> None:
    """The contracts of pyproject.toml, exhaustive by floor; `make check` runs the same."""
    linter = Path(sys.executable).with_name("lint-imports")
    if not linter.is_file():
        pytest.skip(f"import-linter is not installed ({linter} is missing); `make check` installs and runs it")
    done = subprocess.run([str(linter), "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "0 broken" in done.stdout


def test_no_pickle_and_no_torch_load() -> None:
    """Weights and checkpoints are read from files that cannot run anything."""
    wrong = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                wrong += [name(path) for module in modules if module.split(".")[0] in ("pickle", "shelve", "dill")]
            if isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "torch.save"):
                wrong.append(name(path))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("eval", "exec", "yaml.load", "os.system"):
                wrong.append(name(path))
    assert wrong == []
