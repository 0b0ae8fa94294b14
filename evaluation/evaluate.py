"""Runs one evaluation from start to report and resumes from whatever its folder already holds."""

import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from types import FrameType
from typing import Any

from rich.console import Console

from deepscaler.data.prepare import read_manifest
from deepscaler.models.model import Model
from deepscaler.models.provenance import command_line
from deepscaler.system.errors import UserError
from deepscaler.system.exit_codes import FAILED, STOPPED
from deepscaler.system.files import write_json
from deepscaler.system.paths import data_dir as default_data_dir
from evaluation.config import EvaluationConfig, thinks, with_thinking
from evaluation.engines.coordinator import draw_with_engines
from evaluation.engines.gather import done_keys, gather, require_complete
from evaluation.engines.own_work import OwnWork
from evaluation.engines.pulse import Pulse
from evaluation.engines.queue import Claims
from evaluation.folder import DIFFERING, EvaluationFolder
from evaluation.inputs import Inputs, read_inputs
from evaluation.progress import show_progress
from evaluation.protocols import samples_of
from evaluation.provenance import describe
from evaluation.report.write import write_report
from evaluation.requests import Engine, EngineError, Key, Request, to_request
from evaluation.rounds import Rounds
from evaluation.samples import SampleStore, read_samples


class Terminated(BaseException):
    """Signals SIGTERM: a scheduler is taking the machine back.

    It derives from BaseException because engines and libraries catch Exception and would carry on.
    """


def evaluate(config: EvaluationConfig, console: Console) -> int:
    """Draws the missing samples, then scores and reports them. Returns the exit code."""
    folder = EvaluationFolder(config.output_dir)
    # As an exception, SIGTERM unwinds through the engine: samples are synced and the folder is unlocked.
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        with folder.held():
            _evaluate(config, folder, console)
    except EngineError as error:
        print(f"deepscaler: {error}", file=sys.stderr)
        return FAILED
    except (KeyboardInterrupt, Terminated) as stop:
        _say_where_it_stands(folder, console)
        if isinstance(stop, KeyboardInterrupt):
            raise
        return STOPPED
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _evaluate(config: EvaluationConfig, folder: EvaluationFolder, console: Console) -> None:
    folder.check(config.result_fields())  # before the weights are hashed: report a mistake at once
    inputs = read_inputs(config, folder, console)
    inputs.bind(folder)
    if config.gather:
        console.print(f"Gathered {gather(folder):,} samples of {len(folder.shards())} shards.")
        require_complete(folder, inputs.ids, config.samples)
    elif config.engines:
        draw_with_engines(inputs, folder, console)
    else:
        _draw(inputs, folder, console)
    if inputs.model.tokenizer is None:  # only an endpoint's answers show whether its model thinks
        replace(inputs, config=with_thinking(config, _first_thought(inputs, folder))).bind(folder)
    if folder.claimed_path.is_dir():
        console.print(f"Engine {config.shard}: the queue is empty.")
    elif config.shard:
        console.print(f"Shard {config.shard} is complete. Run with --gather to report all shards.")
    else:
        write_report(config.output_dir, console)


