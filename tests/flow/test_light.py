"""Asking for help imports nothing heavy, so that it answers at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "torch._dynamo", "torch._inductor", "torch.distributed.tensor", "torch.distributed.fsdp", "sympy",
    "transformers.modeling_utils", "transformers.models.llama.modeling_llama", "accelerate", "peft", "scipy.stats",
    "scipy.optimize", "scipy.special", "matplotlib", "tensorboard", "pandas", "sklearn", "pyarrow", "fastapi",
)  # fmt: skip
"""Some 2,000 modules in all with what they bring."""
CODE = f"""
import sys
from accord.cli import main
done = main(sys.argv[1:])
print("imported:", *[name for name in {HEAVY!r} if name in sys.modules])
sys.exit(done)
"""


def imported(*words: object) -> list[str]:
    """The heavy ones that `accord WORDS` imports in a process of its own."""
    done = subprocess.run([sys.executable, "-c", CODE, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("words", [["--help"], ["train", "sft", "--help"], ["methods"]])
def test_to_ask_for_help_imports_nothing_heavy(words: list[str]) -> None:
    assert not imported(*words)
