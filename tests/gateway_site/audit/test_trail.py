"""One process has one chain, whichever of its threads records first."""

import atexit
import threading
from typing import Any

import pytest

from gateway_site.audit import trail


def test_threads_that_record_at_once_share_one_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    got: list[Any] = []
    other = threading.Thread(target=lambda: got.append(trail.trail()))

    class Slow:
        def __init__(self) -> None:
            made.append(self)
            if len(made) == 1:
                other.start()
                other.join(0.1)  # It waits for this one, and must not make another.

    monkeypatch.setattr(trail, "Trail", Slow)
    monkeypatch.setattr(trail, "_trail", None)
    monkeypatch.setattr(atexit, "register", lambda _: None)
    first = trail.trail()
    other.join()
    assert made == [first]
    assert got == [first]
