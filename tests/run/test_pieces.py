"""Checkpoints in pieces: any cut comes back whole or in parts, torch's own reader opens them, no loss is overlooked."""

import json

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader

from accord.run import newest, ranks, shards, together, write_state
from accord.run.checkpoint import read_state, sha256
from accord.run.pieces import Pieces, file_name, pieces_in, write_pieces

KINDS = (torch.float32, torch.bfloat16, torch.int64)
WHOLE = {
    "layers.weight": torch.arange(35).view(7, 5).float(),
    "bias": torch.arange(3).to(torch.bfloat16),
    "cube": torch.arange(24).view(4, 3, 2),
}


def cut(folder, several):
    """As `several` ranks would write WHOLE, the first rows to the first one; some have nothing of the short ones."""
    for rank in range(several):
        own = {}
        for name, value in WHOLE.items():
            size = -(-len(value) // several)
            own[name] = value[rank * size : (rank + 1) * size], (min(rank * size, len(value)), *[0] * (value.ndim - 1))
        write_pieces(folder / file_name(rank), own)
    return sorted(folder.glob("shard-*"))


@pytest.mark.parametrize("several", [1, 2, 3, 5])
def test_any_part_of_any_cut_is_that_part(several, tmp_path):
    found = pieces_in(cut(tmp_path, several))
    draw = torch.Generator().manual_seed(several)
    for name, value in WHOLE.items():
        pieces = Pieces(name, tuple(value.shape), found[name])
        assert torch.equal(pieces.whole(), value)
        assert pieces.whole().dtype == value.dtype
        for _ in range(20):
            begin = [int(torch.randint(0, n + 1, (), generator=draw)) for n in value.shape]
            size = [
                int(torch.randint(0, n - b + 1, (), generator=draw)) for n, b in zip(value.shape, begin, strict=True)
            ]
            part = value[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))]
            assert torch.equal(pieces.read(begin, size), part)
            assert pieces.read(begin, size).dtype == value.dtype


@pytest.mark.parametrize("several", [1, 3])
def test_torch_s_own_reader_opens_them(several, tmp_path):
    cut(tmp_path, several)
    state = {name: torch.zeros_like(value) for name, value in WHOLE.items()}
    dcp.load(state, storage_reader=HuggingFaceStorageReader(str(tmp_path)), no_dist=True)
    assert all(torch.equal(state[name], value) for name, value in WHOLE.items())


def checkpoint(folder, step, several=2):
    """A checkpoint of two ranks, made by hand."""
    aside = folder / ".writing"
    aside.mkdir(parents=True)
    files = cut(aside, several)
    state = {name: Pieces(name, tuple(value.shape)) for name, value in WHOLE.items()}
    hashes = {path.name: sha256(path) for path in files}
    return write_state(folder, step, {"step": step, "tied": [state["bias"], state["bias"]], **state}, 2, aside, hashes)


def test_a_checkpoint_of_pieces_is_read_whole_or_by_pieces(tmp_path):
    path = checkpoint(tmp_path, 4)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000004"]
    for whole in (True, False):
        step, state = read_state(path, whole)
        assert step == state["step"] == 4
        for name, value in WHOLE.items():
            assert isinstance(state[name], torch.Tensor if whole else Pieces)
            assert torch.equal(state[name] if whole else state[name].whole(), value)
        assert torch.equal(state["tied"][1] if whole else state["tied"][1].whole(), WHOLE["bias"])


@pytest.mark.parametrize("harm", ["gone", "cut", "changed", "unlisted"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_lost_or_changed_piece_is_noticed_and_the_older_one_wins(harm, whole, tmp_path):
    checkpoint(tmp_path, 1)
    path = checkpoint(tmp_path, 2) / file_name(1)
    if harm == "gone":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif harm == "changed":
        path.write_bytes(path.read_bytes()[:-1] + b"\x77")
    else:  # the manifest knows nothing of it, so that only the missing numbers tell
        manifest = path.parent / "manifest.json"
        said = json.loads(manifest.read_text())
        del said["sha256"][path.name]
        manifest.write_text(json.dumps(said))
    with pytest.warns(UserWarning, match=r"step-00000002.* is not whole|SHA-256"):
        step, _ = newest(tmp_path, whole)
    assert step == 1


def test_overlapping_pieces_do_not_hide_a_hole(tmp_path):
    for rank in (0, 1):
        write_pieces(tmp_path / file_name(rank), {"x": (torch.ones(2, 2), (0, 0))})
    pieces = Pieces("x", (4, 2), pieces_in(sorted(tmp_path.glob("shard-*")))["x"])
    with pytest.raises(ValueError, match="x: 8 of 8 numbers are in 2 files"):
        pieces.check()


# --- several ranks -----------------------------------------------------------------------------------------------


@pytest.fixture
def pair(monkeypatch):
    """This process as rank 0 of two that share weights; what the other says is set by the test."""
    heard = []
    monkeypatch.setattr(shards, "sharded", lambda: True)
    monkeypatch.setattr(ranks, "gathered", lambda text: [text, json.dumps(heard.pop(0))])
    return heard


def test_a_full_disk_of_another_rank_is_survived(pair, tmp_path):
    pair += [{"said": ""}, {"said": "", "error": "OSError: No space left on device", "full": True}]
    with pytest.warns(UserWarning, match=r"no checkpoint at step 3: the disk of .* is full \(of rank 1"):
        assert together.write_together(tmp_path, 3, {"x": torch.ones(3)}) is None
    assert list(tmp_path.iterdir()) == []


def test_another_rank_s_failure_is_everybody_s_with_its_reason(pair, tmp_path):
    checkpoint(tmp_path, 1)
    pair += [{"said": ""}, {"said": "", "error": "PermissionError: not yours", "full": False}]
    with pytest.raises(
        OSError, match="rank 1 could not write its share of the checkpoint of step 3: PermissionError: not"
    ):
        together.write_together(tmp_path, 3, {"x": torch.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"], "the old one stays, nothing half made"


def test_with_whole_weights_rank_0_writes_as_ever(tmp_path):
    path = together.write_together(tmp_path, 3, {"x": torch.ones(3)})
    assert sorted(file.name for file in path.iterdir()) == ["manifest.json", "state.json", "tensors.safetensors"]
