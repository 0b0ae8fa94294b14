"""Decides how to treat a server that fails, limits or hangs: which failures pass, how long to wait, when to stop.

429 with `retry-after: 20`            -> no request of this process for 20 s
`x-ratelimit-remaining-requests: 0`   -> none before `x-ratelimit-reset-requests`, such as 6m0s
503, a body that breaks off           -> the same request again after 1, 2, 4, ... 60 s, or at least half of that
401, 404, 400                         -> an error with the server's own words
"""

import asyncio
import json
import random
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from deepscaler.system.errors import UserError

MISSES = 12
"""Failures in a row after which a sample is abandoned (8 minutes of waiting at most)."""
MISSES_OF_A_TIMEOUT = 4
"""Failures that one request counts for if it took the whole deadline."""
LONGEST_BACKOFF = 60.0
LONGEST_WAIT = 600.0
"""Most seconds that a server may ask to wait; beyond that the command ends."""
PAUSE = 0.5
"""Seconds after which a task that waits checks whether requests are over."""
MAX_SAID = 300
"""Characters of a server's own words in an error."""

# Those that OpenAI's own client repeats (408, 409, 429 and all from 500 on), and 425, Too Early.
_PASSING = (408, 409, 425, 429)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_ADVICE = {
    401: "check the variable that --api-key-env names",
    403: "check the variable that --api-key-env names",
    404: "check that --base-url ends as the server expects (/v1) and that --model is the server's name for the model",
    400: "omit parameters with --leave-out, or change the option that it names",
    422: "omit parameters with --leave-out, or change the option that it names",
}


class Miss(Exception):  # noqa: N818  a failure that may pass
    """Signals that a request failed in a way that may pass."""

    def __init__(self, reason: str, wait: float = 0.0, *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds that the server asked to wait; 0 for none."""
        self.weight = MISSES_OF_A_TIMEOUT if timed_out else 1


class Answer(Exception):  # noqa: N818  raised through the client, which would otherwise read a body of any size
    """Holds an answer other than 200."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(str(status))
        self.status, self.headers, self.body = status, headers, body


class Pace:
    """Enforces the limits that all requests of one process share: the server's and the user's budget.

    Whatever ends the command, the open requests keep their time: their answers are counted and paid for.
    """

    def __init__(self, max_requests: int) -> None:
        self._max_requests = max_requests
        self._closed_until = 0.0
        self.num_requests = 0
        self.end: Exception | None = None
        """Why no more requests go out; None while they do."""

    async def admit(self) -> bool:
        """Waits until the server accepts a request, and counts it. Returns False once no more requests go out."""
        while not self.end and (wait := self._closed_until - time.monotonic()) > 0:
            await self.sleep(wait * random.uniform(1.0, 1.1))  # otherwise all would return in the same instant
        if self._max_requests and self.num_requests >= self._max_requests:
            self.close(
                UserError(
                    f"--max-requests {self._max_requests} are sent, and samples are missing; drawn samples are saved:"
                    " rerun the same command to send as many again for the missing samples"
                )
            )
        if self.end:
            return False
        self.num_requests += 1
        return True

    def hold(self, seconds: float) -> None:
        """Delays every request by these seconds; if that is too long a wait, no more requests go out."""
        if seconds > LONGEST_WAIT:
            self.close(
                UserError(
                    f"the server asks to wait {seconds:,.0f} s: drawn samples are saved; rerun the same command after"
                    " that"
                )
            )
        else:
            self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    def close(self, reason: Exception) -> None:
        """Lets no more requests out, for the first reason given."""
        self.end = self.end or reason

    async def sleep(self, seconds: float) -> None:
        """Sleeps, but not longer than requests go out."""
        deadline = time.monotonic() + seconds
        while not self.end and (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(left, PAUSE))


def backoff(misses: int) -> float:
    """Returns the seconds to wait after the n-th failure in a row: a random time whose bound doubles each time."""
    return min(LONGEST_BACKOFF, 2.0 ** (misses - 1)) * random.uniform(0.5, 1.0)


def limit_told(headers: Mapping[str, str]) -> float:
    """Returns the seconds until a spent limit is renewed, from the x-ratelimit headers; 0 if none is spent."""
    waits = [0.0]
    for kind in ("-requests", "-tokens", ""):
        if headers.get(f"x-ratelimit-remaining{kind}", "").strip() == "0":
            waits.append(seconds_of(headers.get(f"x-ratelimit-reset{kind}", "")))
    return max(waits)


def wait_told(headers: Mapping[str, str]) -> float:
    """Returns the seconds to wait according to the headers of a refusal; 0 if they do not say."""
    milliseconds = seconds_of(headers.get("retry-after-ms", "")) / 1000
    return milliseconds or seconds_of(headers.get("retry-after", "")) or limit_told(headers)


def seconds_of(text: str) -> float:
    """Returns a header's time as seconds from now: `20`, `1.5`, `6m0s`, `20ms`, a Unix time or an HTTP date."""
    text = text.strip()[:60]
    try:
        number = float(text)
        if number > 1e11:  # a Unix time in milliseconds
            number /= 1000
        # 1e9 seconds are 31 years, and as a Unix time the year 2001.
        found = number - time.time() if number > 1e9 else number
    except ValueError:
        if parts := _DURATION.findall(text):
            found = sum(float(count) * _UNITS[unit] for count, unit in parts)
        else:
            try:
                found = parsedate_to_datetime(text).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                return 0.0
    # float() also takes nan and inf, and neither passes here.
    return found if 0 < found < 1e9 else 0.0


def judge(answer: Answer, key: str) -> Exception:
    """Returns the error for an answer other than 200: a Miss if it may pass, a UserError if it will not."""
    told = said(answer.body, key)
    shown = f"the server answered {answer.status}" + (f": {told}" if told else "")
    if answer.status // 100 == 3:
        location = said(answer.headers.get("location", "").encode(), key)
        return UserError(f"{shown}: it redirects to {location or 'nowhere'}; give that as --base-url if you trust it")
    is_spent = b"insufficient_quota" in answer.body  # OpenAI says 429 here, too, but no wait will help
    if (answer.status in _PASSING or answer.status >= 500) and not is_spent:
        return Miss(shown, wait_told(answer.headers))
    advice = "the account's quota is spent" if is_spent else _ADVICE.get(answer.status, "change the command")
    return UserError(f"{shown}; {advice}")


def said(body: bytes, key: str) -> str:
    """Returns a server's own words on one line: bounded, without control characters and without the key."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        for name in ("error", "message", "detail"):
            found = found.get(name, found) if isinstance(found, dict) else found
        text = found if isinstance(found, str) else json.dumps(found)
    except (ValueError, RecursionError):
        pass
    text = text.replace(key, "***") if key else text
    text = "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)
    text = " ".join(text.split())
    return text if len(text) <= MAX_SAID else f"{text[:MAX_SAID]}..."
