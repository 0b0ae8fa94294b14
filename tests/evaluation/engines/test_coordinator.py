"""Several engines: each is fed from one queue, and started again until nothing is missing or it starts in vain."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig
from evaluation.engines import pulse, shard_run
from evaluation.engines.coordinator import shard_config
from evaluation.engines.executors import open_place
from evaluation.engines.pulse import Pulse, Silence
from evaluation.engines.queue import Queue
from evaluation.engines.shard_run import ShardRun, run_shards
from evaluation.folder import EvaluationFolder
from evaluation.inputs import own_ids
from evaluation.plan import describe_plan
from evaluation.progress import show_progress
from tests.evaluation.conftest import PROBLEMS

CONSOLE = Console(file=io.StringIO())
PROBLEM_IDS = [problem.id for problem in PROBLEMS]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_cover_every_problem_exactly_once(count: int, tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path)
    parts = [own_ids(PROBLEM_IDS, f"{index}/{count}", folder) for index in range(count)]
    assert sorted(problem_id for part in parts for problem_id in part) == PROBLEM_IDS


def test_an_engine_that_pulls_may_draw_every_problem(tmp_path: Path) -> None:
    EvaluationFolder(tmp_path).claimed_path.mkdir()
    assert own_ids(PROBLEM_IDS, "0/2", EvaluationFolder(tmp_path)) == PROBLEM_IDS


def test_a_plan_does_not_count_shards_of_other_options_as_done(tmp_path: Path) -> None:
    wanted = EvaluationConfig(model="m", output_dir=tmp_path, datasets=("arithmetic",), engines=2, limit=4)
    shard = tmp_path / "shards/0-of-2"
    shard.mkdir(parents=True)
    bound = {**wanted.result_fields(), "weights": "some", "thinking": "no", "shard": "0/2"}
    (shard / "config.json").write_text(json.dumps(bound))
    describe_plan(wanted, Console(file=io.StringIO()))
    (shard / "config.json").write_text(json.dumps({**bound, "seed": 5}))
    with pytest.raises(UserError, match=r"0-of-2 holds samples drawn with other options \(seed: 5 -> 0\)"):
        describe_plan(wanted, Console(file=io.StringIO()))


def test_an_engine_on_another_machine_is_given_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    config = EvaluationConfig(model="model", output_dir=Path("out"), source=Path("data"), engines=2)
    given = shard_config(config, 1, 2)
    assert (given.model, given.source) == (str(tmp_path / "model"), tmp_path / "data")
    assert given.output_dir == tmp_path / "out/shards/1-of-2"
    assert (given.shard, given.engines) == ("1/2", 0)


class _Shell:
    """A place where an engine is a line of shell."""

    name = "a shell"

    def __init__(self, line: str) -> None:
        self._line, self.num_starts = line, 0

    def start(self, index: int, arguments: list[str], log: Path) -> "_Process":
        self.num_starts += 1
        with log.open("ab") as output:
            return _Process(subprocess.Popen(["sh", "-c", self._line, *arguments], stdout=output))


class _Process:
    reason = ""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.poll, self.stop = process.poll, process.terminate

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


KEYS = [("a/1", number) for number in range(5)]


def engine_of(folder: Path, index: int = 0) -> ShardRun:
    """An engine that has the queue, its claims and its file of samples as $0, $1 and $2."""
    shard = EvaluationFolder(folder / f"{index}-of-1")
    shard.claimed_path.mkdir(parents=True)
    samples = shard.root / "samples.jsonl"
    arguments = [str(folder / "queue"), str(shard.claimed_path), str(samples), str(shard.alive_path)]
    return ShardRun(index=index, arguments=arguments, shard=shard, logs=folder / "logs", files=[samples])


def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_run, "PAUSES", (0,))
    monkeypatch.setattr(shard_run, "POLL", 0.02)
    monkeypatch.setattr(shard_run, "LOOK", 0.02)
    monkeypatch.setattr(shard_run, "LOOK_AT_END", 0.02)


def run_in(
    place: _Shell, folder: Path, monkeypatch: pytest.MonkeyPatch, console: Console = CONSOLE
) -> tuple[ShardRun, Queue]:
    quickly(monkeypatch)
    queue = Queue(folder / "queue", 1)
    queue.add(KEYS)
    run = engine_of(folder)
    with show_progress(console, 0, len(KEYS), interval=0) as progress:
        run_shards([run], place, queue, list, progress, console)
    return run, queue


def test_an_engine_that_draws_nothing_is_given_up_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _Shell("echo out of memory; exit 3")
    run, queue = run_in(place, tmp_path, monkeypatch)
    assert place.num_starts == 3
    assert queue.unseen == set(KEYS)
    assert "engine 0 ended with code 3" in run.last_words()
    assert run.last_words().endswith("0-of-1.3.log: out of memory")


DRAW_ONE_AND_DIE = """
piece=$(ls $0 | grep json | head -n 1)
mv $0/$piece $1
number=$(tr -dc '0-9,' < $1/$piece | cut -d , -f 3)
echo "{\\"problem_id\\": \\"a/1\\", \\"sample\\": $number, \\"response_tokens\\": 7}" >> $2
second=$(ls $0 | grep json | head -n 1)
test -n "$second" && mv $0/$second $1
exit 9
"""
"""Claims two pieces, draws the first one's sample, and dies with the second one."""


