"""Makes a model of three million random parameters, which learns nothing, quickly: `python tiny.py FOLDER`.

Imports the kit and torch only, so that a pod of an image can be given this file as text.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from deepscaler.models.smollm import small_model


def make_tiny(model: Path, folder: Path) -> None:
    """Writes a model of two layers that has another's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "max_position_embeddings": 2048}
    config = LlamaConfig(
        **sizes,
        vocab_size=len(tokenizer),
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # a container's user reads it, too


if __name__ == "__main__":
    make_tiny(small_model(print), Path(sys.argv[1]))
