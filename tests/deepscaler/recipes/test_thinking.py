"""A recipe and its model's chat template must mean the same by thinking."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepscaler.recipes.load import recipe_named
from deepscaler.recipes.model_shape import KNOWN_SHAPES, shape_of
from deepscaler.recipes.published import NAMES, RECIPES
from deepscaler.recipes.thinking import KNOWN, SWITCH_KEY, check_thinking, template_in, thinking_of
from deepscaler.system.errors import UserError

MODELS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("models.json").read_text(encoding="utf-8"))
"""What each model's config.json and tokenizer_config.json say, as far as it matters here, and where it was read."""


def folder_of(name: str, tmp_path: Path) -> Path:
    about = MODELS[name]
    (tmp_path / "config.json").write_text(json.dumps(about["config"]))
    end = "{%- if add_generation_prompt %}" + about["template_end"] + "{%- endif %}"
    template = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}" + end
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    return tmp_path


@pytest.mark.parametrize("name", MODELS)
def test_a_models_own_files_say_what_the_table_says(name: str, tmp_path: Path) -> None:
    about, folder = MODELS[name], folder_of(name, tmp_path)
    shape = shape_of(str(folder))
    assert shape == KNOWN_SHAPES[name]
    assert shape.num_parameters == about["parameters"]
    assert shape.head_dim == about["head_dim"]
    assert [size for size in range(1, 9) if shape.heads_divide_by(size)] == about["heads_fit"]
    assert thinking_of(template_in(folder)) == KNOWN[name]


@pytest.mark.parametrize("name", NAMES)
def test_no_recipe_of_the_kit_contradicts_its_model(name: str) -> None:
    assert check_thinking(recipe_named(name)) == ""


@pytest.mark.parametrize(
    ("model", "thinking", "verl", "told"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", False, {}, "set thinking=true"),
        ("Qwen/Qwen3-4B", False, {}, f"set {SWITCH_KEY}=false in [verl]"),
        ("Qwen/Qwen3-4B", False, {SWITCH_KEY: False}, ""),
        ("Qwen/Qwen3-4B", True, {}, ""),
        ("Qwen/Qwen2.5-Math-1.5B", True, {}, "opens no <think>"),
        ("Qwen/Qwen2.5-Math-1.5B", False, {}, ""),
        ("nvidia/OpenMath-Nemotron-1.5B", True, {}, ""),
        ("somebody/else", True, {}, ""),
    ],
)
def test_a_doubt_is_said(model: str, thinking: bool, verl: dict[str, Any], told: str) -> None:
    recipe = replace(RECIPES["8k"], model=model, thinking=thinking, verl=verl)
    doubt = check_thinking(recipe)
    assert told in doubt
    assert bool(told) == bool(doubt)


def test_what_scores_every_response_0_is_refused() -> None:
    recipe = replace(RECIPES["8k"], model="Qwen/Qwen3-4B", verl={SWITCH_KEY: False})
    with pytest.raises(UserError, match="set thinking=false"):
        check_thinking(recipe)


def test_a_template_in_a_file_of_its_own_is_read_first(tmp_path: Path) -> None:
    folder = folder_of("Qwen/Qwen2.5-Math-1.5B", tmp_path)
    (folder / "chat_template.jinja").write_text("{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}")
    recipe = replace(RECIPES["8k"], model=str(folder), thinking=False)
    assert "thinks before it answers" in check_thinking(recipe)
    (folder / "chat_template.jinja").unlink()
    (folder / "tokenizer_config.json").write_text("[")
    assert check_thinking(recipe) == ""
