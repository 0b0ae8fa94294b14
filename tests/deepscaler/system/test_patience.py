"""Calls that may hang for ever get a deadline, and are made again only once they have come back."""

import threading

import pytest

from deepscaler.system.patience import HangingError, Patience


def test_a_call_that_hangs_holds_nobody_and_none_follows_it_until_it_is_back() -> None:
    hanging, calls = threading.Event(), []
    patience = Patience[bool]("look")
    with pytest.raises(HangingError, match="not back after"):
        patience.call(lambda: hanging.wait(60), 0.1)
    with pytest.raises(HangingError, match="has not come back"):
        patience.call(lambda: calls.append(1) is None, 0.1)
    assert not calls
    hanging.set()
    assert patience.call(lambda: calls.append(1) is None, 10)
    assert calls == [1]


def test_a_thread_that_cannot_be_started_is_started_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = Patience[bool]("look")
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_thread)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            patience.call(lambda: True, 10)
    assert patience.call(lambda: True, 10)


def test_what_a_call_raises_is_raised() -> None:
    with pytest.raises(OSError, match="gone"):
        Patience[None]("look").call(_fail, 10)


def _no_thread(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def _fail() -> None:
    raise OSError("gone")
