"""Identifies a model before any engine loads it: its chat template, its context, and its exact weights."""

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from deepscaler.models.present import WEIGHTS, lacks, lacks_weights
from deepscaler.system.errors import UserError
from deepscaler.system.files import sha256
from deepscaler.system.paths import snapshot_of

UNKNOWN_CONTEXT = 1 << 20
"""Tokens of an unknown context, more than any model has."""


class ChatTokenizer(Protocol):
    """Declares the part of a transformers tokenizer that is used here."""

    def apply_chat_template(self, conversation: object, **options: object) -> object:
        """Returns the token ids of a conversation."""


@dataclass(frozen=True, slots=True)
class Model:
    """Holds a model's location and identity."""

    path: str
    """Local folder that the engines load; empty for an endpoint's model."""
    identity: str
    """Hub commit, `sha256:...` over the weight files of a local model, or `endpoint:HOST:MODEL`."""
    context: int
    """Most tokens of prompt and response together that the model was made for."""
    chat_template: str
    tokenizer: ChatTokenizer | None
    """The tokenizer; None if an endpoint applies the template."""

    @property
    def chat_template_sha256(self) -> str:
        """Returns the template's hash, because a template changes the prompt and so the numbers."""
        return hashlib.sha256(self.chat_template.encode()).hexdigest()


def open_model(name: str, revision: str) -> Model:
    """Returns a local model, or a hub model after downloading it, without loading its weights. Raises UserError."""
    folder = Path(name)
    # A mistyped folder must not become a request to the hub.
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") != 1):
        raise UserError(f"--model {name} is neither a folder nor a hub id such as agentica-org/DeepScaleR-1.5B-Preview")
    with ThreadPoolExecutor(max_workers=1) as beside:  # weights are read and hashed while transformers is imported
        found = beside.submit(_identify, name, revision)
        try:
            from transformers import AutoTokenizer  # noqa: PLC0415  seconds of import
        except ImportError as error:
            raise UserError(f"evaluation needs transformers ({error}): install the `eval` extra") from error
        path, identity = found.result()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        context = _context(json.loads((path / "config.json").read_text(encoding="utf-8")))
    except Exception as error:  # transformers raises many types on broken files
        raise UserError(f"--model {name} cannot be read: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(tokenizer.chat_template, str) or not tokenizer.chat_template.strip():
        raise UserError(f"--model {name} has no chat template, which the benchmarks need: give a chat model")
    return Model(str(path), identity, context, tokenizer.chat_template, tokenizer)


def _identify(name: str, revision: str) -> tuple[Path, str]:
    """Returns the folder of a model and who it is. Raises UserError."""
    folder = Path(name)
    return (folder, hash_weights(folder)) if folder.is_dir() else _download(name, revision)


def open_endpoint(name: str, base_url: str, tokenizer: str, revision: str) -> Model:
    """Returns a model on a server. Its weights are hidden, so the server's host is part of its identity.

    `tokenizer` is a folder or a hub id, whose weights are not read; empty if the server receives messages.
    """
    # The host alone: a URL may hold a key, and ports change from job to job.
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
    except Exception as error:  # transformers raises many types on broken files
        told = " ".join(str(error).split())[:300]
        raise UserError(
            f"the tokenizer of {tokenizer} cannot be read ({told}): give --tokenizer FOLDER, or use --api chat"
        ) from error
    if not isinstance(loaded.chat_template, str) or not loaded.chat_template.strip():
        raise UserError(f"the tokenizer of {tokenizer} has no chat template: use --api chat")
    return Model("", identity, context, loaded.chat_template, loaded)


def _context(config: dict[str, Any]) -> int:
    text = config.get("text_config", config)  # models of text and images nest the language model's options
    return int(text.get("max_position_embeddings") or UNKNOWN_CONTEXT)


TO_READ_AHEAD = "DEEPSCALER_MODEL"
"""Variable with the folder of the weights that verl will load, for each of its processes to read ahead."""


def read_ahead(name: str) -> None:
    """Has the kernel read a local model's weights into memory while other things start; it does so by itself."""
    for path in sorted(path for pattern in WEIGHTS for path in Path(name).glob(pattern)):
        with suppress(OSError), path.open("rb") as file:
            # Returns at once; length 0 means to the end.
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def hash_weights(folder: Path) -> str:
    """Returns the identity of a local model. Raises UserError if the folder does not hold all of its weights."""
    if why := lacks_weights(folder):
        raise UserError(f"--model {folder} {why}: give a folder with all of {', '.join(WEIGHTS)}")
    files = sorted(path for pattern in WEIGHTS for path in folder.glob(pattern))
    # With the names, in order: the same shards under exchanged names are another model.
    digests = "".join(f"{path.name}:{sha256(path)}\n" for path in files)
    return "sha256:" + hashlib.sha256(digests.encode()).hexdigest()


def find_model(name: str, revision: str) -> str | None:
    """Returns the folder of a model on this machine, including the hub's cache; None if it is not there as a whole."""
    if Path(name).is_dir():
        return name
    folder = snapshot_of(name, revision)
    return str(folder) if folder and not lacks(folder) else None


def fetch_model(name: str, revision: str = "main") -> Path:
    """Returns the folder of a hub model, downloading it unless the cache has it; resumes an interrupted download."""
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
        # Other forms of the same weights: Llama's originals and GGUF would double the download.
        path = Path(snapshot_download(name, revision=revision, ignore_patterns=["*.pth", "original/*", "*.gguf"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError, ValueError) as error:
        raise UserError(
            f"cannot fetch --model {name} (revision {revision}) from the hub: {' '.join(str(error).split())[:200]};"
            " without internet give a folder"
        ) from error
    if why := lacks(path):  # offline the client returns what the cache has, which may be a tokenizer alone
        raise UserError(f"--model {name} {why} in {path}: hf download {name} where there is internet, or give a folder")
    return path, path.name
