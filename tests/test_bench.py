"""The bench counts as one would by hand, writes its table between the marks, and keeps both sides apart."""

from __future__ import annotations

import ast
import itertools
import json
import mmap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from accord.worlds.text import models
from accord.worlds.text.layers import known
from accord.worlds.text.tokenizer import word_level
from bench import __main__ as measured
from bench import compare, cuda, lane, limit, page, paths
from bench.works import PAIRS, WORKS, Work, ranked, verdicts

BENCH = Path(page.__file__).parent


def test_the_operations_of_a_pass_are_those_that_torch_counts(tmp_path: Path) -> None:
    """On one prompt with one answer: the plain model's own, less the logits of places that predict no answer.

    And less what the last layer does there behind its keys and values.
    """
    shape = {"hidden_size": 32, "intermediate_size": 88, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=50, **shape)
    config.save_pretrained(tmp_path)
    prompt, answer = 9, 6
    rows = {"examples": [{"prompt_ids": [1] * prompt, "answer_ids": [2] * answer}]}
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    told = limit.needed("sft", {"first": 0, "count": 1, "steps": 2}, tmp_path, tmp_path / "rows.json")
    config._attn_implementation = "eager"
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        LlamaForCausalLM(config)(torch.ones(1, prompt + answer, dtype=torch.long))
    whole, length = counted.get_total_flops(), prompt + answer
    square = 3 * 4 * 32 * length**2  # torch counts the upper half of each causal square too
    triangle = 3 * 4 * 32 * length * (length + 1) / 2
    expected = whole - square + triangle - 2 * 50 * 32 * prompt - 2 * prompt * (2 * 32**2 + 3 * 32 * 88)
    assert told == pytest.approx(3 * 2 * expected)


def seen(losses: list[float], **other: int) -> dict[str, list[dict]]:
    return {"norms": [1.0] * len(losses), "losses": losses, "tokens": 9, "learned": 5, "steps": len(losses)} | other


@pytest.mark.parametrize(
    ("theirs", "word"),
    [
        (seen([0.5, 0.4], tokens=8), "tokens 9 against 8"),
        (seen([0.5, 0.4], learned=4), "learned 5 against 4"),
        (seen([0.5]), "steps 2 against 1"),
        (seen([0.5002, 0.4]), "loss of step 0"),
        (seen([0.5, float("nan")]), "loss of step 1"),
        (seen([0.5, 0.4], norms=[1.0, 1.1]), "norm of step 1"),
    ],
)
def test_unequal_work_is_no_row_but_an_error(theirs: dict, word: str) -> None:
    ours = seen([0.5, 0.4])
    assert compare.same(WORKS[0], {"accord": [ours], "peer": [seen([0.5, 0.4])]}) == {"loss": 0.0, "norm": 0.0}
    with pytest.raises(compare.Unequal, match=word):
        compare.same(WORKS[0], {"accord": [ours], "peer": [theirs]})


def test_the_table_stands_between_its_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    row = {"work": "DPO", "unit": "pairs/s", "accord": 12.0, "peer": 3.0, "ratio": 4.0, "goal": 8, "peer_kept": 4.0}
    row |= {"ratio_best": 3.0, "limit_share": 0.52, "spread": 0.03, "peer_spread": 0.05, "settings": {"rows": 8}}
    row |= {"peak_mb": 600, "peer_peak_mb": 1200, "grew_mb": 200, "peer_grew_mb": 700, "made": "2026-11-21 abc"}
    alone = {**row, "work": "PPO", **dict.fromkeys(("peer", "ratio", "goal", "peer_kept", "ratio_best"))}
    alone |= {"peer_spread": None, "peer_peak_mb": None, "peer_grew_mb": None, "settings": {}}
    made = {"date": "2026-11-21", "machine": "one", "threads": 2, "limit_gflops": 90.0, "versions": {"torch": "2"}}
    made |= {"rows_are": "real", "rounds": 3, "command": "make bench", "minutes": 9.6, "rows": [row, alone]}
    where = tmp_path / "speed.md"
    where.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.write(made, where, [])
    page.write(made, where, [])
    text = where.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"{page.END}\nafter\n")
    assert "old" not in text
    assert "| DPO | pairs/s | 12.0 | 3.00 | 4.00 | 8 | 4.00 | 3.00 | 52 % | 7.69 | 3 % / 5 % | 2026-11-21 abc |" in text
    assert "| PPO | 600 | - | - | 200 | - | - |" in text
    assert "On another machine" not in text
    file = tmp_path / "cpu-other.json"
    file.write_text(json.dumps({**made, "machine": "Other, 4 cores"}))
    page.write(made, where, [file])
    text = where.read_text()
    assert "On another machine: Other, 4 cores, 2 threads" in text
    assert "| DPO | 4.00 | 8 | 3.00 | 52 % | 7.69 | 0.50 | 2026-11-21 abc |" in text
    where.write_text("nothing")
    with pytest.raises(ValueError, match="lost the marks"):
        page.write(made, where, [])


