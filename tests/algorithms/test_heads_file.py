"""Heads are read as they were written, and only onto a trunk that they fit."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from accord.algorithms.heads_file import read_heads, write_heads
from accord.algorithms.reward_model import Normaliser
from accord.algorithms.scales import Columns


@pytest.mark.parametrize("length", [True, False])
def test_what_is_written_is_read(length, tmp_path):
    columns = Columns(6, ("", "tone", "harm"), length, seed=4)
    norms = {"": Normaliser(0.5, 2.0), "tone": Normaliser(-1.0, 0.1), "harm": Normaliser()}
    write_heads(columns, norms, tmp_path / "heads.safetensors")
    found, read = read_heads(tmp_path / "heads.safetensors", 6)
    assert read == norms
    assert found.criteria == columns.criteria
    state, main = torch.randn(5, 6), torch.randn(5)
    for mine, theirs in zip(found(state, main), columns(state, main), strict=True):
        assert torch.equal(mine, theirs)
    assert [path.name for path in tmp_path.iterdir()] == ["heads.safetensors"]


def test_another_width_or_another_file_is_refused(tmp_path):
    write_heads(Columns(6, ("", "tone"), False, 0), {}, tmp_path / "heads")
    with pytest.raises(ValueError, match=r"others\.0\.weight is \(1, 6\), and the trunk's states are 8 wide"):
        read_heads(tmp_path / "heads", 8)
    save_file({"x": torch.zeros(1)}, str(tmp_path / "other"))
    with pytest.raises(ValueError, match="holds no heads"):
        read_heads(tmp_path / "other", 6)


def test_a_file_whose_facts_name_a_head_that_is_not_in_it_is_refused(tmp_path):
    write_heads(Columns(6, ("", "tone"), False, 0), {}, tmp_path / "heads")
    with safe_open(str(tmp_path / "heads"), "pt") as file:
        facts, main = file.metadata(), {name: file.get_tensor(name) for name in file.keys() if "others" not in name}  # noqa: SIM118
    save_file(main, str(tmp_path / "cut"), metadata=facts)
    with pytest.raises(ValueError, match=r"do not fit: others\.0\.\w+"):
        read_heads(tmp_path / "cut", 6)
