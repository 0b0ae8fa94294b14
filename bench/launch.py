"""Measures the seconds from a job's start, or a kill, to all GPUs in Ray: `python bench/launch.py --nodes 4 32`.

The script compares the kit's launcher with the batch script in verl's tutorial (examples/slurm/ray_on_slurm.slurm),
which uses fixed sleeps. That script is repaired where it does not run: its list of nodes is one word, Ray requires a
token, and a second srun in a job needs --overlap. The same driver runs under both and records when it sees every GPU.
This needs a SLURM cluster (SLURM_CONF) with as many idle nodes.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deepscaler.job import Job
from slurm.site import Site
from slurm.submit.script import Submission, node_task

PORT = 6379
TUTORIALS = "verl's tutorial"
DEADLINE = 900.0
GAVE_UP = "Exited with exit code"
"""Text that srun prints for a node whose `ray start` failed; the tutorial never restarts it."""
SITE = Site(
    exclusive=False,
    # 0 is SLURM's word for all memory of a node
    mem="0" if os.environ.get("BENCH_WHOLE_NODES") else "4G",
    time_limit="00:30:00",
    scratch="/tmp/ray",  # noqa: S108
    object_store_gb=0.1,
    join_minutes=14,
)
TUTORIAL = """#!/bin/bash
#SBATCH --nodes={nodes} --ntasks-per-node=1 --gpus-per-node={gpus} --mem={mem} --time=00:30:00 --output={folder}/job.out
date +%s.%N > {folder}/start
export RAY_AUTH_MODE=disabled  # else the head makes a token that no other node has
nodes_array=($(scontrol show hostnames "$SLURM_JOB_NODELIST"))
head_node=${{nodes_array[0]}}
head_node_ip=$(srun --overlap --nodes=1 --ntasks=1 -w "$head_node" getent hosts "$head_node" | cut -d' ' -f1)
ip_head=$head_node_ip:{port}
srun --overlap --nodes=1 --ntasks=1 -w "$head_node" {ray} start --head --node-ip-address="$head_node_ip" \\
    --port={port} --include-dashboard=false --temp-dir=/tmp/ray/t --object-store-memory=100000000 --num-cpus 48 \\
    --num-gpus {gpus} --block &
sleep 10
for ((i = 1; i < SLURM_JOB_NUM_NODES; i++)); do
    srun --overlap --nodes=1 --ntasks=1 -w "${{nodes_array[$i]}}" {ray} start --address "$ip_head" \\
        --object-store-memory=100000000 --num-cpus 48 --num-gpus {gpus} --block &
    sleep 5
done
RAY_ADDRESS=$ip_head srun --overlap --nodes=1 --ntasks=1 -w "$head_node" {driver}
"""


def main() -> None:
    """Alternates between both launchers, then prints the times."""
    if sys.argv[1:2] == ["driver"]:
        drive(Path(sys.argv[2]), int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, nargs="+", default=[4])
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    for num_nodes in arguments.nodes:
        seconds: dict[str, list[float]] = {TUTORIALS: [], "kit": []}
        back: list[float] = []
        # in turns, so that both launchers see the same cluster
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory(prefix="bench-launch-", dir="/var/tmp") as folder:
                seconds[TUTORIALS].append(run_tutorial(Path(folder), num_nodes, arguments.gpus))
            with tempfile.TemporaryDirectory(prefix="bench-launch-", dir="/var/tmp") as folder:
                joined, again = run_kit(Path(folder), num_nodes, arguments.gpus)
                seconds["kit"].append(joined)
                back.append(again)
        tell(num_nodes, arguments.gpus, seconds, back)


def run_tutorial(folder: Path, num_nodes: int, num_gpus: int) -> float:
    """Returns the seconds from the batch script's first line to all GPUs."""
    script = TUTORIAL.format(
        nodes=num_nodes,
        gpus=num_gpus,
        mem=SITE.mem,
        folder=folder,
        port=PORT,
        ray=Path(sys.executable).with_name("ray"),
        driver=f"{sys.executable} {Path(__file__).resolve()} driver {folder} {num_nodes * num_gpus}",
    )
    out = folder / "job.out"
    # it is read from the first moment, and SLURM makes it when the job begins
    out.touch()
    job = ask("sbatch", "--parsable", stdin=script)
    try:
        seen = wait_for(folder / "seen", job, hopeless=lambda: GAVE_UP in out.read_text())
        return seen - float((folder / "start").read_text())
    finally:
        end(job)


