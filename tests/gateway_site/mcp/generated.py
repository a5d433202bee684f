# ruff: noqa: RUF001, S311 - letters that look alike; chance guards nothing
"""Generated messages: sound ones, of which is known what they call, and odd ones made of them."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

METHODS = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tools/list": None,
    "ping": None,
}
NAMES = ("allowed", "denied", "a.b-c/d_1", "größe", "日本", 'q"uote\\', "", "😀", "x" * 128)
MEMBERS = ("jsonrpc", "id", "method", "params", "name", "uri", "arguments", "_meta", "cursor")
BLANKS = ("", "", "", " ", "\n", "\r\n", "\t", "  ")
# What a parser might take for an ASCII letter, and what it might not see.
LETTERS = {"s": "sSſｓ", "k": "kK\u212aｋ", "_": "_＿\ufe4d\ufe33"}
UNSEEN = ("\x00", "\x01", "\x1f", "\x7f", "\x85", "\u200b", "\ufeff", "\u00ad")
NUMBERS = ("0", "-0", "1", "1.0", "-1.5e-3", "1E+2", "12345678901234567890", "0." + "1" * 60)

Found = tuple[str, str | None]  # the method, and what it is about


@dataclass(frozen=True)
class Generated:
    """One message. `call` is what a sound one calls; None for an odd one, whatever it may call."""

    data: bytes
    call: Found | None


def generated_messages(seed: int, count: int) -> Iterator[Generated]:
    """Yield messages, of which half are odd."""
    chance = random.Random(seed)
    for _ in range(count):
        pairs, call = _sound(chance)
        if chance.random() < 0.5:
            yield Generated(write_object(chance, pairs).encode(), call)
        else:
            yield Generated(chance.choice(ODDITIES)(chance, pairs), None)


Pairs = list[tuple[str, Any]]  # of an object; a value that is such a list is an object, too


def _sound(chance: random.Random) -> tuple[Pairs, Found]:
    method = chance.choice(list(METHODS))
    member = METHODS[method]
    name = chance.choice(NAMES)
    params: Pairs = [("arguments", any_value(chance, 3))]
    if member:
        params.append((member, name))
    if chance.random() < 0.5:
        params.append(("_meta", [("progressToken", chance.choice(["t", 7])), ("a.b/c", "d")]))
    if chance.random() < 0.3:
        params.append(("other", any_value(chance, 2)))
    chance.shuffle(params)
    pairs: Pairs = [
        ("jsonrpc", "2.0"),
        ("id", chance.choice([1, "x", 2**40, ""])),
        ("method", method),
        ("params", params),
    ]
    chance.shuffle(pairs)
    return pairs, (method, name if member else None)


class Raw(str):
    """A part of a text, as it is."""


def any_value(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(8 if depth else 5)
    if kind < 2:
        return chance.choice(NAMES)
    if kind < 4:
        return Raw(chance.choice((*NUMBERS, "true", "false", "null")))
    if kind < 6:
        return (
            [Item(any_value(chance, depth - 1)) for _ in range(chance.randrange(3))]
            if depth
            else ""
        )
    # Below `arguments` the names decide nothing, however they look.
    words = ["name", "Name", "method", "METHOD", "ﬁ", "a", "__proto__"]
    names = chance.sample(words, chance.randrange(4))
    return [(name, any_value(chance, depth - 1)) for name in names]


@dataclass(frozen=True)
class Item:
    """An item of an array."""

    value: Any


def _text(chance: random.Random, value: Any) -> str:
    if isinstance(value, Raw):
        return value
    if isinstance(value, str):
        return _string(chance, value)
    if isinstance(value, int):
        return str(value)
    if value and isinstance(value[0], Item):
        items = [_text(chance, item.value) for item in value]
        return "[" + (chance.choice(BLANKS) + ",").join(items) + "]"
    return write_object(chance, value)


def write_object(chance: random.Random, pairs: Pairs) -> str:
    """Return a text of an object: with blanks and escapes by chance."""

    def blank() -> str:
        return chance.choice(BLANKS)

    parts = [
        f"{blank()}{_string(chance, name)}{blank()}:{blank()}{_text(chance, value)}{blank()}"
        for name, value in pairs
    ]
    return blank() + "{" + ",".join(parts) + "}" + blank()


def _string(chance: random.Random, text: str) -> str:
    if chance.random() < 0.7:
        return json.dumps(text, ensure_ascii=chance.random() < 0.5)
    escaped = [
        json.dumps(each)[1:-1] if len(json.dumps(each)) > 3 else f"\\u{ord(each):04x}"
        for each in text
    ]
    return '"' + "".join(escaped) + '"'


# Oddities. Each returns the bytes of a message.


def disguise(chance: random.Random, member: str) -> str:
    """Return a name that some parser may take for a member's."""
    at = chance.randrange(len(member))
    way = chance.randrange(6)
    if way == 0:
        return member
    if way == 1:
        return member.upper() if chance.random() < 0.5 else member.capitalize()
    if way == 2:
        return member[:at] + chance.choice(UNSEEN) + member[at:]
    if way == 3:
        return "".join(chr(ord(each) + 0xFEE0) for each in member)
    return "".join(chance.choice(LETTERS.get(each, each + each.upper())) for each in member)


