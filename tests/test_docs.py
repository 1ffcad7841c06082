"""The pages say what the code does: settings, messages, commands, logged numbers, places and links."""

import importlib.util
import re
import shlex
import unicodedata
from inspect import signature
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from accord import ask, cli, drawn, measured, moved, people, serve, verbs
from accord.algorithms import best_of_n, dpo, grpo, kto, online_dpo, ppo, reward_model, sft
from accord.batches import Comparisons
from accord.methods import METHODS
from accord.run import MEASURED, Run, RunConfig, read_log
from accord.worlds.toy import Bandit, BanditConfig, ToyPolicy

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TEXTS = [ROOT / "README.md", ROOT / "LOG.md", *PAGES]
QUIET = RunConfig(trackers=(), progress=False, device="cpu", checkpoint_seconds=1e9)
EVERYWHERE = {"step", "time"}


def of(name):
    """A script of docs/, as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_of(text):
    """Everything between backticks."""
    return set(re.findall(r"`([^`\n]+)`", text))


def blocks(text):
    """(language, code) of each fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def without_code(text):
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


# --- the site --------------------------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation_and_the_reverse():
    def pages(entry):
        values = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else [entry]
        return [entry] if isinstance(entry, str) else [page for value in values for page in pages(value)]

    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == [page.name for page in PAGES]
    assert len(set(named)) == len(named)


def test_the_site_asks_no_other_machine_for_anything():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    assert settings["theme"]["font"] is False
    assert settings["plugins"] == ["search"]
    assert all(
        (DOCS / place).is_file() for kind in ("css", "javascript") for place in settings.get(f"extra_{kind}", [])
    )
    assert [p.name for p in TEXTS if re.search(r"!\[[^]]*\]\(\s*(https?:)?//", p.read_text())] == []


def slug(heading):
    """The anchor that Python-Markdown gives to a heading."""
    plain = re.sub(r"`([^`]*)`|\[([^]]*)\]\([^)]*\)", r"\1\2", heading)
    plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: p.name)
def test_every_link_leads_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        headings = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE) if found.suffix == ".md" else []
        if not found.exists() or (anchor and anchor not in {slug(h) for h in headings}):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", TEXTS, ids=lambda p: p.name)
def test_every_place_that_is_named_is_there(page):
    text = page.read_text()
    places = re.findall(r"(?<![\w./-])((?:accord|docs|tests|examples|recipes|bench|\.ci)/[\w./-]*\w/?)", text)
    assert sorted({place for place in places if not (ROOT / place).exists() and "NAME" not in place}) == []


def test_python_on_the_pages_is_python():
    for page in TEXTS:
        for language, code in blocks(page.read_text()):
            if language == "python":
                compile(code, page.name, "exec")


# --- settings and messages -------------------------------------------------------------------------------------


def test_the_page_of_settings_is_what_the_command_prints():
    assert (DOCS / "settings.md").read_text() == of("make_settings").page(), (
        "settings have changed: .venv/bin/python docs/make_settings.py > docs/settings.md"
    )


def test_every_setting_is_documented_with_a_meaning():
    page = of("make_settings")
    lines = (DOCS / "settings.md").read_text().splitlines()
    rows = {line.split("`")[1]: line.rstrip("| ").split(" | ") for line in lines if line.startswith("| `")}
    assert sorted({name.split(".")[-1] for name in page.names()} - set(rows)) == []
    silent = [
        f"{kind.__name__}.{name}"
        for kind in page.groups()
        for name, field in kind.model_fields.items()
        if not (field.description or name == "kind")
    ]
    assert silent == []


def test_the_page_of_messages_is_what_the_guards_say():
    assert (DOCS / "errors.md").read_text() == of("make_errors").page(), (
        "messages have changed: .venv/bin/python docs/make_errors.py > docs/errors.md"
    )


def test_the_lines_of_methods_are_as_told():
    text = (DOCS / "design.md").read_text()
    assert of("make_lines").page(text) == text, "files have changed: .venv/bin/python docs/make_lines.py"


