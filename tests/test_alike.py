"""Products do not depend on where in memory their operands lie, on which the same bits after a resume rest."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import accord  # noqa: F401, asks MKL for it


def placed(values: Tensor, shift: int) -> Tensor:
    """The same values, `shift` numbers behind an address that is a multiple of 64 bytes."""
    room = torch.empty(values.numel() + 64)
    first = -(room.data_ptr() // 4) % 16 + shift
    there = room[first : first + values.numel()].view(values.shape)
    return there.copy_(values)


@pytest.mark.parametrize("shapes", [((2, 16), (1, 16)), ((1, 256), (300, 256)), ((9, 16), (16, 16))], ids=str)
def test_a_product_has_the_same_bits_wherever_its_operands_lie(shapes: tuple[tuple[int, int], tuple[int, int]]) -> None:
    one, other = (torch.randn(shape, generator=torch.Generator().manual_seed(5)) for shape in shapes)
    found = [
        torch.nn.functional.linear(placed(one, a), placed(other, b))
        for a, b in itertools.product((0, 4, 8, 12, 1), repeat=2)
    ]
    assert all(torch.equal(product, found[0]) for product in found)
