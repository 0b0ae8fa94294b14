"""What a node imports before it joins: every node of a job reads it from one file system at the same time."""

import subprocess

import pytest

from deepscaler.system.processes import python_command

PRINT = "import sys; print(*sorted(name for name, module in sys.modules.items() if hasattr(module, '__builtins__')))"


def loaded(code: str) -> set[str]:
    command = python_command("-c", f"{code}\n{PRINT}")
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_a_task_imports_neither_numpy_nor_the_grader() -> None:
    begin = (
        "import sys; sys.modules['numpy'] = None\nimport submitit.core.submission, slurm.node.begin, slurm.node.task"
    )
    found = loaded(begin)
    assert "slurm.node.worker" in found
    assert not found & {"rich.console", "deepscaler.job", "deepscaler.rewards", "evaluation.config", "slurm.node.head"}


def test_a_node_starts_ray_without_what_its_command_line_imports() -> None:
    pytest.importorskip("ray")
    start = "import slurm.node.ray_start\nfrom deepscaler.system import lean_ray, seldom\nseldom.postpone()\n"
    found = loaded(f"{start}lean_ray.leave_out()")
    assert "ray._private.node" in found
    assert not found & {
        "requests",
        "yaml",
        "jsonschema",
        "pandas",
        "aiohttp",
        "click",
        "pydantic",
        "ray.scripts.scripts",
    }
