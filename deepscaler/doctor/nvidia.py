"""Reads the driver's report on its GPUs with `nvidia-smi -q -x`, once for all checks.

Driver(version="535.54.03", cuda="12.2", gpus=(Gpu(index=0, name="NVIDIA A100-SXM4-80GB", ...), ...))
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

SECONDS = 8.0
"""Seconds for nvidia-smi: it wakes GPUs without persistence mode, a second for 8; with a lost one it never answers."""

MIB = 1 << 20

BROKEN = {
    "ecc_errors/unrepairable_memory": "its memory cannot be repaired",
    "remapped_rows/remapped_row_failure": "a row of its memory could not be remapped",
    "remapped_rows/remapped_row_pending": "a row of its memory waits for a reset to be remapped",
}
"""Fields of a GPU whose memory needs a reset or a replacement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU, as the driver has it; sizes in bytes."""

    index: int
    uuid: str
    name: str
    capability: str
    """`9.0`; empty if the driver does not tell."""
    memory: int
    used: int
    mig: bool
    ecc: str
    """Enabled, Disabled or N/A."""
    uncorrected: int
    """Memory errors since the driver was loaded that ECC could not correct."""
    remap: str
    """Why its memory needs a reset or a replacement; empty for sound memory."""
    slowed_by: tuple[str, ...]
    """Reasons of the hardware for lower clocks: hw_thermal_slowdown, ..."""
    processes: tuple[tuple[int, str, int], ...]
    """Number, name and bytes of each process on it; a container sees none of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """The driver and its GPUs."""

    version: str
    cuda: str
    """Highest CUDA version that it runs."""
    gpus: tuple[Gpu, ...]
    links: str = ""
    """The output of `nvidia-smi topo -m`."""

    @property
    def visible(self) -> tuple[Gpu, ...]:
        """Returns the GPUs that CUDA_VISIBLE_DEVICES leaves to this process."""
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        return self.gpus if chosen is None else tuple(named(self.gpus, chosen.split(",")))


def named(gpus: Sequence[Gpu], words: Sequence[str]) -> Iterator[Gpu]:
    """Yields the GPUs that words name by number or by the beginning of their UUID, up to the first that names none."""
    for word in (text.strip() for text in words):
        found = [gpu for gpu in gpus if word and (word == str(gpu.index) or gpu.uuid.startswith(word))]
        if not found:
            return
        yield found[0]


def ask_driver() -> Driver | None:
    """Returns the report of nvidia-smi; None if it is missing, fails or hangs."""
    if shutil.which("nvidia-smi") is None:
        return None
    try:
        text = _ask("-q", "-x")
        # The XML has no field for it.
        capabilities = _ask("--query-gpu=compute_cap", "--format=csv,noheader").split()
        return read_driver(text, capabilities, _ask("topo", "-m"))
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError, ValueError):
        return None


def read_driver(text: str, capabilities: Sequence[str] = (), links: str = "") -> Driver:
    """Returns the driver of an XML text of nvidia-smi. Raises ParseError."""
    root = ElementTree.fromstring(text)  # noqa: S314  the driver's own tool wrote it
    gpus = [
        _gpu(index, one, capabilities[index] if index < len(capabilities) else "")
        for index, one in enumerate(root.findall("gpu"))
    ]
    return Driver(
        version=_text(root, "driver_version"), cuda=_text(root, "cuda_version"), gpus=tuple(gpus), links=links
    )


def _ask(*arguments: str) -> str:
    return subprocess.run(
        ["nvidia-smi", *arguments],  # noqa: S607  it is found on the PATH
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    ).stdout


def _gpu(index: int, element: Any, capability: str) -> Gpu:
    # An Element without children is false, so it is compared with None.
    volatile = element.find("ecc_errors/volatile")
    # Generations name their memories differently: sram_uncorrectable, dram_uncorrectable,
    # sram_uncorrectable_parity.
    errors = [one for one in (volatile if volatile is not None else ()) if "uncorrectable" in one.tag]
    return Gpu(
        index=index,
        uuid=_text(element, "uuid"),
        name=_text(element, "product_name"),
        capability=capability,
        memory=_bytes(_text(element, "fb_memory_usage/total")),
        used=_bytes(_text(element, "fb_memory_usage/used")),
        mig=_text(element, "mig_mode/current_mig") == "Enabled",
        ecc=_text(element, "ecc_mode/current_ecc"),
        uncorrected=sum(int(one.text) for one in errors if (one.text or "").strip().isdigit()),
        remap=next((told for path, told in BROKEN.items() if _text(element, path) == "Yes"), ""),
        slowed_by=tuple(_reasons(element)),
        processes=tuple(_processes(element)),
    )


def _reasons(element: Any) -> Iterator[str]:
    """Yields what the hardware slows down for; a power cap and an idle GPU are no fault."""
    for group in ("clocks_event_reasons", "clocks_throttle_reasons"):  # of drivers from 535 on, and before
        for one in element.findall(f"{group}/*"):
            name = re.sub(r"^clocks_\w+?_reason_", "", one.tag)
            if (one.text or "").strip() == "Active" and name.endswith("_slowdown"):
                yield name


def _processes(element: Any) -> Iterator[tuple[int, str, int]]:
    for one in element.findall("processes/process_info"):
        yield int(_text(one, "pid") or 0), _text(one, "process_name"), _bytes(_text(one, "used_memory"))


def _text(element: Any, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _bytes(text: str) -> int:
    """Returns the bytes of `81920 MiB`; 0 for N/A."""
    number, _, unit = text.partition(" ")
    return int(number) * MIB if number.isdigit() and unit == "MiB" else 0
