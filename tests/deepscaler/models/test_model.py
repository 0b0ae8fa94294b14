"""A model is known before it is loaded, and a wrong one is refused in plain words."""

import json
import shutil
from pathlib import Path

import pytest

from deepscaler.models.base import base_of
from deepscaler.models.model import find_model, hash_weights, open_model
from deepscaler.models.present import lacks
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
        ("agentica-org/DeepScaleR-1.5B-Preview", "from the hub"),
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


SHARDS = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ([], "holds no weights"),
        (["training_args.bin", "adapter_model.safetensors"], "holds no weights"),
        (SHARDS[:1], f"lacks 1 of 2 shards ({SHARDS[1]})"),
        ([INDEX], f"lacks 2 of 2 shards ({SHARDS[0]})"),
        ([INDEX, SHARDS[1], "pytorch_model.bin"], f"lacks 1 of 2 shards ({SHARDS[0]})"),
        ([INDEX, *SHARDS], ""),
        (SHARDS, ""),
        (["model.safetensors", "pytorch_model.bin.index.json"], ""),
        (["pytorch_model.bin"], ""),
    ],
)
def test_a_folder_is_a_model_if_it_has_all_of_its_weights(files: list[str], why: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    index = json.dumps({"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}})
    for name in files:
        (tmp_path / name).write_text(index if name.endswith(".index.json") else "weights")
    assert lacks(tmp_path) == why
    if why:
        with pytest.raises(UserError, match=r"no weights|lacks [12] of 2 shards"):
            hash_weights(tmp_path)


def test_an_empty_file_and_a_torn_index_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "pytorch_model.bin").symlink_to(tmp_path / "blob-that-is-gone")
    assert lacks(tmp_path) == "holds no weights"
    (tmp_path / INDEX).write_text('{"weight_map": {')
    assert lacks(tmp_path) == f"holds an index of shards that cannot be read ({INDEX})"


def test_what_reading_a_tokenizer_leaves_in_the_hubs_cache_is_no_model(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's own constants are read when it is imported, so its cache is this one as far as it is asked here."""
    repository = tmp_path / "hub/models--lab--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("abc")
    snapshot = repository / "snapshots/abc"
    shutil.copytree(model_folder, snapshot)
    (snapshot / "README.md").write_text("---\nlicense: mit\n---\n")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert find_model("lab/tiny", "main") == find_model("lab/tiny", "abc") == str(snapshot)
    assert find_model("lab/tiny", "v2") is None
    (snapshot / "model.safetensors").unlink()
    assert find_model("lab/tiny", "main") is None
    assert base_of("lab/tiny").license == {"license": "mit"}, "a card needs no weights"
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(snapshot))
    with pytest.raises(UserError, match=r"lab/tiny holds no weights in .*/abc: hf download lab/tiny"):
        open_model("lab/tiny", "main")
