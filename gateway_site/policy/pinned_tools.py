"""The file of pinned tools: the definitions that an operator has seen. Digests are compared.

The digest of a definition is SHA-256 over its whole JSON in one form: members sorted by their
names, no blanks, ASCII with escapes, numbers as they were written. In the file it is indented, so
that a version control system shows what changed, and in ASCII, so that nothing in it is invisible.
A name that is there more than once has several definitions, as of servers that answer each version
of the protocol differently.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway_site.environment.variable import read_file
from gateway_site.mcp import json_text
from gateway_site.mcp.json_text import InvalidText, JSONObject
from gateway_site.policy.lists import is_clear
from gateway_site.policy.spellings import is_plain_name
from gateway_site.policy.subjects import TOOLS
from sessions_kms.hints import command

FILE_MAX = 4 * 1024 * 1024  # bytes
TOOLS_MAX = 2000
NAME = "name"


class InvalidPins(ValueError):
    """A file or a list that cannot be used. The text says why."""


@dataclass(frozen=True)
class PinnedTools:
    """Definitions, and their digests by name. `digest` is that of the file."""

    definitions: tuple[JSONObject, ...] = field(repr=False)
    digest: str
    digests: Mapping[str, frozenset[str]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found: dict[str, set[str]] = {}
        for each in self.definitions:
            found.setdefault(each[NAME], set()).add(compute_digest(each))
        digests = {name: frozenset(each) for name, each in found.items()}
        object.__setattr__(self, "digests", digests)


def load_pins(path: str | Path) -> PinnedTools:
    """Return the pinned tools of a file. Raises InvalidPins."""
    if not Path(path).exists():
        how = command("pin_tools UPSTREAM --file FILE --write")
        raise InvalidPins(f"File not found. Before the variable is set, {how} writes it.")
    data = read_bounded(path)
    definitions = read_definitions(data)
    for number, each in enumerate(definitions, 1):
        if not is_pinnable(each):
            raise InvalidPins(f"Tool {number} has no name of 1 to 128 visible ASCII characters.")
    return PinnedTools(tuple(definitions), hashlib.sha256(data).hexdigest())


def read_bounded(path: str | Path) -> bytes:
    """Return the content of a file. Raises InvalidPins."""
    try:
        return read_file(Path(path), FILE_MAX)
    except ValueError as error:
        raise InvalidPins(str(error)) from None


def read_definitions(data: bytes) -> list[JSONObject]:
    """Return the objects in a list `tools`, whatever their names are. Raises InvalidPins."""
    try:
        document = json_text.parse(data, FILE_MAX)
    except InvalidText as invalid:
        raise InvalidPins(f"The file is not valid: {invalid}") from None
    tools = document.get(TOOLS) if isinstance(document, dict) and len(document) == 1 else None
    if not isinstance(tools, list) or not all(isinstance(each, dict) for each in tools):
        raise InvalidPins('The file must have one member, "tools": a list of objects.')
    if len(tools) > TOOLS_MAX:
        raise InvalidPins(f"The file has more than {TOOLS_MAX} tools.")
    return tools


def is_pinnable(definition: JSONObject) -> bool:
    """Return True if all clients find the same name in a definition."""
    name = definition.get(NAME)
    return isinstance(name, str) and is_plain_name(name) and is_clear(definition, NAME)


def compute_digest(definition: JSONObject) -> str:
    """Return the digest of a definition: SHA-256 in hexadecimal."""
    return hashlib.sha256(json_text.write(_sort(definition)).encode("ascii")).hexdigest()


def format_file(definitions: Iterable[JSONObject]) -> str:
    """Return the text of a file with these definitions, each once, sorted by their names."""
    unique = {compute_digest(each): each for each in definitions}
    ordered = sorted(unique.items(), key=lambda item: (item[1][NAME], item[0]))
    return format_indented({TOOLS: [each for _, each in ordered]}) + "\n"


def format_indented(value: Any, indent: str = "") -> str:
    """Return JSON in ASCII over several lines, sorted, with numbers as they were written."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [
            f"{inner}{json_text.write(name)}: {format_indented(each, inner)}"
            for name, each in sorted(value.items())
        ]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        lines = [inner + format_indented(each, inner) for each in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    return json_text.write(value)


def _sort(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _sort(value[name]) for name in sorted(value)}
    return [_sort(each) for each in value] if isinstance(value, list) else value
