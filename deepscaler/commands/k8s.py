"""`deepscaler k8s`: a site file, a namespace for jobs, a check of manifests; what pods call: wait, stop, conduct."""

import argparse
import math
import os
import sys
import time
from functools import partial
from pathlib import Path

from rich.console import Console

from deepscaler.commands.launcher import add_site, site_of
from deepscaler.commands.parser import Parser, add_action, named
from deepscaler.kubernetes import require_yaml
from deepscaler.kubernetes.pod.api import ACCOUNT, RayJobs, server_of_pod
from deepscaler.kubernetes.pod.beside import wait_beside
from deepscaler.kubernetes.pod.conduct import conduct, owned, read_stages
from deepscaler.kubernetes.pod.lifecycle import GRACE, stop_training
from deepscaler.kubernetes.pod.ray_job import DASHBOARD, MARGIN, last_save, see_off
from deepscaler.output.terminal import PlainConsole
from deepscaler.system.errors import UserError, file_system_error
from deepscaler.system.exit_codes import AGAIN
from deepscaler.system.flags import whole

EXAMPLES = ("deepscaler k8s init cluster.toml", "deepscaler k8s check k8s")
RUN_DIR = "folder of a training or a chain"


def configure(parser: Parser) -> None:
    """Adds `init`, `setup`, `check`, `wait`, `stop` and `conduct`."""
    actions = parser.add_actions()
    _configure_cluster(add_action(actions, "init", "ask a cluster what it is, and write a first site file"))
    setup = add_action(actions, "setup", "prepare a namespace for jobs, once")
    add_site(setup)
    setup.add_dry_run("print what would be applied as YAML, apply nothing")
    setup.set_defaults(act=_set_up)
    check = add_action(actions, "check", "validate files, folders and kustomizations as a cluster would")
    check.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="manifests: a file, a folder (one with a kustomization is built by kubectl), or - for standard input",
    )
    check.set_defaults(act=_check)
    wait = add_action(actions, "wait", "wait until no attempt of another Ray cluster works in a run's folder")
    wait.set_defaults(act=_wait)
    wait.add_argument("run_dir", type=Path, metavar="RUN_DIR", help=RUN_DIR)
    wait.add_argument(
        "command",
        nargs="*",
        metavar="COMMAND",
        help="command to run meanwhile, after `--`; the wait includes its end, and stops at once if it fails",
    )
    stop = add_action(actions, "stop", "ask the training of this Ray cluster to save, and wait until it has")
    stop.add_argument(
        "run_dir", type=Path, metavar="RUN_DIR", nargs="?", help=f"{RUN_DIR}; may be left out with --head"
    )
    stop.add_argument(
        "--head",
        action="store_true",
        help="act on the head: end any other command too, and stay until the operator has seen the end of Ray's job",
    )
    stop.add_argument(
        "--grace",
        type=whole(1),
        metavar="SECONDS",
        default=GRACE,
        help="terminationGracePeriodSeconds of the pod, which bounds what --head waits for (default: %(default)s)",
    )
    stop.add_argument(
        "--dashboard",
        metavar="HOST:PORT",
        default=DASHBOARD,
        help="address of Ray's dashboard, for --head (default: %(default)s)",
    )
    stop.add_dry_run("say which attempts and processes would be asked, ask none")
    stop.set_defaults(act=_stop)
    conducts = add_action(actions, "conduct", "make the RayJobs of a chain one after another, each at its own size")
    conducts.add_argument("file", type=Path, metavar="FILE", help="stages that `deepscaler chain --on k8s` wrote")
    conducts.add_argument("--server", metavar="URL", help="URL of the API server (default: that of the pod's cluster)")
    conducts.add_argument(
        "--account",
        type=Path,
        metavar="DIR",
        default=ACCOUNT,
        help="folder with token and ca.crt of a service account (default: the pod's)",
    )
    conducts.add_dry_run("say how far each stage is, make nothing")
    conducts.set_defaults(act=_conduct)


def _configure_cluster(init: Parser) -> None:
    init.add_argument(
        "file",
        type=Path,
        nargs="?",
        default=Path("cluster.toml"),
        metavar="FILE",
        help="file to write (default: cluster.toml)",
    )
    init.add_argument("--context", type=named, metavar="NAME", help="context of kubectl (default: the current one)")
    init.add_argument(
        "--namespace",
        type=named,
        metavar="NAME",
        help="namespace of the jobs (default: the context's, or deepscaler)",
    )
    init.add_dry_run("print the site file, write nothing")
    init.set_defaults(act=_init)


