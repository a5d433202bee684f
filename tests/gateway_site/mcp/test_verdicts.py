"""What the rules decide about a message, and what other parsers would call with it.

No message passes with which a server would call what is denied; one that can be read in one way
only passes if it is allowed. What is allowed is decided by `policy.reference`, which shares
nothing with the gateway. FUZZ_EXAMPLES tries 100,000, with Go and Jackson as well.
"""

import base64
import binascii
import itertools
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway_site.mcp.messages import InvalidMessage, Message, read_message
from gateway_site.mcp.policy import MCPCall, MCPCaller
from gateway_site.mcp.version_headers import check_headers
from gateway_site.policy.call_policy import CallPolicy
from gateway_site.policy.policy_file import read_rules
from gateway_site.policy.rules import Rules
from gateway_site.rules.problems import Problem
from tests.gateway_site.mcp import other_parsers
from tests.gateway_site.mcp.other_parsers import CALLS, Call, calls_of
from tests.gateway_site.policy.generated_calls import Attempt, generated_attempts
from tests.gateway_site.policy.reference import may_call

COUNT = 100_000 if os.environ.get("FUZZ_EXAMPLES") else 1_000
PASSES, DENIED, UNREADABLE = "passes", "denied", "unreadable"
Verdicts = list[str]
Attempts = tuple[Sequence[Attempt], Verdicts]


@pytest.fixture(scope="module")
def attempts() -> Attempts:
    """Return the calls of this run with our verdicts: pytest's own seed makes them again."""
    made = list(generated_attempts(random.getrandbits(32), COUNT))
    verdicts: Verdicts = []
    for toml, several in itertools.groupby(made, lambda each: each.toml):
        rules = read_rules(toml)
        verdicts += [verdict(rules, each) for each in several]
    return made, verdicts


def verdict(rules: Rules, attempt: Attempt) -> str:
    """Return what the gateway decides."""
    try:
        message = read_message(attempt.data)
        version = check_headers(attempt.headers, message)
    except InvalidMessage:
        return UNREADABLE
    caller = MCPCaller(person="7", groups=tuple(attempt.groups), is_client=bool(attempt.client))
    call = MCPCall(
        upstream="api", http_method="POST", version=version, message=message, caller=caller
    )
    clients = frozenset({attempt.client} if attempt.client else ())
    try:
        CallPolicy(rules, clients).admit(call)
    except Problem:
        return DENIED
    return PASSES


def is_allowed(attempt: Attempt, call: Call) -> bool:
    return may_call(attempt.rules, attempt.groups, attempt.client, call)


def compare(attempts: Attempts, read: Sequence[other_parsers.Found]) -> None:
    """Compare our verdicts with those about the calls that each way of reading finds."""
    seen: Counter[tuple[str, bool]] = Counter()
    for attempt, own, ways in zip(*attempts, read, strict=True):
        calls = {way: calls_of(found) for way, found in ways.items()}
        allowed = {
            way: all(is_allowed(attempt, c) for c in many or ()) for way, many in calls.items()
        }
        told = own, attempt, calls
        if own == PASSES:
            assert all(allowed.values()), told
        if attempt.is_sound:
            assert None not in calls.values(), told
            assert all(len(many or ()) == 1 for many in calls.values()), told
            assert own == (PASSES if all(allowed.values()) else DENIED), told
        seen[own, all(allowed.values())] += 1
    show(seen)
    # What the test is about is there: calls that pass or are denied, and tricks that could work.
    assert seen[PASSES, True] > len(read) / 8
    assert seen[DENIED, False] > len(read) / 8
    assert seen[UNREADABLE, False] > len(read) / 40


def show(seen: Counter[tuple[str, bool]]) -> None:
    """Print how often each verdict occurred, which `make fuzz` is run for."""
    if os.environ.get("FUZZ_EXAMPLES"):
        for (own, is_harmless), count in sorted(seen.items()):
            print(f"\n{own}, {'nothing' if is_harmless else 'a call'} denied: {count:,}")  # noqa: T201 - the result


def texts(attempts: Attempts) -> list[bytes]:
    return [each.data for each in attempts[0]]


@pytest.mark.slow
def test_nothing_denied_is_called_by_python(attempts: Attempts) -> None:
    compare(attempts, other_parsers.python(CALLS, texts(attempts)))


@pytest.mark.slow
@other_parsers.needs_node
def test_nothing_denied_is_called_by_javascript(attempts: Attempts) -> None:
    compare(attempts, other_parsers.node(CALLS, texts(attempts)))


@pytest.mark.long
@other_parsers.needs_go
def test_nothing_denied_is_called_by_go(attempts: Attempts, tmp_path: Path) -> None:
    compare(attempts, other_parsers.go(CALLS, texts(attempts), tmp_path))


@pytest.mark.long
@other_parsers.needs_jackson
def test_nothing_denied_is_called_by_jackson(attempts: Attempts) -> None:
    compare(attempts, other_parsers.jackson(CALLS, texts(attempts)))


@pytest.mark.slow
def test_nothing_denied_is_called_by_what_the_headers_say(attempts: Attempts) -> None:
    """A server that decides by the headers calls nothing that the body does not name."""
    readings = 0
    for attempt, own in zip(*attempts, strict=True):
        message = own == PASSES and read_message(attempt.data)
        if not message or message.method is None:
            continue
        for method, name in header_readings(attempt):
            readings += 1
            assert method in {None, message.method}, attempt
            assert name in (None, *names_of(message)), attempt
    assert readings > COUNT / 10


def names_of(message: Message) -> list[Any]:
    """Return what a header may name: what decides, or whatever a method that is unknown has."""
    members = ("taskId", "name", "uri")
    return [message.name] if message.name else [message.params.get(each) for each in members]


def header_readings(attempt: Attempt) -> Iterator[tuple[str | None, str | None]]:
    """Yield method and name as servers may take them from the headers: any of several."""
    values: dict[bytes, list[str | None]] = {b"mcp-method": [], b"mcp-name": []}
    for key, value in attempt.headers:
        spelled = key.lower().replace(b"_", b"-").replace(b".", b"-")
        if spelled in values:
            values[spelled].append(decode(value.decode("latin-1")))
    yield from itertools.product(*(found or [None] for found in values.values()))


def decode(value: str) -> str:
    """Return what a forgiving server reads in a header."""
    value = value.strip()
    if not (value.lower().startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2] + "==").decode("utf-8", "replace")
    except binascii.Error:
        return value
