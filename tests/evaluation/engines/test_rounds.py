"""Several engines: every missing problem is dealt to one, and an engine is started until it ends well or in vain."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig
from evaluation.engines import shard_run
from evaluation.engines.executors import open_place
from evaluation.engines.rounds import shard_config, split
from evaluation.engines.shard_run import ShardRun, run_shards
from evaluation.folder import EvaluationFolder
from evaluation.inputs import own_ids
from evaluation.plan import describe_plan
from evaluation.progress import show_progress
from tests.evaluation.conftest import PROBLEMS, PROMPTS

CONSOLE = Console(file=io.StringIO())
PROBLEM_IDS = [problem.id for problem in PROBLEMS]
IDS = {"a": ["a/1", "a/2", "a/3"], "b": ["b/1", "b/2"]}
DONE = st.sets(st.tuples(st.sampled_from([*IDS["a"], *IDS["b"]]), st.integers(0, 2)))


@given(st.integers(1, 9), DONE)
def test_every_problem_that_lacks_a_sample_goes_to_exactly_one_engine(
    num_engines: int, done: set[tuple[str, int]]
) -> None:
    by_name = {name: {key for key in done if key[0] in ids} for name, ids in IDS.items()}
    parts = split(IDS, by_name, dict.fromkeys(IDS, 3), num_engines)
    for name, ids in IDS.items():
        dealt = [problem_id for part in parts for problem_id in part[name]]
        lacking = [i for i in ids if any((i, sample) not in done for sample in range(3))]
        assert sorted(dealt) == lacking
    sizes = [sum(map(len, part.values())) for part in parts]
    assert len(parts) <= num_engines
    assert not parts or (min(sizes) >= 1 and max(sizes) - min(sizes) <= 1)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_cover_every_problem_exactly_once(count: int, tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path)
    parts = [own_ids(PROBLEM_IDS, f"{index}/{count}", folder, "aime") for index in range(count)]
    assert sorted(problem_id for part in parts for problem_id in part) == PROBLEM_IDS


def test_a_shard_goes_on_with_the_problems_it_began_with(tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path)
    folder.write_problems("aime", PROBLEMS[1:], PROMPTS)
    assert own_ids(PROBLEM_IDS, "0/2", folder, "aime") == PROBLEM_IDS[1:]


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


def run_in(place: _Shell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ShardRun:
    """One shard whose file of samples is the line's first argument."""
    monkeypatch.setattr(shard_run, "PAUSES", (0,))
    monkeypatch.setattr(shard_run, "POLL", 0.02)
    samples = folder / "samples.jsonl"
    samples.touch()
    shard = EvaluationFolder(folder / "0-of-1")
    run = ShardRun(index=0, arguments=[str(samples)], shard=shard, logs=folder / "logs")
    run.follow(samples)
    with show_progress(CONSOLE, 0, 9) as progress:
        run_shards([run], place, progress, CONSOLE)
    return run


def test_an_engine_that_draws_nothing_is_given_up_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _Shell("echo out of memory; exit 3")
    run = run_in(place, tmp_path, monkeypatch)
    assert place.num_starts == 3
    assert not run.is_complete
    assert "engine 0 ended with code 3" in run.last_words()
    assert run.last_words().endswith("0-of-1.3.log: out of memory")


def test_an_engine_that_draws_something_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _Shell('echo \'{"response_tokens": 5}\' >> "$0"; test $(wc -l < "$0") = 5')
    run = run_in(place, tmp_path, monkeypatch)
    assert place.num_starts == 5
    assert run.is_complete


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
        pytest.raises(UserError, match="2 engines need 4 GPUs, this machine offers 3"),
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
