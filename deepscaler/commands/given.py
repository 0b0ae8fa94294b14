"""Passes what was typed on to the processes and jobs that a command starts, and to commands that share its options."""

import argparse
import shlex
import time
from pathlib import Path
from typing import Any

from deepscaler.commands.parser import parse
from deepscaler.commands.recipe import KEEP
from deepscaler.data.names import absolute
from deepscaler.runs.chain import Chain
from deepscaler.system.errors import UserError
from deepscaler.system.flags import given_options
from deepscaler.system.option import flag
from deepscaler.system.options import read_options
from deepscaler.training.deadline import parse_deadline
from evaluation.config import EvaluationConfig, config_of

OF_THE_CHAIN = frozenset(
    ("model", "output_dir", "datasets", "revision", "shard", "gather", "dry_run", "on", "site", "nodes", "gpus")
)
"""Options of `deepscaler evaluate` that do not depend on the user within a chain."""


def passed_on(arguments: argparse.Namespace, *, changes: bool = True) -> list[str]:
    """Returns the options of `add_options` that were typed, save `--set`; one deadline for all that follow.

    Without `changes` also save the profile: a recipe that was copied has it.
    """
    deadline = arguments.deadline
    if deadline and arguments.on == "local":
        # 3h50m from now ends at one moment for all stages here; a job counts it from its own start, and gets
        # the text.
        deadline = str(int(parse_deadline(deadline, time.time())))
    flags = {
        **({"profile": arguments.profile} if changes else {}),
        "device": arguments.device,
        "data_dir": arguments.data_dir and arguments.data_dir.absolute(),
        **{name: getattr(arguments, name) for name in KEEP},
        "mirror": arguments.mirror,
        "mirror_bandwidth": arguments.mirror_bandwidth,
        "deadline": deadline,
        "wandb": arguments.wandb,
        **{name: getattr(arguments, name) for name in ("on_stall", "stall_after", "stall_ceiling")},
    }
    typed = [(f"--{name.replace('_', '-')}", str(value)) for name, value in flags.items() if name in arguments.given]
    return [word for pair in typed for word in pair] + ["--skip-doctor"] * arguments.skip_doctor


def in_file(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that the configuration file gives; reads it once, and a pipe can be read once only."""
    if arguments.config and "in_file" not in arguments:
        arguments.in_file = read_options(arguments.config, EvaluationConfig)
    found: dict[str, Any] = getattr(arguments, "in_file", {})
    return found


def options_given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that the configuration file gives, with those that were typed over them."""
    return {**in_file(arguments), **given_options(arguments, EvaluationConfig)}


def evaluation_of(arguments: argparse.Namespace) -> tuple[tuple[str, ...], EvaluationConfig]:
    """Returns the options for `deepscaler evaluate`, and what they come to. Raises UserError or exits with 2."""
    try:
        options = shlex.split(arguments.eval_options)
    except ValueError as error:
        raise UserError(f"--eval-options {arguments.eval_options!r} cannot be read: {error}") from error
    if {"-h", "--help"} & set(options):
        raise UserError("--eval-options takes no --help: see deepscaler evaluate --help")
    parsed = parse(["evaluate", *options])
    if own := sorted(OF_THE_CHAIN & parsed.given):
        raise UserError(f"--eval-options must not hold {flag(own[0])}: the chain decides it for each evaluation")
    chosen = {"datasets": tuple(arguments.eval)} if arguments.eval else {}
    # Both are required and not known yet; nothing reads them before a stage puts its own there.
    config = config_of({"model": "of a stage", "output_dir": Path(), **chosen, **options_given(parsed)})
    if config.engine == "openai":
        raise UserError("--eval-options cannot hold --engine openai: no server has the models that a chain trains")
    return tuple(options), config


def command_of(chain: Chain, arguments: argparse.Namespace) -> list[str]:
    """Returns the command of a chain, without the steps that a job does."""
    # the first is the base model's, which is evaluated and not trained; all others have the same settings
    given = [stage.given for stage in chain.stages[1:]]
    changes = [part for setting in chain.stages[1].settings for part in ("--set", setting)]
    options = (*chain.options.train_options, *changes, *of_chain(arguments))
    return ["chain", *given, "--output-dir", str(chain.root), *options]


def of_chain(arguments: argparse.Namespace) -> list[str]:
    """Returns the options between the stages, as they were typed."""
    names = [absolute(name, Path.cwd()) for name in arguments.eval]
    options = ["--eval", *names] if names else []
    # With "=", because the text begins with a dash and argparse would take it for another option.
    options += [f"--eval-options={arguments.eval_options}"] if arguments.eval_options else []
    options += ["--gate"] if arguments.gate else []
    on_doubt = f"--gate-on-doubt={arguments.gate_on_doubt}"
    return [*options, on_doubt] if "gate_on_doubt" in arguments.given else options
