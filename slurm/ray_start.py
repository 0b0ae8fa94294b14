"""`python -m slurm.ray_start OPTIONS` is `ray start OPTIONS` without Ray's other commands.

Ray's command line imports Serve and pandas for them: more than half of what it does before it starts anything, on
every node, from one file system. To Ray they look as if they were not installed.
"""

import sys

UNUSED = ("ray.serve.scripts", "ray.dashboard.modules.job.cli")


def main() -> None:
    """Start Ray on this node."""
    for name in UNUSED:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails
    from ray.scripts.scripts import cli  # noqa: PLC0415

    cli(["start", *sys.argv[1:]])


if __name__ == "__main__":
    main()
