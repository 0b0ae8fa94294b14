"""`deepscaler data score` and `data filter`: pass rates of a set's problems, and the problems within a band of them.

<data>/scores/mine/Qwen-Qwen3-4B/     an evaluation: `report.json` holds the pass rates; the same command resumes it
<data>/easy.parquet                   what `data filter mine --pass-rate 0.2:0.8 --name easy` registers
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from deepscaler.commands import evaluate
from deepscaler.commands.given import options_given
from deepscaler.commands.parser import Parser, named, offer
from deepscaler.data.names import KNOWN, MANIFEST, absolute, check_name, check_new_name, label, look_in
from deepscaler.data.prepare import load_problems, locked_manifest, parquet_path
from deepscaler.data.sources import SOURCES
from deepscaler.data.table import Row, copy_rows, rows_of
from deepscaler.system.errors import UserError
from deepscaler.system.files import atomic_path, sha256, write_json
from deepscaler.system.paths import data_dir
from evaluation.config import config_of, own_data
from evaluation.results import Results, read_results


def add_score(parser: Parser) -> None:
    """Adds the set and the options of `deepscaler evaluate`, which draws and grades the responses."""
    offer(
        parser.add_argument("name", metavar="NAME", help="data set to score: a name, a file or hub:ORG/NAME"),
        KNOWN,
        files="jsonl",
    )
    evaluate.add_options(parser, without=("datasets", "shard"))
    parser.set_defaults(act=_score)


def add_filter(parser: Parser) -> None:
    """Adds the set, the band and the new name."""
    offer(parser.add_argument("name", metavar="NAME", help="data set that was scored"), KNOWN, files="jsonl")
    parser.add_argument(
        "--pass-rate",
        type=_band,
        required=True,
        metavar="LOW:HIGH",
        help="pass rates to keep, both ends included, such as 0.2:0.8",
    )
    parser.add_argument(
        "--name", dest="new", type=named, required=True, metavar="NEW", help="name to register these problems under"
    )
    parser.add_argument(
        "--scores", type=Path, metavar="DIR", help="output folder of `data score` (default: the only one)"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of prepared data (default: <cache>/data)")
    parser.add_dry_run("say how many rows would be kept, write nothing")
    parser.set_defaults(act=_filter)


def _score(arguments: argparse.Namespace) -> int:
    if arguments.on == "k8s":
        raise UserError(
            "data score reads the report where it runs, and on Kubernetes that is on a volume: give deepscaler evaluate"
            f" --on k8s --datasets {arguments.name} with the same options, copy the run's folder here (kubectl cp),"
            f" then deepscaler data filter {arguments.name} --scores FOLDER"
        )
    name = absolute(arguments.name, Path.cwd())
    given = {**options_given(arguments), "datasets": (name,)}
    folder = given.get("data_dir") or data_dir()
    look_in(folder)
    check_name(name)
    # A first time for the model's name, which may come from --config; the folder of the scoring has it in its
    # own.
    config = config_of({"output_dir": folder / "scores", **given})
    if "output_dir" not in given:
        # A name of a file has at most 255 bytes, and the end of a path says which model it is.
        model = re.sub(r"[^\w.-]+", "-", config.model).strip("-.")[-100:]
        config = config_of({**given, "output_dir": folder / "scores" / label(name) / model})
    code = evaluate.start(config, arguments)
    if code == 0 and not arguments.dry_run and arguments.on == "local":
        rates = list(_rates(read_results(config.output_dir / "report.json"), name, config.output_dir).values())
        between = sum(0 < rate < 1 for rate in rates)
        print(
            f"{arguments.name}: pass rates of {len(rates):,} problems: {rates.count(0.0):,} never solved, {between:,}"
            f" sometimes, {rates.count(1.0):,} always; keep some: deepscaler data filter {arguments.name}"
            " --pass-rate 0.2:0.8 --name NEW"
        )
    return code


def _filter(arguments: argparse.Namespace) -> int:
    name, folder = absolute(arguments.name, Path.cwd()), arguments.data_dir or data_dir()
    check_name(name, folder)
    check_new_name(arguments.new)
    if arguments.new == name:
        raise UserError(f"--name {arguments.new} is the set itself: choose another name")
    scored = arguments.scores or _only_scoring(name, folder)
    results = read_results(scored / "report.json")
    rates = _rates(results, name, scored)
    low, high = arguments.pass_rate
    dropped: Counter[str] = Counter()

    def is_kept(row: Row) -> bool:
        rate = rates.get(row["extra_info"]["id"])
        why = (
            "not scored"
            if rate is None
            else "pass rate too low"
            if rate < low
            else "pass rate too high"
            if rate > high
            else ""
        )
        dropped.update([why] if why else [])
        return not why

    if name in SOURCES:
        load_problems(name, folder)
        source = parquet_path(name, folder)
    else:
        source = parquet_path(label(name), own_data(scored))  # the very problems that were scored
    path = parquet_path(arguments.new, folder)
    if arguments.dry_run:
        num_kept = sum(map(is_kept, rows_of(source)))
        print(f"{arguments.new}: would keep {num_kept:,} rows of {label(name)}{_left_out(dropped)} -> {path}")
        return 0
    # The rows are written under the lock, too: two commands with one --name must not leave one's rows with the
    # other's entry.
    with locked_manifest(folder) as entries, atomic_path(path) as temporary:
        kept = copy_rows(filter(is_kept, rows_of(source)), temporary, lambda row: {**row, "data_source": arguments.new})
        if not kept:
            raise UserError(f"no problem of {name} has a pass rate from {low:g} to {high:g}: widen --pass-rate")
        model = results.config.get("model")
        entry = {
            "rows": kept,
            "dropped": dict(sorted(dropped.items())),
            "given": name,
            "about": f"{label(name)} with pass rates from {low:g} to {high:g} by {model}",
            "pass_rate": [low, high],
            "scored_by": {"model": model, "weights": results.config.get("weights"), "folder": str(scored.resolve())},
            "input_sha256": sha256(source),
            "output_sha256": sha256(temporary),
            "registered": True,
        }
        write_json(folder / MANIFEST, dict(sorted({**entries, arguments.new: entry}.items())))
    print(f"{arguments.new}: {kept:,} rows of {label(name)}{_left_out(dropped)} -> {path}")
    return 0


def _left_out(dropped: Counter[str]) -> str:
    return "".join(f", {count:,} left out ({why})" for why, count in sorted(dropped.items()))


def _only_scoring(name: str, folder: Path) -> Path:
    found = sorted((folder / "scores" / label(name)).glob("*/report.json"))
    if not found:
        raise UserError(f"{name} has no pass rates yet: deepscaler data score {name} --model MODEL --num-samples 8")
    if len(found) > 1:
        raise UserError(
            f"{name} was scored more than once: give --scores {' or '.join(str(one.parent) for one in found)}"
        )
    return found[0].parent


def _rates(results: Results, name: str, folder: Path) -> dict[str, float]:
    """Returns the pass rate by problem id. Raises UserError if the evaluation is of another set, or is not done."""
    benchmark = results.benchmarks.get(label(name))
    if benchmark is None:
        raise UserError(
            f"{folder} holds no pass rates of {name}: it is an evaluation of {', '.join(results.benchmarks)};"
            " give the folder of `data score`"
        )
    if benchmark.num_samples < benchmark.num_expected:
        raise UserError(
            f"{folder} has {benchmark.num_samples:,} of {benchmark.num_expected:,} samples: run `data score` to its end"
        )
    return benchmark.problem_pass_rates


def _band(text: str) -> tuple[float, float]:
    """Reads LOW:HIGH."""
    low, _, high = text.partition(":")
    try:
        band = float(low), float(high)
    except ValueError:
        # In no order, which the check below refuses with the same message; it refuses NaN as well.
        band = (1.0, 0.0)
    if not 0 <= band[0] <= band[1] <= 1:
        raise argparse.ArgumentTypeError(f"invalid value {text!r}: expected LOW:HIGH from 0 to 1, such as 0.2:0.8")
    return band