def test_an_engine_that_draws_something_is_started_again_and_its_claims_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _Shell(DRAW_ONE_AND_DIE)
    run, queue = run_in(place, tmp_path, monkeypatch)
    assert place.num_starts == len(KEYS)
    assert not queue.unseen
    assert not run.is_given_up
    assert sorted(json.loads(line)["sample"] for line in run.files[0].read_text().splitlines()) == [0, 1, 2, 3, 4]
    assert (tmp_path / "queue/over").exists()


HANG_ONCE = """
for piece in $(ls $0 | grep json); do mv $0/$piece $1; done
echo '{"host": "gpu7", "pid": 42, "beats": 3}' > $3
test -e $2 || { echo '{"problem_id": "a/1", "sample": 4, "response_tokens": 7}' > $2; exec sleep 300; }
for number in 0 1 2 3; do
    echo "{\\"problem_id\\": \\"a/1\\", \\"sample\\": $number, \\"response_tokens\\": 7}" >> $2
done
while test ! -e $0/over; do sleep 0.05; done
"""
"""Claims everything. The first start draws one sample and hangs, the second one draws the others."""


def test_an_engine_that_takes_no_step_is_named_and_killed_and_its_claims_go_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Silence, "LEAST", 2.0)
    place, console = _Shell(HANG_ONCE), Console(file=io.StringIO(), width=500)
    _, queue = run_in(place, tmp_path, monkeypatch, console)
    assert place.num_starts == 2
    assert not queue.unseen
    told = console.file.getvalue()  # type: ignore[attr-defined]
    assert "engine 0 (process 42 on gpu7) took no step for 0 minutes with 4 claimed samples, and was killed, " in told
    assert "1 of 1 engines at work, waiting for the last 4 samples (4 of engine 0)" in told


def test_an_engine_that_takes_steps_may_take_as_long_as_it_likes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly(monkeypatch)
    monkeypatch.setattr(Silence, "LEAST", 2.0)
    steps = 'for n in 1 2 3 4 5 6 7 8 9 10; do echo \'{"host": "h", "pid": 1, "beats": \'$n\'}\' > $3; sleep 0.4; done'
    place = _Shell(HANG_ONCE.replace("exec sleep 300", steps, 1).replace("; }", "; exit 0; }"))
    run, queue = run_in(place, tmp_path, monkeypatch)
    assert "ended with code 0" in run.last_words()
    assert not queue.unseen


