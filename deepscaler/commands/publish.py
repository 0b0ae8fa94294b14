"""`deepscaler publish`: a trained model with its card, as a folder and on the hub."""

import argparse
import re
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from deepscaler.commands.counting import counts_without
from deepscaler.commands.mirrored import RUN_HELP, folder_to_read
from deepscaler.commands.parser import Parser, folder_to_write
from deepscaler.mirror.url import is_url
from deepscaler.models.present import is_hub_id
from deepscaler.output.terminal import PlainConsole
from deepscaler.runs.checkpoints import MERGED, is_merged, merged_step, newest, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.system.errors import UserError
from deepscaler.system.flags import number

EXAMPLES = (
    "deepscaler publish outputs/8k --repo ORG/NAME --dry-run",
    "deepscaler publish outputs/8k-16k-24k --repo ORG/NAME --private",
)
TIMEOUT = 60.0


def configure(parser: Parser) -> None:
    """Adds what is published, and where."""
    parser.add_argument("source", metavar="RUN|MODEL", help=f"{RUN_HELP}; or the folder of a merged model")
    parser.add_argument(
        "--repo", required=True, metavar="ORG/NAME", help="repository on the hub, created if it does not exist"
    )
    private = parser.add_argument("--private", action="store_true", help="make the repository private")
    revision = parser.add_argument(
        "--revision", default="main", metavar="BRANCH", help="branch to upload to (default: %(default)s)"
    )
    parser.add_argument(
        "--output-dir", type=folder_to_write, metavar="DIR", help="folder to write (default: outputs/publish/NAME)"
    )
    card = parser.add_argument_group("the card")
    card.add_argument(
        "--license", default="", metavar="ID", help="license of the model, if the base model's card names none"
    )
    card.add_argument(
        "--base-model",
        default="",
        metavar="ORG/NAME",
        help="hub id of the base model, if the training started from a folder",
    )
    card.add_argument(
        "--evaluation",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="folders of further evaluations of the published weights",
    )
    card.add_argument("--without-reward", action="store_true", help="leave out the text of your own reward function")
    timeout = parser.add_argument(
        "--timeout",
        type=number(0),
        default=TIMEOUT,
        metavar="SECONDS",
        help="seconds of silence after which a request to the hub is tried again (default: 60)",
    )
    parser.add_dry_run("write the folder, contact no server and upload nothing")
    for action in (private, revision, timeout):
        counts_without(action, "--dry-run")


def run(arguments: argparse.Namespace) -> int:
    """Writes the folder, and uploads it."""
    from deepscaler.publish.folder import Asked, find_source, write_folder  # noqa: PLC0415  --help needs no matplotlib
    from deepscaler.publish.upload import check_access, check_target, upload  # noqa: PLC0415

    console = PlainConsole()
    say = partial(console.print, soft_wrap=True)
    check_target(arguments.repo)
    if arguments.license and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", arguments.license):
        raise UserError(f"invalid value {arguments.license!r} for --license: expected the hub's id, such as apache-2.0")
    if arguments.base_model and not is_hub_id(arguments.base_model):
        raise UserError(f"invalid value {arguments.base_model!r} for --base-model: expected its hub id, ORG/NAME")
    where: dict[str, Any] = {name: getattr(arguments, name) for name in ("private", "revision", "timeout")}
    if not arguments.dry_run:
        # Before the merge, which takes minutes: a token that may not write there is known in a second.
        check_access(arguments.repo, **where)
    source = find_source(folder_to_read(arguments.source, "newest", say, chains=True).resolve())
    if source.run:
        _merge(RunFolder(source.run), console, mirrored=is_url(arguments.source))
    target = arguments.output_dir or Path("outputs", "publish", arguments.repo.rpartition("/")[2])
    asked = Asked(
        repo=arguments.repo,
        license=arguments.license,
        base_model=arguments.base_model,
        evaluations=tuple(folder.resolve() for folder in arguments.evaluation),
        with_reward=not arguments.without_reward,
    )
    write_folder(source, target.absolute(), asked, say)
    say(f"Written: {target}")
    if arguments.dry_run:
        say(f"Would upload it to {arguments.repo}. Look at {target / 'README.md'} first.")
        return 0
    address = upload(target, arguments.repo, **where, say=say)
    say(f"Published: {address}")
    return 0


def _merge(run: RunFolder, console: PlainConsole, *, mirrored: bool) -> None:
    """Merges a run's newest checkpoint if no model is there yet; of a mirror always, unless the model is of it.

    In a run's folder a model of another checkpoint stays, because `merge --best` may have made it on purpose. Nobody
    sees the one in the cache, which is whatever the last command left there.
    """
    if not mirrored and (run.model / MERGED).is_file():
        found = sealed(run)
        if found and not is_merged(run, found[0]):
            console.print(
                f"WARNING: {run.model} is of step {merged_step(run)}, not the newest checkpoint, of step"
                f" {found[0].step}; to publish that: deepscaler merge {shlex.quote(str(run.root))}",
                soft_wrap=True,
            )
        return
    from deepscaler.training.merge import merge  # noqa: PLC0415  a merged model does not need it

    if newest(run, partial(console.print, soft_wrap=True)) is None and run.model.is_dir():
        return
    merge(run, console)
