"""The real small model, made once for all slow tests."""

from pathlib import Path

import pytest

from deepscaler.models.smollm import small_model


@pytest.fixture(scope="session")
def kept_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the session, so that the model is converted once."""
    return tmp_path_factory.mktemp("kept_cache")


@pytest.fixture(scope="session")
def model(kept_cache: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPSCALER_CACHE", str(kept_cache))
        return small_model(print)


@pytest.fixture(autouse=True)
def own_cache(kept_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept cache instead of an empty one a test."""
    monkeypatch.setenv("DEEPSCALER_CACHE", str(kept_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tiny_model(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three million random parameters with the small model's tokenizer: it learns nothing, quickly."""
    import torch  # noqa: PLC0415
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("models") / "tiny"
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
    return folder
