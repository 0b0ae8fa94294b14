"""Rounds of `--until`, from real samples and grades on disk to the report."""

import io
import random
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console

from deepscaler.data.problem import Problem, ask
from deepscaler.models.model import Model
from deepscaler.system.errors import UserError
from evaluation.compare.sides import open_side
from evaluation.config import EvaluationConfig
from evaluation.folder import EvaluationFolder
from evaluation.inputs import Inputs
from evaluation.plan import describe_plan
from evaluation.report.write import write_report
from evaluation.requests import Key
from evaluation.results import BenchmarkResults
from evaluation.rounds import Rounds
from evaluation.samples import SampleStore
from evaluation.score import read_scored
from evaluation.statistics import ks, pass_at_k
from evaluation.until import first_samples
from tests.evaluation.conftest import CONFIG, make_sample

NUM_PROBLEMS, MOST = 20, 64


def inputs_of(root: Path, until: float) -> Inputs:
    problems = [
        Problem(id=f"aime/{n}", data_source="aime", prompt=ask(f"What is {n}?"), golds=(str(n),))
        for n in range(NUM_PROBLEMS)
    ]
    config = EvaluationConfig(
        model="org/some-model", output_dir=root, datasets=("aime",), num_samples=MOST, until=until, thinking="yes"
    )
    prompts = {"aime": {problem.id: (1, 2) for problem in problems}}
    return Inputs(config=config, model=cast(Model, None), problems={"aime": problems}, prompts=prompts, context=100)


def draw(folder: EvaluationFolder, keys: list[Key]) -> None:
    """A model that solves problem n with n / 20; a sample is the same whenever it is drawn."""
    with SampleStore(folder.samples_path("aime")) as store:
        for problem_id, number in keys:
            problem = int(problem_id.removeprefix("aime/"))
            right = random.Random(f"{problem_id} {number}").random() < problem / NUM_PROBLEMS
            store.append(make_sample(problem, number, rf"</think>\boxed{{{problem if right else -1}}}"))


def begun(root: Path, until: float) -> tuple[EvaluationFolder, Inputs]:
    folder, inputs = EvaluationFolder(root), inputs_of(root, until)
    folder.bind({**CONFIG, **inputs.config.result_fields(), "thinking": "yes", "weights": "sha256:00"})
    folder.write_problems("aime", inputs.problems["aime"], inputs.prompts["aime"])
    return folder, inputs


def test_it_draws_until_it_is_sure_and_the_report_is_of_that(tmp_path: Path) -> None:
    folder, inputs = begun(tmp_path / "one", 3.0)
    rounds, drawn = Rounds(inputs, folder), []
    while keys := rounds.next():
        draw(folder, keys)
        drawn += keys
    assert len(set(drawn)) == len(drawn) < 0.75 * NUM_PROBLEMS * MOST
    output = io.StringIO()
    report = write_report(folder.root, Console(file=output, width=100))
    found = report.benchmarks["aime"]
    assert found.num_samples == found.num_expected == len(drawn)
    assert found.these_problems is not None
    assert 0.02 < (found.these_problems.high - found.these_problems.low) / 2 <= 0.03
    assert found.pass_at_1.high - found.pass_at_1.low > 2 * (found.these_problems.high - found.these_problems.low)
    assert found.these_problems.value == pytest.approx(found.pass_at_1.value)
    assert found.these_problems.low <= 0.475 <= found.these_problems.high
    assert not [warning for warning in report.warnings if "partial" in warning]
    assert f"of at most {NUM_PROBLEMS * MOST:,}" in " ".join(output.getvalue().split())
    assert BenchmarkResults.from_json(found.to_json()) == found

    killed, inputs = begun(tmp_path / "two", 3.0)
    first = Rounds(inputs, killed).next()
    draw(killed, first[: len(first) // 2])
    while keys := Rounds(inputs, killed).next():
        draw(killed, keys[: 1 + len(keys) // 2])
    lines = [sorted(one.samples_path("aime").read_text().splitlines()) for one in (folder, killed)]
    assert lines[0] == lines[1], "a command that is killed again and again draws the same samples"


def test_all_that_is_missing_is_one_round_without_until(tmp_path: Path) -> None:
    folder, inputs = begun(tmp_path, 0.0)
    draw(folder, [("aime/3", 5)])
    rounds = Rounds(inputs, folder)
    keys = rounds.next()
    assert len(keys) == NUM_PROBLEMS * MOST - 1
    assert ("aime/3", 5) not in keys
    assert set(rounds.lengths) == {("aime/3", 5)}
    assert rounds.next() == []


def test_a_plan_says_the_least_and_the_most(tmp_path: Path) -> None:
    output = io.StringIO()
    config = EvaluationConfig(
        model="m", output_dir=tmp_path, datasets=("arithmetic",), limit=20, num_samples=MOST, until=3.0
    )
    describe_plan(config, Console(file=output, width=200))
    assert "arithmetic: 20 problems x 10 to 64 samples = 200 to 1,280, 0 of them done" in output.getvalue()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 4}, "--until first draws 8 samples of each problem, but --num-samples is 4: give 8 or more"),
        ({"shard": "0/2"}, "--until needs all problems of a benchmark, not a shard of them: use it with --engines"),
        ({"gather": True}, "not a shard of them"),
        ({"until": 60}, "invalid value 60"),
    ],
)
def test_what_until_cannot_do_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        EvaluationConfig(model="m", output_dir=Path("out"), **{"until": 1.5, **options})  # type: ignore[arg-type]


def test_every_rate_of_one_evaluation_is_the_unbiased_one(tmp_path: Path) -> None:
    folder, inputs = begun(tmp_path, 3.0)
    rounds = Rounds(inputs, folder)
    while keys := rounds.next():
        draw(folder, keys)
    found = write_report(folder.root, Console(file=io.StringIO())).benchmarks["aime"]
    outcomes: dict[str, list[bool]] = {}
    for one in read_scored(folder, "aime"):
        outcomes.setdefault(one.sample.problem_id, []).append(one.grade.correct)
    assert len({len(row) for row in outcomes.values()}) > 2, "outcomes decided how many samples there are"

    assert found.pass_at_k[1] == found.pass_at_1.value
    num_first = 2 * first_samples(NUM_PROBLEMS, 0.03)
    assert sorted(found.pass_at_k) == ks(num_first)
    assert found.pass_at_k[4] == pytest.approx(pass_at_k([row[:num_first] for row in outcomes.values()], 4))

    sides = [open_side("A", path, "kit") for path in (folder.root, folder.report_path("json"))]
    rates = [{name: right / drawn for name, (right, drawn) in side.read("aime").counts.items()} for side in sides]
    assert rates[0] == rates[1]
    assert rates[0] == pytest.approx(found.problem_pass_rates, abs=0.005)
    assert sum(rates[0].values()) / NUM_PROBLEMS == pytest.approx(found.pass_at_1.value, abs=0.0005)
    plain = {name: sum(row) / len(row) for name, row in outcomes.items()}
    assert rates[0] != pytest.approx(plain, abs=0.01)
