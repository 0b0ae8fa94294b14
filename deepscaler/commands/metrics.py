"""`deepscaler metrics`: how runs are doing, for Prometheus; the rules that it alerts by; a dashboard for Grafana."""

import argparse
import sys
from pathlib import Path

from deepscaler.commands.parser import Parser, named
from deepscaler.runs.prometheus import start
from deepscaler.runs.rules import for_operator, rules
from deepscaler.system.errors import UserError
from deepscaler.system.flags import whole
from deepscaler.system.paths import existing_folder

EXAMPLES = ("deepscaler metrics outputs --port 9095", "deepscaler metrics --print rules")

PORT, LAST_PORT = 9095, 65_535


def configure(parser: Parser) -> None:
    """Adds the folder, the address, and what can be printed instead."""
    parser.add_argument(
        "folder", type=Path, nargs="?", metavar="DIR", help="folder of a run or of a chain, or one that holds several"
    )
    parser.add_argument(
        "--host",
        type=named,
        metavar="ADDRESS",
        default="127.0.0.1",
        help="address to listen on (default: %(default)s: this machine alone); 0.0.0.0 answers everybody",
    )
    parser.add_argument(
        "--port", type=whole(1, LAST_PORT), metavar="N", default=PORT, help="port to listen on (default: %(default)s)"
    )
    parser.add_argument(
        "--print",
        choices=("rules", "prometheusrule", "dashboard"),
        help="print instead of serving: rules for Prometheus, the same for its operator, or the dashboard as JSON",
    )


def run(arguments: argparse.Namespace) -> int:
    """Answers /metrics until the process is ended, or prints a file."""
    if arguments.print:
        sys.stdout.write(_file(arguments.print))
        return 0
    if arguments.folder is None:
        raise UserError("nothing to serve: give the folder of a run or of a chain, or one that holds several")
    folder = existing_folder(arguments.folder)
    _, thread = start(folder, arguments.host, arguments.port)
    # flushed, because the process does not end by itself and a pipe would never get the line
    print(f"Serving {folder} at {arguments.host}, port {arguments.port}, path /metrics.", flush=True)
    thread.join()
    return 0


def _file(name: str) -> str:
    if name == "dashboard":
        from deepscaler.kubernetes.cluster.place import manifests  # noqa: PLC0415  no other use needs a cluster

        return (manifests() / "components/monitoring/dashboard.json").read_text(encoding="utf-8")
    return rules() if name == "rules" else for_operator(rules())
