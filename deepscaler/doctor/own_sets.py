"""Looks for sets of the user's own: files, sets that were registered here, and sets of the hub."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote, urlsplit

from deepscaler.data.fetch import hub, is_offline
from deepscaler.data.hub import check_cached, check_listed
from deepscaler.data.names import is_file, is_hub, label, parse_hub
from deepscaler.data.prepare import parquet_path, prepared_path, read_manifest
from deepscaler.data.rows import check_readable
from deepscaler.doctor.finding import Finding
from deepscaler.doctor.servers import SECONDS, to_hub
from deepscaler.system.errors import UserError
from deepscaler.system.paths import data_dir

MOST_TOLD = 32 << 20
"""Bytes of the hub's answer about a set; each of its files takes some hundred."""


def own_set(name: str) -> Finding:
    """Returns whether a file can be read, a registered set is as it was prepared, or a hub set is here or there."""
    try:
        if is_hub(name):
            return _hub_set(name)
        if is_file(name):
            check_readable(Path(name))
        else:
            prepared_path(name, data_dir())
    except UserError as error:
        return Finding("data", "fail", str(error), "or change the recipe's train_dataset or validation_dataset")
    return Finding("data", "pass", f"{name} is here")


def _hub_set(name: str) -> Finding:
    """Returns whether a set was fetched before, or what the hub answers about it. Raises UserError."""
    entry = read_manifest(data_dir()).get(label(name), {})
    if entry.get("given") == name and parquet_path(label(name), data_dir()).is_file():
        return Finding("data", "pass", f"{name} is prepared")
    if is_offline():
        check_cached(name)
        return Finding("data", "pass", f"{name} is in the hub's cache")
    repository, _, revision, _ = parse_hub(name)
    address = f"{hub()}/api/datasets/{repository}/revision/{quote(revision, safe='')}"
    host, fix = urlsplit(address).hostname, "check the name and HF_TOKEN, or give a file"
    try:
        # Bounded: the server's name comes from a variable, and a set of many files has a long answer.
        with urllib.request.urlopen(to_hub(address), timeout=SECONDS) as reply:  # noqa: S310
            told = json.loads(reply.read(MOST_TOLD))
    except urllib.error.HTTPError as error:
        # The hub answers 401 about a set that it does not have, unless a token may see that.
        refused = error.code in (401, 403, 404)
        return Finding("data", "fail" if refused else "warn", f"{name}: {host} answers {error.code}", fix)
    except (OSError, ValueError):
        return Finding("data", "warn", f"{name} is not here, and {host} was not reached", fix)
    check_listed(name, told if isinstance(told, dict) else {})
    return Finding("data", "pass", f"{host} has {name}")
