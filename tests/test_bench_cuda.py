"""The bench of a GPU beside TRL: the same rows as on a processor, told where they work, and tried without a card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, LlamaForCausalLM

from bench import compare, cuda, material, placed
from bench.works import Work

BENCH = Path(cuda.__file__).parent


def test_each_work_beside_the_peer_stands_on_both_sides_and_looks_first() -> None:
    assert set(cuda.KINDS) == {"sft", "dpo", "reward", "grpo", "generate"}
    for work in cuda.BESIDE:
        assert work.peers
        assert work.check
        assert work.goal == 1, "never slower"
        for side in ("ours", "theirs"):
            assert f'"{work.kind}": ' in (BENCH / f"{side}.py").read_text(encoding="utf-8")


def test_its_models_are_as_large_as_they_are_called() -> None:
    for name, wanted in (("0.5 B", 0.5e9), ("1 B", 1e9)):
        of = material.SIZES[name]
        inner = (8 * of.width // 3 + 7) // 8 * 8
        shape = {"hidden_size": of.width, "num_hidden_layers": of.layers, "num_attention_heads": of.heads}
        config = AutoConfig.for_model("llama", vocab_size=of.vocabulary, intermediate_size=inner,
                                      tie_word_embeddings=of.tie, **shape)  # fmt: skip
        with torch.device("meta"):
            count = sum(weight.numel() for weight in LlamaForCausalLM(config).parameters())
        assert count == pytest.approx(wanted, rel=0.1)


def test_both_sides_are_told_where_they_work(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Work] = []

    def noted(work: Work, *_: Any) -> dict[str, Any]:
        asked.append(work)
        return {}

    monkeypatch.setattr(cuda, "compare", noted)
    monkeypatch.setattr(cuda, "machine_rate", lambda *_: 1e15)
    list(cuda.beside("1 B", False, ("dpo", "reward"), 3, "python"))
    list(cuda.beside("tiny", True, ("grpo",), 3, "python"))
    assert [(work.size, work.where["device"], work.where["dtype"], work.loose) for work in asked] == [
        ("1 B", "cuda", "bfloat16", cuda.LOOSE), ("1 B scorer", "cuda", "bfloat16", cuda.LOOSE),
        ("tiny", "cpu", "float32", 1.0),
    ]  # fmt: skip
    assert [placed.place(work.where) for work in asked] == [("cuda", "bfloat16")] * 2 + [("cpu", "float32")]
    assert placed.place({}) == ("cpu", "float32")


def test_memory_of_a_gpu_is_told_from_the_beginning_of_a_work(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {"peak": 9 << 30}
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: held.update(peak=0))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: held["peak"])

    def work(_wish: dict[str, Any]) -> dict[str, Any]:
        held["peak"] = max(held["peak"], 3 << 20)
        return {"seconds": 1.0}

    assert placed.weighed(work, {"device": "cuda"})({}) == {"seconds": 1.0, "gpu_mb": 3.0}
    assert placed.weighed(work, {})({}) == {"seconds": 1.0}


def test_memory_of_the_card_stands_in_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "needed", lambda *_: None)
    monkeypatch.setattr(material, "folder", lambda size: Path(size))
    monkeypatch.setattr(material, "rows", lambda size: Path(size))
    one = {"seconds": 2.0, "tokens": 9, "steps": 1, "losses": [0.5], "peak_mb": 1.0, "grew_mb": 1.0}
    row = compare.row(cuda.BESIDE[1], {"accord": [{**one, "gpu_mb": 7.4}], "peer": [{**one, "gpu_mb": 9.6}]}, 1.0)
    assert (row["gpu_mb"], row["peer_gpu_mb"], row["ratio"]) == (7, 10, 1.0)
    assert "gpu_mb" not in compare.row(cuda.BESIDE[1], {"accord": [one]}, 1.0)


def test_bf16_is_allowed_to_differ_by_its_own_rounding_and_no_more() -> None:
    def seen(loss: float) -> dict[str, list[dict[str, Any]]]:
        one = {"norms": [1.0], "losses": [loss], "tokens": 9, "learned": 5, "steps": 1}
        return {"accord": [{**one, "losses": [0.5]}], "peer": [one]}

    exact = cuda.BESIDE[1]
    loose = Work(**{**vars(exact), "loose": cuda.LOOSE})
    assert compare.same(loose, seen(0.505))["loss"] == pytest.approx(0.005)
    for work, other in ((exact, 0.505), (loose, 0.52)):
        with pytest.raises(compare.Unequal, match="loss of step 0"):
            compare.same(work, seen(other))


def test_without_the_peer_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cuda, "PEER", tmp_path / "nowhere")
    with pytest.raises(SystemExit, match=r"no peer: .*nowhere is missing.*ACCORD_PEERS=PYTHON"):
        cuda.main(["--tiny", "--beside", "sft"])


@pytest.mark.parametrize(("kind", "tokens"), [("generate", 4 * 16), ("grpo", None)])
def test_a_row_beside_the_peer_can_be_tried_without_a_card(
    kind: str, tokens: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cuda.PEER.is_file():
        pytest.skip("no peer here: `make bench` makes its environment, and the row needs both sides")
    seen: list[dict[str, list[dict[str, Any]]]] = []
    same = compare.same
    monkeypatch.setattr(
        compare, "same", lambda work, sides, first=False: seen.append(sides) or same(work, sides, first)
    )
    (row,) = cuda.beside("tiny", True, (kind,), 1, str(cuda.PEER))
    assert row["tokens"] == (tokens or row["tokens"]) > 0
    assert row["accord"] > 0
    assert row["peer"] > 0
    assert json.dumps(row)
    for side in ("accord", "peer"):
        assert kind == "generate" or all(norm > 0 for norm in seen[0][side][0]["norms"]), "a gradient was compared"
