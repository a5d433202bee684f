"""Lists under rules as clients of other projects read them: as JSON, and in streams cut anywhere.

Nothing that is denied is ever in what a client gets, and of a clear list all that is allowed is.
`policy.reference` decides, which shares nothing with the gateway.
"""

import os
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from gateway_site.forwarding.calls.mcp.reader import MCPReader
from gateway_site.forwarding.calls.mcp.responses import UnreadableResponse
from gateway_site.policy.call_policy import CallPolicy
from gateway_site.policy.policy_file import read_rules
from gateway_site.rules.problems import Problem
from tests.gateway_site.mcp import other_parsers
from tests.gateway_site.mcp.other_parsers import LISTS, Call, parse_by_specification
from tests.gateway_site.policy.generated_calls import as_toml
from tests.gateway_site.policy.generated_lists import Listing, generated_lists
from tests.gateway_site.policy.reference import may_call, may_see_template
from tests.gateway_site.support.mcp_reading import Pieces, read_call, read_to_end, request_message

IS_LONG = bool(os.environ.get("FUZZ_EXAMPLES"))
COUNT, CUT_COUNT = (20_000, 50) if IS_LONG else (300, 2)
JSON, EVENTS = "application/json", "text/event-stream"
METHODS = {"tools": "tools/call", "prompts": "prompts/get", "resources": "resources/read"}
NAMED_ONCE = {"tools", "prompts"}
LIST = request_message("tools/list")
STREAM_MAX = 600  # bytes, of those that are cut
Passed = tuple[Listing, bytes]  # the message, as a client gets it


rules_of = lru_cache(read_rules)


async def admit(listing: Listing, message: Any = LIST) -> MCPReader | None:
    """Return the reader of a call whose response the list is; None if the caller may not begin."""
    clients = frozenset({listing.client} if listing.client else ())
    policy = CallPolicy(rules_of(as_toml(listing.rules)), clients)
    with suppress(Problem):
        return await read_call(policy, message, groups=listing.groups)
    return None


async def lists_passed() -> list[Passed]:
    """Return what passes of many lists."""
    passed: list[Passed] = []
    for each in generated_lists(random.getrandbits(32), COUNT):
        if (reader := await admit(each)) is None:
            continue
        try:
            response = await reader.read_response(Pieces([each.message], JSON))
        except UnreadableResponse:
            assert each.names is None, each
        else:
            passed.append((each, response.read_rest()))
    assert len(passed) > COUNT / 4
    return passed


def check(passed: Sequence[Passed], read: Sequence[Mapping[str, Any]]) -> None:
    """Compare what each way of reading finds with what the caller may see."""
    shown = hidden = 0
    for (listing, text), ways in zip(passed, read, strict=True):
        for way, found in ways.items():
            assert found is not None or listing.names is None, (way, text)
            check_names(listing, found or {}, (way, text))
            for kind, names in (listing.names or {}).items():
                shown += len(found[kind])
                hidden += len(names) - len(found[kind])
    assert min(shown, hidden) > len(passed) / 4


def check_names(listing: Listing, found: Mapping[str, Sequence[str]], told: Any) -> None:
    for kind, names in found.items():
        assert all(may_see(listing, kind, each) for each in names), (kind, told, listing)
        if kind in NAMED_ONCE:
            assert len(set(names)) == len(names), (kind, told, listing)
        if listing.names is not None:
            sent = listing.names.get(kind, ())
            assert names == [each for each in sent if may_see(listing, kind, each)], (told, listing)


def may_see(listing: Listing, kind: str, name: str) -> bool:
    caller = listing.rules, listing.groups, listing.client
    if kind == "resourceTemplates":
        return may_see_template(*caller, name)
    forms = {name: other_parsers.python_forms(name)}
    return may_call(*caller, Call(METHODS[kind], name=name, uri=name, forms=forms))


@pytest.mark.slow
async def test_python_finds_what_may_be_called() -> None:
    passed = await lists_passed()
    check(passed, other_parsers.python(LISTS, [text for _, text in passed]))


@pytest.mark.slow
@other_parsers.needs_node
async def test_javascript_finds_what_may_be_called() -> None:
    passed = await lists_passed()
    check(passed, other_parsers.node(LISTS, [text for _, text in passed]))


@pytest.mark.long
@other_parsers.needs_go
async def test_go_finds_what_may_be_called(tmp_path: Path) -> None:
    passed = await lists_passed()
    check(passed, other_parsers.go(LISTS, [text for _, text in passed], tmp_path))


@pytest.mark.long
@other_parsers.needs_jackson
async def test_jackson_finds_what_may_be_called() -> None:
    passed = await lists_passed()
    check(passed, other_parsers.jackson(LISTS, [text for _, text in passed]))


@pytest.mark.slow
@pytest.mark.parametrize("message", [LIST, None], ids=["first", "resumed"])
async def test_stream_cut_anywhere_shows_what_may_be_called(message: Any) -> None:
    lists = generated_lists(random.getrandbits(32), 1000 * CUT_COUNT)
    clear = (each for each in lists if each.names and len(each.stream) < STREAM_MAX)
    count = 0
    while count < CUT_COUNT:
        listing = next(clear)
        if await admit(listing, message):
            count += 1
            await check_cut_everywhere(listing, message)


async def check_cut_everywhere(listing: Listing, message: Any) -> None:
    """Cut a stream in two at each byte, and break it off there."""
    whole: set[bytes] = set()
    broken: set[bytes] = set()
    for cut in range(len(listing.stream) + 1):
        pieces = [listing.stream[:cut], listing.stream[cut:]]
        for breaks, found in ((False, whole), (True, broken)):
            reader = await admit(listing, message)
            assert reader
            response = Pieces(pieces[:1] if breaks else list(pieces), EVENTS, breaks=breaks)
            found.add((await read_to_end(reader, response))[0])
    # Of CR and LF, whatever comes later is an empty line of its own.
    assert len({tuple(parse_by_specification(each)) for each in whole}) == 1
    texts = data_of(whole.pop())
    assert len(texts) == 2, texts  # the notification, and the list
    for each in broken:
        assert data_of(each) <= texts, (each, listing)
    read = other_parsers.python(LISTS, list(texts))
    for text, ways in zip(texts, read, strict=True):
        for way, found_names in ways.items():
            if b"notifications/" not in text:
                check_names(listing, found_names, (way, text))


def data_of(stream: bytes) -> set[bytes]:
    """Return what a client gets that takes an event for complete although it is not."""
    return {data.encode() for _, data in parse_by_specification(stream + b"\n\n") if data}
