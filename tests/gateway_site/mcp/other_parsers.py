"""What parsers of other projects find in a text: the calls of a message, or the names in a result.

Each way of reading returns None for a text that it does not accept. Node, Go and Jackson run as
programs of `parsers/`, once for many texts.
"""

import base64
import json
import os
import posixpath
import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest

PARSERS = Path(__file__).parent / "parsers"
JARS = [
    Path("/usr/share/java") / f"jackson-{part}.jar" for part in ("core", "databind", "annotations")
]
CALLS, LISTS = "calls", "lists"
ENTRIES = {
    "tools": "name",
    "prompts": "name",
    "resources": "uri",
    "resourceTemplates": "uriTemplate",
}
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21}
Found = Mapping[str, Any]  # by the way of reading
Read = Callable[[Sequence[bytes]], list[Found]]

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
needs_go = pytest.mark.skipif(shutil.which("go") is None, reason="needs Go, Debian's golang-go")
needs_jackson = pytest.mark.skipif(
    shutil.which("javac") is None or not all(jar.exists() for jar in JARS),
    reason="needs a JDK and Debian's libjackson2-databind-java",
)


class Call(NamedTuple):
    """A call that a server would make. `forms` has other spellings of each of its addresses."""

    method: str
    name: str | None = None
    uri: str | None = None
    reference: Sequence[str | None] = (None, None, None)  # type, name and address
    subscriptions: Sequence[str] = ()
    forms: Mapping[str, Sequence[str]] = {}


def calls_of(found: Any) -> list[Call] | None:
    """Return the calls that one way of reading found."""
    return None if found is None else [Call(*each) for each in found]


def node(what: str, texts: Sequence[bytes]) -> list[Found]:
    return _run(["node", PARSERS / "javascript.mjs", what], texts)


def go(what: str, texts: Sequence[bytes], cache: Path) -> list[Found]:
    environment = {"GOCACHE": str(cache), "GO111MODULE": "off", "GOTOOLCHAIN": "local"}
    return _run(["go", "run", PARSERS / "parser.go", what], texts, **environment)


def jackson(what: str, texts: Sequence[bytes]) -> list[Found]:
    classpath = ":".join(map(str, JARS))
    return _run(["java", "-cp", classpath, PARSERS / "Parser.java", what], texts)


def _run(command: Sequence[str | Path], texts: Sequence[bytes], **environment: str) -> list[Found]:
    lines = b"".join(base64.b64encode(each) + b"\n" for each in texts)
    done = subprocess.run(
        command, input=lines, capture_output=True, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(texts)
    return found


# Python: as `json` reads it, with the first of several members, and without what tells names apart.


def python(what: str, texts: Sequence[bytes]) -> list[Found]:
    find = _calls if what == CALLS else _lists
    return [
        {
            "last": _try_parser(find, text, dict, str),
            "first": _try_parser(find, text, _first, str),
            "folding": _try_parser(find, text, _fold_names, fold),
            "inheriting": _try_parser(find, text, _inherit_members, str),
        }
        for text in texts
    ]


Named = Callable[[str], str]


def _try_parser(find: Callable[[Any, Named], Any], text: bytes, hook: Any, named: Named) -> Any:
    try:
        return find(json.loads(text, object_pairs_hook=hook), named)
    except (ValueError, RecursionError):
        return None


def _first(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _inherit_members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members that zod finds in a copy of an object: also those of its prototype."""
    found = dict(pairs)
    prototype = found.pop("__proto__", None)
    return prototype | found if isinstance(prototype, dict) else found


def _fold_names(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {fold(name): value for name, value in pairs}


@lru_cache(maxsize=10_000)
def fold(name: str) -> str:
    """Return a name as a parser has it that ignores case, width and what cannot be seen."""
    seen = "".join(each for each in name if unicodedata.category(each) not in {"Cc", "Cf"})
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", seen).casefold())


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _calls(found: Any, named: Named) -> list[tuple[Any, ...]]:
    calls = []
    for each in found if isinstance(found, list) else [found]:
        method = _text(_member(each, "method"))
        if method is None:
            continue
        params = _member(each, "params")
        name, uri = _text(_member(params, "name")), _text(_member(params, "uri"))
        reference = [_text(_member(_member(params, "ref"), m)) for m in ("type", "name", "uri")]
        wanted = _member(_member(params, "notifications"), named("resourceSubscriptions"))
        wanted = [x for x in wanted if isinstance(x, str)] if isinstance(wanted, list) else []
        addresses = [x for x in (uri, reference[2], *wanted) if x is not None]
        forms = {x: python_forms(x) for x in addresses}
        calls.append((method, name, uri, reference, wanted, forms))
    return calls


def _lists(found: Any, named: Named) -> dict[str, list[str]]:
    result = _member(found, "result")
    names = {}
    for kind, member in ENTRIES.items():
        entries = _member(result, named(kind))
        entries = entries if isinstance(entries, list) else []
        texts = [_text(_member(each, named(member))) for each in entries]
        names[kind] = [each for each in texts if each is not None]
    return names


def python_forms(uri: str) -> list[str]:
    """Return addresses that a server may make of one: shortened, and decoded up to twice."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return []
    if port not in {None, PORTS.get(parts.scheme)}:
        host += f":{port}"
    if parts.scheme == "file" and host == "localhost":
        host = ""
    found = []
    path = parts.path
    for _ in range(3):
        short = _shorten(path.replace("\\", "/"))
        start = f"{parts.scheme}://{host.rstrip('.')}" if uri.count("://") else f"{parts.scheme}:"
        rest = parts._replace(scheme="", netloc="", path="").geturl()
        found.append(start + short + rest)
        path = unquote(path)
    return found


def _shorten(path: str) -> str:
    """Return a path without dots and empty segments; a slash at its end stays."""
    if not path:
        return path
    short = posixpath.normpath(path)
    short = "/" + short.lstrip("/") if path.startswith("/") else short
    return short + "/" if path.endswith("/") and not short.endswith("/") else short


def parse_by_specification(stream: bytes) -> list[tuple[str, str]]:
    """Return type and data of the events, read at once."""
    found: list[tuple[str, str]] = []
    kind, data = "", ""
    for line in re.split(r"\r\n|\n|\r", stream.decode("utf-8-sig")):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data += value + "\n"
        elif name == "event":
            kind = value
        elif not line:
            if data:
                found.append((kind or "message", data[:-1]))
            kind, data = "", ""
    return found
