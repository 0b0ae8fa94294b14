"""From a job and a site to what sbatch reads, by submitit."""

import getpass
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepscaler.fabric import fabric_variables, socket_variables
from deepscaler.job import Job
from deepscaler.system.errors import UserError
from deepscaler.system.paths import compiled_caches
from slurm.node.task import NodeTask
from slurm.runtime_class import environment_of, start_of
from slurm.runtimes import Task
from slurm.site import Site, minutes

if TYPE_CHECKING:
    from submitit import SlurmExecutor


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One job (or array) on its way to SLURM."""

    job: Job
    tasks: tuple[NodeTask, ...]
    """One, or one for each element of an array."""
    site: Site
    run_folder: Path
    folder: Path
    """Of the job: its tasks' folder, or the one above those of an array's elements."""
    after: tuple[str, ...] = ()
    """Numbers of jobs that must have succeeded before."""

    def script(self) -> str:
        """Exactly what sbatch would read."""
        executor = self._executor()
        if len(self.tasks) > 1:
            executor.parameters["map_count"] = len(self.tasks)
        return str(executor._make_submission_file_text(executor._submitit_command_str, ""))

    def submit(self) -> str:
        """Hand it to SLURM; returns the job's number. Raises UserError where SLURM refuses."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError  # noqa: PLC0415

        executor = self._executor()
        try:
            if len(self.tasks) == 1:
                return str(executor.submit(self.tasks[0]).job_id)
            with executor.batch():
                jobs = [executor.submit(task) for task in self.tasks]
            return str(jobs[0].job_id).partition("_")[0]
        except (FailedSubmissionError, FailedJobError) as error:
            raise UserError(f"SLURM refuses this job: {' '.join(str(error).split())[:400]}") from error

    def _executor(self) -> "SlurmExecutor":
        from submitit import SlurmExecutor  # noqa: PLC0415

        class Executor(SlurmExecutor):
            """One that also a machine without SLURM can make: what sbatch would read can be seen anywhere."""

            @classmethod
            def affinity(cls) -> int:
                return 2

        start = start_of(self.site.runs_in, self._task())
        executor = Executor(self.folder, python=start.python)
        executor.update_parameters(**_parameters(self, start.srun_arguments))
        return executor

    def _task(self) -> Task:
        """Returns what the runtime must know: what a container has to see, and variables that win over an image's."""
        return Task(
            target=self.job.image,
            folders=(str(self.run_folder), _mounted_scratch(self.site), self.site.cache_dir, *self.job.reads),
            variables=(*environment(self.site), "DEEPSCALER_JOB_END"),
            gpus=bool(self.job.gpus_per_node) and self.site.gpus != "none",
        )


def _mounted_scratch(site: Site) -> str:
    """Returns the folder that a container sees as its scratch. Raises UserError where only the nodes know it."""
    if site.runs_in.is_container and not site.scratch_dir:
        raise UserError(
            f"invalid value {site.scratch!r} for scratch: a container is given a folder when it is submitted, and this"
            " one is known on the nodes only; name a folder that every node has"
        )
    return site.scratch_dir


def environment(site: Site) -> dict[str, str]:
    """Variables of every task, beside what sbatch passes on from the submitting shell."""
    cache = site.cache_dir
    local = f"{site.scratch_dir}/deepscaler-{getpass.getuser()}" if site.scratch_dir else cache
    caches = {
        "DEEPSCALER_CACHE": site.kit_cache,
        "HF_HOME": f"{cache}/huggingface",
        "XDG_CACHE_HOME": cache,
        "FLASHINFER_WORKSPACE_BASE": cache,
        "MPLCONFIGDIR": f"{cache}/matplotlib",
    }
    variables = {
        "PYTHONSAFEPATH": "1",  # the folder to submit from may hold a package `deepscaler`: submitit says `python -m`
        **(caches if cache else {}),
        **(compiled_caches(local) if local else {}),
        **({} if site.internet else {"HF_HUB_OFFLINE": "1"}),
        **({} if site.fabric == "auto" else fabric_variables(site.fabric)),
        **(socket_variables(site.network_interface) if site.network_interface else {}),
        **site.environment,
    }
    return environment_of(site.runs_in, variables)


