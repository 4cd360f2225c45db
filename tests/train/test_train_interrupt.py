from __future__ import annotations

import signal

import pytest

from train import interrupt
from train.interrupt import stop_as_event


def test_a_signal_becomes_an_event_and_its_echo_is_no_second_request() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_as_event() as asked:
        assert not asked.is_set()
        signal.raise_signal(signal.SIGINT)
        assert asked.is_set()
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_request_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "REPEAT_SECONDS", -1.0)
    with stop_as_event():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