def _draw(inputs: Inputs, folder: EvaluationFolder, console: Console) -> None:
    """Appends every missing sample. All benchmarks share one continuous batch, so the engine never idles between."""
    config = inputs.config
    with ExitStack() as opened:
        stores: dict[str, SampleStore] = {}
        for name, by_id in inputs.prompts.items():
            store = opened.enter_context(SampleStore(folder.samples_path(name)))
            if store.repaired_bytes:
                console.print(f"{name}: removed an incomplete last line ({store.repaired_bytes} bytes) left by a kill.")
            stores.update(dict.fromkeys(by_id, store))
        prompts = {problem_id: ids for by_id in inputs.prompts.values() for problem_id, ids in by_id.items()}

        def request(key: Key) -> Request:
            return to_request(key, prompts[key[0]], config.max_tokens, inputs.context, config.seed)

        progress = opened.enter_context(show_progress(console))
        work: Claims | OwnWork
        pulse = None
        if folder.claimed_path.is_dir():
            pulse = Pulse(folder.alive_path)
            work = Claims(folder.root.parent.parent / "queue", folder.claimed_path, request, pulse)
        else:
            work = OwnWork(Rounds(inputs, folder), request, progress, console.print)
        engine, is_recorded = None, False
        try:
            while work.wait():
                if engine is None:  # a folder that is complete already must not need the model's hardware
                    engine = _load_engine(config, inputs.model, inputs.context, console, pulse)
                    _record_attempt(config, folder, inputs.model, engine)
                    is_recorded = True
                for number, sample in enumerate(engine.generate(work)):
                    stores[sample.problem_id].append(sample)
                    work.drawn(sample)
                    if number == 0:  # an endpoint's first answer names the model behind it
                        _record_attempt(config, folder, inputs.model, engine, is_new=False)
        finally:
            # Again: a hosted model may have been replaced while it was drawn from. A start without a record, as on a
            # full disk, must not replace that of an earlier one.
            if engine and is_recorded:
                _record_attempt(config, folder, inputs.model, engine, is_new=False)


def _first_thought(inputs: Inputs, folder: EvaluationFolder) -> str:
    """Returns the first response that holds a <think> tag; empty if none does."""
    samples = (sample for name in inputs.problems for sample in read_samples(folder.samples_path(name)))
    return next((sample.text for sample in samples if thinks(sample.text)), "")


def _load_engine(config: EvaluationConfig, model: Model, context: int, console: Console, pulse: Pulse | None) -> Engine:
    if config.engine == "openai":
        from evaluation.engines.endpoint import EndpointEngine  # noqa: PLC0415  its client is in extras

        console.print(f"Connecting to {config.model} at {config.base_url} ...", soft_wrap=True)
        return EndpointEngine(config, console.print)
    console.print(f"Loading {config.model} into {config.engine} ...", soft_wrap=True)
    beat = pulse.beat if pulse else lambda: None
    try:
        if config.engine == "vllm":
            from evaluation.engines.vllm import VllmEngine  # noqa: PLC0415  imports torch and vLLM

            engine: Engine = VllmEngine(config, model.path, context, beat)
        else:
            from evaluation.engines.transformers import TransformersEngine  # noqa: PLC0415

            engine = TransformersEngine(config, model.path, context, beat)
        if pulse:
            pulse.loaded()
        return engine
    except UserError:
        raise
    except Exception as error:  # engines raise any type when weights do not match their configuration or do not fit
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
        raise UserError(f"{config.engine} cannot load {config.model}: {reason}") from error


def _record_attempt(
    config: EvaluationConfig, folder: EvaluationFolder, model: Model, engine: Engine, *, is_new: bool = True
) -> None:
    """Writes the provenance. It keeps every start as an attempt, with the parts that may differ between attempts."""
    entries = {} if config.source else read_manifest(config.data_dir or default_data_dir())
    entries = entries | read_manifest(config.own_data)
    data_sha256 = {name: str(entry.get("output_sha256", "")) for name, entry in entries.items()}
    attempts = folder.read_provenance().get("attempts", [])
    now = describe(folder, folder.read_config(), model, engine, data_sha256)
    attempt = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "command": command_line()}
    if not is_new:  # the entry of this start, which is written again
        attempt = attempts.pop()
    attempt |= {name: now[name] for name in DIFFERING}
    write_json(folder.provenance_path, {**now, "attempts": [*attempts, attempt]})


def _say_where_it_stands(folder: EvaluationFolder, console: Console) -> None:
    """Prints how much is saved, unless the run was stopped before it knew what to draw."""
    if not folder.is_bound:
        return
    config = folder.read_config()
    names = [name for name in config["datasets"] if folder.problems_path(name).is_file()]
    done = sum(len(done_keys(folder, name, with_shards=True)) for name in names)
    total = sum(len(folder.read_problems(name)) * samples_of(config, name) for name in names)
    most = "at most " if config["until"] else ""
    console.print(f"Stopped: {done} of {most}{total} samples are saved; rerun the same command to resume.")


def _terminate(_: int, __: FrameType | None) -> Any:
    raise Terminated
