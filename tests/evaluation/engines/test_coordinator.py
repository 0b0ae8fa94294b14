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
from evaluation.engines import shard_run
from evaluation.engines.coordinator import shard_config
from evaluation.engines.executors import open_place
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
        self.poll, self.stop, self.kill = process.poll, process.terminate, process.kill


KEYS = [("a/1", number) for number in range(5)]


def run_in(place: _Shell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ShardRun, Queue]:
    """One engine that has the queue, its claims and its file of samples as $0, $1 and $2."""
    monkeypatch.setattr(shard_run, "PAUSES", (0,))
    monkeypatch.setattr(shard_run, "POLL", 0.02)
    monkeypatch.setattr(shard_run, "LOOK", 0.02)
    queue, shard = Queue(folder / "queue", 1), EvaluationFolder(folder / "0-of-1")
    shard.claimed_path.mkdir(parents=True)
    queue.add(KEYS)
    samples = folder / "samples.jsonl"
    arguments = [str(folder / "queue"), str(shard.claimed_path), str(samples)]
    run = ShardRun(index=0, arguments=arguments, shard=shard, logs=folder / "logs", files=[samples])
    with show_progress(CONSOLE, 0, len(KEYS)) as progress:
        run_shards([run], place, queue, list, progress, CONSOLE)
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
