"""Turns an evaluation into jobs: an array over (benchmark, shard of problems), and one job that gathers and reports.

aime-0-of-1  math-0-of-10 ... math-9-of-10  ─> gather

Any element may be lost and goes back into the queue alone. Submitted again, only elements that lack samples are.
"""

from dataclasses import replace

from deepscaler.job import Job, evaluate_job
from deepscaler.launch.launcher import PlannedJob
from deepscaler.system.errors import UserError
from evaluation.config import EvaluationConfig, with_absolute_paths
from evaluation.engines.gather import count_missing, done_keys, lacking
from evaluation.folder import EvaluationFolder
from evaluation.inputs import all_problems, keep_datasets, planned_ids


def plan_evaluation(
    config: EvaluationConfig, problems_per_job: int, num_nodes: int, gpus_per_node: int, *, dry_run: bool = False
) -> list[PlannedJob]:
    """Returns one job with Ray on some nodes for `--engines`, else an array and the job that gathers it.

    The data is prepared for the nodes, unless it is a dry run.
    """
    config = with_absolute_paths(config)
    if not dry_run:
        keep_datasets(config.datasets, config.output_dir, config.data_dir)
    if config.engines or config.gather or config.shard or config.engine == "openai":
        gpus = 0 if config.gather or config.device == "cpu" else gpus_per_node
        job = evaluate_job(config, num_nodes=num_nodes, gpus_per_node=gpus)
        return [PlannedJob(jobs=(job,), outputs=(config.output_dir,))]
    folder = EvaluationFolder(config.output_dir)
    folder.check(config.result_fields())
    # Both before anything is submitted: other options in the same folder are found here, not in the gather job
    # hours later.
    folder.check_shards(config.result_fields())
    ids = {short: _ids(name, config, dry_run) for short, name in config.labels.items()}
    elements = _elements(config, ids, problems_per_job)
    gather = replace(evaluate_job(replace(config, gather=True)), name="gather", whole_nodes=False)
    last = PlannedJob(jobs=(gather,), outputs=(config.output_dir,), after=0 if elements else None)
    if not elements:
        if folder.report_path("json").is_file() and not lacking(folder, ids, config.samples):
            raise UserError(
                f"the evaluation in {config.output_dir} is done, see report.html there; draw more with --num-samples"
            )
        return [last]
    jobs = tuple(_element_job(element) for element in elements)
    array = PlannedJob(jobs=jobs, outputs=tuple(element.output_dir for element in elements), name="evaluate")
    return [array, last]


def _ids(name: str, config: EvaluationConfig, dry_run: bool) -> list[str]:
    if dry_run:
        return planned_ids(name, config)[0]
    return [problem.id for problem in all_problems(name, config)]


def _elements(config: EvaluationConfig, ids: dict[str, list[str]], problems_per_job: int) -> list[EvaluationConfig]:
    """Returns what each element draws: a part of a benchmark that lacks samples."""
    elements = []
    for name, problems in ids.items():
        done = done_keys(EvaluationFolder(config.output_dir), name, with_shards=True)
        count = -(-len(problems) // problems_per_job)
        for index in range(count):
            # Every count-th problem, as `--shard INDEX/COUNT` takes them: benchmarks become harder towards
            # their end, so that slices in a row would end at different times.
            if count_missing(problems[index::count], config.samples[name], done):
                output = config.output_dir / "shards" / f"{name}-{index}-of-{count}"
                elements.append(
                    replace(config, datasets=(config.labels[name],), shard=f"{index}/{count}", output_dir=output)
                )
    return elements


def _element_job(element: EvaluationConfig) -> Job:
    gpus = element.tensor_parallel_size if element.device == "cuda" else 0
    # An element needs the GPUs of one engine: with whole nodes a shard of the 1.5B model would leave seven of
    # eight idle.
    return replace(evaluate_job(element, gpus_per_node=gpus), name="evaluate", whole_nodes=False)
