"""A model is known before it is loaded, and a wrong one is refused in plain words."""

from pathlib import Path

import pytest

from deepscaler.models.model import open_model
from deepscaler.system.errors import UserError


def test_a_local_model_is_identified_by_its_weights(model_folder: Path) -> None:
    first = open_model(str(model_folder), "main")
    assert first.context == 2048
    assert first.identity.startswith("sha256:")
    (model_folder / "model.safetensors").write_bytes(b"other weights")
    assert open_model(str(model_folder), "main").identity != first.identity


def test_the_chat_template_has_a_hash_of_its_own(model_folder: Path) -> None:
    first = open_model(str(model_folder), "main")
    (model_folder / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    second = open_model(str(model_folder), "main")
    assert second.identity == first.identity
    assert second.chat_template_sha256 != first.chat_template_sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", "is neither a folder nor a hub id"),
        ("DeepScaleR-1.5B-Preview", "is neither a folder nor a hub id such as agentica-org/DeepScaleR-1.5B-Preview"),
        ("agentica-org/DeepScaleR-1.5B-Preview", "cannot be had from the hub"),
        ("agentica-org/../etc", "is neither a folder nor a hub id"),
    ],
)
def test_what_is_no_model_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_model(name, "main")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.safetensors", "holds no weights"),
        ("config.json", "cannot be read"),
        ("tokenizer.json", "cannot be read"),
        ("chat_template.jinja", "has no chat template"),
    ],
)
def test_an_incomplete_model_is_refused(model_folder: Path, missing: str, message: str) -> None:
    (model_folder / missing).unlink()
    with pytest.raises(UserError, match=message):
        open_model(str(model_folder), "main")
