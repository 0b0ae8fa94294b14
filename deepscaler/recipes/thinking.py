"""Tells from a model's chat template whether its responses think, and whether a recipe asks for the same.

A recipe with `thinking` scores a response without </think> with 0. Where the template closes the thoughts in the prompt
already, no response has one.
"""

import json
import re
from pathlib import Path
from typing import Literal

from deepscaler.recipes.recipe import Recipe
from deepscaler.system.errors import UserError

Thinking = Literal["always", "unless told", "as trained"]
"""The prompt ends in an open <think>; it does not, but the template can close it; the template says nothing of it."""

SWITCH = "enable_thinking"
SWITCH_KEY = f"data.apply_chat_template_kwargs.{SWITCH}"
"""verl's key for it."""

KNOWN: dict[str, Thinking] = {
    **dict.fromkeys((f"deepseek-ai/DeepSeek-R1-Distill-Qwen-{size}" for size in ("1.5B", "7B")), "always"),
    **dict.fromkeys((f"Qwen/Qwen3-{size}" for size in ("0.6B", "1.7B", "4B")), "unless told"),
    **dict.fromkeys(("Qwen/Qwen2.5-Math-1.5B", "nvidia/OpenMath-Nemotron-1.5B"), "as trained"),
    "HuggingFaceTB/SmolLM2-135M-Instruct": "as trained",
}
"""Known models that recipes start from, so nothing here needs the hub."""

THINKS = {"nvidia/OpenMath-Nemotron-1.5B"}
"""Models that write <think> and </think> themselves, which their templates do not tell."""


def thinking_of(template: str) -> Thinking:
    """Returns what a chat template, as Jinja's text, does about thoughts where a response is to begin."""
    # Only what a response follows: templates mention <think> elsewhere, to cut thoughts out of earlier turns.
    end = template[template.rfind("add_generation_prompt") :]
    if SWITCH in end:
        return "unless told"
    # An opened thought that the template closes itself (<think></think>) is an empty one.
    return "always" if re.search(r"<think>(?!.*</think>)", end, re.DOTALL) else "as trained"


def template_in(folder: Path) -> str:
    """Returns the chat template of a model's folder; empty if it has none that can be read."""
    try:
        # Newer transformers write the template here, and prefer it to the one in tokenizer_config.json.
        if (folder / "chat_template.jinja").is_file():
            return (folder / "chat_template.jinja").read_text(encoding="utf-8")
        told = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template", "")
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""
    return told if isinstance(told, str) else ""


def check_thinking(recipe: Recipe) -> str:
    """Returns a note where a recipe and its model's template may not mean the same; nothing where neither tells.

    Raises UserError if every response would score 0.
    """
    folder = Path(recipe.model)
    template = template_in(folder) if folder.is_dir() else ""
    thinking = thinking_of(template) if template else KNOWN.get(recipe.model)
    if thinking is None:
        return ""
    switched_off = recipe.verl.get(SWITCH_KEY) is False
    if recipe.thinking and thinking == "unless told" and switched_off:
        raise UserError(
            f"{SWITCH_KEY} = false closes the thoughts of {recipe.model} in the prompt, and thinking=true scores every"
            " response without </think> with 0: set thinking=false"
        )
    if recipe.thinking and thinking == "as trained" and recipe.model not in THINKS:
        return (
            f"the chat template of {recipe.model} opens no <think>: if the model does not write it by itself, every"
            " response scores 0; set thinking=false for such a model"
        )
    if not recipe.thinking and (thinking == "always" or (thinking == "unless told" and not switched_off)):
        way = f", or set {SWITCH_KEY}=false in [verl]" if thinking == "unless told" else ""
        return (
            f"{recipe.model} thinks before it answers, and with thinking=false a response that is cut off in its"
            f" thoughts is graded as an answer: set thinking=true{way}"
        )
    return ""
