"""Where the kit keeps what it can make again: everything below one mountable folder."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$DEEPSCALER_CACHE`, else `$XDG_CACHE_HOME/deepscaler`, else `~/.cache/deepscaler`."""
    if explicit := os.environ.get("DEEPSCALER_CACHE"):
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "deepscaler"


def data_dir() -> Path:
    """Where prepared data lies unless told otherwise."""
    return cache_dir() / "data"