def _parameters(submission: Submission, srun_arguments: Sequence[str]) -> dict[str, Any]:
    site, job = submission.site, submission.job
    num_cpus = site.cpus_per_node if job.whole_nodes else site.cpus_per_gpu * max(1, job.gpus_per_node)
    optional = {
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "exclude": site.exclude,
        "cpus_per_task": num_cpus,
        **_share(site, job),
        "dependency": f"afterok:{':'.join(submission.after)}" if submission.after else "",
        **_gpus(site, job),
    }
    additional: dict[str, Any] = {"requeue": True} if site.requeue == "always" else {"no-requeue": True}
    additional |= {"reservation": site.reservation} if site.reservation else {}
    additional |= {"kill-on-invalid-dep": "yes"} if submission.after else {}
    arguments = ["--kill-on-bad-exit=1", "--cpu-bind=none", *srun_arguments]
    arguments += [f"--cpus-per-task={num_cpus}"] if num_cpus else []  # srun takes it from nowhere else
    return {
        **{name: value for name, value in optional.items() if value},
        "job_name": job.name,
        "time": minutes(site.time_limit),
        "nodes": job.num_nodes,
        "ntasks_per_node": 1,
        "signal_delay_s": site.warning_seconds,
        "stderr_to_stdout": True,
        "wckey": None,
        "srun_args": arguments,
        "setup": _setup(site),
        "teardown": _teardown(submission),
        "additional_parameters": additional | dict(site.sbatch),
    }


def _share(site: Site, job: Job) -> dict[str, Any]:
    """Whole nodes, or as much of one as a job's GPUs are of it."""
    if job.whole_nodes:
        return {"mem": site.mem, "exclusive": site.exclusive}
    return {"mem_per_gpu": site.mem_per_gpu} if _gpus(site, job) else {"mem": site.mem_per_gpu}


def _gpus(site: Site, job: Job) -> dict[str, Any]:
    if not job.gpus_per_node or site.gpus == "none":
        return {}
    kind = f"{site.gpu_type}:" if site.gpu_type else ""
    if site.gpus == "gres":
        return {"gres": f"gpu:{kind}{job.gpus_per_node}"}
    return {"gpus_per_node": f"{kind}{job.gpus_per_node}"}


def _setup(site: Site) -> list[str]:
    """The site's lines, the variables, and when the allocation ends: older SLURM does not tell."""
    ends = 'date -d "$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %e)" +%s'
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment(site).items()]
    return [*site.setup, *exports, f"DEEPSCALER_JOB_END=${{SLURM_JOB_END_TIME:-$({ends})}}; export DEEPSCALER_JOB_END"]


def _teardown(submission: Submission) -> list[str]:
    """Back into the queue where the head left its wish for it, unless SLURM is ending the job by itself."""
    folder = shlex.quote(str(submission.folder))
    if len(submission.tasks) > 1:
        folder += '/"$SLURM_ARRAY_TASK_ID"'
    running = '[ "$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %T)" = RUNNING ]'
    requeue = 'scontrol requeue "$SLURM_JOB_ID"'
    if submission.site.requeue == "never":
        return ["exit $?"]
    return ["code=$?", f"if [ -e {folder}/again ] && {running}; then {requeue}; fi", "exit $code"]


def node_task(job: Job, site: Site, folder: Path, output: Path) -> NodeTask:
    """What every node of a job runs."""
    return NodeTask(
        command=tuple(job.command),
        folder=str(folder),
        output=str(output),
        num_gpus=job.gpus_per_node,
        ray=job.ray,
        network_interface=site.network_interface,
        scratch=site.scratch_dir or site.scratch,
        object_store_gb=site.object_store_gb,
        join_seconds=60 * site.join_minutes,
        max_attempts_without_progress=site.max_attempts_without_progress,
        again=site.requeue == "always",
    )
