"""A model's shape counts its parameters exactly, and refuses a recipe that cannot share its heads."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.recipes.model_shape import KNOWN_SHAPES, check_heads, shape_of
from deepscaler.recipes.published import RECIPES
from deepscaler.system.errors import UserError

CONFIG = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "vocab_size": 32,
}


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1_777_088_000),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 134_515_008),
    ],
)
def test_parameters_are_counted_as_the_checkpoint_has_them(model: str, count: int) -> None:
    assert KNOWN_SHAPES[model].num_parameters == count


def test_a_folder_tells_its_own_shape(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "model_type": "qwen2"}))
    shape = shape_of(str(tmp_path))
    assert (shape.num_kv_heads, shape.attention_bias, shape.tied_embeddings) == (2, True, False)
    assert shape.kv_bytes_per_token == 2 * 2 * 2 * 2 * 4


@pytest.mark.parametrize("name", ["Qwen2Config", "Qwen3Config", "LlamaConfig"])
def test_what_a_file_leaves_out_is_what_transformers_takes(name: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    kind = getattr(transformers, name)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "model_type": kind.model_type}))
    assert shape_of(str(tmp_path)).tied_embeddings is kind.from_pretrained(tmp_path).tie_word_embeddings


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", json.dumps({**CONFIG, "num_attention_heads": 0}), json.dumps({**CONFIG, "vocab_size": "32"})],
)
def test_a_model_that_does_not_tell_its_shape_is_left_to_verl(text: str, tmp_path: Path) -> None:
    for model in ("somebody/else", str(tmp_path)):
        with pytest.raises(UserError, match=r"is not known: .*config\.json does not give it"):
            shape_of(model)
        check_heads(replace(RECIPES["8k"], model=model, sequence_parallel_size=8))
        (tmp_path / "config.json").write_text(text)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "fit"), [(12, 2, [1, 2, 4, 6, 12]), (9, 3, [1, 3, 9]), (16, 6, [1, 2]), (4, 4, [1, 2, 4])]
)
def test_heads_are_shared_as_verl_and_vllm_can(heads: int, kv_heads: int, fit: list[int]) -> None:
    shape = replace(KNOWN_SHAPES[RECIPES["8k"].model], num_heads=heads, num_kv_heads=kv_heads)
    assert [size for size in range(1, heads + 5) if shape.heads_divide_by(size)] == fit


@pytest.mark.parametrize("field", ["sequence_parallel_size", "tensor_parallel_size"])
def test_what_cannot_share_the_heads_is_refused_before_anything_starts(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "16k", "--set", f"{field}=8", "--output-dir", str(tmp_path / "run"), "--dry-run"]) == 2
    assert f"{field} 8 cannot share the 12 attention heads (2 of keys and values)" in capsys.readouterr().err
    assert main(["train", "16k", "--set", f"{field}=4", "--output-dir", str(tmp_path / "run"), "--dry-run"]) == 0
