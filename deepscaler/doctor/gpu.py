"""Checks the GPUs: driver, kernels, memory errors, partitions, other people's processes, clocks, links, visibility."""

import os
import time
from collections.abc import Callable, Iterator
from functools import wraps
from importlib.util import find_spec
from pathlib import Path

from deepscaler.doctor.fatbin import architectures
from deepscaler.doctor.finding import Finding, Status, judged
from deepscaler.doctor.nvidia import Driver, Gpu, ask_driver, named
from deepscaler.doctor.subject import Subject
from deepscaler.recipes.cards import card_of
from deepscaler.recipes.memory import estimate
from deepscaler.recipes.model_shape import shape_of
from deepscaler.system.errors import UserError
from deepscaler.system.files import in_bytes
from deepscaler.system.paths import REFUSED_BY_VERL

WANTED = {"sm_80": "A100", "sm_90": "H100"}
LIBRARIES = {"torch": "lib/libtorch_cuda*.so", "vllm": "_C*.so"}
"""Libraries with GPU code, by package and by paths from its folder."""

IDLE_BYTES = 2 << 30
"""Memory in use on a GPU that nobody computes on: the driver, MPS and a display take some hundred MiB."""

PATIENCE = 5.0
"""Seconds for the memory of processes that were killed to be free again."""

FOR_A_CPU = "needs a GPU, and this is for a CPU"

HIDDEN = ("", "-1", "NoDevFiles", "void")
"""Values of CUDA_VISIBLE_DEVICES that hide every GPU."""


Check = Callable[[Subject, Driver], Finding]


def needs_gpus(name: str) -> Callable[[Check], Callable[[Subject], Finding]]:
    """Returns what makes a check of GPUs skip where none is asked for, or none is here."""

    def wrap(check: Check) -> Callable[[Subject], Finding]:
        @wraps(check)
        def checked(subject: Subject) -> Finding:
            if subject.device != "cuda":
                return Finding(name, "skip", FOR_A_CPU)
            if subject.driver is None or not subject.driver.visible:
                return Finding(name, "skip", "no GPU here")
            return check(subject, subject.driver)

        return checked

    return wrap


def check_gpus(subject: Subject) -> Finding:
    """Counts GPUs; they are demanded where a training starts on this machine alone, and else reported."""
    if subject.device != "cuda":
        return Finding("GPUs", "skip", FOR_A_CPU)
    gpus = subject.driver.visible if subject.driver else ()
    wanted = subject.recipe.gpus_per_node if subject.recipe else 0
    shown = f"{len(gpus)} x {gpus[0].name}" if gpus else "none that nvidia-smi and CUDA_VISIBLE_DEVICES show"
    if len(gpus) >= max(1, wanted):
        return Finding("GPUs", "pass", shown)
    if not gpus and subject.may_lack_gpus:
        return Finding("GPUs", "skip", "none here: those of the Ray cluster count")
    fix = "ask for machines with GPUs, give the container its GPUs (--gpus all), or train with --device cpu"
    if wanted and subject.starts_training:
        return Finding("GPUs", "fail", f"{shown}; the recipe wants {wanted}", f"{fix}, or --set gpus_per_node=N")
    return Finding("GPUs", "warn", f"{shown}{f'; the recipe wants {wanted}' if wanted else ''}", fix)


@needs_gpus("driver")
def check_driver(subject: Subject, driver: Driver) -> Finding:
    """Compares the CUDA that the driver runs with the one that torch was built for; one major version is enough."""
    built = torch_cuda()
    if not built:
        return Finding("driver", "skip", f"{driver.version}, CUDA {driver.cuda}; no torch that was built for CUDA")
    # NVIDIA's minor version compatibility: since CUDA 11 a driver runs all of its major version.
    ok = _number(driver.cuda)[:1] >= _number(built)[:1]
    evidence = f"{driver.version} runs CUDA up to {driver.cuda}, torch was built for {built}"
    return judged("driver", ok, evidence, "a newer driver, or an image with an older CUDA")


@needs_gpus("compute capability")
def check_capability(subject: Subject, driver: Driver) -> Finding:
    """Compares each GPU with the machine code in torch's and vLLM's libraries."""
    name, wrong, seen = "compute capability", [], set()
    for package in LIBRARIES:
        compiled = compiled_for(package)
        for gpu in driver.visible if compiled else ():
            seen.add(gpu.capability)
            if gpu.capability and not runs(gpu.capability, compiled):
                wrong.append(f"{package} has no code for {gpu.name} ({gpu.capability})")
    if not seen:
        return Finding(name, "skip", "no GPU code is installed")
    shown = "; ".join(dict.fromkeys(wrong)) or f"{', '.join(sorted(seen))}: code for it is there"
    return judged(name, not wrong, shown, "an image that was built for this GPU")


