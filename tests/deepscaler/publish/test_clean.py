"""Nothing that belongs to one machine is published, and what every machine has may be."""

from pathlib import Path

import pytest

from deepscaler.publish.clean import check_clean
from deepscaler.system.errors import UserError


@pytest.mark.parametrize(
    "text",
    [
        "#!/usr/bin/env python",
        "#!/bin/sh",
        "#!/usr/local/bin/python3.11",
        "open('/proc/self')",
        "open('/proc/self/status').read()",
        "with open('/proc/meminfo') as file:",
        "stdout to /dev/null.",
        "/dev/fd/3 and /dev/urandom",
        "'/sys/fs/cgroup/memory.max'",
        "/etc/os-release, /usr/share/zoneinfo/UTC",
        "LIBRARY=/usr/local/cuda-12.4/lib64",
    ],
)
def test_paths_that_every_machine_has_may_be_published(text: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"{text}\ndef score(response):\n    return 1.0\n")
    check_clean(tmp_path, [])


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("#!/usr/bin/env python\n# of /home/anabel/mine.py", "/home/anabel/mine.py"),
        ("#!/home/anabel/venv/bin/python", "/home/anabel/venv/bin/python"),
        ("/usr/bin/../../home/anabel/x", "/usr/bin/../../home/anabel/x"),
        ("/proc/self/root/home/anabel", "/proc/self/root/home/anabel"),
        ("/proc/1/cwd/sums.jsonl", "/proc/1/cwd/sums.jsonl"),
        *(
            (path, path)
            for path in ("/usr/people/anabel", "/usr/workspace/lab", "/usr/local/scratch/x", "/dev/shm/lab")
        ),
        *(
            (path, path)
            for path in ("/scratch/lab", "/lustre/lab/x", "/mnt/data", "/tmp/x", "/opt/site/x", "~/.cache/x")
        ),
        *((path, path) for path in ("/Users/anabel/x", "/etc/acme/site.toml", "/bind/lab", "/root/x")),
    ],
)
def test_paths_of_homes_and_sites_are_named_with_their_line(text: str, path: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(f"{text}\n")
    with pytest.raises(UserError) as caught:
        check_clean(tmp_path, [])
    assert f"mine.py, line {text.count(chr(10)) + 1}, holds the path {path!r}" in str(caught.value)
