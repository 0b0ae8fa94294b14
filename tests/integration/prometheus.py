"""A real Prometheus that reads `deepscaler metrics` every three seconds and alerts by the kit's rules."""

import json
import time
import urllib.request
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from deepscaler.runs.rules import rules
from tests.integration.processes import free_port

CONFIG = """
global: {{scrape_interval: 3s, scrape_timeout: 3s, evaluation_interval: 1s}}
rule_files: [rules.yml]
scrape_configs:
- job_name: deepscaler
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""

FIRED = "query?query=max_over_time(ALERTS%7Balertstate%3D%22firing%22%7D%5B1h%5D)"


class Prometheus:
    """A real one. It scrapes seldom enough that a busy machine answers in time: no scrape may take longer than that."""

    def __init__(self, program: str, folder: Path, target: int, file: str = "") -> None:
        (folder / "rules.yml").write_text(file or rules())
        (folder / "prometheus.yml").write_text(CONFIG.format(port=target))
        self._port = free_port()
        self.command = [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]

    def wait_for(self, names: Iterable[str], seconds: float = 300) -> set[str]:
        """Returns the alerts that have fired once these are among them, or the time is up."""
        deadline = time.monotonic() + seconds
        while not set(names) <= (fired := self.fired()) and time.monotonic() < deadline:
            time.sleep(1)
        return fired

    def fired(self) -> set[str]:
        """Returns the names of the alerts that have fired so far."""
        return {name for _, name in self.fired_for()}

    def fired_for(self) -> set[tuple[str, str]]:
        """Returns the runs for which alerts have fired so far, with the alerts' names."""
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/api/v1/{FIRED}", timeout=10) as reply,
        ):
            alerts = [one["metric"] for one in json.load(reply)["data"]["result"]]
            return {(alert["run"], alert["alertname"]) for alert in alerts}
        return set()
