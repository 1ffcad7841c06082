"""A tokenizer and tiny models that every comparison with TRL shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accord.worlds.text.tokenizer import train_bpe
from tests.peers.beside import TALKS, drawn


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return train_bpe([content for talk in TALKS for _, content in talk] * 3, 320)


@pytest.fixture(scope="session")
def drawn_models(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `policy`, `old`, `reference` and `sampler`."""
    return drawn(tokenizer, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(drawn_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for one script of the other side, with the models beside."""
    made = tmp_path_factory.mktemp("beside")
    for one in drawn_models.iterdir():
        (made / one.name).symlink_to(one)
    return made