def test_lines_of_code_are_counted_without_what_is_only_told():
    told = ['"""A caption.', "", 'More."""', "", "def f():  # why", '    """One."""', "    # alone", ""]
    source = "\n".join(["import os", *told, '    return """a', 'b"""', ""])
    assert of("make_lines").code(source) == 4
    with pytest.raises(ValueError, match="once each"):
        of("make_lines").page("no marks")


# --- commands --------------------------------------------------------------------------------------------------


def commands():
    """Every `accord ...` of the pages: lines of code blocks, indented lines, and words between backticks."""
    for page in TEXTS:
        text = page.read_text()
        plain = [line.strip() for language, code in blocks(text) if language != "python" for line in code.splitlines()]
        plain += [line.strip() for line in text.splitlines() if line.startswith("    ")]
        plain += [" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
        for line in plain:
            line = line.removeprefix(".venv/bin/")
            if re.match(r"accord( [a-z-]|$)", line):
                yield pytest.param(line, id=f"{page.stem}-{line[:60]}")


@pytest.mark.parametrize("line", list(dict.fromkeys(commands())))
def test_every_command_can_be_given(line, monkeypatch, tmp_path):
    given = shlex.split(line)[1:]
    if not given or given[0].startswith("-") or given[0] in ("WORD", "help"):
        return
    verb, rest = given[0], given[1:]
    assert verb in cli.VERBS, f"accord has no verb {verb!r}"
    if verb == "train" and rest:
        assert rest[0] in METHODS or rest[0] == "METHOD"
        rest = rest[1:]
        for name in ("start", "reward", "reference", "name", "beside", "cost", "group"):
            if f"--{name}" in rest:
                at = rest.index(f"--{name}")
                rest = rest[:at] + rest[at + 2 :]
    if {"--help", "-h"} & set(rest):
        return
    if verb == "quickstart" and "--people" in rest:
        options = {part[2:].replace("-", "_") for part in rest if part.startswith("--") and part != "--people"}
        assert options <= set(signature(serve.first).parameters)
        return
    if verb in ("quickstart", "loop", "train"):
        rest = [part for part in rest if part not in ("--fresh", "RECIPE", "...")]
        if rest and not rest[0].startswith("-"):
            assert (ROOT / rest[0]).is_file(), f"no recipe {rest[0]}"
        monkeypatch.chdir(ROOT)
        assert cli._place(rest, verb, 0).recipe is not None  # settings that do not exist end here with SystemExit
        return
    name = verb if verb != "import" else "import_"
    place = next(room for room in (ask, drawn, people, measured, moved, serve, verbs) if hasattr(room, name))
    known = set(signature(getattr(place, name)).parameters)
    options = {part[2:].replace("-", "_") for part in rest if part.startswith("--")}
    assert options <= known


def programs():
    """Every other program of the pages: `pytest ...`, `python FILE ...`, `python -m MODULE ...`; page and words."""
    for page in TEXTS:
        text = page.read_text()
        plain = [line for language, code in blocks(text) if language != "python" for line in code.splitlines()]
        plain += [line for line in text.splitlines() if line.startswith("    ")]
        plain += [" ".join(found.split()) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
        for line in plain:
            words = line.split("  #")[0].split()
            while words and re.fullmatch(r"[A-Z_]+=\S+", words[0]):
                words.pop(0)
            name = words[0].rpartition("/")[2] if words else ""
            if name == "pytest" and len(words) > 1:
                yield pytest.param(["pytest", *words[1:]], id=f"{page.stem}-{' '.join(words)[:60]}")
            elif name == "python" and words[1:2] != ["-c"]:
                yield pytest.param(
                    words[2:] if words[1] == "-m" else words[1:], id=f"{page.stem}-{' '.join(words)[:60]}"
                )


def wanted_of_pytest(options):
    """What cannot be found of a call: places, marks, and the word of -k in the tests of these places."""
    waiting, places, told = list(options), [], {}
    while waiting:
        word = waiting.pop(0)
        if word in ("-k", "-m"):
            told[word] = waiting.pop(0)
        elif not word.startswith("-"):
            places.append(ROOT / word)
    missing = [str(place) for place in places if not place.exists()]
    if "-m" in told and f'"{told["-m"]}: ' not in (ROOT / "pyproject.toml").read_text():
        missing.append(told["-m"])
    there = [place for place in places or [ROOT / "tests"] if place.exists()]
    files = [file for place in there for file in ([place] if place.is_file() else place.rglob("test_*.py"))]
    asked = told.get("-k", "")
    return missing if any(asked in file.read_text() for file in files) else [*missing, asked]


@pytest.mark.parametrize("words", programs())
def test_every_program_is_there_with_its_options(words):
    program, *options = words
    if program == "pytest":
        assert wanted_of_pytest(options) == []
        return
    file = ROOT / program if program.endswith(".py") else ROOT / Path(*program.split(".")).with_suffix(".py")
    if not file.is_file():
        file = ROOT / Path(*program.split(".")) / "__main__.py"
    assert file.is_file(), f"no program {program}"
    known = set(re.findall(r'add_argument\(\s*"(--[a-z-]+)"', file.read_text()))
    assert [word for word in options if word.startswith("--") and word not in known] == []


def test_a_program_that_is_not_there_is_missed():
    assert wanted_of_pytest(["tests/shape", "-k", "outgrows", "-m", "gpu"]) == []
    assert wanted_of_pytest(["tests/shape", "-k", "no_such_word", "-m", "nightly"]) == ["nightly", "no_such_word"]
    assert wanted_of_pytest(["tests/nowhere.py"])[0].endswith("nowhere.py")
    for words in (["bench.nothing"], ["docs/nothing.py"], ["bench.paths", "--nowhere"]):
        with pytest.raises(AssertionError):
            test_every_program_is_there_with_its_options(words)


def test_every_make_verb_is_in_the_makefile():
    there = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {verb for page in TEXTS for verb in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE)}
    assert named <= there


# --- logged numbers --------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """A score of what was seen."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def score(self, segment):
        return self.layer(segment.observation[segment.group])[:, 0] + 0.1 * segment.action[:, 0]


def logged(method, folder):
    """Names that a method writes in its log, by running it."""
    world, policy = Bandit(BanditConfig(contexts=8, answers=2)), ToyPolicy(4, 5, "categorical")
    run, seen = Run(folder / method, QUIET), world.collect(policy)
    if method == "ppo":
        ppo.train(ppo.Config(iterations=1, kl=ppo.KL(place="none")), policy, world, world.reward, run)
    elif method == "sft":
        sft.train(sft.Config(batch=8), policy, seen, run, seen)
    elif method == "grpo":
        grpo.train(grpo.kin("dr_grpo", iterations=1), policy, world, world.reward, run)
    elif method == "best_of_n":
        best_of_n.train(best_of_n.Config(iterations=1), policy, world, world.reward, run)
    elif method == "online_dpo":
        drawn = online_dpo.Config(iterations=1)
        online_dpo.train(drawn, policy, world, world.reward, run, lambda s: policy.evaluate(s).logprob)
    elif method == "kto":
        kto.train(kto.Config(batch=8), policy, seen, torch.arange(16) % 2 == 0, run)
    else:
        pairs, one = torch.arange(0, 16, 2), torch.ones(8)
        compared = Comparisons(seen, pairs, pairs + 1, one, one, one, tuple(str(i) for i in range(8)))
        if method == "dpo":
            dpo.train(dpo.Config(batch=4), policy, compared, run, held_out=compared)
        else:
            reward_model.train(reward_model.Config(batch=4), Linear(), compared, run, compared)
    return {name for row in read_log(run.folder / "log.jsonl") for name in row} - EVERYWHERE


@pytest.mark.parametrize("method", ["sft", "reward_model", "ppo", "dpo", "kto", "grpo", "best_of_n", "online_dpo"])
def test_every_logged_number_is_explained(method, tmp_path):
    every = logged(method, tmp_path)
    measured = {name for name in every if name.startswith(MEASURED)}
    names = every - measured
    assert len(names) >= 5
    assert {"seconds/step", "memory/peak_mb"} <= measured
    assert sorted(measured - words_of((DOCS / "run.md").read_text())) == []
    assert sorted(names - words_of((DOCS / f"{method}.md").read_text())) == []
    listed = words_of((DOCS / "glossary.md").read_text())
    assert sorted(names - listed) == []
