"""Decides whether jobs of a site queue successors (successor.sh), from the site file and SLURM's settings.

settled(Site(requeue="never"))           has them: nothing else would resume
settled(Site(partition="preemptible"))   has them where SLURM cancels its jobs for those of a higher tier or QOS

A running job queues its successors itself, one at a time: nobody knows how many preemptions will come, sites bound the
jobs of a user, and successors of a chain's job that never begins would want nodes only to find that out.
"""

from dataclasses import replace

from slurm.cluster import UnreachableError, ask, fields_of, run
from slurm.job_folder import JobFolder
from slurm.site import Site


def settled(site: Site) -> Site:
    """Returns a site whose `successor` is decided; where SLURM does not answer, by the file alone."""
    if site.successor != "auto":
        return site
    return replace(site, successor="always" if site.has_successors or is_cancelled_for_others(site) else "never")


def is_cancelled_for_others(site: Site) -> bool:
    """Returns whether SLURM cancels this site's jobs to run others: a grace time may be too short for a step."""
    try:
        config = _config()
        mode, kind = config.get("PreemptMode", ""), config.get("PreemptType", "")
        if kind.endswith("qos"):
            # "normal" is the QOS that SLURM makes itself and gives to users who name none.
            return _is_cancelled_by_qos(site.qos or "normal", mode)
        return kind.endswith("partition_prio") and _is_cancelled_by_partition(site.partition, mode)
    except UnreachableError:
        return False


def lost_requeue(job_id: str) -> bool:
    """Returns whether a job that was submitted with --requeue may not be requeued: a site's plug-in changes jobs."""
    try:
        told = ask("scontrol", "--oneliner", "show", "job", job_id, check=False).splitlines()
    except UnreachableError:
        return False
    return any(fields_of(line).get("Requeue") == "0" for line in told)


def wait_for_either(job_id: str, earlier: str, folder: JobFolder) -> None:
    """Has a job wait for the success of another or of its newest successor, which may be queued by now.

    That is so where the earlier job began before this one was submitted; later on it does so itself.
    """
    if successors := folder.successors():
        # "?" means either and "," would mean both; an earlier job that was cancelled never succeeds.
        depends = f"afterok:{earlier}?afterok:{successors[-1]}"
        run("scontrol", "update", f"JobId={job_id}", f"Dependency={depends}")


def _config() -> dict[str, str]:
    lines = (line.partition("=") for line in ask("scontrol", "show", "config", check=False).splitlines())
    return {name.strip(): value.strip() for name, _, value in lines}


def _is_cancelled_by_partition(names: str, default_mode: str) -> bool:
    told = ask("scontrol", "--oneliner", "show", "partition", check=False).splitlines()
    partitions = [fields_of(line) for line in told]
    tiers = [int(one.get("PriorityTier", "1")) for one in partitions]
    wanted = names.split(",") if names else [one["PartitionName"] for one in partitions if one.get("Default") == "YES"]
    return any(
        "CANCEL" in one.get("PreemptMode", default_mode) and tier < max(tiers)
        for one, tier in zip(partitions, tiers, strict=True)
        if one.get("PartitionName") in wanted
    )


def _is_cancelled_by_qos(name: str, default_mode: str) -> bool:
    told = ask("sacctmgr", "-nP", "show", "qos", "format=name,preemptmode,preempt", check=False).splitlines()
    rows = [line.split("|") for line in told if line.count("|") == 2]
    # An empty PreemptMode of a QOS, or "cluster", means the cluster's.
    modes = {row[0]: default_mode if row[1] in ("", "cluster") else row[1] for row in rows}
    is_preempted = any(name in row[2].split(",") for row in rows)
    return is_preempted and "CANCEL" in modes.get(name, "").upper()
