"""The small models, made once for all slow tests, and a line for each test that begins or ends.

`make slow` runs groups of tests side by side, each in order in one process. What two groups use is made by the first
that needs it, under a lock, in a folder of the whole session.
"""

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

from deepscaler.models.smollm import small_model
from tests.integration.processes import SHARING, locked
from tests.places import SHARED

if TYPE_CHECKING:
    from playwright.sync_api import Browser

STARTED = time.monotonic()
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
GROUPS = {
    "train": "verl",
    "same": "verl",
    "reward": "verl",
    "own_data": "verl",
    "sick": "verl",
    "stalls": "verl",
    "publish": "verl",
    "rayjob": "verl",
    "containers": "docker",
    "commands": "slurm",
    "faults": "slurm",
    "successors": "slurm",
    "cuts": "slurm",
    "doctor": "slurm",
    "tutorial": "slurm",
}
"""The group of the tests in a file; all others are of the group `engines`."""

NUM_TRAININGS = 2
"""Trainings of the tiny model by verl at once: each takes 6 GiB, that of the real one 11, and CI has 24."""


def pytest_runtest_logstart(nodeid: str) -> None:
    """Says what begins: a log that is cut off ends with what was running."""
    _say("begins", nodeid)


def pytest_runtest_logfinish(nodeid: str) -> None:
    _say("ended", nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Gives each group to a process of its own. (The mark xdist_group has no effect in pytest 9.2 with xdist 3.8.)"""
    return ByGroup(config, log)


class ByGroup(LoadScopeScheduling):
    """Tells groups by the name of the file."""

    def _split_scope(self, nodeid: str) -> str:
        return GROUPS.get(Path(nodeid.partition("::")[0]).stem.removeprefix("test_"), "engines")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the large training first, and what may have to wait for another group's training last in its group."""
    order = {"large_training": 0, "training": 2}

    def place(item: pytest.Item) -> int:
        names = getattr(item, "fixturenames", ())
        return next((order[name] for name in order if name in names), 1)

    items.sort(key=place)


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
    free = re.search(r"MemAvailable: +(\d+)", Path("/proc/meminfo").read_text())
    memory = f", {int(free[1]) / 1e6:.1f} GB free" if free else ""
    print(f"\n[{time.monotonic() - STARTED:.0f} s{memory}] {what}: {nodeid}", file=sys.__stderr__, flush=True)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a folder that all groups of this session share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def kept_cache(session_folder: Path) -> Path:
    """Returns one cache for the session, so that the model is converted once."""
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
    """Gives each test the kept cache instead of an empty one, and the manners of a guest on a shared machine."""
    monkeypatch.setenv("DEEPSCALER_CACHE", str(kept_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, value in SHARING.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def training(session_folder: Path) -> Iterator[None]:
    """Waits until fewer than NUM_TRAININGS other tests train."""
    with locked(*_places(session_folder)):
        yield


@pytest.fixture
def large_training(session_folder: Path) -> Iterator[None]:
    """Waits until no other test trains."""
    with contextlib.ExitStack() as stack:
        for place in _places(session_folder):
            stack.enter_context(locked(place))
        yield


def _places(folder: Path) -> list[Path]:
    return [folder / f"training-{number}.lock" for number in range(NUM_TRAININGS)]


@pytest.fixture(scope="session")
def tiny_model(model: Path, session_folder: Path) -> Path:
    """Returns three million random parameters with the small model's tokenizer: it learns nothing, quickly."""
    from tests.integration.tiny import make_tiny  # noqa: PLC0415  needs torch

    folder = session_folder / "tiny"
    with locked(session_folder / "tiny.lock"):
        if not folder.is_dir():
            make_tiny(model, session_folder / "tiny.part")
            (session_folder / "tiny.part").rename(folder)
    return folder


@pytest.fixture(scope="session")
def prometheus() -> str:
    found = shutil.which("prometheus")
    if found is None:
        pytest.skip("needs Prometheus: apt-get install prometheus")
    return found


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Yields Debian's browser without a window."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)}, such as by: apt-get install chromium")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  only where there is a browser

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        yield browser
        browser.close()
