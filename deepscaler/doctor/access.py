"""Checks what a training fetches: the cache, the model, its data, and tokens, which are never printed."""

import base64
import json
import netrc
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from deepscaler.data.compose import is_kept
from deepscaler.data.fetch import cached_file, hub, hub_token, is_offline
from deepscaler.data.prepare import parquet_path
from deepscaler.data.sources import SOURCES
from deepscaler.doctor.finding import Finding, Status, judged
from deepscaler.doctor.own_sets import own_set
from deepscaler.doctor.servers import asked, fetched, to_hub
from deepscaler.doctor.subject import Subject
from deepscaler.models.present import is_hub_id, lacks
from deepscaler.runs.space import free_bytes
from deepscaler.system.errors import UserError
from deepscaler.system.files import existing_parent, in_bytes, text_of
from deepscaler.system.paths import cache_dir, data_dir, hub_home, snapshot_of

MIN_FREE = 5 << 30
"""Bytes free where the cache is: a model and prepared data."""

BUCKET_KEYS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"),
    *("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN"),
    *("AZURE_STORAGE_CONNECTION_STRING", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"),
    "GOOGLE_APPLICATION_CREDENTIALS",
)
"""Variables that s3fs, adlfs and gcsfs read."""

PADDED = "begins or ends with a blank or a line break"
UNPAD = "make the secret again without it: `printf` or `echo -n` instead of `echo`"

OPENED = "the training has opened it before"


def check_cache(subject: Subject) -> Finding:
    """Checks that the kit's cache can be written and has room for a model; GPUs also keep compiled kernels there."""
    folder = cache_dir()
    existing = existing_parent(folder)
    if not existing.is_dir() or not _writable(existing):
        fix = "mount a folder there, or set DEEPSCALER_CACHE to one"
        needed = subject.device == "cuda" or not subject.starts_training
        return Finding("cache", "fail" if needed else "warn", f"{folder} cannot be written", fix)
    free = free_bytes(existing)
    fix = "make room, or move it: DEEPSCALER_CACHE"
    return judged("cache", free >= MIN_FREE, f"{folder}, {in_bytes(free)} free", fix, otherwise="warn")


def check_model(subject: Subject) -> Finding:
    """Checks that the recipe's model is here with all of its weights, or can be fetched."""
    if subject.recipe is None:
        return Finding("model", "skip", "needs --recipe")
    if subject.starts_training:
        return Finding("model", "pass", OPENED)
    model = subject.recipe.model
    own = Path(model)
    folder = own if own.is_dir() else snapshot_of(model, "main")
    why = lacks(folder) if folder else "is not here"
    if not why:
        return Finding("model", "pass", f"{model} is here")
    if own.is_dir():
        return Finding("model", "fail", f"{model} {why}", "give a folder with config.json and all weights")
    if not is_hub_id(model):
        return Finding("model", "fail", f"{model} is neither a folder nor a hub id", "give one or the other")
    return fetched("model", f"{model} {why}", hub(), f"hf download {model} where there is internet, or give a folder")


def check_data(subject: Subject) -> Finding:
    """Checks that each of the recipe's sets (the kit's, files, registered or hub sets) is here or can be fetched."""
    if subject.recipe is None:
        return Finding("data", "skip", "needs --recipe")
    if subject.starts_training:  # it reads the run's own copies
        return Finding("data", "pass", OPENED)
    run, names = subject.run_dir, subject.recipe.datasets
    own = [name for name in names if name not in SOURCES and not (run and is_kept(name, run))]
    found = [*map(own_set, own), _kits_sets([name for name in names if name in SOURCES and SOURCES[name].url])]
    for status in ("fail", "warn"):
        if worst := [one for one in found if one.status == status]:
            fixes = dict.fromkeys(one.fix for one in worst)
            return Finding("data", status, "; ".join(one.evidence for one in worst), "; ".join(fixes))
    told = [one.evidence for one in found if one.evidence]
    return Finding("data", "pass", "; ".join(told) or f"{', '.join(names)}: nothing has to be fetched")


def _kits_sets(names: Sequence[str]) -> Finding:
    """Returns whether sets of the kit are prepared or downloaded, or their servers answer."""
    lacking = [
        name
        for name in names
        if not parquet_path(name, data_dir()).is_file() and not cached_file(SOURCES[name]).is_file()
    ]
    if not lacking:
        return Finding("data", "pass", "")
    urls = [SOURCES[name].url.format(hub=hub()) for name in lacking]
    server = next((f"https://{urlsplit(url).hostname}" for url in urls if url.startswith("https://")), hub())
    fix = f"deepscaler data prepare {' '.join(lacking)}"
    return fetched("data", f"{', '.join(lacking)} is not here", server, fix)


def check_hub_token(subject: Subject) -> Finding:
    """Asks the hub whose token it is, and prints neither; a training that has all it needs gets only a warning."""
    try:
        token = hub_token() or text_of(hub_home() / "token")
    except UserError as error:
        return Finding("hub token", "warn" if subject.starts_training else "fail", str(error), "or unset it")
    if not token:
        return Finding("hub token", "skip", "none; public models need none")
    if is_offline():
        return Finding("hub token", "skip", "there is one; HF_HUB_OFFLINE is set, so the hub is not asked")
    found = asked(
        "hub token",
        to_hub(f"{hub()}/api/whoami-v2"),
        "make a new one in the hub's settings and export HF_TOKEN, or unset it",
    )
    return replace(found, status="warn") if subject.starts_training and not found.ok else found


def check_wandb_key(subject: Subject) -> Finding:
    """Asks Weights & Biases whose key it is, if the training logs there, and prints neither."""
    name, fix = "wandb key", "wandb login, export WANDB_API_KEY, or --wandb offline"
    if not subject.wandb:
        return Finding(name, "skip", "the training does not log to Weights & Biases")
    server = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rstrip("/")
    key = os.environ.get("WANDB_API_KEY") or _netrc_password(urlsplit(server).hostname or "")
    if not key:
        return Finding(name, "fail", "none in WANDB_API_KEY or ~/.netrc", fix)
    if key != key.strip():  # wandb itself refuses it when it is initialized, minutes later
        return Finding(name, "fail", f"WANDB_API_KEY {PADDED}", UNPAD)
    query = json.dumps({"query": "query Viewer { viewer { id } }"}).encode()
    login = base64.b64encode(f"api:{key}".encode()).decode()
    request = urllib.request.Request(  # noqa: S310  the user's own server
        f"{server}/graphql", query, {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    )
    return asked(name, request, fix)


def check_keys(subject: Subject) -> Finding:
    """Looks for line breaks in the keys of buckets, because their libraries use a key exactly as it is."""
    padded = [name for name in BUCKET_KEYS if (value := os.environ.get(name, "")) != value.strip()]
    if padded:
        status: Status = "warn" if subject.starts_training else "fail"
        return Finding("bucket keys", status, f"{', '.join(padded)} {PADDED}", UNPAD)
    num = sum(bool(os.environ.get(name)) for name in BUCKET_KEYS)
    return Finding("bucket keys", "pass" if num else "skip", f"{num} variables are set" if num else "none are set")


def _writable(folder: Path) -> bool:
    """Tries to write, because root's rights allow it even if the file system is read-only."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _netrc_password(host: str) -> str:
    try:
        # `wandb login` writes the key there, under the server's name.
        found = netrc.netrc(Path(os.environ.get("NETRC", "~/.netrc")).expanduser()).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return ""
    return found[2] or "" if found else ""
