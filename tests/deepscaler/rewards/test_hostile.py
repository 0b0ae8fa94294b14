r"""What a model writes is hostile: it never becomes Python, and never takes longer than its limit and two seconds."""

import asyncio
import builtins
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from deepscaler.rewards import grade, is_equivalent
from deepscaler.rewards.grade import Mode
from deepscaler.rewards.workers.pool import WorkerPool, shared_pool

LIMIT = 0.5
SHORT = 0.1
"""Where most reach their limit, and the claim is that they end at it."""

BUSY = 60.0
"""Seconds that a busy machine may take in addition, to start a worker or to end one."""

MODES: tuple[Mode, ...] = ("kit", "deepscaler")


def octal(text: str) -> str:
    r"""Every character as \textbackslash and its octal number: how the original grader was made to run code."""
    return "".join(rf"\textbackslash {ord(c):03o}" for c in text)


def payloads(marker: Path) -> list[str]:
    code = f"__import__('os').system('touch {marker}')"
    opened = f"open('{marker}','w')"
    return [
        code,
        opened,
        f"'{octal(code)}'",
        rf"eval('{octal(code)}')",
        rf"S('{octal(code)}')",
        rf"sympify('{octal(opened)}')",
        rf"\text{{{code}}}",
        rf"\mathrm{{{code}}}",
        rf"\operatorname{{{opened}}}",
        rf"\frac{{{code}}}{{2}}",
        rf"\begin{{pmatrix}} {code} & 1 \\ 2 & 3 \end{{pmatrix}}",
        rf"x_{{{code}}}",
        rf"\sqrt[{code}]{{2}}",
        f"(lambda: {code})()",
        f"[c for c in ().__class__.__base__.__subclasses__() if {code}]",
        f"x.__class__.__init__.__globals__['__builtins__']['exec'](\"{code}\")",
        f"{{0.__class__}}{code}",
        f"1 if {code} else 2",
        f"Function('f')({code})",
        f"@{code}",
    ]


