"""`deepscaler status`: how a training run or a chain is, from its files."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from deepscaler.commands.parser import Parser
from deepscaler.launch.launcher import JobState, Launcher, Phase, launcher_of
from deepscaler.output.cells import rounded
from deepscaler.output.terminal import PlainConsole, add_row, new_table, print_table, printable
from deepscaler.runs.outputs import find_kind
from deepscaler.runs.space import is_few
from deepscaler.runs.status import Status, from_json, read_statuses
from deepscaler.system.files import in_bytes
from deepscaler.system.paths import existing_folder

EXAMPLES = ("deepscaler status outputs/8k", "deepscaler status outputs/8k-16k-24k --json")

LABEL_WIDTH = 24
HOUR = 3600.0


def configure(parser: Parser) -> None:
    """Adds the folder and what to show."""
    parser.add_argument(
        "run_dir", type=Path, metavar="RUN_DIR", help="the --output-dir of `deepscaler train` or `chain`"
    )
    parser.add_argument("--json", action="store_true", help="print the state as JSON, with fractions of 1 and seconds")
    parser.add_argument("--timing", action="store_true", help="print where the time to the first step went, by phase")


def run(arguments: argparse.Namespace) -> int:
    """Prints the state of a run, or a row for each stage of a chain."""
    existing_folder(arguments.run_dir)
    launcher = launcher_of(arguments.run_dir)
    if arguments.timing:
        return _show_timing(launcher.timing(arguments.run_dir), as_json=arguments.json)
    jobs, why = launcher.states(arguments.run_dir)
    not_asked = " ".join(why.split())  # squeue tells over several lines
    statuses, chain, unknown = _statuses(arguments.run_dir, launcher, has_jobs=bool(jobs), is_reached=not not_asked)
    if arguments.json:
        shown = [asdict(status) for status in statuses]
        told = {"stages": shown} if chain else shown[0] if shown else {}
        told |= {"jobs": [{"name": name, **asdict(state)} for name, state in jobs]} if jobs else {}
        told |= {f"{launcher.on}_not_asked": not_asked} if not_asked else {}
        told |= {"run_not_asked": unknown} if unknown else {}
        print(json.dumps(told, indent=2))
        return 0
    console = PlainConsole()
    if chain:
        _print_chain(statuses, console)
        for status in statuses:
            for name, says in (status.alarms or {}).items():
                console.print(printable(f"{status.name} is sick: {name}: {says}"), soft_wrap=True)
    elif statuses:
        _print_run(statuses[0], console)
    if jobs:
        _print_jobs(launcher.title, jobs, console)
    if not_asked:
        how = "their files tell" if launcher.sees_files else "they were written down here"
        console.print(f"{launcher.title} was not asked ({not_asked}): jobs are shown as {how}.", soft_wrap=True)
    if unknown:
        console.print(f"How far the run itself is, is not known: {unknown}.", soft_wrap=True)
    return 0


def _statuses(folder: Path, launcher: Launcher, *, has_jobs: bool, is_reached: bool) -> tuple[list[Status], bool, str]:
    """Returns how each run in a folder is, whether it is a chain, and why nothing is known of that."""
    if launcher.sees_files:
        kind = find_kind(folder)
        # A folder with jobs may be an evaluation's; one without any is an error that read_statuses words.
        statuses = read_statuses(folder) if kind in ("run", "chain") or not has_jobs else []
        return statuses, kind == "chain", ""
    told, why = launcher.far_status(folder) if is_reached else ({}, "")
    if "stages" in told:
        return [from_json(stage) for stage in told["stages"]], True, why
    return ([from_json(told)] if "state" in told else []), False, why


def _show_timing(phases: list[Phase], *, as_json: bool) -> int:
    """Prints a row for each phase that is known."""
    if as_json:
        print(json.dumps({"timing": [asdict(phase) for phase in phases]}, indent=2))
        return 0
    table = new_table(["phase", "job", "head", "slowest worker"])
    for phase in phases:
        add_row(table, [phase.name, *map(_to_the_second, (phase.job, phase.head, phase.worker))])
    console = PlainConsole()
    console.print(table if phases else "Nothing is known: no start of this run has been seen, or its pods are gone.")
    return 0


def _to_the_second(seconds: float | None) -> str:
    """Returns 42 s, 4 min 28 s, 5 h 12 min: phases are compared, and minutes alone would hide half of one."""
    if seconds is None or seconds >= HOUR:
        return duration(seconds)
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _print_run(status: Status, console: Console) -> None:
    """Prints one fact per line, and leaves out what is not known."""
    heading = f"{status.name}, profile {status.profile}: {_state(status)}"
    # printable, because a run's files may hold anything and a terminal obeys escape sequences
    console.print(printable(heading), style="bold", soft_wrap=True)
    for label, value in _facts(status):
        if value:
            console.print(printable(f"{label:<{LABEL_WIDTH}}{value}"), soft_wrap=True)


def _facts(status: Status) -> list[tuple[str, str]]:
    # A run of which only the folder is there has 0 steps.
    steps = f"{status.step:,} of {status.num_steps:,} ({100 * status.step / (status.num_steps or 1):.0f} %)"
    checkpoint = f"step {status.checkpoint_step:,}" if status.checkpoint_step is not None else "none yet"
    age = f", {duration(status.checkpoint_age)} old" if status.checkpoint_age is not None else ""
    validations = [
        (
            f"accuracy on {name}",
            f"{percent(v['last'])} at step {v['last_step']:,}"
            + (f" ({percent(v['first'])} at step {v['first_step']:,})" if v["first_step"] != v["last_step"] else ""),
        )
        for name, v in (status.validation or {}).items()
    ]
    attempt = f"{status.attempt} on {status.host or 'an unknown host'}"
    attempt += f", from {status.started}" if status.started else ""
    attempt += f" to {status.ended}" if status.ended else ""
    return [
        ("attempt", attempt if status.attempt else ""),
        ("ended because", status.why or ""),
        ("STALLED", (status.stall or "") if status.stalled else ""),
        ("step", steps),
        ("phase", _phase(status)),
        ("time left", duration(status.seconds_left)),
        ("mean reward", number(status.reward)),
        ("parts of the reward", ", ".join(f"{name} {value:.3f}" for name, value in (status.parts or {}).items())),
        ("undecided", percent(status.undecided) if status.undecided else ""),
        *validations,
        ("response length", f"{status.response_length:,.0f} tokens" if status.response_length is not None else ""),
        ("cut off", percent(status.cut_off)),
        ("PPO clipped", _clipped(status)),
        ("dual clip", percent(status.dual_clip_fraction) if status.dual_clip_fraction else ""),
        ("weights cut", percent(status.correction_cut)),
        ("entropy", f"{number(status.entropy)} nats" if status.entropy is not None else ""),
        ("KL to the reference", f"{status.kl:.2g}" if status.kl is not None else ""),
        ("rollout to trainer", f"KL {status.mismatch:.2g}" if status.mismatch is not None else ""),
        ("groups of one reward", percent(status.zero_variance)),
        ("thrown away", f"{status.discarded_tokens:,.0f} tokens in the last step" if status.discarded_tokens else ""),
        ("age of responses", f"{status.staleness:.1f} updates" if status.staleness else ""),
        ("a step takes", f"{status.step_seconds:,.1f} s" if status.step_seconds is not None else ""),
        ("goodput", f"{percent(status.goodput)} of all attempts' time" if status.goodput is not None else ""),
        ("estimate", _estimate(status)),
        ("throughput", f"{status.tokens_per_second:,.0f} tokens/s per GPU" if status.tokens_per_second else ""),
        *((f"SICK: {name}", says) for name, says in (status.alarms or {}).items()),
        ("last checkpoint", checkpoint + age if status.attempt else ""),
        ("mirror", _mirror(status)),
        ("disk", _disk(status)),
        *(("memory", told) for told in (status.memory or {}).values()),
        *(("damaged checkpoint", damaged) for damaged in status.damaged_checkpoints),
    ]


def _phase(status: Status) -> str:
    """Returns a phase such as `generate for 41.2 s (usually 38.0 s): 37 of 64 prompts are finished`."""
    if status.phase is None:
        return ""
    usual = f" (usually {duration(status.phase_usual)})" if status.phase_usual is not None else ""
    told = f": {status.phase_told}" if status.phase_told else ""
    return f"{status.phase} for {duration(status.phase_seconds)}{usual}{told}"


def _mirror(status: Status) -> str:
    """Returns `step 40 in s3://bucket/8k, 12.0 s ago; still to come: the checkpoint of step 60`."""
    if not status.mirror:
        return ""
    step = f"step {status.mirrored_step:,}" if status.mirrored_step is not None else "no checkpoint yet"
    age = f", {duration(status.mirror_age)} ago" if status.mirror_age is not None else ""
    left = f"; still to come: {', '.join(status.mirror_left)}" if status.mirror_left else ""
    return f"{step} in {status.mirror}{age}{left}" + (f"; FAILS: {status.mirror_error}" if status.mirror_error else "")


def _estimate(status: Status) -> str:
    """Returns `1.4 times as long as estimated: a step 443 s, not 316 s (within its spread); ...`."""
    if not (found := status.estimate):
        return ""
    where = "within its spread" if found["inside"] else "OUTSIDE its spread"
    money = f" at a price of {rounded(found['gpu_hours'] * found['price'])}" if found["price"] else ""
    length = f"{status.response_length:,.0f}" if status.response_length is not None else "unknown"
    return (
        f"{found['times']:.2g} times as long as estimated: a step {rounded(found['step_seconds'])} s, not"
        f" {rounded(found['estimated_step_seconds'])} s ({where}); the run {rounded(found['gpu_hours'])}"
        f" GPU-hours{money}, not {rounded(found['estimated_gpu_hours'])}, in {duration(3600 * found['hours'])};"
        f" tokens of a response {length}, not {found['mean_response']:,.0f}"
    )


def _disk(status: Status) -> str:
    """Returns what is free, and a warning where it is room for few checkpoints."""
    if status.disk_free is None or not status.checkpoint_bytes:
        return ""
    fitting = status.disk_free // status.checkpoint_bytes
    warning = f", WARNING: room for {fitting} of {in_bytes(status.checkpoint_bytes)} only" if is_few(fitting) else ""
    return f"{in_bytes(status.disk_free)} free{warning}"


def _clipped(status: Status) -> str:
    """Returns `0.3 %: 0.2 % at the upper bound, 0.1 % at the lower`; not all losses distinguish the bounds."""
    high, low = percent(status.clip_high_fraction), percent(status.clip_low_fraction)
    both = percent(status.clip_fraction)
    return f"{both}: {high} at the upper bound, {low} at the lower" if high and low else both


def _state(status: Status) -> str:
    if status.state == "dead":
        return (
            f"dead, without a sign of life for {duration(status.heartbeat_age)};"
            f" the same command resumes from step {status.checkpoint_step or 0:,}"
        )
    return f"stopping ({status.stop_reason or 'no reason given'})" if status.state == "stopping" else status.state


def _print_chain(statuses: list[Status], console: Console) -> None:

    header = ["stage", "profile", "state", "step", "reward", "accuracy", "tokens", "cut off", "time left"]
    table = new_table(header, text_columns=(0, 1, 2))
    for status in statuses:
        length = f"{status.response_length:,.0f}" if status.response_length is not None else ""
        accuracies = [percent(one["last"]) for one in (status.validation or {}).values()]
        steps = f"{status.step}/{status.num_steps}" if status.num_steps else ""
        values = [number(status.reward), "\n".join(accuracies), length, percent(status.cut_off)]
        texts = map(printable, (status.name, status.profile, status.state))
        add_row(table, [*texts, steps, *values, duration(status.seconds_left)])
    console.print(table)
    for status in statuses:
        if status.gate:
            console.print(printable(f"{status.name} is {status.gate}."), soft_wrap=True)


def _print_jobs(title: str, jobs: list[tuple[str, JobState]], console: Console) -> None:
    """Prints what the place says of each job, or what its last attempt left, and below it what needs more words."""
    has_numbers = any(state.job_id != name for name, state in jobs)
    header = [*(["job"] if has_numbers else []), "name", "state", "reason", "runs for", "nodes"]
    table = new_table(header, text_columns=[index for index, text in enumerate(header) if text != "runs for"])
    for name, state in jobs:
        # SLURM writes None if there is nothing to say
        reason = "" if state.reason == "None" else state.reason
        # SLURM says N/A where its backfill has not planned the job yet, and a held job has no start to expect.
        if state.state == "PENDING" and state.start not in ("", "N/A") and not reason.startswith("JobHeld"):
            reason += f", expected {state.start}"
        texts = [*([state.job_id] if has_numbers else []), name, state.state, reason, state.elapsed, state.nodes]
        add_row(table, [printable(text) for text in texts])
    print_table(console, title, table)
    for name, state in jobs:
        for note in state.notes:
            console.print(printable(f"{name}: {note}"), soft_wrap=True)


def percent(share: float | None) -> str:
    """Returns a share of one in percent."""
    return "" if share is None else f"{100 * share:.1f} %"


def number(value: float | None) -> str:
    """Returns a number with three digits."""
    return "" if value is None else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """Returns `4.2 s`, `3 min`, `5 h 12 min` or `2 d 3 h`."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{max(0.0, seconds):.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes < 48 * 60
        else f"{minutes // 1440} d {minutes % 1440 // 60} h"
    )
