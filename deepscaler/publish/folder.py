"""Writes the folder that is published, whole or not at all, and opens all of it again as a reader would.

README.md  deepscaler.json  curves.png  LICENSE
model.safetensors  config.json  generation_config.json  tokenizer.json  tokenizer_config.json  chat_template.jinja
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deepscaler import __version__
from deepscaler.models.base import Base, base_of
from deepscaler.models.model import hash_weights
from deepscaler.models.provenance import git_revision
from deepscaler.output.plotting import write_png
from deepscaler.publish.card import CURVES, Facts, card
from deepscaler.publish.clean import check_clean
from deepscaler.publish.manifest import FILE, SCHEMA, portable, without_paths
from deepscaler.publish.weights import compare_chat, compare_model, copy_model
from deepscaler.runs.checkpoints import MERGED, sealed
from deepscaler.runs.folder import RunFolder
from deepscaler.runs.outputs import CHAIN, is_training
from deepscaler.runs.spread import with_spread
from deepscaler.runs.stages import Stage, read_stages, run_folders
from deepscaler.system.errors import UserError
from deepscaler.system.files import locked, put_folder, read_json, sync_tree, write_json, write_text
from deepscaler.training.report.curves import curves_figure
from deepscaler.training.report.evaluations import Evaluation, read_evaluation, read_evaluations
from deepscaler.training.report.tables import heading, summary
from evaluation.exchange.exports import export
from evaluation.folder import EvaluationFolder

PREFIX = ".publish-"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model to publish, and the run or chain that ends in it, if any."""

    model: Path
    training: Path | None
    """The folder of a run or a chain."""
    run: Path | None
    """The run whose model it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Choices of the user about the card."""

    repo: str
    license: str = ""
    base_model: str = ""
    evaluations: tuple[Path, ...] = ()
    with_reward: bool = True


def find_source(folder: Path) -> Source:
    """Returns what a folder holds to publish; the model may still have to be merged. Raises UserError."""
    # RUN/model is what the run's merge made: by way of the run, the card also has its training.
    if folder.name == "model" and is_training(folder.parent):
        folder = folder.parent
    if not is_training(folder):
        return Source(model=folder, training=None, run=None)
    if (folder / CHAIN).is_file():
        run = _last_run(folder)
        return Source(model=run / "model", training=folder, run=run)
    chain = folder.parent
    # By way of its chain, the card of a stage also has the stages before it, and the model that the first one started
    # from.
    is_stage = (chain / CHAIN).is_file() and folder in (run.root for _, run in run_folders(chain))
    return Source(model=folder / "model", training=chain if is_stage else folder, run=folder)


def _last_run(chain: Path) -> Path:
    """Returns the run of the last stage that was trained. Raises UserError if that has no model to publish."""
    runs = [stage.run for stage in read_stages(chain) if stage.metrics or _has_model(stage.run)]
    if not _has_model(runs[-1]):
        earlier = [str(run.root) for run in runs if _has_model(run)]
        instead = f", or publish the stage before it: {earlier[-1]}" if earlier else ""
        raise UserError(
            f"{runs[-1].root}, the last stage that was trained, has no whole checkpoint to merge: train on{instead}"
        )
    return runs[-1].root


def _has_model(run: RunFolder) -> bool:
    """Returns whether a run is merged, or can be."""
    return run.model.is_dir() or bool(sealed(run))


def write_folder(source: Source, target: Path, asked: Asked, say: Say) -> None:
    """Writes what is published into a folder; whatever a publication left there before is replaced.

    Raises UserError if the weights, the tokenizer or the metadata do not come back as they were, where something
    private would be published, and where the folder is somebody else's.
    """
    if target.exists() and any(target.iterdir()) and not (target / FILE).is_file():
        raise UserError(f"{target} holds something other than a publication: give another --output-dir")
    busy = UserError(f"another process is writing a publication in {target.parent}: wait for it")
    # The lock first: what another living publication has begun looks like what a killed one has left.
    with locked(target.parent, busy), _work_beside(target) as work:
        made = work / "made"
        made.mkdir()
        copy_model(source.model, made)
        num_tensors, num_parameters, kind = compare_model(source.model, made)
        weights = hash_weights(made)
        _check_merge(source.model, weights)
        compare_chat(source.model, made)
        say(f"The weights came back as they were: {num_tensors} tensors, {num_parameters:,} parameters in {kind}.")
        stages = [with_spread(stage) for stage in _stages(source)]
        facts = _facts(source, asked, stages, weights, f"{num_parameters:,} parameters in {kind}")
        for remark in facts.remarks:
            say(f"Note: {remark}")
        write_json(made / FILE, facts.manifest)
        if shown := list(facts.stages):
            write_png(curves_figure(shown, heading(shown), summary(shown)), made / CURVES)
        try:
            write_text(made / "README.md", card(facts))
        except ValueError as error:
            raise UserError(f"huggingface_hub refuses the card: {' '.join(str(error).split())[:300]}") from error
        hosts = [str(one.read_record().get("host", "")) for stage in stages for one in stage.run.attempts()]
        # After everything is written: a path may come from any part, a tokenizer's configuration included.
        check_clean(made, hosts)
        # The user's umask may keep others from reading, and what is published is for everybody.
        for file in made.rglob("*"):
            file.chmod(0o755 if file.is_dir() else 0o644)
        sync_tree(made)
        put_folder(made, target)


