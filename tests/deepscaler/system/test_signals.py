"""A wish to stop is counted once, however many processes pass it on."""

import os
import signal
import time

import pytest

from deepscaler.system import signals


def test_an_echo_is_no_second_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "ECHO", 0.2)
    with signals.stop_signals() as wishes:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert list(wishes) == ["SIGTERM"]
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)
        assert list(wishes) == ["SIGTERM", "SIGINT"]
