"""Turns a job and a site into what sbatch reads, with submitit.

submitit settles how Python starts on SLURM's nodes (batch script, pickle, arrays). Its checkpoint and requeue are not
used: nothing calls them on a node failure or `scontrol requeue`, and they call `scontrol` inside a container that has
none.
"""

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
    """Folder of the job's tasks, or the one above those of an array's elements."""
    after: tuple[str, ...] = ()
    """Numbers of jobs that must have succeeded before."""

    def script(self) -> str:
        """Returns exactly what sbatch would read."""
        executor = self._executor()
        if len(self.tasks) > 1:
            executor.parameters["map_count"] = len(self.tasks)
        # submitit has no public way to see the text; 1.5.4 fills the array's size in only while it submits.
        return str(executor._make_submission_file_text(executor._submitit_command_str, ""))

    def submit(self) -> str:
        """Submits it and returns the job's number. Raises UserError if SLURM refuses it."""
        from submitit.core.utils import FailedJobError, FailedSubmissionError  # noqa: PLC0415

        executor = self._executor()
        try:
            if len(self.tasks) == 1:
                return str(executor.submit(self.tasks[0]).job_id)
            with executor.batch():
                jobs = [executor.submit(task) for task in self.tasks]
            # The elements of an array are 4711_0, 4711_1; dependencies and scancel take the number of the
            # whole.
            return str(jobs[0].job_id).partition("_")[0]
        except (FailedSubmissionError, FailedJobError) as error:
            raise UserError(f"SLURM refuses this job: {' '.join(str(error).split())[:400]}") from error

    def _executor(self) -> "SlurmExecutor":
        from submitit import SlurmExecutor  # noqa: PLC0415

        class Executor(SlurmExecutor):
            """One that also a machine without SLURM can make: what sbatch would read can be seen anywhere."""

            @classmethod
            # submitit's constructor raises where this is not positive, which means that srun is not in PATH.
            def affinity(cls) -> int:
                return 2

            @property
            # For arrays submitit copies a plain SlurmExecutor, but passes it this text (slurm.py,
            # _internal_process_submissions).
            def _submitit_command_str(self) -> str:
                return f"{self.python} -u -m slurm.node.begin {shlex.quote(str(self.folder))}"

        start = start_of(self.site.runs_in, self._task())
        executor = Executor(self.folder, python=start.python)
        executor.update_parameters(**_parameters(self, start.srun_arguments))
        return executor

    def _task(self) -> Task:
        """Returns what the runtime must know: what a container has to see, and variables that win over an image's."""
        told = ("DEEPSCALER_JOB_END", *(("DEEPSCALER_SUCCESSOR",) if self.site.has_successors else ()))
        return Task(
            target=self.job.image,
            folders=(str(self.run_folder), _mounted_scratch(self.site), self.site.cache_dir, *self.job.reads),
            variables=(*environment(self.site), *told),
            gpus=bool(self.job.gpus_per_node) and self.site.gpus != "none",
        )


def _mounted_scratch(site: Site) -> str:
    """Returns the folder that a container sees as its scratch. Raises UserError if only the nodes know it."""
    if site.runs_in.is_container and not site.scratch_dir:
        raise UserError(
            f"invalid value {site.scratch!r} for scratch: a container is given a folder when it is submitted, and this"
            " one is known on the nodes only; name a folder that every node has"
        )
    return site.scratch_dir


def environment(site: Site) -> dict[str, str]:
    """Returns the variables of every task, in addition to those that sbatch passes on from the submitting shell."""
    cache = site.cache_dir
    # Where only nodes know their scratch, they set these themselves: a shared cache would not do.
    compiled = compiled_caches(f"{site.scratch_dir}/deepscaler-{getpass.getuser()}") if site.scratch_dir else {}
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
        **compiled,
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
    # Else a job whose dependency failed stays in the queue for ever, as DependencyNeverSatisfied.
    additional |= {"kill-on-invalid-dep": "yes"} if submission.after else {}
    stays = submission.tasks[0].everywhere  # its nodes work each for itself: one that dies does not end the others
    additional |= {"no-kill": True} if stays else {}
    arguments = ["--no-kill" if stays else "--kill-on-bad-exit=1", "--cpu-bind=none", *srun_arguments]
    arguments += [f"--cpus-per-task={num_cpus}"] if num_cpus else []  # srun takes it from nowhere else
    return {
        **{name: value for name, value in optional.items() if value},
        "job_name": job.name,
        # submitit takes whole minutes. Without wckey=None it asks for a wckey of its own name, which a cluster
        # may refuse.
        "time": minutes(site.time_limit),
        "nodes": job.num_nodes,
        "ntasks_per_node": 1,
        "signal_delay_s": site.warning_seconds,
        "stderr_to_stdout": True,
        "wckey": None,
        "srun_args": arguments,
        "setup": _setup(submission),
        "teardown": _teardown(submission),
        "additional_parameters": additional | dict(site.sbatch),
    }