def test_an_engine_that_loads_or_has_no_work_is_not_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: now[0])
    engine, silence = Pulse(tmp_path / "alive"), Silence()

    def look(seconds: float, *, has_work: bool = True) -> float:
        for _ in range(int(seconds / 10)):
            now[0] += 10
            silence.look(tmp_path / "alive", has_moved=False, has_work=has_work)
        return silence.seconds - silence.bound

    assert look(3000) < 0, "loads"
    engine.loaded()
    assert look(400) < 0
    engine.beat()
    assert look(1900) < 0, "its first step took 400 s"
    assert look(200) > 0
    engine.idle()
    assert look(9000, has_work=False) < 0
    now[0] += 9000
    silence.look(tmp_path / "alive", has_moved=False, has_work=True)
    assert silence.seconds <= silence.MOST_BETWEEN, "nobody looked"


BAD_LINE_AT_FIRST = """
mv $0/*.json $1
printf '{"problem_id": "a/1", "sample": 0, "response_tokens": 7}\\n\\0\\0\\0\\n' > $2
sleep 0.5
for number in 0 1 2 3 4; do
    echo "{\\"problem_id\\": \\"a/1\\", \\"sample\\": $number, \\"response_tokens\\": 7}"
done > $2.new
mv $2.new $2
while test ! -e $0/over; do sleep 0.05; done
"""
"""Shows a line whose bytes come late, as a shared file system may."""


def test_a_line_whose_bytes_come_late_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, queue = run_in(_Shell(BAD_LINE_AT_FIRST), tmp_path, monkeypatch)
    assert not queue.unseen


def test_a_line_that_stays_broken_ends_the_command_with_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_run, "LINE_DEADLINE", 0.3)
    with pytest.raises(UserError, match=r"samples\.jsonl: line 1 is not a sample"):
        run_in(_Shell("echo nonsense > $2; exec sleep 300"), tmp_path, monkeypatch)


def test_an_abandoned_engine_that_lives_is_read_and_its_claims_go_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first engine is out of reach: its starts seem in vain. Then it claims, draws one sample, and stays silent."""
    quickly(monkeypatch)
    queue = Queue(tmp_path / "queue", 2)
    queue.add(KEYS)
    lost, other = engine_of(tmp_path, 0), engine_of(tmp_path, 1)
    lost.is_given_up = True
    for path in (tmp_path / "queue").glob("*.json"):
        path.rename(lost.shard.claimed_path / path.name)
    lost.files[0].write_text('{"problem_id": "a/1", "sample": 2, "response_tokens": 7}\n')
    place = _Shell(DRAW_ONE_AND_DIE)
    with show_progress(CONSOLE, 0, len(KEYS)) as progress:
        run_shards([lost, other], place, queue, list, progress, CONSOLE)
    assert not queue.unseen
    assert place.num_starts == 4
    assert not list(lost.shard.claimed_path.iterdir())


def test_what_ends_the_command_ends_its_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _Shell("exec sleep 300")
    started = []
    original = place.start

    def start(index: int, arguments: list[str], log: Path) -> _Process:
        started.append(original(index, arguments, log))
        return started[0]

    monkeypatch.setattr(place, "start", start)
    monkeypatch.setattr(shard_run, "PLACE_DEADLINE", -1)
    with pytest.raises(UserError, match="no machine of a shell had room"):
        run_in(place, tmp_path, monkeypatch)
    assert started[0].poll() is not None


def config(**options: object) -> EvaluationConfig:
    return EvaluationConfig(model="m", output_dir=Path("out"), **options)  # type: ignore[arg-type]


def test_a_machine_without_enough_gpus_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with (
        pytest.raises(UserError, match="2 engines need 4 GPUs, but this machine offers 3"),
        open_place(config(tensor_parallel_size=2), 2, CONSOLE),
    ):
        pass


def test_engines_on_one_machine_share_neither_gpus_nor_a_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/token")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    with open_place(config(tensor_parallel_size=2), 2, CONSOLE) as place:
        environments = [place.environment(index) for index in range(2)]  # type: ignore[attr-defined]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in environments] == ["4,5", "6,7"]
    assert not [name for one in environments for name in one if name.startswith("RAY_")]


def test_a_cluster_without_ray_installed_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="install the `eval` extra"), open_place(config(), 2, CONSOLE):
        pass
