"""A model and a tokenizer as small as they get."""

from pathlib import Path
from typing import Any

VOCABULARY = 96
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def save_toy(folder: Path) -> None:
    """Writes a Qwen2 of 22,000 random weights, with its tokenizer."""
    import torch  # noqa: PLC0415
    from transformers import Qwen2Config, Qwen2ForCausalLM  # noqa: PLC0415

    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**SIZES, tie_word_embeddings=False)).save_pretrained(folder)
    save_tokenizer(folder, VOCABULARY)


def save_tokenizer(folder: Path, num_words: int) -> None:
    """Writes a tokenizer of so many words: w0 is unknown, w1 ends a text, w2 pads."""
    from tokenizers import Tokenizer  # noqa: PLC0415
    from tokenizers.models import WordLevel  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    words = Tokenizer(WordLevel({f"w{number}": number for number in range(num_words)}, unk_token="w0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w1", pad_token="w2").save_pretrained(folder)
