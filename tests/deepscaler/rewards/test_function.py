"""A user's reward function runs in bounded workers: whatever it does, it costs its own score and nothing else."""

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deepscaler.rewards.function import Judgement, UserFunction, check_file
from deepscaler.rewards.workers.function_check import ARGUMENTS
from deepscaler.rewards.workers.function_worker import MAX_LOG
from deepscaler.system.errors import UserError
from deepscaler.system.processes import descendants

TIMEOUT = 60.0
"""Seconds for a call that answers: a busy machine may take many for a few milliseconds of work."""

SOON = 1.0
"""Seconds for a call that hangs."""
NOTHING: dict[str, Any] = dict.fromkeys(ARGUMENTS, "")

Make = Callable[..., UserFunction]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Returns a maker of functions from source text, each closed at the end."""
    made: list[UserFunction] = []

    def make_one(source: str, name: str = "score", **options: Any) -> UserFunction:
        file = tmp_path / "my_reward.py"
        file.write_text(source)
        made.append(UserFunction(file, name, **{"timeout": TIMEOUT, "num_workers": 1, **options}))
        return made[-1]

    yield make_one
    for one in made:
        one.close()
    assert not [pid for pid in descendants(os.getpid()) if b"function_worker" in command(pid)]


def hangs(function: UserFunction, **arguments: str) -> Judgement:
    """Returns the judgement of a call that does not answer, after a short time-out of its own."""
    usual, function._timeout = function._timeout, SOON
    try:
        return function.judge({**NOTHING, **arguments})
    finally:
        function._timeout = usual


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def sleeps_on(marker: str, seconds: float = 60.0) -> bool:
    """Returns whether `sleep MARKER` is still there after some seconds."""
    deadline = time.monotonic() + seconds
    found = True
    while found and time.monotonic() < deadline:
        # The whole command: a number is soon part of another process's.
        found = any(command(int(path.name)) == f"sleep\0{marker}\0".encode() for path in Path("/proc").glob("[0-9]*"))
        time.sleep(0.05)
    return found


def test_it_gets_what_it_asks_for_by_name(make: Make) -> None:
    function = make("def score(golds, response='', **more): return len(more) + len(golds) / 10")
    assert function.judge({**NOTHING, "golds": ["1", "2"]}).score == len(ARGUMENTS) - 2 + 0.2
    assert make("def score(num_tokens, unknown=3): return unknown").judge(NOTHING) == Judgement(3.0)
    assert make("score = lambda response: 0.5").judge(NOTHING).score == 0.5
    assert make("class Score:\n  def __call__(self, response): return 2\nscore = Score()").judge(NOTHING).score == 2
    text = "\ud800 ünï\n\x00 {}" + "a" * 900_000
    assert make("def score(response): return len(response)").judge({**NOTHING, "response": text}).score == len(text)


def test_it_may_be_asynchronous(make: Make) -> None:
    function = make(
        "import asyncio\nasync def score(response):\n  await asyncio.sleep(0.01)\n  return {'score': 1, 'n': 2}"
    )
    assert [function.judge(NOTHING) for _ in range(3)] == [Judgement(1.0, {"n": 2.0})] * 3


@pytest.mark.parametrize("value", ["1", "0.5", "True", "-3", "__import__('numpy').float32(0.5)", "{'score': 1}"])
def test_numbers_of_any_kind_count(make: Make, value: str) -> None:
    assert make(f"def score(): return {value}").judge(NOTHING).failure == ""


@pytest.mark.parametrize(
    "body",
    [
        "return float('nan')",
        "return {'score': float('inf')}",
        "return 1e300",
        "return '0.5'",
        "return b'1'",
        "return None",
        "return [1]",
        "return 1j",
        "return {}",
        "return {'score': 1, 'other': 'text'}",
        "return {'score': 1, 'a/b': 1}",
        "return {'score': 1, 2: 1}",
        "return {'score': 1} | {f'n{i}': 1 for i in range(10**6)}",
        "raise ValueError('no\\nreward')",
        "raise KeyboardInterrupt",
        "exit(0)",
        "__import__('os')._exit(0)",
        "__import__('os').abort()",
        "__import__('os').kill(__import__('os').getpid(), 9)",
        "__import__('os').killpg(0, 15)",
        "__import__('os').closerange(3, 1024)",
        "[s.send(b'{}\\n') for s in __import__('gc').get_objects() if type(s).__name__ == 'socket']; return 1",
        "return len(bytearray(1 << 40))",
        "return score()",
        "open(__file__ + '.big', 'wb').truncate(1 << 40)",
        "__import__('ctypes').string_at(0)",
    ],
)
def test_whatever_else_it_does_is_undecided(make: Make, body: str) -> None:
    function = make(f"def score():\n  {body}\ndef good(): return 1", timeout=5.0)  # whatever becomes of it, it failed
    judgement = function.judge(NOTHING)
    assert judgement.failure
    assert judgement.score == 0
    assert "\n" not in judgement.failure
    assert len(judgement.failure) < 500


def test_a_call_that_hangs_is_killed_at_its_time_out_and_others_go_on(make: Make) -> None:
    function = make("def score(response):\n  while response == 'hang': pass\n  return 1")
    assert function.judge({**NOTHING, "response": "good"}).score == 1
    assert hangs(function, response="hang").failure == "no answer in 1 s"
    assert function.judge({**NOTHING, "response": "good"}).score == 1


def test_a_function_that_only_hangs_costs_a_batch_a_few_time_outs_until_it_answers_again(
    make: Make, tmp_path: Path
) -> None:
    switch, num_workers = tmp_path / "mended", 4
    source = f"import os, time\ndef score():\n  os.path.exists({str(switch)!r}) or time.sleep(1000)\n  return 1"
    function = make(source, timeout=SOON, num_workers=num_workers)
    function.start()

    def judge_batch() -> tuple[Counter[str], float]:
        started = time.monotonic()
        with ThreadPoolExecutor(num_workers) as threads:  # as verl_plugin.reward calls it
            judgements = list(threads.map(lambda _: function.judge(NOTHING), range(500)))
        return Counter(one.failure for one in judgements), time.monotonic() - started

    left_out = "not called while another call tries: 8 calls in a row gave no answer in 1 s"
    for first in (True, False):
        failures, seconds = judge_batch()
        assert failures.keys() <= {"no answer in 1 s", left_out}, "all are undecided"
        # Eight, and those of the other workers meanwhile; then one call tries while the others are left out.
        assert failures["no answer in 1 s"] <= (8 + num_workers if first else 0) + seconds / SOON + 1
        assert seconds < 60, "500 time-outs of 4 workers take 125 s"
    switch.touch()
    function._timeout = TIMEOUT
    assert function.judge(NOTHING) == Judgement(1.0)
    failures, _ = judge_batch()
    assert failures == {"": 500}


def test_a_function_that_hangs_now_and_then_is_called_each_time(make: Make) -> None:
    function = make("import time\ndef score(response): return response == 'good' or time.sleep(1000)")
    for _ in range(3):
        assert hangs(function, response="hang").failure == "no answer in 1 s"
        assert function.judge({**NOTHING, "response": "good"}).failure == ""


def test_what_a_call_starts_does_not_outlive_it(make: Make, tmp_path: Path) -> None:
    marker = f"31{os.getpid()}"
    source = (
        "import os, subprocess, time\n"
        "def score(response):\n"
        f"  if response == 'daemon' and os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        f"    os.execvp('sleep', ['sleep', '{marker}'])\n"
        f"  if response != 'daemon': subprocess.Popen(['sleep', '{marker}'], start_new_session=True)\n"
        "  if response == 'hang': time.sleep(100)\n"
        "  return 1"
    )
    function = make(source)
    for response in ("daemon", "child"):
        assert function.judge({**NOTHING, "response": response}).score == 1
        assert not sleeps_on(marker), response
    assert hangs(function, response="hang").failure
    assert not sleeps_on(marker), "of a call that was killed"


def test_a_fork_that_returns_gives_no_second_answer(make: Make) -> None:
    function = make("import os\ndef score(response):\n  os.fork()\n  return len(response)")
    assert [function.judge({**NOTHING, "response": "a" * n}).score for n in range(1, 6)] == [1, 2, 3, 4, 5]


def test_its_output_goes_to_a_log_that_stays_small(make: Make, tmp_path: Path) -> None:
    log = tmp_path / "log"
    source = "import sys\ndef score(response): print(response); sys.stderr.write('err'); return len(sys.stdin.read())"
    function = make(source, log=log)
    for _ in range(10):
        assert function.judge({**NOTHING, "response": "a" * 1_000_000}).failure == ""
    assert 4 * MAX_LOG > log.stat().st_size > 1_000_000


def test_a_killed_template_or_worker_costs_no_score(make: Make) -> None:
    function = make("import os\ndef score(): return os.getppid()")
    template = int(function.judge(NOTHING).score)
    os.kill(function.pids()[0], signal.SIGKILL)
    assert function.judge(NOTHING).score == template
    os.kill(template, signal.SIGKILL)
    os.waitid(os.P_PID, template, os.WEXITED | os.WNOWAIT)  # its workers have heard of it then
    assert function.judge(NOTHING).score not in (0, template)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def score():\n  return (", "line 2: '(' was never closed"),
        ("\n\ndef scores(): pass", "line 3: unknown function 'score' (did you mean 'scores'?); valid: scores"),
        ("def score(answer, response): pass", "requires an argument that no reward gets: unknown argument 'answer'"),
        ("def score(response, /): pass", "accepts response by position only"),
        ("import helper\ndef score(): pass", "line 1: imports helper, a file beside it"),
        ("def score():\n  from . import helper", "line 2: imports ., a file beside it"),
        ("\0", "null bytes"),
        ("-" * 100_000 + "1", "cannot be read as Python"),
    ],
)
def test_a_file_that_cannot_be_called_is_refused_unread(tmp_path: Path, source: str, told: str) -> None:
    (tmp_path / "helper.py").touch()
    file = tmp_path / "my_reward.py"
    file.write_text(f"{source}\n# {'x' * 10}\nopen({str(tmp_path / 'ran')!r}, 'w')" if "line" in told else source)
    with pytest.raises(UserError) as error:
        check_file(file, "score")
    assert told in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_may_be_called_is_taken_without_importing_it(tmp_path: Path) -> None:
    file = tmp_path / "my_reward.py"
    for source in (
        "def score(response, golds=(), *, id, **more): pass",
        "try:\n  from fast import score\nexcept ImportError:\n  async def score(response): pass",
        "import functools\nscore = functools.partial(max, 1)",
        "from mine import *",
        "import json, numpy\nclass score: pass",
    ):
        file.write_text(f"{source}\nopen({str(tmp_path / 'ran')!r}, 'w')")
        check_file(file, "score")
        assert not (tmp_path / "ran").exists()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        check_file(tmp_path / "other.py", "score")


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import not_there\ndef score(): pass", "line 1: importing it raises ModuleNotFoundError"),
        ("raise SystemExit(3)", "line 1: importing it raises SystemExit: 3"),
        ("import os\nos._exit(0)", "worker processes do not start"),
        ("score = 3", "score is int, not a function"),
        ("def score(answer): pass", "unknown argument 'answer'"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_by_a_child(make: Make, source: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        make(source).start()
    assert told in str(error.value)
    function = make(source)
    assert function.judge(NOTHING).failure.startswith("no worker can be started: ")
    assert function.judge(NOTHING) == Judgement(failure="no worker can be started"), "it is not tried again at once"
