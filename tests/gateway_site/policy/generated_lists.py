# ruff: noqa: S311 - chance guards nothing
"""Generated responses that list tools, prompts, resources and templates: clear and odd ones."""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.gateway_site.mcp.generated import Item, Pairs, Raw, any_value, disguise, write_object
from tests.gateway_site.mcp.other_parsers import ENTRIES
from tests.gateway_site.policy.generated_calls import (
    CLIENTS,
    GROUPS,
    NAMES,
    denied_names,
    odd_address,
    odd_word,
    some_rules,
)
from tests.gateway_site.policy.reference import RuleTable

TEMPLATES = (
    *("file:///open/{a}", "file:///secret/{a}", "db:{a}", "file:///{+path}", "db:s{a}"),
    *("https://x.example/secret/{b}", "note://n-1/a{?b}"),
)
LISTED: Mapping[str, Sequence[str]] = {**NAMES, "resourceTemplates": TEMPLATES}
LINE_ENDS = (b"\n", b"\r\n", b"\r")
NOTE = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":7}}'


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One response for one caller under rules. `names` are those of a clear one, by kind."""

    rules: Sequence[RuleTable]
    groups: Sequence[str]
    client: str | None
    names: Mapping[str, Sequence[str]] | None
    message: bytes
    stream: bytes


def generated_lists(seed: int, count: int) -> Iterator[Listing]:
    """Yield answers, of which half are odd."""
    chance = random.Random(seed)
    for _ in range(count):
        rules = some_rules(chance)
        groups = [each for each in GROUPS if chance.random() < 0.5]
        client = chance.choice((None, *CLIENTS))
        names = {
            kind: chance.sample(found, chance.randrange(1, 4))
            for kind, found in LISTED.items()
            if chance.random() < 0.5
        }
        result: Pairs = [(kind, [_entry(chance, kind, n) for n in names[kind]]) for kind in names]
        result += [("nextCursor", "2"), ("ttlMs", Raw("1.0e3"))][: chance.randrange(3)]
        pairs: Pairs = [("jsonrpc", "2.0"), ("id", 7), ("result", result)]
        is_odd = chance.random() < 0.5
        if is_odd:
            _make_odd(chance, pairs, result, denied_names(rules, groups, client))
        chance.shuffle(result)
        chance.shuffle(pairs)
        text = write_object(chance, pairs).encode()
        yield Listing(
            rules=rules,
            groups=groups,
            client=client,
            names=None if is_odd else names,
            message=text,
            stream=_as_stream(chance, text),
        )


def _entry(chance: random.Random, kind: str, name: str) -> Item:
    entry: Pairs = [(ENTRIES[kind], name)]
    if ENTRIES[kind] != "name":
        entry.append(("name", "delete_all"))
    if chance.random() < 0.3:
        entry.append(("inputSchema", any_value(chance, 1)))
    chance.shuffle(entry)
    return Item(entry)


def _make_odd(
    chance: random.Random, pairs: Pairs, result: Pairs, denied: Mapping[str, Sequence[str]]
) -> None:
    """Add what some client takes for a list, an entry or a name, and another one does not."""
    present = [key for key, _ in result if key in LISTED]
    kind = chance.choice(present or list(LISTED))
    name = chance.choice(denied.get(kind) or LISTED[kind])
    odd = odd_word(chance, name) if kind in {"tools", "prompts"} else odd_address(chance, name)
    entries: list[Any] = next((value for key, value in result if key == kind), [])
    way = chance.randrange(9)
    if way in {0, 6, 7} and entries:  # an entry with two names
        entry = chance.choice(entries).value
        entry.insert(chance.randrange(len(entry) + 1), (disguise(chance, ENTRIES[kind]), name))
    elif way == 1:  # the name of another entry, or an odd one
        entries.insert(0, _entry(chance, kind, chance.choice((name, odd))))
    elif way == 2:
        entries.append(Item(chance.choice((Raw("null"), "read", [], Raw("[]"), Raw("7")))))
    elif way == 3:
        result.insert(0, (disguise(chance, kind), [_entry(chance, kind, name)]))
    elif way == 4:
        pairs.insert(0, (disguise(chance, "result"), [(kind, [_entry(chance, kind, name)])]))
    elif way == 8:
        _add_prototype(chance, pairs, result, entries, (kind, name))
    else:
        entries.append(Item([(disguise(chance, ENTRIES[kind]), name)]))


def _add_prototype(
    chance: random.Random, pairs: Pairs, result: Pairs, entries: list[Any], odd: tuple[str, str]
) -> None:
    """Add what a client finds in the `__proto__` of an object that does not have it itself."""
    kind, name = odd
    listed: Pairs = [(kind, [_entry(chance, kind, name)])]
    place, content = chance.choice(
        [(result, listed), (pairs, [("result", listed)]), (None, [(ENTRIES[kind], name)])]
    )
    if place is None:
        entries.append(Item([("__proto__", content)]))
        return
    place[:] = [pair for pair in place if pair[0] not in {kind, "result"}]
    place.append(("__proto__", content))


def _as_stream(chance: random.Random, text: bytes) -> bytes:
    """Return a stream with the message among others, in lines as they are allowed to end."""
    end = chance.choice(LINE_ENDS)
    lines = re.split(rb"\r\n|\n|\r", text)
    events = [
        [b": hello", b""],
        [b"id: 1", b"data: " + NOTE, b""],
        [b"event: message", *(b"data:" + chance.choice((b"", b" ")) + each for each in lines), b""],
        [b"data: " + NOTE, b""],
    ]
    return b"".join(line + end for event in events for line in event)
