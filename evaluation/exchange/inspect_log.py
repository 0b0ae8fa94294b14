"""Reads inspect's logs without inspect: JSON in one file, or a zip of JSON files that may be compressed with zstd.

header.json  samples/q1_epoch_1.json  samples/q1_epoch_2.json  ...        texts of 100 characters and more: attachments

inspect is not a dependency, because it pins other versions than vLLM does. pyarrow unpacks zstd.
"""

import io
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepscaler.data.rows import check_readable
from deepscaler.system.errors import UserError
from deepscaler.system.files import reason
from evaluation.exchange.found import Found, checked, golds_of, verdict

MAX_MEMBER = 256 << 20
"""Most bytes of one unpacked member; a sample of a million tokens takes 10 MB."""
ZSTD = 93
"""Zip's number for the compression that inspect uses and that Python's zipfile does not know."""
ATTACHMENT = "attachment://"


def read_inspect(file: Path) -> Iterator[Found]:
    """Yields the responses in a log, epoch by epoch. Raises UserError naming the part that cannot be read."""
    check_readable(file)
    with file.open("rb") as opened:
        is_zip = opened.read(2) == b"PK"
    header, samples = _zip(file) if is_zip else _json(file)
    try:
        task, model = str(header["eval"]["task"]), str(header["eval"]["model"])
        options = header["plan"]["config"]
        told = {name: options.get(name) for name in ("temperature", "top_p", "max_tokens", "seed")}
        told = {"model": model} | {name: value for name, value in told.items() if type(value) in (int, float)}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is not a log of inspect ({error!r} in its header); check --from") from error

    def read(sample: dict[str, Any]) -> Iterator[Found]:
        yield from _sample(sample, task.rpartition("/")[2], told)

    return checked(samples, read, str(file), "inspect's log")


def _sample(sample: dict[str, Any], task: str, told: dict[str, Any]) -> Iterator[Found]:
    attachments = sample.get("attachments") or {}
    output = sample["output"]
    if not output.get("choices"):
        return  # inspect also logs samples that failed before the model answered
    choice, question = output["choices"][0], sample["input"]
    if isinstance(question, list):
        question = [message["content"] for message in question if message["role"] == "user"][-1]
    scores = [score["value"] for score in (sample.get("scores") or {}).values()]
    yield Found(
        dataset=task,
        question=_content(question, attachments),
        golds=golds_of(sample["target"]),
        text=_content(choice["message"]["content"], attachments),
        score=verdict(scores[0]) if scores else None,
        response_tokens=int((output.get("usage") or {}).get("output_tokens") or 0),
        finish_reason="length" if choice.get("stop_reason") == "max_tokens" else "stop",
        told=told,
    )


def _content(content: Any, attachments: dict[str, str]) -> str:
    """Returns a message's text, preceded by its reasoning in <think>."""
    if isinstance(content, str):
        name = content.removeprefix(ATTACHMENT)
        return attachments[name] if content.startswith(ATTACHMENT) and name in attachments else content
    parts = {"reasoning": "", "text": ""}
    for part in content:
        if part["type"] in parts:
            parts[part["type"]] += _content(part[part["type"]], attachments)
    return (f"<think>{parts['reasoning']}</think>" if parts["reasoning"] else "") + parts["text"]


def _json(file: Path) -> tuple[dict[str, Any], Iterator[tuple[str, Any]]]:
    try:
        log = json.loads(file.read_bytes())
        samples = log.pop("samples") or []
        return log, ((f"sample {number}", sample) for number, sample in enumerate(samples, start=1))
    except (OSError, ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        why = "it has no samples" if isinstance(error, KeyError) else reason(error)
        raise UserError(f"{file} is not a log of inspect ({why}); give a .eval or .json log of inspect") from error


def _zip(file: Path) -> tuple[dict[str, Any], Iterator[tuple[str, Any]]]:
    def samples() -> Iterator[tuple[str, Any]]:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.filename.startswith("samples/"):
                    yield member.filename[:200], _member(file, member)

    try:
        with zipfile.ZipFile(file) as archive:
            header = archive.getinfo("header.json")
    except (OSError, KeyError, zipfile.BadZipFile, ValueError) as error:
        raise UserError(
            f"{file} is not a complete log of inspect ({error}); give the log of an evaluation that has ended"
        ) from error
    return _member(file, header), samples()


def _member(file: Path, member: zipfile.ZipInfo) -> Any:
    """Returns a member's JSON. Raises UserError for a member that is broken, or too large once unpacked."""
    from pyarrow import CompressedInputStream  # noqa: PLC0415  knows zstd

    where = f"{file}, {member.filename[:200]}"
    try:
        if member.compress_type == ZSTD:
            with file.open("rb") as opened:  # by hand: zipfile opens no member whose compression it does not know
                opened.seek(member.header_offset)
                # A local header has 30 bytes; the last four are the lengths of the name and of the extra field. The
                # extra field may be longer than the one in the central directory, so `member` does not know it.
                name_size, extra_size = struct.unpack("<26xHH", opened.read(30))
                opened.seek(name_size + extra_size, 1)
                packed = io.BytesIO(opened.read(member.compress_size))
            with CompressedInputStream(packed, "zstd") as stream:
                text = stream.read(MAX_MEMBER + 1)
        else:
            with zipfile.ZipFile(file) as archive, archive.open(member) as unpacked:
                text = unpacked.read(MAX_MEMBER + 1)
        if len(text) > MAX_MEMBER:
            raise UserError(f"{where} is larger than {MAX_MEMBER >> 20} MiB, the most for a sample; repair the log")
        return json.loads(text)
    except UserError:
        raise
    except (OSError, ValueError, RecursionError, NotImplementedError, zipfile.BadZipFile, struct.error) as error:
        raise UserError(f"{where} cannot be read ({reason(error)}); repair the log") from error
