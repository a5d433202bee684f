"""What a guide tells its reader to type and to write, read from the page's own code blocks.

| block | what the reader does |
|---|---|
| `console` | types what follows `$ ` (and `> ` in the next line), and compares the output below |
| another language; the first line is the comment `path/of/file` | writes that file |
| the same with `# path/of/file, at the end` | adds to that file |
| `diff`; the first line is `+++ path/of/file` | replaces the lines after `-` by those after `+` |

Blocks without such a first line are there to be read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r"(?:#|//|--|<!--) ([\w./-]+\.\w+|[\w./-]*/[\w.-]+)(, at the end)?(?: -->)?$")
OUTPUT = re.compile(r"(?!\$ |> ).*")


@dataclass(frozen=True)
class Command:
    """A command, and the lines that it prints. `…` stands for what varies."""

    line: int
    text: str
    expected: str


@dataclass(frozen=True)
class NewFile:
    """A file that the reader writes."""

    line: int
    path: str
    text: str


@dataclass(frozen=True)
class Addition(NewFile):
    """Lines that the reader adds at the end of a file."""


@dataclass(frozen=True)
class Change:
    """Lines of a file that the reader replaces."""

    line: int
    path: str
    old: str
    new: str


Step = Command | NewFile | Addition | Change


def read_steps(page: str) -> list[Step]:
    """Return everything that a page tells its reader to do, in order."""
    return list(_read_blocks(page))


def _read_blocks(page: str) -> Iterator[Step]:
    for block in BLOCK.finditer(page):
        indent, language, body = block.groups()
        lines = [each.removeprefix(indent) for each in body.splitlines()]
        first = page.count("\n", 0, block.start()) + 2
        if language == "console":
            yield from _read_commands(lines, first)
        elif language == "diff":
            yield _read_change(lines, first)
        elif lines and (title := TITLE.fullmatch(lines[0])):
            made = Addition if title[2] else NewFile
            yield made(first, title[1], "\n".join([*lines[1:], ""]))


def _read_commands(lines: list[str], first: int) -> Iterator[Command]:
    assert lines[0].startswith("$ "), f"line {first}: a console block begins with a command"
    for number, line in enumerate(lines):
        if not line.startswith("$ "):
            continue
        rest = lines[number + 1 :]
        more = list(takewhile(lambda each: each.startswith("> "), rest))
        printed = takewhile(OUTPUT.fullmatch, rest[len(more) :])
        text = "\n".join(each[2:] for each in [line, *more])
        yield Command(first + number, text, "\n".join(printed).strip())


def _read_change(lines: list[str], first: int) -> Change:
    assert lines[0].startswith("+++ "), f"line {first}: a diff begins with +++ and its file"
    old, new = (
        "".join(f"{each[1:]}\n" for each in lines[1:] if each[:1] in {sign, " "}) for sign in "-+"
    )
    return Change(first, lines[0][4:], old, new)
