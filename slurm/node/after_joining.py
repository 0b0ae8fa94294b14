"""`python after_joining.py FILE COMMAND` becomes a command once a file is there: what a node needs after it has joined.

It imports what Python has loaded anyway, for it runs while the node itself is being imported.
"""

import os
import sys
import time

POLL = 0.1
"""Seconds between two looks."""


def main() -> None:
    """Waits, then becomes the command, with this process's number."""
    joined, *command = sys.argv[1:]
    while not os.path.exists(joined):  # noqa: PTH110  pathlib costs more to import than all of this
        time.sleep(POLL)
    # Whoever started this knows it by its process number, and watches that.
    os.execvp(command[0], command)  # noqa: S606  there is nothing for a shell to do


if __name__ == "__main__":
    main()
