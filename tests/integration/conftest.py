"""The small models, made once for all slow tests, and a line for each test that begins or ends.

`make slow` runs four groups side by side, each in order in one process: verl, engines, docker, slurm (`xdist_group`).
What two groups use is made by the first that needs it, under a lock, in a folder of the whole session.
"""

import fcntl
import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deepscaler.models.smollm import small_model
from tests.places import SHARED

STARTED = time.monotonic()


def pytest_runtest_logstart(nodeid: str) -> None:
    """Says what begins: a log that is cut off ends with what was running."""
    _say("begins", nodeid)


def pytest_runtest_logfinish(nodeid: str) -> None:
    _say("ended", nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fails in CI what is skipped although its tools are beside the checkout."""
    report = yield
    if report.skipped and SHARED.is_dir() and "CI" in os.environ:
        report.outcome, report.longrepr = "failed", f"skipped in CI: {report.longrepr}"
    return report


def _say(what: str, nodeid: str) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # the controller hears of it and speaks for all
        return
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    seconds = time.monotonic() - STARTED
    print(f"\n[{seconds:5.0f} s, {free} GiB free] {what}: {nodeid}", file=sys.__stderr__, flush=True)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all groups of this session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def kept_cache(session_folder: Path) -> Path:
    """One cache for the session, so that the model is converted once."""
    cache = session_folder / "kept_cache"
    cache.mkdir(exist_ok=True)
    return cache


@pytest.fixture(scope="session")
def model(kept_cache: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPSCALER_CACHE", str(kept_cache))
        return small_model(print)


@pytest.fixture(autouse=True)
def own_cache(kept_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept cache instead of an empty one a test; and memory for four groups."""
    monkeypatch.setenv("DEEPSCALER_CACHE", str(kept_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB; the engine's own choice is a quarter of the machine's


@pytest.fixture(scope="session")
def tiny_model(model: Path, session_folder: Path) -> Path:
    """Three million random parameters with the small model's tokenizer: it learns nothing, quickly."""
    folder = session_folder / "tiny"
    with locked(session_folder / "tiny.lock"):
        if not folder.is_dir():
            _make_tiny(model, session_folder / "tiny.part")
            (session_folder / "tiny.part").rename(folder)
    return folder


def _make_tiny(model: Path, folder: Path) -> None:
    import torch  # noqa: PLC0415
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(model)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "max_position_embeddings": 2048}
    config = LlamaConfig(
        **sizes,
        vocab_size=len(tokenizer),
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)  # a container's user reads it, too