@pytest.mark.parametrize("mode", MODES)
def test_no_payload_runs(mode: Mode, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    for payload in payloads(marker):
        for answer, gold in ((payload, "4"), ("4", payload), (payload, payload + " + 1"), (payload, r"\frac{1}{x+1}")):
            is_equivalent(answer, gold, mode=mode, timeout=LIMIT)
        grade(rf"<think></think>\boxed{{{payload}}}", "4", mode=mode, timeout=LIMIT)
        assert not marker.exists(), payload


def test_no_string_reaches_an_evaluator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparisons that workers run, here in this process, with every evaluator watched."""
    import sympy.core.sympify  # noqa: PLC0415
    import sympy.parsing.sympy_parser  # noqa: PLC0415

    from deepscaler.rewards.algebra import original_algebra, symbolic  # noqa: PLC0415

    evaluated: list[str] = []
    real_eval = builtins.eval

    def watched_eval(source: object, *more: object) -> object:
        if isinstance(source, str):
            evaluated.append(source)
        return real_eval(source, *more)  # type: ignore[arg-type]

    def refuse(source: object, *_: object, **__: object) -> None:
        evaluated.append(str(source))

    monkeypatch.setattr(builtins, "eval", watched_eval)
    monkeypatch.setattr(sympy.parsing.sympy_parser, "parse_expr", refuse)
    monkeypatch.setattr(sympy.parsing.sympy_parser, "eval_expr", refuse)
    for payload in [*payloads(tmp_path / "ran"), r"\frac{x+1}{2}", r"\sqrt{12}"]:
        for answer, gold in ((payload, "4"), (r"\frac{x}{3}", payload)):
            symbolic.is_equivalent(answer, gold)
            original_algebra.same_by_algebra(answer.lower(), gold.lower())
    assert evaluated == []


NASTY = [
    "9**9**9**9",
    "9^{9^{9^{9}}}",
    "10**10**10",
    "10^{10^{10}}",
    "1000000000!",
    "((9!)!)!",
    "(x+1)**(10**6)",
    "(x+1)^{1000000}",
    "(x+y+1)^{300}",
    "1e999999999",
    "1e-999999999",
    "10^{-999999999}",
    "(" * 50_000 + ")" * 50_000,
    "{" * 50_000,
    "9" * 100_000,
    r"\frac{1}{" * 2000 + "2" + "}" * 2000,
    r"\sqrt{" * 500 + "2" + "}" * 500,
    r"\sum_{n=1}^{10^{12}} \frac{1}{n}",
    r"\int_0^1 x^{x^{x}} dx",
    r"\binom{10^9}{5 \cdot 10^8}",
    r"\prod_{k=1}^{10^9} k",
    "\x00\x01",
    "\ud800",
    "\u202e42",
    "٤٢",
    r"\begin{pmatrix}" + r"1 & 2 \\" * 2000 + r"\end{pmatrix}",
    ",".join(["1"] * 1999),
    "x=" * 1000,
    r"\pm" * 1000,
    r"\text{" * 1000,
    "a and " * 600,
    r"\left" * 1000,
    "5" + "a" * 3000 + "!",
    "1 " * 1900,
    "-" * 3900,
    "$" * 3900,
    "\\" * 3900,
    r"2^{2^{2^{2^{2^{2}}}}} + 1",
    r"\gcd(10^{400}, 7^{300})",
    r"\lfloor 10^{10^{6}} \pi \rfloor",
    r"\sin(10^{10^{8}})",
    "x_{1}" * 700,
    "1/" * 1900,
    "(((((1+1)^9)^9)^9)^9)^9",
    r"\log_{2} 3^{10^{9}}",
    "0." + "3" * 3000,
]


@pytest.mark.parametrize("mode", MODES)
def test_every_answer_returns_within_its_limit(mode: Mode) -> None:
    is_equivalent(r"\sqrt{8}", r"2\sqrt{2}", mode=mode)  # the template is up
    for nasty in NASTY:
        for answer, gold in ((nasty, "42"), (nasty, r"\frac{x+1}{3}"), ("42", nasty), (nasty + "+1", nasty)):
            started = time.monotonic()
            is_equivalent(answer, gold, mode=mode, timeout=SHORT)
            assert time.monotonic() - started < SHORT + BUSY, (answer[:60], gold[:60])


def test_long_responses_are_graded_in_no_time() -> None:
    started = time.process_time()
    assert grade("<think>" + "a" * 1_000_000 + r"</think>\boxed{4}", "4").correct
    assert grade("<think></think>" + r"\boxed{" * 10_000 + "4", "4").reason == "no_box"
    assert grade("<think></think>" + r"\boxed{" * 10_000 + "4" + "}" * 10_000, "4").correct
    assert grade("<think></think>" + "{" * 100_000 + r"\boxed{4}", "4").correct
    assert time.process_time() - started < 10


def test_a_timeout_is_told_from_a_wrong_answer() -> None:
    before = shared_pool().counts["timeout"]
    verdict = grade(r"<think></think>\boxed{\sin(10^{10^7})}", r"\sin(10^{10^8})", timeout=LIMIT)
    assert verdict.reason == "timeout"
    assert not verdict.correct
    assert shared_pool().counts["timeout"] == before + 1


def test_a_new_process_waits_for_its_first_worker_and_then_no_longer_than_the_limit() -> None:
    code = (
        "import time; from deepscaler.rewards import is_equivalent\n"
        r"assert is_equivalent(r'\sqrt{12}', r'2\sqrt{3}'); started = time.monotonic()"
        "\n"
        r"is_equivalent(r'\sin(10^{10^7})', r'\sin(10^{10^8})'); print(time.monotonic() - started)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(answer.stdout) < BUSY  # 3 s and a little; without a limit it would be hours


def test_threads_and_asyncio_are_served_while_others_hang() -> None:
    slow = (r"\sin(10^{10^7})", r"\sin(10^{10^8})")
    pairs = [(r"\sqrt{12}", r"2\sqrt{3}"), slow, (r"\frac{x}{2}", r"0.5x"), (r"x+1", r"1+x")] * 4

    def limit(pair: tuple[str, str]) -> float:
        return LIMIT if pair == slow else BUSY

    with ThreadPoolExecutor(16) as threads:
        verdicts = list(threads.map(lambda pair: is_equivalent(*pair, timeout=limit(pair)), pairs))
    assert verdicts == [pair != slow for pair in pairs]

    async def both() -> list[bool]:
        return await asyncio.gather(*(asyncio.to_thread(is_equivalent, *pair, timeout=limit(pair)) for pair in pairs))

    assert asyncio.run(both()) == verdicts


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(size=2)
    yield made
    made.close()


def test_a_killed_worker_costs_nobody_a_score(pool: WorkerPool) -> None:
    stop = threading.Event()
    outcomes: list[str] = []
    num_killed = 0

    def kill_workers() -> None:
        """Kills one every five comparisons: by the clock, a busy machine would never finish one."""
        nonlocal num_killed
        while not stop.wait(0.01):
            if len(outcomes) >= 5 * num_killed and (pids := pool.pids()):
                with suppress(ProcessLookupError):
                    os.kill(pids[0], signal.SIGKILL)
                    num_killed += 1

    assert pool.compare("kit", r"\sqrt{12}", r"2\sqrt{3}", BUSY) == "equal"
    os.kill(pool.pids()[0], signal.SIGKILL)
    assert [pool.compare("kit", rf"\sqrt{{{4 * n}}}", rf"2\sqrt{{{n}}}", BUSY) for n in (3, 5, 7)] == ["equal"] * 3
    killer = threading.Thread(target=kill_workers)
    killer.start()
    for n in range(2, 150):
        outcomes.append(pool.compare("kit", rf"x^{n}+\sqrt{{{4 * n}}}", rf"2\sqrt{{{n}}}+x^{n}", BUSY))
    stop.set()
    killer.join()
    assert num_killed > 20
    assert outcomes == ["equal"] * len(outcomes)


def test_a_killed_template_is_replaced(pool: WorkerPool) -> None:
    pool.warm_up()
    template, worker = pool.template._process, pool.pids()[0]
    assert template is not None
    os.kill(template.pid, signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    pool.warm_up()
    assert pool.compare("kit", r"\sqrt{12}", r"2\sqrt{3}", BUSY) == "equal"
    assert pool.template._process is not template


def test_workers_end_with_their_pool(pool: WorkerPool) -> None:
    pool.compare("kit", r"\sqrt{12}", r"2\sqrt{3}", BUSY)
    (pid,) = pool.pids()
    pool.close()
    deadline = time.monotonic() + BUSY
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
