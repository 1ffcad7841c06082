"""Layers with joined, transposed weights against the layers as they are."""

import pytest
import torch

from accord.worlds.text import prepared as room
from accord.worlds.text.pack import packed
from accord.worlds.text.prepared import ROWS, STEPS, prepared, worded
from accord.worlds.text.trunk import Trunk
from tests.worlds.text import tiny
from tests.worlds.text.test_layers import SEG, model

FAMILIES = ["llama", "qwen3", "mistral", "qwen2"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_states(family):
    trunk, row = Trunk(model(family)), packed(SEG)
    with torch.no_grad():
        wanted = trunk.read(row.ids, row.position, row.tree)[0]
        quick = prepared(trunk)
        assert (quick(row.ids, row.position, row.tree, None) - wanted).abs().max() < 1e-5
        at = torch.tensor([3, 11, 2, 3])
        assert (quick(row.ids, row.position, row.tree, at) - wanted[at]).abs().max() < 1e-5


def test_turns_of_later_places_are_found_when_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(room, "TURNS", 1)
    trunk, row = Trunk(model("llama")), packed(SEG)
    with torch.no_grad():
        quick = prepared(trunk)
        for late in (0, 7, 3, 30):
            wanted = trunk.read(row.ids, row.position + late, row.tree)[0]
            assert (quick(row.ids, row.position + late, row.tree, None) - wanted).abs().max() < 1e-5


def test_rows_as_wide_as_pages_lie_a_line_further_apart():
    for width, apart in ((1024, 1040), (4096, 4112), (1000, 1000), (768, 768)):
        weight = torch.randn(width, 3)
        kept = room._turned(room.Broad(3 * apart, weight), weight)
        assert kept.stride() == (apart, 1)
        assert torch.equal(kept, weight.t())


def test_weights_are_read_anew_at_each_call_and_large_ones_stay_where_they_are(monkeypatch):
    trunk, row, at = Trunk(model("llama")), packed(SEG), torch.tensor([5])
    with torch.no_grad():
        before = prepared(trunk)(row.ids, row.position, row.tree, at)
        trunk.body.layers[0].self_attn.v_proj.weight.mul_(2)
        after = prepared(trunk)(row.ids, row.position, row.tree, at)
        assert (before - after).abs().max() > 1e-3
        monkeypatch.setattr(room, "MOST", 0)
        monkeypatch.setattr(room, "_ready", None)
        assert (prepared(trunk)(row.ids, row.position, row.tree, at) - after).abs().max() < 1e-5


def test_other_families_are_read_by_transformers():
    trunk, row = Trunk(tiny.model("gemma3")), packed(SEG)
    with torch.no_grad():
        wanted = trunk.read(row.ids, row.position, row.tree)[0]
        assert torch.equal(prepared(trunk)(row.ids, row.position, row.tree, None), wanted)


def test_the_output_layer_is_copied_where_that_pays_and_nobody_listens(monkeypatch):
    trunk = Trunk(model("llama"))
    state = torch.randn(5, trunk.width)
    with torch.no_grad():
        quick = worded(trunk, ROWS, STEPS)
        assert quick != trunk.logits
        before = trunk.logits(state)
        assert (quick(state) - before).abs().max() < 1e-5
        trunk.head.weight.mul_(2)
        assert (worded(trunk, ROWS, STEPS)(state) - 2 * before).abs().max() < 1e-5
        assert worded(trunk, ROWS - 1, STEPS) == worded(trunk, ROWS, STEPS - 1) == trunk.logits
        hook = trunk.head.register_forward_hook(lambda *_: None)
        assert worded(trunk, ROWS, STEPS) == trunk.logits
        hook.remove()
        trunk.cap = 3.0
        assert worded(trunk, ROWS, STEPS) == trunk.logits
        trunk.cap = None
        monkeypatch.setattr(room, "MOST", 0)
        assert worded(trunk, ROWS, STEPS) == trunk.logits
