"""Writes a first site file from what the cluster says of itself; every line of it can be read and changed."""

import getpass
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from deepscaler.fabric import NAMES, Adapter, adapters, main_fabric
from deepscaler.system.errors import UserError
from deepscaler.system.files import write_text
from slurm.cluster import ask
from slurm.runtimes import RUNTIMES
from slurm.site import Site, minutes
from slurm.submit.successor import is_cancelled_for_others

LONGEST = 2 * 1440
"""Minutes. A longer limit only makes a job wait longer, since it resumes after each one."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One kind of nodes in a partition, as sinfo shows it."""

    name: str
    default: bool
    time_limit: str
    num_nodes: int
    gpu_type: str
    num_gpus: int


def discover(file: Path, partition: str = "", *, dry_run: bool = False) -> str:
    """Writes a site file and returns what was found, in words; a dry run returns the file's text and writes nothing.

    Raises UserError if there is such a file, or no SLURM.
    """
    if file.exists():
        raise UserError(f"{file} is there already; remove it, or name another file")
    partitions = _partitions()
    chosen = _choose(partitions, partition)
    accounts = _accounts()
    runtime = next(name for name, kind in RUNTIMES.items() if kind.is_available())
    text = _site_file(chosen, accounts, runtime, adapters())
    if dry_run:
        return text.rstrip()
    write_text(file, text)
    names = ", ".join(sorted({p.name for p in partitions}))
    return (
        f"{file}: partition {chosen.name} ({chosen.num_nodes} nodes x {chosen.num_gpus} GPUs; there are {names}),"
        f" account {accounts[0] if accounts else 'not known'}, {runtime}. Read it, then: deepscaler doctor --on slurm"
        f" --site {file}"
    )


def _partitions() -> list[Partition]:
    found = []
    for line in ask("sinfo", "--noheader", "--format", "%P|%l|%D|%G|%a").splitlines():
        name, limit, nodes, gres, available = line.strip().split("|")
        if available != "up":
            continue
        # gpu:8, gpu:a100:8 and gpu:a100:8(S:0-1) are all written; "(null)" stands for none.
        match = re.search(r"gpu:(?:([^:,()]+):)?(\d+)", gres)
        kind, count = (match[1] or "", int(match[2])) if match else ("", 0)
        kind = "" if kind.isdigit() else kind
        found.append(Partition(name.rstrip("*"), name.endswith("*"), limit, int(nodes), kind, count))
    return found


def _choose(partitions: list[Partition], name: str) -> Partition:
    """Returns the named partition, else the default one if it has GPUs, else the one with the most GPUs."""
    if not partitions:
        raise UserError("sinfo lists no partition that is up; ask who runs this cluster")
    if name:
        named = [partition for partition in partitions if partition.name == name]
        if not named:
            valid = ", ".join(sorted({partition.name for partition in partitions}))
            raise UserError(f"no partition {name!r} here; there are: {valid}")
        return max(named, key=lambda partition: partition.num_gpus)
    return max(partitions, key=lambda p: (p.num_gpus > 0, p.default, p.num_gpus * p.num_nodes))


def _accounts() -> list[str]:
    """Returns the user's accounts, the default one first; none without accounting."""
    if shutil.which("sacctmgr") is None:
        return []
    # -n without a header, -P with bars: the table of plain sacctmgr cuts names at ten letters.
    user = f"user={getpass.getuser()}"
    default = ask("sacctmgr", "-nP", "show", "user", user, "format=defaultaccount", check=False).split()
    every = ask("sacctmgr", "-nP", "show", "assoc", user, "format=account", check=False).split()
    return list(dict.fromkeys([*default, *every]))


def _site_file(partition: Partition, accounts: list[str], runtime: str, found: list[Adapter]) -> str:
    """Returns a site file with only what differs from the defaults, each with a comment."""
    limit = partition.time_limit
    # `minutes` knows no "infinite", so the order of the two conditions counts.
    if limit == "infinite" or minutes(limit) > LONGEST:
        limit = "2-00:00:00"
    lines = [
        "# Written by `deepscaler slurm init`; docs/slurm.md explains the options.",
        f"partition = {json.dumps(partition.name)}",
    ]
    if accounts:
        others = f"  # also: {', '.join(accounts[1:])}" if accounts[1:] else ""
        # JSON's escapes are TOML's, too.
        lines.append(f"account = {json.dumps(accounts[0])}{others}")
    lines += [f"time_limit = {json.dumps(limit)}", f"runtime = {json.dumps(runtime)}"]
    if is_cancelled_for_others(Site(partition=partition.name)):
        lines.append('successor = "always"  # SLURM cancels jobs of this partition for others: another one takes over')
    if image := RUNTIMES[runtime].example_image:
        lines.append(f"image = {json.dumps(image)}  # change it to where the images are")
    if not partition.num_gpus:
        lines.append('gpus = "none"  # sinfo shows no GPUs in this partition')
    elif partition.gpu_type:
        lines.append(f"gpu_type = {json.dumps(partition.gpu_type)}")
    lines += _fabric_lines(found)
    lines.append('cache = ""  # a shared folder for models and data, if HOME is small')
    return "\n".join(lines) + "\n"


def _fabric_lines(found: list[Adapter]) -> list[str]:
    """Returns the network between nodes, by the adapters of this machine; none where it has none.

    An Ethernet adapter that can RDMA does not mean that the switches are set up for it: RoCE is left to the reader.
    """
    fabric = main_fabric(found)
    if fabric is None:
        return []
    names = ", ".join(one.name for one in found if one.fabric == fabric)
    if fabric == "roce":
        return [f'# fabric = "roce"  # if the nodes\' Ethernet is set up for it: {names} here can do {NAMES[fabric]}']
    return [f"fabric = {json.dumps(fabric)}  # {names} here; jobs fail where the nodes have no {NAMES[fabric]}"]
