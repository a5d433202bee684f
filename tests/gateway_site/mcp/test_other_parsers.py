"""What this gateway takes a message for, and what the parsers of servers would call.

A message that is accepted is the same call for each of them; one that every parser reads in one
way is accepted. FUZZ_EXAMPLES tries 100,000 of them, with Go and Jackson as well.
"""

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway_site.mcp.messages import InvalidMessage, read_message
from tests.gateway_site.mcp import other_parsers
from tests.gateway_site.mcp.generated import METHODS, Found, Generated, generated_messages
from tests.gateway_site.mcp.other_parsers import CALLS

COUNT = 100_000 if os.environ.get("FUZZ_EXAMPLES") else 1_000
Calls = list[Found] | None  # None for an error


@pytest.fixture(scope="module")
def messages() -> Sequence[Generated]:
    """Return the messages of this run: pytest's own seed makes them again."""
    return list(generated_messages(random.getrandbits(32), COUNT))


def own_verdict(data: bytes) -> Found | None:
    try:
        found = read_message(data)
    except InvalidMessage:
        return None
    return found.method or "", found.name


def made_calls(raw: Any) -> Calls:
    """Return calls of a parser: method, name and address of each."""
    calls = other_parsers.calls_of(raw)
    if calls is None:
        return None
    return [
        (each.method, {"name": each.name, "uri": each.uri, None: None}[METHODS.get(each.method)])
        for each in calls
    ]


def compare(messages: Sequence[Generated], read: Sequence[other_parsers.Found]) -> None:
    """Compare our verdicts with what each way of reading would call."""
    accepted = rejected = 0
    for each, ways in zip(messages, read, strict=True):
        own = own_verdict(each.data)
        if each.call is not None:
            assert own == each.call, each.data
        accepted, rejected = accepted + (own is not None), rejected + (own is None)
        for way, raw in ways.items():
            calls = made_calls(raw)
            if each.call is not None:
                assert calls == [each.call], (way, each.data)
            elif own is not None and calls is not None:
                assert calls == ([own] if own[0] else []), (way, own, each.data)
    assert accepted > len(messages) / 2
    assert rejected > len(messages) / 4


def texts(messages: Sequence[Generated]) -> list[bytes]:
    return [each.data for each in messages]


def test_python_calls_what_was_read(messages: Sequence[Generated]) -> None:
    compare(messages, other_parsers.python(CALLS, texts(messages)))


@pytest.mark.slow
@other_parsers.needs_node
def test_javascript_calls_what_was_read(messages: Sequence[Generated]) -> None:
    compare(messages, other_parsers.node(CALLS, texts(messages)))


@pytest.mark.long
@other_parsers.needs_go
def test_go_calls_what_was_read(messages: Sequence[Generated], tmp_path: Path) -> None:
    compare(messages, other_parsers.go(CALLS, texts(messages), tmp_path))


@pytest.mark.long
@other_parsers.needs_jackson
def test_jackson_calls_what_was_read(messages: Sequence[Generated]) -> None:
    compare(messages, other_parsers.jackson(CALLS, texts(messages)))
