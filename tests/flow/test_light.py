"""What a plain stage on a CPU does not import: it starts in half the time, and holds 150 MB less."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.circle import write_recipe

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


def test_fine_tuning_of_a_saved_model_imports_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    project = ("--project", tmp_path / "p")
    made = imported("train", "pretrain", write_recipe(tmp_path / "tiny.yaml"), *project, "--name", "pretrained")
    assert "transformers.modeling_utils" in made, "a new model is still built by transformers"
    assert not imported("train", "sft", *project, "--start", "pretrained")


@pytest.mark.parametrize("words", [["--help"], ["train", "sft", "--help"], ["methods"]])
def test_to_ask_for_help_imports_nothing_heavy(words: list[str]) -> None:
    assert not imported(*words)
