"""`.venv` is installed from the index that pip is configured with."""

from pathlib import Path

import pytest

from tools.bootstrap import pip_settings, uv_environment


def test_uv_is_given_the_index_and_the_certificates_of_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://file.example/simple\ncert = /etc/ours.pem\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    for name in ("PIP_INDEX_URL", "PIP_CERT", "UV_DEFAULT_INDEX", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    environment = uv_environment(pip_settings())
    assert environment["UV_DEFAULT_INDEX"] == "https://file.example/simple"
    assert environment["SSL_CERT_FILE"] == "/etc/ours.pem"

    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example/simple")
    assert uv_environment(pip_settings())["UV_DEFAULT_INDEX"] == "https://variable.example/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://uv.example/simple")
    assert uv_environment(pip_settings())["UV_DEFAULT_INDEX"] == "https://uv.example/simple"
