"""The real small model, made once for all slow tests."""

from pathlib import Path

import pytest

from deepscaler.quickstart import small_model


@pytest.fixture(scope="session")
def kept_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the session, so that the model is converted once."""
    return tmp_path_factory.mktemp("kept_cache")


@pytest.fixture(scope="session")
def model(kept_cache: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPSCALER_CACHE", str(kept_cache))
        return small_model(print)


@pytest.fixture(autouse=True)
def own_cache(kept_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kept cache instead of an empty one a test."""
    monkeypatch.setenv("DEEPSCALER_CACHE", str(kept_cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
