"""Where the quickstart's model is taken from."""

from pathlib import Path

import pytest

from deepscaler.models.smollm import NAME, small_model


def test_an_image_that_brings_the_model_needs_no_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).mkdir()
    monkeypatch.setenv("DEEPSCALER_MODELS", str(tmp_path))
    assert small_model(pytest.fail) == tmp_path / NAME
