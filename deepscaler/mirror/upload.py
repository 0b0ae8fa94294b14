"""Keeps a mirror up to date in a process beside the training: `python -m deepscaler.mirror.upload '{"url": ...}'`.

It reads the run's folder alone, so that the training never waits for it: neither for a bucket that stalls nor for one
that is gone. It is asked to finish by a file that holds the moment at which it gives up.
"""

import json
import os
import sys
import threading
import time

from deepscaler.mirror.bucket import Bucket, MirrorError
from deepscaler.mirror.pace import Motion
from deepscaler.mirror.uploader import Order, Uploader, finish_by, note_failure
from deepscaler.runs.fence import FencedError
from deepscaler.system.errors import UserError, file_system_error
from deepscaler.system.exit_codes import BAD_INPUT, DONE, FAILED, FENCED

LONGEST_PAUSE = 60.0
"""Seconds between two tries at a bucket that fails."""


def main() -> int:
    """Mirrors until it is asked to finish; returns an exit code."""
    order, motion = Order(**json.loads(sys.argv[1])), Motion()
    threading.Thread(target=_watch_for_stalls, args=(order, motion), daemon=True).start()
    try:
        return _run(order, motion)
    except FencedError as error:
        print(error, flush=True)
        return FENCED
    except UserError as error:
        print(error, flush=True)
        return BAD_INPUT


def _run(order: Order, motion: Motion) -> int:
    """Tries again and again what the bucket or the disk refuses; ends when all is sent, or the time to finish is over.

    Raises UserError for what no further try mends.
    """
    uploader: Uploader | None = None
    claimed, pause = False, Bucket.pause
    while True:
        until = finish_by(order)
        try:
            # In the loop, because the bucket or the disk may be away when the training starts.
            uploader = uploader or Uploader(order, motion)
            if not claimed:
                uploader.claim()
                claimed = True
                threading.Thread(target=uploader.keep_beating, name="mirror-beat", daemon=True).start()
            left = uploader.bring_up_to_date()
            pause = uploader.pause
            if until and not left:
                uploader.close()
                return DONE
        except (UserError, OSError) as error:
            if uploader:
                uploader.failed(error)
            else:
                note_failure(order, error)
            # A shared file system fails for a moment, too, and after bad input nothing is mirrored any more.
            if not isinstance(error, MirrorError) and file_system_error(error) is None:
                raise
            print(f"{time.strftime('%H:%M:%S')} {error}", flush=True)
            left, pause = [], min(2 * pause, LONGEST_PAUSE)
        # Wall time, because the training, another process, wrote the moment down.
        if until and time.time() > until:
            return FAILED
        _wait(order, motion, 0.0 if left else pause)


def _wait(order: Order, motion: Motion, seconds: float) -> None:
    """Returns after some seconds, or soon after the process was asked to finish."""
    end, asked = time.monotonic() + seconds, finish_by(order)
    while time.monotonic() < end and finish_by(order) == asked:
        time.sleep(0.2)
        # A pause is not a stall.
        motion.note()


def _watch_for_stalls(order: Order, motion: Motion) -> None:
    while time.monotonic() - motion.at < order.stall:
        time.sleep(min(1.0, order.stall / 4))
    problem = MirrorError(f"no byte was sent for {order.stall:.0f} s")
    print(f"{time.strftime('%H:%M:%S')} {problem}: restarting", flush=True)
    note_failure(order, problem)
    # sys.exit would end this thread alone, and no exception reaches a main thread that waits for a socket.
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main())
