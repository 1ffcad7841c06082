"""Reading without ceremony gives the very bits that the model's own forward gives, wherever it is used at all."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, MistralConfig, Qwen2Config

from accord.worlds.text.layers import FAMILIES, reader
from accord.worlds.text.pack import packed
from accord.worlds.text.trunk import Trunk
from tests.worlds.text import tiny

MORE = {
    "mistral": lambda: MistralConfig(num_key_value_heads=2, sliding_window=4, **tiny.SIZE),
    "qwen2": lambda: Qwen2Config(
        num_key_value_heads=2, use_sliding_window=True, sliding_window=4, max_window_layers=1, **tiny.SIZE
    ),
}
SEG = tiny.drawn([(9, [4, 1, 7]), (1, [3]), (12, [2, 2]), (6, [11])])


def model(family: str, dtype: torch.dtype = torch.float32) -> torch.nn.Module:
    if family in tiny.CONFIGS:
        return tiny.model(family, dtype=dtype)
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(MORE[family](), attn_implementation="sdpa")
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(0, 0.25) if weight.ndim > 1 else weight.add_(torch.randn_like(weight) * 0.1)
    return made.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "qwen2"])
def test_the_same_bits(family, dtype):
    trunk = Trunk(model(family, dtype))
    assert type(trunk.body).__name__ in FAMILIES
    row, quick = packed(SEG), reader(trunk)
    assert quick != trunk.read
    with torch.no_grad():
        assert torch.equal(quick(row.ids, row.position, row.tree), trunk.read(row.ids, row.position, row.tree))


def test_adapters_are_in_it():
    made = get_peft_model(model("llama"), LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)).eval()
    trunk, row = Trunk(made), packed(SEG)
    with torch.no_grad():
        wanted = trunk.read(row.ids, row.position, row.tree)
        assert torch.equal(reader(trunk)(row.ids, row.position, row.tree), wanted)
        with made.disable_adapter():
            assert not torch.equal(reader(trunk)(row.ids, row.position, row.tree), wanted)


def test_other_families_and_hooked_modules_are_read_as_they_are():
    for family in ("gemma3", "gpt2", "neox"):
        trunk = Trunk(model(family))
        assert reader(trunk) == trunk.read
    trunk = Trunk(model("llama"))
    hook = trunk.body.layers[1].mlp.register_forward_hook(lambda *_: None)
    assert reader(trunk) == trunk.read
    hook.remove()
    assert reader(trunk) != trunk.read
