"""A model drawn in parts: lost shards, killed engines, and the same samples as in one piece."""

import json
import os
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.system.processes import process_start
from evaluation.engines.pulse import Silence
from tests.integration.processes import deepscaler, ray_cluster, run, started, wait_until

pytestmark = pytest.mark.slow

NUM_PROBLEMS, NUM_SAMPLES = 8, 2
MAX_TOKENS = 128
"""Tokens of a sample: the tiny model takes some tenths of a second for one, so that a test can kill it between two."""

CLEAN_AFTER = 120
"""Seconds in which every process of a killed command must be gone."""

Drawn = dict[tuple[str, int], tuple[str, int]]
"""Text and seed by problem and sample."""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums are rounded alike in every process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def evaluate(model: Path, output_dir: Path, *more: object) -> list[str]:
    """One sequence at a time: a batch's sums are rounded by what else is in it."""
    options = ["--datasets", "arithmetic", "--limit", NUM_PROBLEMS, "--num-samples", NUM_SAMPLES]
    options += ["--max-tokens", MAX_TOKENS, "--engine", "transformers", "--max-num-seqs", 1, "--output-dir", output_dir]
    return deepscaler("evaluate", "--model", model, *options, *more)


def drawn(output_dir: Path) -> Drawn:
    lines = (output_dir / "samples/arithmetic.jsonl").read_text().split("\n")[:-1]
    samples = [json.loads(line) for line in lines]
    found = {(s["problem_id"], s["sample"]): (s["text"], s["seed"]) for s in samples}
    assert len(found) == len(lines), "a sample is there twice"
    return found


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """The evaluation in one piece, with one engine."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPSCALER_CACHE", str(out / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        done = run(evaluate(tiny_model, out))
    assert done.returncode == 0, done.stdout + done.stderr
    samples = drawn(out)
    assert len(samples) == NUM_PROBLEMS * NUM_SAMPLES
    assert len(set(samples.values())) > NUM_PROBLEMS
    return samples


def num_lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("samples/*.jsonl"))


def num_saved(output_dir: Path) -> int:
    """Samples in an evaluation's folder or only in those of its shards."""
    found = set()
    for path in [*output_dir.glob("samples/*.jsonl"), *output_dir.glob("shards/*/samples/*.jsonl")]:
        with suppress(FileNotFoundError):  # gathered meanwhile
            found |= {line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")}
    return len(found)


def processes_with(text: object) -> dict[int, str]:
    """Every living process with a text in its command."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(text) in command and int(folder.name) != os.getpid():
            found[int(folder.name)] = command
    return found


def wait_until_gone(text: object) -> None:
    deadline = time.monotonic() + CLEAN_AFTER
    while left := processes_with(text):
        assert time.monotonic() < deadline, f"{CLEAN_AFTER} s after the end there are still {left}"
        time.sleep(0.2)


def engines_of(shard: Path) -> list[int]:
    """Returns the processes that draw a shard, the oldest first, since a child at its start looks like its parent."""
    found = [pid for pid, command in processes_with(shard).items() if "deepscaler.system.processes" not in command]
    return sorted(found, key=lambda pid: int(process_start(pid) or 0))


def with_a_sample(output_dir: Path) -> list[Path]:
    """Returns the shards of engines at work that have drawn something."""
    return [shard for shard in output_dir.glob("shards/*") if num_lines(shard) and engines_of(shard)]


def test_an_array_of_shards_one_of_them_lost_is_the_same_evaluation(
    tiny_model: Path, whole: Drawn, tmp_path: Path
) -> None:
    shards = [tmp_path / f"shards/arithmetic-{index}-of-2" for index in range(2)]
    commands = [evaluate(tiny_model, shard, "--shard", f"{index}/2") for index, shard in enumerate(shards)]
    with started(commands[1]) as lost:
        wait_until(lambda: num_lines(shards[1]), lost, "the first sample of a shard")
        os.killpg(lost.pid, signal.SIGKILL)
        lost.wait()
    whole_shard = run(commands[0])
    assert whole_shard.returncode == 0, whole_shard.stdout + whole_shard.stderr
    assert "Shard 0/2 is complete" in whole_shard.stdout
    assert not (shards[0] / "report.json").exists()

    early = run(evaluate(tiny_model, tmp_path, "--gather"))
    missing = len(whole) - num_lines(tmp_path)
    assert 0 < missing < len(whole) / 2
    assert early.returncode == 2, early.stdout + early.stderr
    assert f"arithmetic lacks {missing} of {len(whole)} samples; rerun the lost shards" in early.stderr

    again = run(commands[1])
    assert again.returncode == 0, again.stdout + again.stderr
    gathered = run(evaluate(tiny_model, tmp_path, "--gather"))
    assert gathered.returncode == 0, gathered.stdout + gathered.stderr
    assert "Loading" not in gathered.stdout
    assert drawn(tmp_path) == whole
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["warnings"] == []
    assert [attempt["shard"][-6] for attempt in report["provenance"]["attempts"]] == ["0", "1", "1"]
    assert run(evaluate(tiny_model, tmp_path, "--gather")).returncode == 0
    assert drawn(tmp_path) == whole


def test_engines_on_two_nodes_finish_though_one_is_killed(
    tiny_model: Path, whole: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with ray_cluster(tmp_path, num_nodes=2) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        victim = out / "shards/1-of-2"
        with started(evaluate(tiny_model, out, "--engines", 2)) as process:
            wait_until(lambda: processes_with(victim), process, "an engine")
            kill(process)
            wait_until_gone(f"{out}/shards")
        with started(evaluate(tiny_model, out, "--engines", 2)) as process:
            wait_until(lambda: processes_with(victim), process, "an engine")
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 143, output
            wait_until_gone(f"{out}/shards")
        with started(evaluate(tiny_model, out, "--engines", 2)) as process:
            wait_until(lambda: with_a_sample(out), process, "an engine with a sample")
            victim = with_a_sample(out)[0]
            os.kill(engines_of(victim)[0], signal.SIGKILL)
            output, _ = process.communicate(timeout=1200)
        wait_until_gone(f"{out}/shards")
    assert process.returncode == 0, output
    assert "2 engines on the Ray cluster at" in output
    assert f"engine {victim.name[0]} ended with code 137" in output
    assert "restarting" in output
    token = (tmp_path / "token").read_text()
    assert token not in output
    assert not [log for log in (out / "logs").iterdir() if token in log.read_text()]
    assert drawn(out) == whole
    assert not (out / "shards").exists()
    assert not (out / "queue").exists()
    report = json.loads((out / "report.json").read_text())
    assert report["benchmarks"]["arithmetic"]["samples"] == len(whole)
    assert len(report["provenance"]["attempts"]) >= 2


def test_engines_stopped_and_killed_go_on_in_another_number(tiny_model: Path, whole: Drawn, tmp_path: Path) -> None:
    def draw(num_engines: int) -> list[str]:
        return evaluate(tiny_model, tmp_path, "--engines", num_engines, "--device", "cpu")

    with started(draw(3)) as process:
        wait_until(lambda: num_saved(tmp_path), process, "the first sample")
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 143, output
    wait_until_gone(f"{tmp_path}/shards")
    saved = num_saved(tmp_path)
    assert f"Stopped: {saved} of {len(whole)} samples are saved; rerun the same command to resume." in output

    with started(draw(2)) as process:
        wait_until(lambda: num_saved(tmp_path) > saved, process, "a sample of the second round")
        kill(process)
        wait_until_gone(f"{tmp_path}/shards")
    assert num_lines(tmp_path) == saved
    assert 0 < saved < num_saved(tmp_path) < len(whole)

    plan = run([*draw(1), "--dry-run"])
    assert "Engine 0: " in plan.stdout
    assert f"--output-dir {tmp_path}/shards/0-of-1 " in plan.stdout
    last = run(draw(1))
    assert last.returncode == 0, last.stdout + last.stderr
    assert drawn(tmp_path) == whole


def test_an_engine_that_hangs_is_named_and_killed_and_its_samples_are_drawn(
    tiny_model: Path, whole: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, for shorter bounds than a user's. The engine is stopped, as if its GPU hung, with claims."""
    monkeypatch.setattr(Silence, "LEAST", 30.0)
    monkeypatch.setattr(Silence, "TIMES", 1.0)
    stopped: list[Path] = []
    over = threading.Event()

    def stop_one() -> None:
        while not stopped and not over.is_set():
            for shard in with_a_sample(tmp_path)[:1]:
                [engine, *_] = engines_of(shard)
                os.kill(engine, signal.SIGSTOP)
                time.sleep(0.1)  # a stop takes effect at the end of a system call
                # A piece is one sample here. Between two of them the engine holds none, and nobody waits for it.
                if len(list((shard / "claimed").iterdir())) > num_lines(shard):
                    stopped.append(shard)
                else:
                    os.kill(engine, signal.SIGCONT)
            time.sleep(0.01)

    thread = threading.Thread(target=stop_one)
    thread.start()
    words = evaluate(tiny_model, tmp_path, "--engines", 2, "--device", "cpu")
    try:
        assert main(words[words.index("evaluate") :]) == 0
    finally:
        over.set()
        thread.join()
    shown = capsys.readouterr().out
    number = stopped[0].name[0]
    assert re.search(rf"engine {number} \(process \d+ on \S+\) took no step for \d minutes with \d+ claimed", shown), (
        shown
    )
    assert drawn(tmp_path) == whole
    wait_until_gone(f"{tmp_path}/shards")


def kill(process: subprocess.Popen[str]) -> None:
    """Of the command itself only: what it started must notice."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
