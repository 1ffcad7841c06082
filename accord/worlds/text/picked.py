"""Rows at places, some of them several times, with a gradient that comes out the same whatever the threads do."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def picked(rows: Tensor, at: Tensor) -> Tensor:
    """[m, D]: rows [N, D] at places [m].

    The gradient of `rows[at]` is added up by several threads at once, in whatever order they come; of a row that is
    read three times or more (the end of a prompt, by each of its answers) the last bits then differ from run to run.
    Read as a table of words, each thread adds the rows of its own part, in order.
    """
    return functional.embedding(at, rows)