@needs_gpus("ECC")
def check_ecc(subject: Subject, driver: Driver) -> Finding:
    """Looks for memory errors that were not corrected, and rows that could not be replaced."""
    broken = [
        f"GPU {gpu.index}: {gpu.remap or f'{gpu.uncorrected} uncorrected errors since the driver was loaded'}"
        for gpu in driver.visible
        if gpu.uncorrected or gpu.remap
    ]
    off = [str(gpu.index) for gpu in driver.visible if gpu.ecc == "Disabled"]
    if broken:
        return Finding("ECC", "fail", "; ".join(broken), "reset the GPU (nvidia-smi -r), or leave this node out")
    if off:
        fix = "nvidia-smi -e 1 and a reset: a flipped bit would be seen by nobody"
        return Finding("ECC", "warn", f"off on GPU {', '.join(off)}", fix)
    return Finding("ECC", "pass", "no uncorrected memory error")


@needs_gpus("MIG")
def check_mig(subject: Subject, driver: Driver) -> Finding:
    """Looks for GPUs that are cut into parts: NCCL does not connect parts of one GPU."""
    cut = [str(gpu.index) for gpu in driver.visible if gpu.mig]
    evidence = f"GPU {', '.join(cut)} cut into parts" if cut else "no GPU is cut into parts"
    return judged("MIG", not cut, evidence, "nvidia-smi -mig 0, or ask for whole GPUs")


@needs_gpus("GPU memory")
def check_gpu_memory(subject: Subject, driver: Driver) -> Finding:
    """Looks for memory that others hold: the rollout engine takes its whole share when it starts, or fails."""
    found, deadline = _memory(subject, driver), time.monotonic() + PATIENCE
    # what an attempt before has left takes seconds to go, so a training looks again before it gives up
    while subject.starts_training and not found.ok and time.monotonic() < deadline:
        time.sleep(1.0)
        driver = ask_driver() or driver
        found = _memory(subject, driver)
    return found


def _memory(subject: Subject, driver: Driver) -> Finding:
    share = subject.recipe.gpu_memory_utilization if subject.recipe else 0.9
    used = [gpu for gpu in driver.visible if gpu.used > IDLE_BYTES]
    if not used:
        return Finding("GPU memory", "pass", f"free but for {in_bytes(max(gpu.used for gpu in driver.gpus))}")
    # The share is one of the whole memory: vLLM does not start where less than that is free.
    lacking = any(gpu.memory - gpu.used < share * gpu.memory for gpu in used)
    fix = "end these processes, or leave this node out"
    return Finding("GPU memory", "fail" if lacking else "warn", "; ".join(map(_in_use, used)), fix)


@needs_gpus("throttling")
def check_throttling(subject: Subject, driver: Driver) -> Finding:
    """Looks for clocks that the hardware lowers for heat or power; the slowest GPU sets every step's pace."""
    slow = [f"GPU {gpu.index}: {', '.join(gpu.slowed_by)}" for gpu in driver.visible if gpu.slowed_by]
    fix = "check the cooling and power of this node, or leave it out"
    return Finding("throttling", "warn" if slow else "pass", "; ".join(slow) or "clocks are not lowered", fix)


@needs_gpus("NVLink")
def check_links(subject: Subject, driver: Driver) -> Finding:
    """Reads the matrix of `nvidia-smi topo -m`: one pair without NVLink slows down every all-reduce of the node."""
    indices = {gpu.index for gpu in driver.visible}
    pairs = {pair: link for pair, link in links_of(driver.links).items() if indices.issuperset(pair)}
    if not pairs:
        return Finding("NVLink", "skip", "one GPU, or no topology told")
    without = [f"{a}-{b} {link}" for (a, b), link in pairs.items() if not link.startswith("NV")]
    kinds = sorted(set(pairs.values()))
    if not without:
        evidence = f"{kinds[0]} between all {len(indices)} GPUs" if len(kinds) == 1 else f"uneven: {', '.join(kinds)}"
        fix = "a link is down: nvidia-smi nvlink -s tells which; leave this node out"
        return Finding("NVLink", "pass" if len(kinds) == 1 else "warn", evidence, fix)
    few = ", ".join(without[:4]) + (f" and {len(without) - 4} more" if len(without) > 4 else "")
    return Finding("NVLink", "warn", f"none between GPUs {few}", "expected of PCIe cards; else leave this node out")


