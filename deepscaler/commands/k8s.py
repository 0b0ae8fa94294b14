"""`deepscaler k8s`: check manifests; and what pods call: wait, stop, metrics."""

import argparse
from pathlib import Path

HELP = "Check manifests for Kubernetes, offline; and what the pods of k8s/ call."

METRICS_PORT = 9095


def configure(parser: argparse.ArgumentParser) -> None:
    """Add `check`, `wait`, `stop` and `metrics`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="validate files, folders and kustomizations as a cluster would")
    check.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a file, a folder (one with a kustomization is built by kubectl), or - for standard input",
    )
    check.set_defaults(act=_check)
    wait = actions.add_parser("wait", help="until no attempt of another Ray cluster is at work in a run's folder")
    wait.set_defaults(act=_wait)
    stop = actions.add_parser("stop", help="ask the training of this Ray cluster to save, and wait until it has")
    stop.set_defaults(act=_stop)
    for subparser in (wait, stop):
        subparser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="of a training or a chain")
    metrics = actions.add_parser("metrics", help="serve the state of all runs below a folder to Prometheus")
    metrics.add_argument("folder", type=Path, metavar="FOLDER", help="that holds runs and chains")
    metrics.add_argument("--port", type=int, default=METRICS_PORT, help="default: %(default)s")
    metrics.set_defaults(act=_metrics)


def run(arguments: argparse.Namespace) -> int:
    """Do the chosen action."""
    code: int = arguments.act(arguments)
    return code


def _check(arguments: argparse.Namespace) -> int:
    from deepscaler.kubernetes import require_yaml  # noqa: PLC0415

    require_yaml()
    from deepscaler.kubernetes.check.check import check_paths  # noqa: PLC0415

    report = check_paths(arguments.paths)
    for finding in report.findings:
        print(finding)
    for kind in sorted(report.unchecked):
        print(f"note: no schema of {kind} is here: only its YAML was checked")
    print(f"{report.num_objects} objects in {report.num_files} files or kustomizations: {len(report.findings)} wrong")
    return 1 if report.findings else 0


def _wait(arguments: argparse.Namespace) -> int:
    from deepscaler.kubernetes.pod.lifecycle import wait_for_others  # noqa: PLC0415

    wait_for_others(arguments.run_dir, print)
    return 0


def _stop(arguments: argparse.Namespace) -> int:
    import os  # noqa: PLC0415

    from deepscaler.kubernetes.pod.lifecycle import stop_training  # noqa: PLC0415

    stop_training(arguments.run_dir, os.environ.get("RAY_CLUSTER_NAME", ""), print)
    return 0


def _metrics(arguments: argparse.Namespace) -> int:
    from deepscaler.kubernetes.pod.metrics import serve  # noqa: PLC0415

    serve(arguments.folder, arguments.port)
    return 0
