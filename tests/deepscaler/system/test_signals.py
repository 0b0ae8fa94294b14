"""A wish to stop is counted once, however many processes pass it on."""

import os
import signal

import pytest

from deepscaler.system import signals


def test_an_echo_is_no_second_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "ECHO", 3600.0)
    with signals.stop_signals() as wishes:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert list(wishes) == ["SIGTERM"]
        monkeypatch.setattr(signals, "ECHO", 0.0)  # as if it were over: a busy machine may pause here for any time
        os.kill(os.getpid(), signal.SIGINT)
        assert list(wishes) == ["SIGTERM", "SIGINT"]