def run_kit(folder: Path, num_nodes: int, num_gpus: int) -> tuple[float, float]:
    """Returns the same for the kit, and the seconds from a SIGKILL of the driver until the next one sees all GPUs."""
    job = Job(name="bench", arguments=(), num_nodes=num_nodes, gpus_per_node=num_gpus, ray=True)
    command = (sys.executable, str(Path(__file__).resolve()), "driver", str(folder), str(num_nodes * num_gpus))
    site = replace(SITE, setup=(f"date +%s.%N > {folder}/start",))
    task = replace(node_task(job, site, folder / "job", folder), command=command)
    number = Submission(job=job, tasks=(task,), site=site, run_folder=folder, folder=folder / "job").submit()
    try:
        joined = wait_for(folder / "seen", number) - float((folder / "start").read_text())
        # the clock of the day, because the other end of this interval is measured on another node
        killed = time.time()
        # before the kill, or the file of the first driver would be read as the second one's
        (folder / "seen").unlink()
        (folder / "kill").touch()
        return joined, wait_for(folder / "seen", number) - killed
    finally:
        end(number)


def drive(folder: Path, num_gpus: int) -> None:
    """Runs the driver: records when every GPU is there, and kills itself on request."""
    import ray

    ray.init(logging_level="warning")
    while ray.cluster_resources().get("GPU", 0) < num_gpus:
        time.sleep(0.1)
    # Renamed once it is whole, since the reader polls for its name.
    (folder / "seen.new").write_text(json.dumps(time.time()))
    (folder / "seen.new").rename(folder / "seen")
    while not (folder / "kill").exists():
        time.sleep(0.1)
    # before the signal, or the next driver would find it and kill itself, too
    (folder / "kill").unlink()
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(file: Path, job: str, hopeless: Callable[[], bool] = lambda: False) -> float:
    """Returns the time written to a file; infinity if it will never be written."""
    deadline = time.monotonic() + DEADLINE
    while not file.exists():
        if hopeless():
            return float("inf")
        if time.monotonic() > deadline:
            sys.exit(f"job {job}: no {file.name} after {DEADLINE:.0f} s")
        time.sleep(0.1)
    return float(file.read_text())


def ask(*command: str, stdin: str | None = None) -> str:
    """Returns the output of a SLURM command."""
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout.strip()


def end(job: str) -> None:
    """Cancels a job and waits until its nodes are free."""
    ask("scancel", job)
    # scancel returns at once, and the next start must find the nodes idle.
    while ask("squeue", "-h", "-j", job, "-o", "%i"):
        time.sleep(0.2)


def tell(num_nodes: int, num_gpus: int, seconds: dict[str, list[float]], back: list[float]) -> None:
    """Prints the medians and their ratio."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"{num_nodes} nodes, {num_nodes * num_gpus} GPUs: seconds from the job's start to all of them in Ray")
    for name, values in seconds.items():
        print(f"  {name:18}{medians[name]:8.1f}   ({', '.join(f'{value:.1f}' for value in values)})")
    if medians[TUTORIALS] == float("inf"):
        print("  a node's `ray start` failed, and the tutorial does not restart it")
    else:
        print(f"  kit / tutorial: {medians['kit'] / medians[TUTORIALS]:.2f}")
    print(
        f"  kit, from a killed driver to all GPUs again: {statistics.median(back):.1f} (the tutorial does not recover)"
    )


if __name__ == "__main__":
    main()
