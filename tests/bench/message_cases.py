# ruff: noqa: RUF001 - letters that look alike
"""Messages of MCP that take the longest to read or to decide about, each at the largest size.

Those of 1 MB are read in threads, those of 8 KB in the event loop.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path

from tests.bench.worst_cases import FIELD, Case, Pairs, fill, request

MEGABYTE = 1024 * 1024
IN_LOOP = 8 * 1024
# Upstreams of the measured gateway, whose messages are read.
RULED, RATED, GROUPED = "ruled", "rated", "grouped"
READING = f"/gateway/{RULED}/mcp"
TOOLS = [f"{letter * 127}*" for letter in "abcdefghijklmnopqrs"]  # each with a rate
RATES = " ".join(["999999/s", *(f"{each}=999999/s" for each in TOOLS)])
RULES = """\
[[rule]]
action = "deny"
resources = ["https://a.example/private/*", "file:///x*"]
tools = ["delete_*"]
prompts = ["a*"]

[[rule]]
action = "allow"
"""
START = "https://a.example/"
# What one person sends at once, beside another one.
CROWD = 60
CROWDED = (
    *(b"short members", b"odd members", b"expanding members"),
    *(b"tool's long odd name", b"many long addresses"),
)
JSON = (b"Content-Type", b"application/json")

Build = Callable[[int], str]  # a message of at most so many bytes


def message_upstreams(url: str, folder: Path) -> dict[str, str]:
    """Return the variables of upstreams whose messages are read; write their rules."""
    rules = folder / "rules.toml"
    rules.parent.mkdir(parents=True, exist_ok=True)
    rules.write_text(RULES, encoding="utf-8")
    own = {
        RULED: {"POLICY_FILE": str(rules), "RATE": RATES},
        RATED: {"READ_MCP": "1", "RATE": "1/h"},
        GROUPED: {"READ_MCP": "1", "ALLOWED_GROUPS": "nobody"},
    }
    common = {"URL": url, "PROVIDER": "corp", "MAX_CONCURRENT": "4096"}
    return {
        f"UPSTREAM_{name.upper()}_{variable}": value
        for name, more in own.items()
        for variable, value in (common | more).items()
    }


def posts(own: Pairs) -> Iterator[Case]:
    """Yield every message as a request with these headers of a person."""
    headers = (*own, JSON)
    for size in (IN_LOOP, MEGABYTE):
        for name, build in MESSAGES.items():
            body = build(size).encode()
            assert len(body) <= size
            content = request(b"POST", READING.encode(), headers, body)
            yield Case(f"message of {size:,} bytes", name.encode(), READING, content)
    body = MESSAGES["odd members"](MEGABYTE).encode()
    for upstream in (RATED, GROUPED):
        path = f"/gateway/{upstream}/mcp"
        content = request(b"POST", path.encode(), headers, body)
        yield Case("message that is not read", b"odd members", path, content)
    short = request_text("tools/call", name="a")
    for part in (b"a", b"=?base64?", b"\xff", b" "):
        claimed = (b"Mcp-Name", fill(b"=?base64?", part, FIELD))
        content = request(b"POST", READING.encode(), (*headers, claimed), short.encode())
        yield Case("Mcp-Name", part, READING, content)


def crowds(own: Pairs) -> Iterator[Case]:
    """Yield some of the messages of 1 MB, which a person sends at once."""
    for case in posts(own):
        if case.filling in CROWDED and len(case.content) > MEGABYTE // 2:
            yield case


def another(own: Pairs) -> Case:
    """Return another person's call of 20 KB."""
    body = request_text("tools/call", name="a", arguments={"text": "a" * 20_000}).encode()
    return Case("", b"", READING, request(b"POST", READING.encode(), (*own, JSON), body))