def _with_disguised(chance: random.Random, pairs: Pairs) -> bytes:
    """Add a member that looks like another, before or after it."""
    member = chance.choice(MEMBERS)
    level: Pairs = pairs
    if chance.random() < 0.7:
        level = next(value for name, value in pairs if name == "params")
    value: Any = chance.choice(["denied", "tools/call", [("name", "denied")], Raw("null")])
    level.insert(chance.randrange(len(level) + 1), (disguise(chance, member), value))
    return write_object(chance, pairs).encode()


def _with_prototype(chance: random.Random, pairs: Pairs) -> bytes:
    """Move a member into `__proto__`, or put another value of it there."""
    params = next(value for name, value in pairs if name == "params")
    level = chance.choice([pairs, params or pairs])
    name, value = chance.choice(level)
    if chance.random() < 0.7:
        level.remove((name, value))
    level.insert(0, ("__proto__", [(name, chance.choice([value, "denied"]))]))
    return write_object(chance, pairs).encode()


def _with_other_value(chance: random.Random, pairs: Pairs) -> bytes:
    """Give a member a value of another kind, or remove it."""
    params = next(value for name, value in pairs if name == "params")
    level = chance.choice([pairs, params or pairs])
    at = chance.randrange(len(level))
    values = ("denied", "denied\x00", "den\x00ied", "tools/call\x00", "\ufeffdenied")
    odd = (
        "null",
        "[]",
        "{}",
        "0",
        "1e999",
        "NaN",
        "-Infinity",
        "01",
        "1.",
        ".5",
        "+1",
        "0x1",
        "1" * 65,
    )
    value: Any = chance.choice([*values, *map(Raw, odd), Raw('"\\ud800"'), Raw('"\\udc00\\ud800"')])
    level[at : at + 1] = [(level[at][0], value)] if chance.random() < 0.9 else []
    return write_object(chance, pairs).encode()


def _wrap(chance: random.Random, pairs: Pairs) -> bytes:
    text, other = write_object(chance, pairs), write_object(chance, _sound(chance)[0])
    many = "[" * 70 + text + "]" * 70
    odd = (f"[{text}]", f"[{text},{other}]", text + other, text + "\n" + other, many, f"{text},")
    return chance.choice((*odd, text + "\x00", text + "//x", "/**/" + text, f'"{text}"')).encode()


def _encode(chance: random.Random, pairs: Pairs) -> bytes:
    text = write_object(chance, pairs)
    codecs = ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig", "utf-7")
    return text.encode(chance.choice(codecs))


def _damage(chance: random.Random, pairs: Pairs) -> bytes:
    """Change, insert or remove a few bytes."""
    data = bytearray(write_object(chance, pairs).encode())
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(data))
        new = bytes([chance.choice([*b'"\\{}[]:,\x00\r\n\t 0eE+-.nN', 0xC0, 0xED, 0xFF, 0x80])])
        data[at : at + chance.randrange(2)] = chance.choice([b"", new])
    return bytes(data)


def _deep(chance: random.Random, pairs: Pairs) -> bytes:
    depth = chance.choice([62, 63, 64, 65, 500])
    value = Raw(chance.choice(["[", '{"a":']) * depth + "0")
    params = next(value for name, value in pairs if name == "params")
    closing = "]" if value.startswith("[") else "}"
    params[:] = [(n, Raw(value + closing * depth) if n == "arguments" else v) for n, v in params]
    return write_object(chance, pairs).encode()


ODDITIES: tuple[Callable[[random.Random, Pairs], bytes], ...] = (
    _with_disguised,
    _with_disguised,
    _with_prototype,
    _with_other_value,
    _wrap,
    _encode,
    _damage,
    _deep,
)
