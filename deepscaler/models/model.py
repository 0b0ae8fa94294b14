"""What a model is, before any engine loads it: its chat template, its context, and which weights exactly."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from deepscaler.system.errors import UserError
from deepscaler.system.files import sha256

UNKNOWN_CONTEXT = 1 << 20
"""Tokens; more than any model has."""

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")


class ChatTokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    def apply_chat_template(self, conversation: object, **options: object) -> object:
        """Token ids of a conversation."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model on disk, and who it is."""

    path: str
    """Local folder, which the engines load; empty for an endpoint's model."""
    identity: str
    """A hub commit, `sha256:...` over the weight files of a local model, or `endpoint:HOST:MODEL`."""
    context: int
    """Tokens of prompt and response together that it was made for."""
    chat_template: str
    tokenizer: ChatTokenizer | None
    """None where an endpoint applies the template."""

    @property
    def chat_template_sha256(self) -> str:
        """A template changes the prompt, hence the numbers."""
        return hashlib.sha256(self.chat_template.encode()).hexdigest()


def open_model(name: str, revision: str) -> Model:
    """Find a model (downloading it from the hub if it is no folder) and read all but its weights."""
    folder = Path(name)
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise UserError(f"--model {name} is neither a folder nor a hub id such as agentica-org/DeepScaleR-1.5B-Preview")
    path, identity = (folder, hash_weights(folder)) if folder.is_dir() else _download(name, revision)
    try:
        from transformers import AutoTokenizer  # noqa: PLC0415  seconds of import
    except ImportError as error:
        raise UserError(f"evaluation needs transformers ({error}): install the `eval` extra") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        context = _context(json.loads((path / "config.json").read_text(encoding="utf-8")))
    except Exception as error:  # transformers raises anything on broken files
        raise UserError(f"--model {name} cannot be read: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(tokenizer.chat_template, str) or not tokenizer.chat_template.strip():
        raise UserError(f"--model {name} has no chat template: the benchmarks' prompts are chat messages")
    return Model(str(path), identity, context, tokenizer.chat_template, tokenizer)


def open_endpoint(name: str, base_url: str, tokenizer: str, revision: str) -> Model:
    """Returns a model that a server holds: nobody sees its weights, so the server's host is part of its identity.

    `tokenizer` is a folder or a hub id, of which no weights are read; empty where the server gets messages.
    """
    identity = f"endpoint:{urlsplit(base_url).hostname}:{name}"
    if not tokenizer:
        return Model("", identity, UNKNOWN_CONTEXT, "", None)
    try:
        from transformers import AutoConfig, AutoTokenizer  # noqa: PLC0415  seconds of import
    except ImportError as error:
        raise UserError(f"--api completions needs transformers ({error}): install it, or use --api chat") from error
    where = {} if Path(tokenizer).is_dir() else {"revision": revision}
    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer, **where)
        context = _context(AutoConfig.from_pretrained(tokenizer, **where).to_dict())
    except Exception as error:  # transformers raises anything on broken files
        told = " ".join(str(error).split())[:300]
        raise UserError(
            f"the tokenizer of {tokenizer} cannot be read ({told}): give --tokenizer FOLDER, or use --api chat"
        ) from error
    if not isinstance(loaded.chat_template, str) or not loaded.chat_template.strip():
        raise UserError(f"the tokenizer of {tokenizer} has no chat template: use --api chat")
    return Model("", identity, context, loaded.chat_template, loaded)


def _context(config: dict[str, Any]) -> int:
    text = config.get("text_config", config)
    return int(text.get("max_position_embeddings") or UNKNOWN_CONTEXT)


def hash_weights(folder: Path) -> str:
    """The identity of a local model. Raises UserError if the folder holds no weights."""
    files = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not files:
        raise UserError(f"--model {folder} holds no weights ({', '.join(_WEIGHTS)})")
    digests = "".join(f"{path.name}:{sha256(path)}\n" for path in files)
    return "sha256:" + hashlib.sha256(digests.encode()).hexdigest()


def find_model(name: str, revision: str) -> str | None:
    """Returns the folder of a model that is on this machine, also in the hub's cache; None if it is not."""
    if Path(name).is_dir():
        return name
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415

        return str(snapshot_download(name, revision=revision, local_files_only=True))
    except (ImportError, OSError, ValueError):  # no hub client, not in the cache, no hub id
        return None


def fetch_model(name: str, revision: str = "main") -> Path:
    """The folder of a hub model, downloaded unless the cache has it; a download that was cut off goes on."""
    return _download(name, revision)[0]


def _download(name: str, revision: str) -> tuple[Path, str]:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise UserError(
            f"--model {name} is on the hub, which needs huggingface_hub: install the `eval` extra"
        ) from error
    try:
        path = Path(snapshot_download(name, revision=revision, ignore_patterns=["*.pth", "original/*", "*.gguf"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(
            f"--model {name} (revision {revision}) cannot be had from the hub: {' '.join(str(error).split())[:200]};"
            " without internet give a folder"
        ) from error
    return path, path.name
