"""What this gateway takes a message for, and what the parsers of servers would call.

A message that is accepted is the same call for each of them; one that every parser reads in one
way is accepted. FUZZ_EXAMPLES tries 100,000 of them, with Go and Jackson as well.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway_site.mcp.messages import InvalidMessage, read_message
from tests.gateway_site.mcp.generated import METHODS, Found, Generated, generated_messages

COUNT = 100_000 if os.environ.get("FUZZ_EXAMPLES") else 1_000
PARSERS = Path(__file__).parent / "parsers"
JARS = [
    Path("/usr/share/java") / f"jackson-{part}.jar" for part in ("core", "databind", "annotations")
]
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
    if raw is None:
        return None
    return [
        (method, {"name": name, "uri": uri, None: None}[METHODS.get(method)])
        for method, name, uri in raw
    ]


def compare(messages: Sequence[Generated], read: Callable[[bytes], dict[str, Any]]) -> None:
    """Compare our verdicts with what each way of reading would call."""
    accepted = rejected = 0
    for each in messages:
        own = own_verdict(each.data)
        if each.call is not None:
            assert own == each.call, each.data
        accepted, rejected = accepted + (own is not None), rejected + (own is None)
        for way, raw in read(each.data).items():
            calls = made_calls(raw)
            if each.call is not None:
                assert calls == [each.call], (way, each.data)
            elif own is not None and calls is not None:
                assert calls == ([own] if own[0] else []), (way, own, each.data)
    assert accepted > len(messages) / 2
    assert rejected > len(messages) / 4


def python_calls(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {"json": None}
    many = found if isinstance(found, list) else [found]
    calls = []
    for each in many:
        if isinstance(each, dict) and isinstance(each.get("method"), str):
            params = each.get("params")
            params = params if isinstance(params, dict) else {}
            named = [params.get(member) for member in ("name", "uri")]
            calls.append([each["method"], *(n if isinstance(n, str) else None for n in named)])
    return {"json": calls}


def program_calls(
    command: Sequence[str | Path], messages: Sequence[Generated], **environment: str
) -> dict[bytes, dict[str, Any]]:
    lines = b"".join(base64.b64encode(each.data) + b"\n" for each in messages)
    done = subprocess.run(
        command, input=lines, capture_output=True, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(zip([each.data for each in messages], found, strict=True))


def test_python_calls_what_was_read(messages: Sequence[Generated]) -> None:
    compare(messages, python_calls)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_javascript_calls_what_was_read(messages: Sequence[Generated]) -> None:
    found = program_calls(["node", PARSERS / "javascript.mjs"], messages)
    compare(messages, found.__getitem__)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("go") is None, reason="needs Go, Debian's golang-go")
def test_go_calls_what_was_read(messages: Sequence[Generated], tmp_path: Path) -> None:
    found = program_calls(
        ["go", "run", PARSERS / "parser.go"],
        messages,
        GOCACHE=str(tmp_path),
        GO111MODULE="off",
        GOTOOLCHAIN="local",
    )
    compare(messages, found.__getitem__)


@pytest.mark.long
@pytest.mark.skipif(
    shutil.which("javac") is None or not all(jar.exists() for jar in JARS),
    reason="needs a JDK and Debian's libjackson2-databind-java",
)
def test_jackson_calls_what_was_read(messages: Sequence[Generated]) -> None:
    classpath = ":".join(map(str, JARS))
    found = program_calls(["java", "-cp", classpath, PARSERS / "Parser.java"], messages)
    compare(messages, found.__getitem__)