def run(arguments: argparse.Namespace) -> int:
    """Does the chosen action."""
    code: int = arguments.act(arguments)
    return code


def _init(arguments: argparse.Namespace) -> int:
    from deepscaler.kubernetes.cluster.discover import discover  # noqa: PLC0415  no pod needs it

    print(discover(arguments.file, arguments.context or "", arguments.namespace or "", dry_run=arguments.dry_run))
    return 0


def _set_up(arguments: argparse.Namespace) -> int:
    require_yaml()
    from deepscaler.kubernetes.cluster.place import load_place  # noqa: PLC0415  no pod needs it
    from deepscaler.kubernetes.cluster.setup import set_up  # noqa: PLC0415  needs yaml, an extra

    site = site_of(arguments)
    if site is None:
        raise UserError("setup needs --site FILE; `deepscaler k8s init FILE` asks the cluster and writes one")
    # A dry run's output is YAML for kubectl, so that notes go to stderr.
    notes = Console(stderr=True, markup=False, highlight=False, emoji=False) if arguments.dry_run else PlainConsole()
    return set_up(load_place(site), notes, dry_run=arguments.dry_run)


def _check(arguments: argparse.Namespace) -> int:
    require_yaml()
    from deepscaler.kubernetes.check.check import check_paths  # noqa: PLC0415  an optional extra: asked for above

    report = check_paths(arguments.paths)
    for finding in report.findings:
        print(finding)
    for kind in sorted(report.unchecked):
        print(f"note: no schema of {kind} is here: only its YAML was checked")
    print(f"{report.num_objects} objects in {report.num_files} files or kustomizations: {len(report.findings)} wrong")
    return 1 if report.findings else 0


def _wait(arguments: argparse.Namespace) -> int:
    return wait_beside(arguments.run_dir, arguments.command, partial(print, flush=True))


def _stop(arguments: argparse.Namespace) -> int:
    # First of all: the kubelet has been counting since before this process began.
    until = time.monotonic() + arguments.grace - MARGIN
    if arguments.run_dir is None and not arguments.head:
        raise UserError("k8s stop has nothing to stop: give RUN_DIR, or --head on the head of a Ray cluster")
    # KubeRay sets it in every pod of a Ray cluster.
    cluster = os.environ.get("RAY_CLUSTER_NAME", "")
    folder, dry_run = arguments.run_dir, arguments.dry_run
    # A worker has nothing to do afterwards, so that only the head must stop waiting for a save.
    save_until = last_save(until) if arguments.head else math.inf
    say = partial(print, flush=True)
    is_ending = False
    try:
        is_ending = folder is not None and stop_training(folder, cluster, say, save_until, dry_run=dry_run)
    except (OSError, UserError) as error:
        if not arguments.head:
            raise
        # Without the second half the operator would not retry the job, whatever became of the save.
        say(f"The training cannot be asked to save ({' '.join(str(error).split())}).")
    if arguments.head:
        see_off(arguments.dashboard, until, say, is_ending=is_ending, dry_run=dry_run)
    return 0


def _conduct(arguments: argparse.Namespace) -> int:
    from deepscaler.commands.chain import progress_of  # noqa: PLC0415  no other action needs recipes

    say = partial(print, flush=True)
    job, stages = read_stages(arguments.file)
    if arguments.dry_run:
        for stage in stages:
            outcome, told = progress_of(stage.arguments)
            say(f"{stage.name}: {outcome}{f', by the gate: {told}' if told else ''}")
        return 0
    # A conductor on a laptop (--server) has no Job that could own its RayJobs.
    if uid := os.environ.get("JOB_UID"):
        stages = owned(stages, job, uid)
    namespace = str(stages[0].rayjob["metadata"]["namespace"])
    rayjobs = RayJobs(arguments.server or server_of_pod(), namespace, arguments.account, say)
    try:
        return conduct(stages, rayjobs, progress_of, say)
    except (OSError, UserError) as error:
        if file_system_error(error) is None:
            raise
        # Not 2, which ends the chain for good: the Job's next pod may find the file system well again.
        print(f"deepscaler: {' '.join(str(error).split())}", file=sys.stderr)
        return AGAIN