def test_a_work_measured_by_itself_takes_the_place_of_its_older_row_and_of_no_other(tmp_path: Path) -> None:
    out, about = tmp_path / "cpu.json", {"machine": "one", "threads": 2, "made_at": "first"}
    titles = [work.title for work in WORKS[:3]]
    measured.write(out, [{"work": title, "accord": 1.0} for title in titles], 0.0, 9e10, about)
    measured.write(out, [{"work": titles[1], "accord": 2.0}], 0.0, 8e10, {**about, "made_at": "second"})
    rows = json.loads(out.read_text())["rows"]
    told = [(row["work"], row["accord"], row["made"].split()[-1], row["limit_gflops"]) for row in rows]
    assert told == [(titles[0], 1.0, "first", 90), (titles[1], 2.0, "second", 80), (titles[2], 1.0, "first", 90)]
    measured.write(out, [{"work": titles[0], "accord": 3.0}], 0.0, 9e10, {**about, "machine": "another"})
    assert [row["work"] for row in json.loads(out.read_text())["rows"]] == titles[:1], "rows of two machines never meet"
    kept = json.loads((tmp_path / "cpu-one.json").read_text())
    assert [row["accord"] for row in kept["rows"]] == [1.0, 2.0, 1.0], "and those of the other one are not lost"
    measured.write(out, [{"work": titles[2], "accord": 4.0}], 0.0, 9e10, {**about, "made_at": "third"})
    assert [row["accord"] for row in json.loads(out.read_text())["rows"]] == [1.0, 2.0, 4.0], "and come back with it"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cpu-another.json", "cpu.json"]


