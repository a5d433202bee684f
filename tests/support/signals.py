"""Receivers of Django's signals, connected until a block ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.dispatch import Signal


@contextmanager
def connect_receiver(signal: Signal, receiver: Callable[..., object]) -> Iterator[None]:
    signal.connect(receiver, weak=False)
    try:
        yield
    finally:
        signal.disconnect(receiver)


@contextmanager
def record_signal(signal: Signal) -> Iterator[list[dict[str, Any]]]:
    """Return the details of each time that the signal is sent in the block."""
    received: list[dict[str, Any]] = []

    def receive(**details: Any) -> None:
        received.append(details)

    with connect_receiver(signal, receive):
        yield received
