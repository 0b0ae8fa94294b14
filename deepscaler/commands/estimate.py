"""`deepscaler estimate`: GPU-hours, days, money and disk of recipes before they are submitted, with their spread."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console

from deepscaler.commands.counting import counts_if, counts_with
from deepscaler.commands.parser import Parser, folder_to_write, offer
from deepscaler.commands.recipe import add_changes, load
from deepscaler.output.cells import rounded
from deepscaler.output.terminal import PlainConsole, add_row, new_table
from deepscaler.recipes.cards import CARDS, FABRICS
from deepscaler.recipes.cost import StageCost, stage_cost
from deepscaler.recipes.published import NAMES
from deepscaler.recipes.throughput import Spread, card_name, sum_of
from deepscaler.runs.forecast import keep_estimate
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes
from deepscaler.system.flags import number, whole

EXAMPLES = (
    "deepscaler estimate 8k 16k 24k --gpu a100-80 --price 1.8 --eval aime",
    "deepscaler estimate mine.toml --gpu h100 --nodes 2 --mean-response 3000",
)


def configure(parser: Parser) -> None:
    """Adds the recipes, the machines and what is assumed."""
    recipes = parser.add_argument(
        "recipes", nargs="+", metavar="RECIPE", help="recipes or TOML files, as the stages of a chain"
    )
    offer(recipes, NAMES, files="toml")
    add_changes(parser, profile_help="profile to estimate (default: each recipe's own)")
    machines = parser.add_argument_group("the machines")
    kinds = ", ".join(name.removesuffix("GB").lower() for name in CARDS)
    machines.add_argument("--gpu", required=True, metavar="KIND", help=f"kind of GPU: {kinds}")
    machines.add_argument("--nodes", type=whole(1), metavar="N", help="number of machines (default: each recipe's own)")
    machines.add_argument(
        "--gpus-per-node", type=whole(1), metavar="N", help="GPUs per machine (default: the recipe's)"
    )
    machines.add_argument(
        "--fabric", choices=tuple(FABRICS), default="ib", help="network between machines (default: %(default)s)"
    )
    machines.add_argument(
        "--price", type=number(0), default=0.0, metavar="X", help="price of a GPU-hour, in any currency"
    )
    work = parser.add_argument_group("the work")
    work.add_argument(
        "--mean-response",
        type=number(0),
        nargs="+",
        metavar="N",
        help="mean tokens of a response over a stage's steps, one for all or one for each (default: an assumption)",
    )
    work.add_argument(
        "--eval", nargs="+", default=[], metavar="NAME", help="benchmarks to evaluate after each stage, as in `chain`"
    )
    parser.add_argument("--json", action="store_true", help="print the estimate as JSON, in seconds, hours and bytes")
    keep = parser.add_argument(
        "--run-dir",
        type=folder_to_write,
        metavar="DIR",
        help="folder of a run that keeps the estimate, so that `status` compares it",
    )
    counts_if(keep, "for one recipe", "name one", lambda values: len(values["recipes"]) == 1)
    counts_with(parser.add_dry_run("print the estimate, keep it nowhere"), "--run-dir")


def run(arguments: argparse.Namespace) -> int:
    """Prints a row for each stage, their sum, and the basis of the figures."""
    costs = _costs(arguments)
    if arguments.run_dir and not arguments.dry_run:
        keep_estimate(arguments.run_dir, costs[0], arguments.price)
    if arguments.json:
        print(json.dumps({"stages": [_as_json(cost, arguments.price) for cost in costs]}, indent=2))
        return 0
    _print_costs(costs, arguments.price, PlainConsole())
    return 0


def _costs(arguments: argparse.Namespace) -> list[StageCost]:
    """Returns the cost of each stage. Raises UserError."""
    gpu = card_name(arguments.gpu)
    means = arguments.mean_response or [None]
    if len(means) not in (1, len(arguments.recipes)):
        raise UserError(
            f"--mean-response has {len(means)} numbers for {len(arguments.recipes)} recipes: give one, or one for each"
        )
    # One number, or the absence of one, is meant for every stage.
    means = means * len(arguments.recipes) if len(means) == 1 else means
    found = []
    for name, mean in zip(arguments.recipes, means, strict=True):
        recipe = load(name, arguments)
        changes = {"num_nodes": arguments.nodes, "gpus_per_node": arguments.gpus_per_node}
        recipe = replace(recipe, **{field: value for field, value in changes.items() if value})
        cost = stage_cost(recipe, gpu, arguments.fabric, mean_response=mean, evaluates=tuple(arguments.eval))
        found.append(cost)
    return found


def _print_costs(costs: Sequence[StageCost], price: float, console: Console) -> None:
    """Prints each middle with its spread below it, then the basis of the figures."""
    table = new_table(["stage", "step, s", "GPU-hours", "days", *(["price"] if price else []), "disk"])
    for cost in costs:
        name = f"{cost.name}\n{cost.num_nodes} x {cost.gpus_per_node} GPUs"
        add_row(table, [name, _shown(cost.step_seconds), *_sums([cost], price)])
    if len(costs) > 1:
        add_row(table, ["all", "", *_sums(costs, price)], style="bold")
    console.print(table)
    # each remark once, in the order of the stages
    for told in dict.fromkeys(one for cost in costs for one in cost.told):
        stages = [cost.name for cost in costs if told in cost.told]
        where = f"{', '.join(stages)}: " if len(stages) < len(costs) else ""
        console.print(f"- {where}{told}.", soft_wrap=True)
    counted = "saves, validations and one start of each stage"
    console.print(f"- Counted: {counted}. Not counted: queues, failures and restarts.", soft_wrap=True)
    if any(cost.evaluation_hours.middle for cost in costs):
        hours = ", ".join(f"{cost.name} {cost.evaluation_hours.middle:.1f} h" for cost in costs)
        console.print(f"- Evaluations take one engine on one GPU: {hours}.", soft_wrap=True)


def _sums(costs: Sequence[StageCost], price: float) -> list[str]:
    """Returns the cells of one or several stages together."""
    # sums of spreads: stages are all low or all high for the same reason, so the ends add up
    gpu_hours, hours = (sum_of([getattr(cost, name) for cost in costs]) for name in ("gpu_hours", "hours"))
    size = sum_of([cost.disk_bytes for cost in costs])
    money = [_shown(gpu_hours * price)] if price else []
    return [_shown(gpu_hours), _shown(hours * (1 / 24)), *money, f"{in_bytes(size.middle)}\nto {in_bytes(size.high)}"]


def _shown(spread: Spread) -> str:
    """Returns `2,600`, and below it its ends; only the middle where they are the same."""
    ends = f"\n{rounded(spread.low)}-{rounded(spread.high)}" if spread.low < spread.high else ""
    return f"{rounded(spread.middle)}{ends}"


def _as_json(cost: StageCost, price: float) -> dict[str, object]:
    money = {"price": asdict(cost.gpu_hours * price)} if price else {}
    sums = {"hours": asdict(cost.hours), "gpu_hours": asdict(cost.gpu_hours), **money}
    # num_gpus is a property, which asdict leaves out
    return {**asdict(cost), "num_gpus": cost.num_gpus, **sums}