def request_text(method: str, **params: object) -> str:
    """Return a call."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


def _around(method: str = "ping", opening: str = "", closing: str = "", **params: str) -> Build:
    """Return what fills a call's params with a part, between an opening and a closing."""
    (part,) = params.values()

    def build(size: int) -> str:
        head = f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{opening}'
        left = size - len((head + closing + "}}").encode())
        text = part * (left // len(part.encode()))
        return head + text.removesuffix(",") + closing + "}}"

    return build


def _members(names: Iterator[str]) -> Build:
    """Return what fills a call's params with members of these names, each once."""

    def build(size: int) -> str:
        left = size - 64
        chosen: dict[str, int] = {}
        for name in names:
            left -= len(f"{json.dumps(name, ensure_ascii=False)}:0,".encode())
            if left < 0:
                break
            chosen[name] = 0
        return request_text("ping", **chosen)

    return build


def _odd_names(length: int) -> Iterator[str]:
    """Yield names of characters that have an ASCII form, or none at their end."""
    odd = "ｎａｍｅſKﬃ\u200b\u00ad\U000e0041𝐧𝒶𝗆𝘦"
    for number in count():
        digits = [odd[int(each)] for each in str(number)]
        yield "".join(digits) + (odd * (length // len(odd) + 1))[: length - len(digits)]


def _distinct_names() -> Iterator[str]:
    """Yield a name of every character that UTF-8 has in four bytes, each alone."""
    return map(chr, range(0x10000, 0x110000))


def _addresses(number: int, length: int) -> Build:
    """Return a subscription to so many addresses of so many characters, or to shorter ones."""

    def build(size: int) -> str:
        each = min(length, (size - 400) // number - 4)
        parts = "%2B" * ((each - len(START) - 3) // 3)
        uris = [f"{START}{index:03}{parts}" for index in range(number)]
        return request_text("subscriptions/listen", notifications={"resourceSubscriptions": uris})

    return build


MESSAGES: dict[str, Build] = {
    "empty texts": _around(opening='"a":[', closing="]", part='"",'),
    "numbers": _around(opening='"a":[', closing="]", part="1e9,"),
    "numbers and a pair": _around(opening='"a":["\\ud83d\\ude00",', closing="]", part="1.5,"),
    "short objects": _around(opening='"a":[', closing="]", part='{"abcdefghijkl":{}},'),
    "deep": _around(opening='"a":[', closing="]", part='{"abcdef":' * 60 + "1" + "}" * 60 + ","),
    "escapes": _around(opening='"a":"', closing='"', part="\\u00e9"),
    "pairs": _around(opening='"a":"', closing='"', part="\\ud83d\\ude00"),
    "characters": _around(opening='"a":"', closing='"', part="😀"),
    "quotation marks": _around(opening='"a":"', closing='"', part='\\"'),
    "short members": _members(str(number) for number in count()),
    "odd members": _members(_odd_names(40)),
    "expanding members": _members("\ufdfa" * 8 + str(number) for number in count()),
    "odd short members": _members(_odd_names(4)),
    "odd members of 4 KB": _members(_odd_names(2000)),
    "invisible members": _members("\u200b" * n for n in islice(count(1), 1000)),
    "one odd member": _around(opening='"', closing='":0', part="ſ"),
    "one invisible member": _around(opening='"', closing='":0', part="\u200b"),
    "one member of controls": _around(opening='"', closing='":0', part="\\u0001"),
    "distinct members": _members(_distinct_names()),
    "tool's long name": _around("tools/call", opening='"name":"', closing='"', part="a"),
    "tool's long odd name": _around("tools/call", opening='"name":"', closing='"', part="ﬃ"),
    "long address": _around("resources/read", opening='"uri":"https://a/', closing='"', part="%2B"),
    "many slashes": _around("resources/read", opening='"uri":"https://a/', closing='"', part="/"),
    "long letters": _around("resources/read", opening='"uri":"', closing='"', part="a"),
    "many addresses": _addresses(256, 256),
    "many long addresses": _addresses(256, 4096),
    "long addresses": _addresses(8, 8192),
    "method": lambda size: request_text("a" * (size - 60)),
    "id": lambda size: request_text("unknown").replace(":1,", ':"' + "a" * (size - 80) + '",', 1),
    "odd id": lambda size: request_text("unknown").replace(
        ":1,", ':"' + "é" * ((size - 80) // 2) + '",', 1
    ),
}