def test_the_sides_share_the_clock_and_nothing_else() -> None:
    for file in ("theirs.py", "lane.py"):
        names = [
            name
            for node in ast.walk(ast.parse((BENCH / file).read_text(encoding="utf-8")))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for name in [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
        ]
        assert [name for name in names if name.split(".")[0] == "accord"] == []


def test_seconds_in_the_kernel_are_those_that_memory_costs() -> None:
    watch = lane.Watch()

    def told(work: Callable[[], object]) -> dict:
        watch.begin()
        work()
        watch.tick(0.0, 0.0)
        return watch.told()

    def fresh() -> None:
        """Memory that no allocator has: `heap.keep`, called by another test, would have ours given out again."""
        with mmap.mmap(-1, 512 << 20) as memory:
            for at in range(0, len(memory), mmap.PAGESIZE):
                memory[at] = 1

    pages = told(fresh)
    sums = told(lambda: sum(range(2_000_000)))
    assert 0.01 < pages["kernel_seconds"] <= pages["cpu_seconds"] + 0.01
    assert sums["kernel_seconds"] < pages["kernel_seconds"] / 2


def test_every_work_with_a_peer_has_a_look_at_equality_first() -> None:
    works: tuple[Work, ...] = WORKS
    assert [work.name for work in works if work.peers and not work.check] == []
    assert [work.name for work in works if work.goal is not None and not work.peers] == []


def test_verdicts_and_rankings_are_made_of_pairs_as_both_sides_read_them(tmp_path: Path) -> None:
    pairs = [{"prompt_ids": [n] * 3, "chosen_ids": [n, 1], "rejected_ids": [n, 2, 3]} for n in range(20)]
    told = verdicts(pairs[:6])
    assert sorted(told) == sorted(
        (n, kind, kind == "chosen_ids") for n in range(6) for kind in ("chosen_ids", "rejected_ids")
    )
    assert all(one[0] != other[0] for one, other in itertools.pairwise(told)), "no neighbours share a prompt"
    (first, said), (second, more) = ranked(pairs, 2)
    assert (first, second) == ([0] * 3, [9] * 3)
    assert [answer[0] for answer in (*said, *more)] == list(range(18))
    assert len(PAIRS) == 36
    assert all(better < worse < 9 for better, worse in PAIRS)
    shape = {"hidden_size": 32, "intermediate_size": 88, "num_hidden_layers": 3, "num_attention_heads": 4}
    LlamaConfig(vocab_size=50, **shape).save_pretrained(tmp_path)
    (tmp_path / "rows.json").write_text(json.dumps({"pairs": pairs}))
    flop = {
        kind: limit.needed(kind, {"first": 0, "count": 1}, tmp_path, tmp_path / "rows.json")
        for kind in ("ranking", "reward", "simpo", "dpo", "kto")
    }
    assert flop["dpo"] == pytest.approx(4 / 3 * flop["simpo"])
    assert flop["kto"] == pytest.approx(2 * flop["simpo"])
    assert 2 < flop["ranking"] / flop["reward"] < 9, "nine answers of two tokens against two, and one prompt in both"


@pytest.mark.parametrize("work", WORKS, ids=lambda work: f"{work.kind}-{work.size}")
def test_each_work_has_a_function_on_both_sides(work: Work) -> None:
    pages = {side: (BENCH / f"{side}{work.side}.py").read_text() for side in ("ours", "theirs")}
    assert f'"{work.kind}": ' in pages["ours"]
    assert not work.peers or f'"{work.kind}": ' in pages["theirs"]
    assert work.units == work.amount["count"] * {"ranking": 36, "kto": 2}.get(work.kind, 1)


def test_a_path_is_as_fast_as_its_least_seconds_and_both_have_the_same_loss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {False: [9.0, 2.0, 2.5], True: [9.0, 5.0, 3.0]}
    loss = {False: 0.5, True: 0.5}

    class Told:
        def __init__(self, _python: str, _module: str, job: dict, _threads: int) -> None:
            self.modules, self.seconds = job["modules"], iter(told[job["modules"]])

        def ready(self) -> Told:
            return self

        def do(self, **_: object) -> dict:
            one = {"losses": [loss[self.modules]], "norms": [1.0]}
            return {**one, "cpu_seconds": next(self.seconds), "peak_mb": 500.0 + self.modules}

        def end(self) -> None:
            self.seconds = iter(())

    monkeypatch.setattr(paths, "Lane", Told)
    monkeypatch.setattr(paths, "material", SimpleNamespace(folder=str, rows=str, MADE="made"))
    (row, _) = paths.main(["--only", "lora", "--rounds", "2"])
    assert row["seconds"] == {False: 2.0, True: 3.0}, "without the piece that warms them"
    assert row["ratio"] == 1.5
    assert "| lora | sft | 2.00 | 3.00 | 1.50 | 500 | 501 |" in capsys.readouterr().out
    loss[True] = 0.501
    with pytest.raises(compare.Unequal, match=r"lora, sft: losses 0\.5 as a function, 0\.501 by modules"):
        paths.main(["--only", "lora"])


@pytest.mark.parametrize("option", paths.OPTIONS)
def test_who_listens_to_a_module_has_it_called_by_its_name(option: str, tmp_path: Path) -> None:
    tokenizer, shape = word_level(["a", "b"]), models.ModelSettings(width=16, layers=1, heads=2, context=32)
    models.save(models.language_model(shape, tokenizer), tokenizer, tmp_path / "m")
    (tmp_path / "rows.json").write_text("{}")
    for modules in (False, True):
        job = {"modules": modules, "option": option, "model": str(tmp_path / "m"), "rows": str(tmp_path / "rows.json")}
        model = paths.Either(job).policy().model
        assert known(models.parts(model)[0]) != modules
        assert models.has_adapter(model) == (option == "lora")
        assert getattr(model, "is_gradient_checkpointing", False) == (option == "checkpointing")


def test_the_works_of_a_gpu_can_be_tried_without_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cuda.json"
    told = cuda.main(["--tiny", "--peak", "0.001", "--out", str(out)])
    assert [row["work"] for row in told["rows"]] == ["sft", "update", "iteration"]
    assert all(row["speed/gflops"] > 0 and row["peak_share"] > 0 for row in told["rows"])
    assert set(told["rows"][2]["where"]) >= {"generate", "score", "update"}
    assert not out.exists(), "no figures are kept of a model of nothing"
    assert len(capsys.readouterr().out.splitlines()) >= 3


def test_one_row_never_costs_those_that_were_measured_under_other_settings(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "versions", lambda peer: {"torch": "2"})
    monkeypatch.setattr(measured, "machine", lambda: "a machine")
    monkeypatch.setattr(measured, "matmul_rate", lambda threads: pytest.fail("it began to measure"))
    file = tmp_path / "cpu.json"
    about = {"versions": {"torch": "2"}, "machine": "a machine", "threads": 2, "rounds": 3}
    file.write_text(json.dumps({**about, "rows": [1]}))
    with pytest.raises(SystemExit, match=r"cpu\.json holds rows .*rounds 3 there, 5 here.*--out FILE"):
        measured.main(["--alone", "--threads", "2", "--rounds", "5", "--only", "sft", "--out", str(file)])
    assert measured.differs(file, {**about, "made_at": "now"}) == ""
    assert measured.differs(tmp_path / "none.json", about) == ""
