"""An evaluation becomes an array over its benchmarks' shards; what is drawn is not asked for again."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepscaler.cli import main
from deepscaler.launch.launcher import PlannedJob
from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig
from evaluation.inputs import all_problems
from slurm.submit.evaluation import plan_evaluation
from tests.slurm.conftest import Fake


def config(root: Path, source: Path, **options: object) -> EvaluationConfig:
    return EvaluationConfig(
        model="owner/model", output_dir=root, datasets=("aime", "math"), num_samples=2, source=source, **options
    )  # type: ignore[arg-type]


def shards(planned: PlannedJob) -> list[str]:
    return [output.name for output in planned.outputs]


def draw(folder: Path, options: EvaluationConfig, dataset: str, ids: list[str]) -> None:
    """Samples as an element leaves them."""
    (folder / "samples").mkdir(parents=True)
    bound = {**options.result_fields(), "thinking": "no", "weights": "some"}
    (folder / "config.json").write_text(json.dumps(bound))
    common = {"text": "", "prompt_tokens": 1, "response_tokens": 1, "finish_reason": "stop", "seed": 1}
    lines = [
        json.dumps({"problem_id": name, "sample": sample, "started": 0.0, "finished": 1.0, **common})
        for name in ids
        for sample in (0, 1)
    ]
    (folder / f"samples/{dataset}.jsonl").write_text("\n".join(lines) + "\n")


def test_an_element_is_a_part_of_a_benchmark_and_one_job_gathers(tmp_path: Path, shared_data: Path) -> None:
    array, gather = plan_evaluation(config(tmp_path, shared_data), 100, 1, 8)
    assert shards(array) == ["aime-0-of-1", *(f"math-{index}-of-5" for index in range(5))]
    assert {(job.num_gpus, job.whole_nodes, job.ray, job.image) for job in array.jobs} == {(1, False, False, "eval")}
    assert "--shard" in array.jobs[0].arguments
    assert (gather.after, gather.jobs[0].num_gpus) == (0, 0)
    assert "--gather" in gather.jobs[0].arguments


def test_an_endpoint_is_asked_by_one_job_without_gpus(tmp_path: Path, shared_data: Path) -> None:
    asked = {"engine": "openai", "base_url": "http://gpu7:8000/v1", "concurrency": 9}
    [planned] = plan_evaluation(config(tmp_path, shared_data, **asked), 100, 1, 8)
    [job] = planned.jobs
    assert (job.num_gpus, job.ray, job.image, job.model) == (0, False, "cpu", "")
    words = " ".join(job.arguments)
    assert "--engine openai --base-url http://gpu7:8000/v1 --concurrency 9" in words
    assert "--shard" not in words


def test_only_elements_that_lack_samples_are_submitted_again(tmp_path: Path, shared_data: Path) -> None:
    problems = json.loads((shared_data / "aime.json").read_text())
    options = config(tmp_path, shared_data)
    ids = [problem.id for problem in all_problems("aime", options)]
    assert len(ids) == len(problems)
    draw(tmp_path / "shards/aime-0-of-1", options, "aime", ids)
    array, _ = plan_evaluation(options, 250, 1, 8)
    assert shards(array) == ["math-0-of-2", "math-1-of-2"]
    with pytest.raises(UserError, match=r"aime-0-of-1 holds samples drawn with other options \(seed: 0 -> 5"):
        plan_evaluation(replace(options, seed=5), 250, 1, 8)


def test_what_is_gathered_and_reported_is_not_submitted_again(tmp_path: Path, shared_data: Path) -> None:
    options = replace(config(tmp_path, shared_data), datasets=("aime",))
    draw(tmp_path, options, "aime", [problem.id for problem in all_problems("aime", options)])
    (gather,) = plan_evaluation(options, 50, 1, 8)
    assert "--gather" in gather.jobs[0].arguments
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(UserError, match=r"is done, see report\.html there; draw more with --num-samples"):
        plan_evaluation(options, 50, 1, 8)
    assert len(plan_evaluation(replace(options, num_samples=3), 50, 1, 8)) == 2


def test_engines_are_one_job_with_ray(tmp_path: Path, shared_data: Path) -> None:
    (planned,) = plan_evaluation(config(tmp_path, shared_data, engines=16), 50, 2, 8)
    (job,) = planned.jobs
    assert (job.num_nodes, job.gpus_per_node, job.ray, job.whole_nodes) == (2, 8, True, True)


def test_dry_run_prints_the_array_and_writes_nothing(
    tmp_path: Path, shared_data: Path, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake(sbatch="")
    site = tmp_path / "site.toml"
    site.write_text('partition = "gpu"\n')
    out = tmp_path / "out"
    command = ["evaluate", "--model", "owner/model", "--output-dir", str(out), "--datasets", "aime", "math"]
    command += ["--source", str(shared_data), "--on", "slurm", "--site", str(site), "--dry-run=full"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "#SBATCH --array=0-10%11" in shown
    assert "#SBATCH --mem-per-gpu=60G" in shown
    assert "--exclusive" not in shown
    assert f'job_folder={out}/slurm/0001-evaluate/"$SLURM_ARRAY_TASK_ID"\n' in shown
    assert not out.exists()
