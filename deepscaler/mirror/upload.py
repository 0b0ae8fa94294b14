"""Keeps a mirror up to date in a process beside the training: `python -m deepscaler.mirror.upload '{"url": ...}'`.

It reads the run's folder alone, so that the training never waits for it: neither for a bucket that stalls nor for one
that is gone. It is asked to finish by a file that holds the moment at which it gives up.
"""

import json
import os
import sys
import threading
import time

from deepscaler.mirror.bucket import MirrorError
from deepscaler.mirror.uploader import Order, Uploader
from deepscaler.runs.fence import FencedError
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import BAD_INPUT, DONE, FAILED, FENCED

LONGEST_PAUSE = 60.0
"""Seconds between two tries at a bucket that fails."""


def main() -> int:
    """Mirrors until it is asked to finish; returns an exit code."""
    order = Order(**json.loads(sys.argv[1]))
    try:
        uploader = Uploader(order)
        threading.Thread(target=_watch_for_stalls, args=(uploader, order.stall), daemon=True).start()
        return _run(uploader)
    except FencedError as error:
        print(error, flush=True)
        return FENCED
    except UserError as error:
        print(error, flush=True)
        return BAD_INPUT


def _run(uploader: Uploader) -> int:
    """Tries again and again what the bucket refuses; ends when all is sent, or the time to finish is over."""
    claimed, pause = False, uploader.pause
    while True:
        finish_by = uploader.finish_by
        try:
            # In the loop, because the bucket may be away when the training starts.
            if not claimed:
                uploader.claim()
                claimed = True
                threading.Thread(target=uploader.keep_beating, name="mirror-beat", daemon=True).start()
            left = uploader.bring_up_to_date()
            pause = uploader.pause
            if finish_by and not left:
                uploader.close()
                return DONE
        except (MirrorError, OSError) as error:
            print(f"{time.strftime('%H:%M:%S')} {error}", flush=True)
            uploader.failed(error)
            left, pause = [], min(2 * pause, LONGEST_PAUSE)
        except UserError as error:
            uploader.failed(error)
            raise
        # Wall time, because the training, another process, wrote the moment down.
        if finish_by and time.time() > finish_by:
            return FAILED
        _wait(uploader, 0.0 if left else pause)


def _wait(uploader: Uploader, seconds: float) -> None:
    """Returns after some seconds, or soon after the process was asked to finish."""
    end, asked = time.monotonic() + seconds, uploader.finish_by
    while time.monotonic() < end and uploader.finish_by == asked:
        time.sleep(0.2)
        # A pause is not a stall.
        uploader.moved_at = time.monotonic()


def _watch_for_stalls(uploader: Uploader, seconds: float) -> None:
    while time.monotonic() - uploader.moved_at < seconds:
        time.sleep(min(1.0, seconds / 4))
    print(f"{time.strftime('%H:%M:%S')} no byte was sent for {seconds:.0f} s: restarting", flush=True)
    uploader.failed(MirrorError(f"no byte was sent for {seconds:.0f} s"))
    # sys.exit would end this thread alone, and no exception reaches a main thread that waits for a socket.
    os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main())