def _share(site: Site, job: Job) -> dict[str, Any]:
    """Returns the request for whole nodes, or for a share of one in proportion to the job's GPUs."""
    if job.whole_nodes:
        return {"mem": site.mem, "exclusive": site.exclusive}
    # --mem-per-gpu counts only with GPUs; a job without any gets one GPU's share.
    return {"mem_per_gpu": site.mem_per_gpu} if _gpus(site, job) else {"mem": site.mem_per_gpu}


def _gpus(site: Site, job: Job) -> dict[str, Any]:
    if not job.gpus_per_node or site.gpus == "none":
        return {}
    kind = f"{site.gpu_type}:" if site.gpu_type else ""
    if site.gpus == "gres":
        return {"gres": f"gpu:{kind}{job.gpus_per_node}"}
    return {"gpus_per_node": f"{kind}{job.gpus_per_node}"}


def _setup(submission: Submission) -> list[str]:
    """Returns lines for the next start, the site, variables and the allocation's end, which older SLURM omits."""
    site = submission.site
    # Where squeue is missing the text is empty, which the head takes for unknown.
    ends = 'date -d "$(squeue --noheader --jobs "$SLURM_JOB_ID" --format %e)" +%s'
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment(site).items()]
    return [
        *_next_start(submission),
        *site.setup,
        *exports,
        f"DEEPSCALER_JOB_END=${{SLURM_JOB_END_TIME:-$({ends})}}; export DEEPSCALER_JOB_END",
    ]


def _next_start(submission: Submission) -> list[str]:
    """Asks for the next start before anything else: a job may be ended at any moment from here on."""
    if not _starts_again(submission):
        return []
    folder = shlex.quote(str(submission.folder))
    if len(submission.tasks) > 1:
        folder += '/"$SLURM_ARRAY_TASK_ID"'
    lines = [f"job_folder={folder}", *_functions("restart.sh")]
    if submission.site.has_successors:
        return [*lines, *_functions("successor.sh"), 'take_over "$@"', ""]
    return [*lines, ': >"$job_folder/again"', ""]


def _functions(name: str) -> list[str]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    # In the middle of a batch script shellcheck's line would speak of the code behind it.
    return [line for line in lines if not line.startswith("# shellcheck")]


def _starts_again(submission: Submission) -> bool:
    # What runs on every node for itself has no head that could say that it is done.
    site = submission.site
    return (site.requeue == "always" or site.has_successors) and not submission.tasks[0].everywhere


def _teardown(submission: Submission) -> list[str]:
    """Returns the lines that start the job again if something is left to do, unless SLURM is ending it by itself."""
    if not _starts_again(submission):
        return ["exit $?"]
    settle = ["settle_start", *(["settle_successor"] if submission.site.has_successors else [])]
    return ["code=$?", *settle, *(["requeue"] if submission.site.requeue == "always" else []), "exit $code"]


def node_task(job: Job, site: Site, folder: Path, output: Path) -> NodeTask:
    """Returns what every node of a job runs."""
    return NodeTask(
        command=tuple(job.command),
        folder=str(folder),
        output=str(output),
        num_gpus=job.gpus_per_node,
        ray=job.ray,
        network_interface=site.network_interface,
        scratch=site.scratch_dir or site.scratch,
        caches=() if site.scratch_dir else tuple(name for name in compiled_caches("") if name not in site.environment),
        object_store_gb=site.object_store_gb,
        join_seconds=60 * site.join_minutes,
        max_attempts_without_progress=site.max_attempts_without_progress,
        again=site.requeue == "always" or site.has_successors,
        successor=site.has_successors,
        warning_seconds=site.warning_seconds,
    )
