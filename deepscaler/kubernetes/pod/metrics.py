"""The state of all runs below a folder in Prometheus' text format, read from their files when it is asked for.

deepscaler_step{run="8k",stage="8k"} 412
deepscaler_reward{run="8k",stage="8k"} 0.48
"""

import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from deepscaler.runs.outputs import is_training
from deepscaler.runs.status import Status, read_statuses
from deepscaler.system.errors import UserError

PREFIX = "deepscaler"

GAUGES = {
    "step": "optimisation steps done",
    "num_steps": "optimisation steps of the stage",
    "attempt": "starts of the run so far",
    "reward": "mean reward of the last step",
    "response_length": "mean tokens of a response, last step",
    "cut_off": "share of responses at the token limit, last step",
    "clip_fraction": "share of tokens whose probability ratio was clipped, last step",
    "entropy": "of the policy, nats, last step",
    "step_seconds": "mean seconds of the last steps",
    "tokens_per_second": "of prompts and responses, on each GPU",
    "seconds_left": "estimated seconds to the last step",
    "heartbeat_age": "seconds since the last sign of life",
    "checkpoint_age": "seconds since the last whole checkpoint",
}
"""Fields of Status, and what they mean."""


def exposition(folder: Path) -> str:
    """Everything that is known of the runs and chains in a folder."""
    found = list(_statuses(folder))
    lines = []
    for name, about in GAUGES.items():
        lines.append(f"# HELP {PREFIX}_{name} {about}")
        lines.append(f"# TYPE {PREFIX}_{name} gauge")
        for run, status in found:
            if (value := getattr(status, name)) is not None:
                lines.append(f"{PREFIX}_{name}{_labels(run=run, stage=status.name)} {float(value)!r}")
    lines += [f"# HELP {PREFIX}_state 1 for the state the run is in", f"# TYPE {PREFIX}_state gauge"]
    lines += [f"{PREFIX}_state{_labels(run=run, stage=s.name, state=s.state)} 1" for run, s in found]
    lines += [f"# HELP {PREFIX}_accuracy of the last validation, share of one", f"# TYPE {PREFIX}_accuracy gauge"]
    for run, status in found:
        for dataset, values in (status.validation or {}).items():
            labels = _labels(run=run, stage=status.name, dataset=dataset)
            lines.append(f"{PREFIX}_accuracy{labels} {values['last']!r}")
    return "\n".join(lines) + "\n"


def serve(folder: Path, port: int) -> None:
    """Answer /metrics until the process is ended."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: give the one that holds the runs")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the metrics, whatever the path."""
            text = exposition(folder).encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Prometheus asks every few seconds: not a line each time."""

    print(f"Serving the runs in {folder} on port {port}.", flush=True)
    with ThreadingHTTPServer(("", port), Handler) as server:
        server.serve_forever()


def _statuses(folder: Path) -> Iterator[tuple[str, Status]]:
    """By the name of the run's folder; a run whose files cannot be read is left out until they can."""
    for directory in sorted(folder.iterdir()):
        if is_training(directory):
            try:
                yield from ((directory.name, status) for status in read_statuses(directory))
            except (UserError, OSError) as error:
                print(f"{time.strftime('%H:%M:%S')} {directory.name}: {error}", flush=True)


def _labels(**values: str) -> str:
    escaped = {
        name: value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for name, value in values.items()
    }
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped.items()) + "}"