@contextmanager
def _work_beside(target: Path) -> Iterator[Path]:
    """Yields a folder on the target's file system, because only there the last step is a rename."""
    for left in target.parent.glob(f"{PREFIX}*"):  # by a publication that was killed
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=PREFIX) as work:
        yield Path(work)


def _stages(source: Source) -> list[Stage]:
    """Returns the stages up to the one whose model is published."""
    if not source.training:
        return []
    stages = read_stages(source.training)
    roots = [stage.run.root for stage in stages]
    return stages[: roots.index(source.run) + 1] if source.run in roots else stages


def _check_merge(model: Path, weights: str) -> None:
    """Raises UserError if a merged model is no longer what the merge verified against its checkpoint."""
    # A merge may have left no hash (None), which proves nothing.
    if (model / MERGED).is_file() and (merged := read_json(model / MERGED).get("weights")) not in (None, weights):
        raise UserError(f"{model} is not what was merged ({merged}): remove it, then deepscaler merge {model.parent}")


def _facts(source: Source, asked: Asked, stages: Sequence[Stage], weights: str, model: str) -> Facts:
    started_from = str(stages[0].manifest["model"]["name"]) if stages else str(source.model)
    base = base_of(started_from)
    if asked.base_model and base.name != asked.base_model:
        base = Base(asked.base_model, base_of(asked.base_model).license)
    if asked.license:
        base = Base(base.name, {"license": asked.license})
    known = read_evaluations(source.training, list(stages)) if source.training else []
    folders = [*(one.report.parent for one in known), *asked.evaluations]
    given = [read_evaluation(folder.name, folder / "report.json") for folder in asked.evaluations]
    own = [folder for folder in folders if _weights_of(folder) == weights]
    for folder in asked.evaluations:
        if folder not in own:
            raise UserError(
                f"{folder} evaluated other weights ({_weights_of(folder)}) than {source.model} ({weights});"
                " leave it out of --evaluation"
            )
    # Training longer moves a run's last model: an evaluation that is still there speaks of the one before.
    stale = [one for one in known if one.name.startswith("after") and one is known[-1] and one.report.parent not in own]
    remarks = [f"The evaluation {one.name} is of an earlier model of this run and is left out." for one in stale]
    step = read_json(source.model / MERGED).get("step") if (source.model / MERGED).is_file() else None
    if step is not None and stages and step != stages[-1].step:
        remarks.append(f"These are the weights of step {step}; the training went on to step {stages[-1].step}.")
    if later := [stage.name for stage in read_stages(source.training)[len(stages) :]] if source.training else []:
        remarks.append(f"The chain went on with {', '.join(later)}, which these weights have not seen.")
    return Facts(
        repo=asked.repo,
        base=base,
        model=model,
        weights=weights,
        manifest={
            "schema": SCHEMA,
            "kit": __version__,
            "git_revision": git_revision(),
            "weights": weights,
            "step": step,
            "stages": portable(stages, base.name, with_reward=asked.with_reward) if stages else [],
        },
        stages=without_paths(stages, base.name),
        evaluations=[*(one for one in known if one not in stale), *_named(given)],
        results=[entry for folder in own for entry in _results(folder)],
        remarks=remarks,
    )


def _named(evaluations: Sequence[Evaluation]) -> Iterator[Evaluation]:
    for number, one in enumerate(evaluations, start=1):
        yield replace(one, name="this model" if len(evaluations) == 1 else f"this model, evaluation {number}")


def _weights_of(folder: Path) -> str:
    return str(EvaluationFolder(folder).read_config().get("weights", ""))


def _results(folder: Path) -> list[dict[str, Any]]:
    """Returns the entries of an evaluation for a card's model-index."""
    import yaml  # noqa: PLC0415  huggingface_hub brings it along

    found: list[dict[str, Any]] = yaml.safe_load(export(EvaluationFolder(folder), "model-index")["model-index.yml"])[
        "model-index"
    ][0]["results"]
    return found
