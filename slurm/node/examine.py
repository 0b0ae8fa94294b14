"""Examines a node before a training: the doctor's fast checks where it joins, and on the head whether all are alike.

attempt-00/node2.doctor.json   {"versions": {"torch": "2.11.0", "code": "888b5dddf8cc", ...}, "warnings": [...]}
"""

from pathlib import Path

from deepscaler.system.errors import UserError
from deepscaler.system.files import write_json
from slurm.node.node import Node

TRAININGS = ("train", "chain", "run")


def examine_node(node: Node) -> str:
    """Returns why this node cannot take part in a training, or nothing; notes its versions and warnings if it can."""
    if not is_asked(node.task.command):
        return ""
    # what the doctor imports, most tasks of a node have no use for
    from deepscaler.doctor.before import examine_before  # noqa: PLC0415
    from deepscaler.doctor.software import versions_here  # noqa: PLC0415
    from deepscaler.doctor.subject import Purpose, Subject  # noqa: PLC0415

    purpose: Purpose = "cpu" if "cpu" in node.task.command else "train"
    try:
        found = examine_before(Subject(purpose=purpose, run_dir=Path(node.task.output)), node.say)
    except UserError as error:
        return str(error)
    noted = {"versions": versions_here(), "warnings": found["warnings"]}
    write_json(node.attempt.doctor_path(node.name), noted)
    return ""


def check_alike(node: Node) -> None:
    """Raises UserError if a node has other versions than most: its processes would send objects nobody can read."""
    if not is_asked(node.task.command):
        return
    from deepscaler.doctor.before import SKIP  # noqa: PLC0415
    from deepscaler.doctor.judge import odd_ones  # noqa: PLC0415
    from deepscaler.doctor.software import versions_here  # noqa: PLC0415

    others = {name: node.attempt.read(node.attempt.doctor_path(name)).get("versions") for name in node.names[1:]}
    odd = odd_ones({node.name: versions_here(), **{name: found for name, found in others.items() if found}})
    different = [f"{name}: {', '.join(what)}" for name, what in odd.items() if what]
    if different:
        raise UserError(f"doctor: {'; '.join(different)}: install the same on every node; {SKIP}")


def is_asked(command: tuple[str, ...]) -> bool:
    """Returns whether a job's command is a training that does not skip the doctor."""
    return command[:1] == ("deepscaler",) and command[1] in TRAININGS and "--skip-doctor" not in command
