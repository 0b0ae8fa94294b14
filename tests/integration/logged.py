"""What a training has left for Weights & Biases and TensorBoard, read from their own files."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK, HEADER = 32_768, 7
"""Bytes of a block in the log of an offline run, and of the header of the file and of each piece of a record."""

WHOLE, LAST = 1, 4
"""Kinds of a piece that ends a record."""


def wandb_offline(run_dir: Path) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Returns the configuration of an offline run, and the values of each metric."""
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415

    config: dict[str, Any] = {}
    metrics: dict[str, list[float]] = {}
    [path] = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    for content in _records(path.read_bytes()):
        record = Record.FromString(content)
        for item in record.run.config.update:
            config[item.key] = json.loads(item.value_json)
        for item in record.history.item:
            metrics.setdefault(item.key or ".".join(item.nested_key), []).append(json.loads(item.value_json))
    return config, metrics


def wandb_alerts(run_dir: Path) -> dict[str, str]:
    """Returns the alerts of a run's offline attempts: what each says, by its title."""
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415

    paths = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    records = [Record.FromString(content) for path in paths for content in _records(path.read_bytes())]
    return {record.alert.title: record.alert.text for record in records if record.HasField("alert")}


def tensorboard(run_dir: Path) -> dict[str, list[float]]:
    """Returns the values of each scalar of a run's first attempt."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    events = EventAccumulator(str(run_dir / "tensorboard/0001")).Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def _records(content: bytes) -> Iterator[bytes]:
    """Yields the records of a log in LevelDB's format: pieces with checksum, length and kind, in blocks."""
    place, pieces = HEADER, b""
    while place + HEADER <= len(content):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        pieces += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (WHOLE, LAST):
            yield pieces
            pieces = b""
