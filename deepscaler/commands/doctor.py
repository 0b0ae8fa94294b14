"""`deepscaler doctor`: what is missing here, before hours are lost to it."""

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console

from deepscaler.commands.counting import counts_if, counts_with
from deepscaler.commands.launcher import CLUSTER, add_dry_run, add_place, launcher_for
from deepscaler.commands.parser import Parser, folder_to_write, offer
from deepscaler.doctor.among import REACH, examine_among
from deepscaler.doctor.examine import examine, examine_fast
from deepscaler.doctor.finding import Finding
from deepscaler.doctor.judge import judge
from deepscaler.doctor.meeting import Meeting, node_name
from deepscaler.doctor.software import MODULES, guess_purpose, versions_here
from deepscaler.doctor.subject import Purpose, Subject
from deepscaler.doctor.table import conclude
from deepscaler.job import Image, Job
from deepscaler.launch.launcher import Examination
from deepscaler.output.terminal import PlainConsole, printable
from deepscaler.recipes.load import is_file, load_recipe
from deepscaler.recipes.published import NAMES
from deepscaler.system.addresses import address_of, addresses
from deepscaler.system.exit_codes import DONE, FAILED
from deepscaler.system.flags import number, whole

EXAMPLES = ("deepscaler doctor --recipe 8k", "deepscaler doctor --on slurm --site site.toml --nodes 4")


def configure(parser: Parser) -> None:
    """Adds what to check for, and on which machines."""
    parser.add_argument("--for", dest="purpose", choices=MODULES, help="purpose of the environment (default: guessed)")
    offer(
        parser.add_argument("--recipe", metavar="RECIPE", help="published recipe or TOML file that the machine is for"),
        NAMES,
        files="toml",
    )
    lock = os.environ.get("DEEPSCALER_LOCK")
    locked = parser.add_argument(
        "--lock",
        type=Path,
        metavar="FILE",
        default=Path(lock) if lock else None,
        help="file of requirements that must be installed exactly (default: $DEEPSCALER_LOCK)",
    )
    image = parser.add_argument(
        "--image-only",
        action="store_true",
        help="check what an image holds, not this machine: the test of an image when it is built",
    )
    parser.add_argument(
        "--fast", action="store_true", help="run only the checks that precede every training, which take seconds"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument(
        "--output-dir",
        type=folder_to_write,
        metavar="DIR",
        help="folder of the training that the machine is for, or with --on of the jobs (default: outputs/doctor)",
    )
    dry_run = add_dry_run(parser, "describe the job, submit nothing")
    section = add_place(parser)
    for action in (
        section.add_argument(
            "--exclude-slow", action="store_true", help="leave out nodes that are slow or fail, and examine others"
        ),
        section.add_argument(
            "--gpus", type=whole(0), metavar="N", default=8, help="GPUs per node (default: %(default)s)"
        ),
        section.add_argument(
            "--minutes",
            type=number(above=0),
            metavar="X",
            default=30,
            help="most minutes to wait for the nodes' answers (default: %(default)s)",
        ),
        dry_run,
    ):
        counts_with(action, on=CLUSTER)
    nodes = section.add_argument(
        "--nodes", type=whole(1), metavar="N", default=1, help="number of nodes to examine (default: %(default)s)"
    )
    counts_with(nodes, "--meet", on=CLUSTER)
    meet = section.add_argument(
        "--meet",
        type=Path,
        metavar="DIR",
        help="new folder that all nodes see, to examine them together; run the command on each",
    )
    for action in (locked, image, meet):
        counts_with(action, on="local")
    counts_if(image, "without --fast", "leave --fast out", lambda values: not values.get("fast"))


def run(arguments: argparse.Namespace) -> int:
    """Has this machine or others examine themselves; 1 if a finding is not ok."""
    launcher, console = launcher_for(arguments), PlainConsole()
    # what is installed on this machine says nothing about a cluster's nodes
    purpose = arguments.purpose or ("train" if arguments.on in CLUSTER else guess_purpose())
    images: dict[str, Image] = {"train": "train", "eval": "eval"}
    fast = ("--fast",) if arguments.fast else ()
    job = Job(
        name="doctor",
        arguments=("doctor", "--for", purpose, *_recipe(arguments), *fast),
        num_nodes=arguments.nodes,
        gpus_per_node=arguments.gpus,
        image=images.get(purpose, "cpu"),
    )
    folder = (arguments.output_dir or Path("outputs/doctor")).absolute()
    if arguments.dry_run:
        return launcher.describe_examination(job, folder, console, full=arguments.dry_run == "full")
    asked = Examination(
        job=job,
        minutes=arguments.minutes,
        as_json=arguments.json,
        exclude_slow=arguments.exclude_slow,
        here=partial(_examine_here, arguments, purpose, console),
    )
    return launcher.examine(asked, folder, console)


def _examine_here(arguments: argparse.Namespace, purpose: Purpose, console: Console) -> int:
    """Prints each finding as it is made, or all as JSON; 1 if one is not ok."""
    subject = Subject(
        purpose=purpose,
        recipe=load_recipe(arguments.recipe) if arguments.recipe else None,
        run_dir=arguments.output_dir,
        lock=arguments.lock,
    )
    if arguments.meet:
        return _examine_among(arguments, subject, console)
    made = examine_fast(subject) if arguments.fast else examine(subject, image_only=arguments.image_only)
    if arguments.json:
        found = list(made)
        findings = [one.to_json() for one in found]
        print(json.dumps({"node": node_name(), "versions": versions_here(), "findings": findings}, indent=2))
    else:
        console.print(f"Checking for: {subject.purpose}")
        found = list(_shown(made, console))
    return FAILED if any(not finding.ok for finding in found) else DONE


def _examine_among(arguments: argparse.Namespace, subject: Subject, console: Console) -> int:
    """Examines this node with others; prints its report as one line of JSON, or the table of all."""
    name, alone = node_name(), arguments.nodes == 1
    wanted = os.environ.get("NCCL_SOCKET_IFNAME", "")
    # The variable may also hold beginnings of names, a list, or "^docker", which address_of does not read.
    address = address_of(name, wanted if wanted in addresses() else "", alone=alone)
    arguments.meet.mkdir(parents=True, exist_ok=True)
    meeting = Meeting(arguments.meet, arguments.nodes, name, address)
    say = partial(console.print, soft_wrap=True)
    report = examine_among(subject, meeting, (lambda _: None) if arguments.json else say, fast=arguments.fast)
    if arguments.json:
        # One line, which `last_report` finds among all others of a log.
        print(json.dumps(report), flush=True)
        return FAILED if any(entry["status"] == "fail" for entry in report["findings"]) else DONE
    reports = meeting.gather("report", report["saw"], REACH)
    found = judge(list(reports.values()), report["saw"], arguments.nodes)
    return conclude(found, arguments.nodes, console)


def _recipe(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Returns the recipe as a job on nodes reads it; a wrong one is refused here."""
    if not arguments.recipe:
        return ()
    # here, before a job waits in a queue only to be refused
    load_recipe(arguments.recipe)
    given = str(Path(arguments.recipe).absolute()) if is_file(arguments.recipe) else arguments.recipe
    return ("--recipe", given)


def _shown(made: Iterable[Finding], console: Console) -> Iterator[Finding]:
    """Prints findings as they come, and how many failed."""
    num_failed = 0
    for finding in made:
        num_failed += not finding.ok
        console.print(printable(str(finding)), soft_wrap=True)
        yield finding
    console.print("Nothing is missing." if not num_failed else f"{num_failed} of the checks failed.")
