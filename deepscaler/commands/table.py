"""Lists every command once: its group in `deepscaler --help`, its line of help, and the module that runs it.

Only the module of the command that was typed is imported, so `deepscaler --help` answers at once.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """One command of `deepscaler`."""

    group: str
    help: str
    module: str
    """Module below `deepscaler.commands`, which has `configure(parser)`, `run(arguments)` and two EXAMPLES."""
    also: str = ""
    """Another name that works."""


DATA, TRAIN, EVALUATE, PLACES, LOOK = "data", "train", "evaluate", "run somewhere", "look"

COMMANDS = {
    "data": Command(DATA, "List, prepare and check training and evaluation data.", "data"),
    "quickstart": Command(TRAIN, "Train and evaluate a small real model on this machine, without a GPU.", "quickstart"),
    "estimate": Command(TRAIN, "Estimate what recipes will cost: GPU-hours, days, money and disk.", "estimate"),
    "train": Command(TRAIN, "Train a recipe with verl; the same command resumes.", "train"),
    "chain": Command(TRAIN, "Train recipes one after another, such as 8k 16k 24k; resumes.", "chain", also="run"),
    "reshard": Command(TRAIN, "Convert a run's newest checkpoint to another number of ranks.", "reshard"),
    "merge": Command(TRAIN, "Turn a run's newest checkpoint into a Hugging Face model.", "merge"),
    "publish": Command(TRAIN, "Publish a trained model with its card, as a folder or on the hub.", "publish"),
    "reproduce": Command(TRAIN, "Train a recorded run again elsewhere, after listing what differs.", "reproduce"),
    "evaluate": Command(EVALUATE, "Sample a model on benchmarks, grade, and report.", "evaluate"),
    "grade": Command(EVALUATE, "Grade a file of responses, and print the table that `report` prints.", "grade"),
    "import": Command(EVALUATE, "Grade and report what another program drew.", "import_samples"),
    "export": Command(EVALUATE, "Write an evaluation in the form of inspect, lm-eval or a model card.", "export"),
    "report": Command(EVALUATE, "Write the report of an evaluation, a training run or a chain.", "report"),
    "compare": Command(EVALUATE, "Say whether models differ, by how much, how certainly, and where.", "compare"),
    "view": Command(EVALUATE, "Show what models wrote, in evaluations and trainings, as a page.", "view"),
    "doctor": Command(PLACES, "Check this machine, an image or a cluster's nodes for what is missing.", "doctor"),
    "slurm": Command(PLACES, "Write a first site file for a SLURM cluster.", "slurm"),
    "render": Command(PLACES, "Write a command as a RayJob for Kubernetes.", "render"),
    "k8s": Command(PLACES, "Set up a Kubernetes cluster, check manifests, and act inside the kit's pods.", "k8s"),
    "recipes": Command(LOOK, "Show a training recipe, or compare some.", "recipes"),
    "status": Command(LOOK, "Show how a training run, a chain and its jobs are doing.", "status"),
    "metrics": Command(LOOK, "Serve the state of runs to Prometheus, or print its rules and a dashboard.", "metrics"),
    "logs": Command(LOOK, "Show the logs of a run, each line with its machine.", "logs"),
    "cancel": Command(LOOK, "End the jobs of a run; on Kubernetes, a training saves first.", "cancel"),
    "completion": Command(LOOK, "Print the script that completes commands in your shell.", "completion"),
}

NAMES = {name: name for name in COMMANDS} | {command.also: name for name, command in COMMANDS.items() if command.also}
"""Every name that can be typed, and the one that the help lists."""
