"""Shows what a run was trained on, from its ledger, and a digest that is equal for equal runs.

steps   prompts   problems   twice in an epoch   thrown away   done again   digest
1-412   52,736    40,315     none                0             40, 41       5f2a90c1
"""

from collections import Counter
from typing import Any

from deepscaler.data.compose import TRAIN
from deepscaler.data.table import rows_of
from deepscaler.output.cells import Rows
from deepscaler.runs.ledger import Ledger, read_ledger
from deepscaler.runs.metrics import digest, series
from deepscaler.runs.stages import Stage

Prompts = dict[str, dict[str, Any]]
"""Results of `prompts_of` by the name of the stage."""

MOST_SHOWN = 5
"""Steps or problems that a cell names."""


def prompts_of(stage: Stage) -> dict[str, Any]:
    """Returns what a stage's finished steps were trained on: counts, and by step or problem what is out of order.

    `twice` is None if the steps do not determine the epoch: batches that are filtered or drawn ahead cross its end.
    """
    ledger = read_ledger(stage.run)
    # Not the logged steps alone: one that was saved and then killed before verl logged it is trained on, too.
    last = max(stage.metrics, default=0)
    finished = Ledger({step: batch for step, batch in ledger.batches.items() if step <= last}, ledger.redone)
    batches = finished.batches.values()
    asked = [one for batch in batches for one in batch.prompts]
    return {
        "num_steps": len(batches),
        "num_prompts": len(asked),
        "num_problems": len(set(asked)),
        "num_discarded": sum(len(batch.discarded) for batch in batches),
        "num_lost": sum(batch.lost for batch in batches),
        "twice": _twice(stage, finished),
        "missing": finished.missing(last),
        "redone": dict(ledger.redone),
        "digest": digest(stage.metrics),
    }


def prompts_table(told: Prompts) -> Rows:
    """Returns a row for each stage; of none that has no ledger."""
    rows = [["stage", "steps", "prompts", "problems", "twice in an epoch", "thrown away", "done again", "digest"]]
    for name, found in told.items():
        if not found["num_steps"]:
            continue
        counts = [f"{found[key]:,}" for key in ("num_steps", "num_prompts", "num_problems")]
        twice, redone = found["twice"], sorted(found["redone"])
        rows.append(
            [
                name,
                *counts,
                "not told" if twice is None else _named(sorted(twice)),
                f"{found['num_discarded']:,}",
                _named([f"{step:,}" for step in redone]),
                found["digest"][:12],
            ]
        )
    return rows


def prompts_notes(told: Prompts) -> list[str]:
    """Returns what a reader must know of the data that a run has seen."""
    found = []
    for name, seen in told.items():
        if seen["twice"]:
            found.append(f"{name} trained on {_named(sorted(seen['twice']))} twice in an epoch.")
        if seen["num_lost"]:
            found.append(f"{name} lost {seen['num_lost']:,} prompts: not one of their responses came to an end.")
        if seen["num_steps"] and seen["missing"]:
            steps = _named([f"{step:,}" for step in seen["missing"]])
            found.append(f"{name}: it is not known what these steps were trained on: {steps}.")
    return found


def _twice(stage: Stage, ledger: Ledger) -> dict[str, int] | None:
    if stage.recipe.get("filter_groups") or stage.recipe.get("asynchronous_rollout"):
        return None
    data = stage.run.root / "data" / TRAIN
    if not data.is_file():
        return None
    # The data may hold a problem several times, and then asking it as often repeats nothing.
    copies = Counter(str((row["extra_info"] or {}).get("id")) for row in rows_of(data))
    return ledger.again(dict(series(stage.metrics, "training/epoch")), copies)


def _named(items: list[str]) -> str:
    """Returns the first of some names; `none` of none."""
    more = f" and {len(items) - MOST_SHOWN:,} more" if len(items) > MOST_SHOWN else ""
    return ", ".join(items[:MOST_SHOWN]) + more if items else "none"