@needs_gpus("memory fit")
def check_fit(subject: Subject, driver: Driver) -> Finding:
    """Compares what the recipe needs of a GPU with the smallest one here."""
    if subject.recipe is None:
        return Finding("memory fit", "skip", "needs --recipe")
    gpu = min(driver.visible, key=lambda one: one.memory)
    card = card_of(gpu.name, gpu.memory)
    try:
        shape = shape_of(subject.recipe.model)
    except UserError as error:
        return Finding("memory fit", "skip", str(error))
    if not card:
        return Finding("memory fit", "skip", f"no estimate for {gpu.name}")
    warnings = estimate(subject.recipe, shape, card).warnings
    return Finding("memory fit", "warn" if warnings else "pass", "; ".join(warnings) or f"{subject.recipe.name} fits")


def check_visibility(subject: Subject) -> Finding:
    """Looks for variables that hide GPUs or contradict each other."""
    name, chosen = "visible GPUs", os.environ.get("CUDA_VISIBLE_DEVICES")
    if subject.device != "cuda":
        return Finding(name, "skip", FOR_A_CPU)
    # AMD's driver may set the same value in all three, which contradicts nothing.
    others = [f"{one}={value}" for one in REFUSED_BY_VERL if (value := os.environ.get(one)) not in (None, chosen)]
    shown = "; ".join([f"CUDA_VISIBLE_DEVICES={chosen}" if chosen is not None else "all of them", *others])
    words = [word.strip() for word in chosen.split(",")] if chosen is not None else []
    gpus = subject.driver.gpus if subject.driver else ()
    if chosen is not None and gpus and (chosen.strip() in HIDDEN or len(list(named(gpus, words))) < len(words)):
        status: Status = "warn" if subject.may_lack_gpus else "fail"
        fix = f"this machine has GPUs 0 to {len(gpus) - 1}: CUDA ignores all from the first it does not find"
        return Finding(name, status, shown, f"unset CUDA_VISIBLE_DEVICES, or name GPUs that are here; {fix}")
    if len(set(words)) < len(words):
        return Finding(name, "fail", shown, "a GPU is named twice: CUDA would show none")
    if others:
        return Finding(
            name, "warn", shown, "verl refuses AMD's variables; `train` unsets them, your own scripts do not"
        )
    return Finding(name, "pass", shown)


def check_code(packages: tuple[str, ...]) -> Iterator[Finding]:
    """Compares each package's GPU code with the GPUs that the recipes are for; needs no GPU."""
    for package in packages:
        if package in LIBRARIES and find_spec(package):
            compiled = compiled_for(package)
            missing = [f"{name} ({gpu})" for name, gpu in WANTED.items() if name not in compiled]
            shown = " ".join(sorted(compiled, key=lambda name: (len(name), name))) or "none"
            yield judged(f"GPU code: {package}", not missing, shown, f"{', '.join(missing)} missing: another build")


def compiled_for(package: str) -> set[str]:
    """Returns the architectures that an installed package has machine code for: sm_80, sm_90, ..."""
    spec = find_spec(package)
    if not (spec and spec.origin):
        return set()
    found = (architectures(library) for library in Path(spec.origin).parent.glob(LIBRARIES[package]))
    return {name for one in found for name in one}


def runs(capability: str, compiled: set[str]) -> bool:
    """Returns whether code runs on a GPU: of its own generation, for it or an earlier member (8.6 runs sm_80)."""
    major, minor = [*_number(capability), 0][:2]
    return any(name in compiled for name in (f"sm_{major}{lower}" for lower in range(minor + 1)))


def links_of(matrix: str) -> dict[tuple[int, int], str]:
    """Returns the link between each two GPUs of `nvidia-smi topo -m`: `{(0, 1): "NV18"}`."""
    # The line of titles begins with a tab; network adapters and the legend follow below.
    rows = [line.split("\t") for line in matrix.splitlines() if line.startswith("GPU")]
    found = {}
    for row in rows:
        first = int(row[0].strip().removeprefix("GPU"))
        for second, cell in enumerate(row[1 : len(rows) + 1]):
            # The matrix is symmetric, with an X for a GPU and itself.
            if second > first:
                found[first, second] = cell.strip()
    return found


def torch_cuda() -> str:
    """Returns the CUDA version that the installed torch was built for, from its file; empty for a build for CPUs."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    if file is None or not file.is_file():
        return ""
    # Importing torch takes seconds, and this runs before every training.
    found = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("cuda")]
    value = found[0].partition("=")[2].strip() if found else ""
    return value.strip("'\"") if value != "None" else ""


def _in_use(gpu: Gpu) -> str:
    who = ", ".join(f"{pid} {Path(name).name} ({in_bytes(size)})" for pid, name, size in gpu.processes)
    return f"GPU {gpu.index}: {in_bytes(gpu.used)} in use{f' by {who}' if who else ''}"


def _number(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]
