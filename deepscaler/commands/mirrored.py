"""Finds a run by its folder or by the URL of its mirror, wherever a command reads a run."""

from collections.abc import Callable
from pathlib import Path

from deepscaler.mirror.cache import cached
from deepscaler.mirror.fetch import Need, fetched_chain, fetched_run
from deepscaler.mirror.url import is_url
from deepscaler.output.terminal import PlainConsole
from deepscaler.system.paths import existing_folder

RUN_HELP = "the --output-dir of `deepscaler train`, or the URL of its --mirror"

Say = Callable[[str], None]


def folder_to_read(given: str, need: Need, say: Say, *, chains: bool = False) -> Path:
    """Returns a run's folder: the one given, or one in the cache with what is needed of a mirror. Raises UserError.

    With `chains`, the folder may also be that of a chain.
    """
    if not is_url(given):
        return existing_folder(Path(given))
    return (fetched_chain(given, need, say) if chains else None) or fetched_run(given, need, say).root


def model_to_read(given: str, say: Say, *, dry_run: bool) -> str:
    """Returns a model's name or folder; of a mirrored run's URL the merged model of its newest checkpoint."""
    if not is_url(given):
        return given
    # nothing is fetched or merged for it: the folder may not be there yet
    if dry_run:
        return str(cached(given).model)
    from deepscaler.training.merge import merge  # noqa: PLC0415  no other model needs it

    return str(merge(fetched_run(given, "newest", say), PlainConsole()))
