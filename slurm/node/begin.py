"""`python -m slurm.node.begin FOLDER` is what srun starts on every node: submitit's own start, without numpy.

submitit imports numpy in case a pickled job needs it. Ours holds plain texts, and every node of a job would read numpy
from the shared file system before it could do anything.
"""

import sys


def main() -> None:
    """Runs this node's part of the job that a folder holds."""
    # None in sys.modules makes `import numpy` raise ImportError, which submitit 1.5.4 catches
    # (core/submission.py).
    sys.modules["numpy"] = None  # type: ignore[assignment] # submitit goes without what is not installed
    from submitit.core.submission import submitit_main  # noqa: PLC0415

    # Before the task runs: what it imports may need numpy.
    del sys.modules["numpy"]
    submitit_main()


if __name__ == "__main__":
    main()
