"""Fixtures that more than one test needs."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from deepscaler.rewards.workers.pool import shared_pool
from tests.places import SHARED

SHARED_DATA = SHARED / "data"


# An example that takes long says nothing about the code: another program has the cores meanwhile.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The benchmarks' JSON files beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs the benchmarks' JSON files in {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def graders() -> None:
    """The grader's first worker is up: no test waits for it."""
    shared_pool().warm_up()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache, or asks a hub."""
    monkeypatch.setenv("DEEPSCALER_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
