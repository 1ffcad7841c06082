"""Lets the tests of this wing import `tiny` whatever the import mode; and doubles that stay doubles."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def double(monkeypatch):
    """Norms and rotary positions of transformers compute in fp32 even in an fp64 model: let doubles stay doubles."""
    to, single = Tensor.to, Tensor.float

    def faithful(self: Tensor, *args, **kwargs):
        asked = args[0] if args else kwargs.get("dtype")
        return self if self.dtype == torch.float64 and asked == torch.float32 else to(self, *args, **kwargs)

    monkeypatch.setattr(Tensor, "to", faithful)
    monkeypatch.setattr(Tensor, "float", lambda self: self if self.dtype == torch.float64 else single(self))
