"""The pages' blocks of code: Python compiles, data parses, commands and variables exist.

The commands of the guides are run by `tests/guides`, and other examples by the tests of their page.
"""

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from django.core.management import get_commands, load_command_class

from gateway_site import variables
from tests import ROOT
from tests.support.cases import each_case

PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *ROOT.glob("*.md")]
BLOCK = re.compile(r"(?m)^( *)```(\w*)[^\n]*\n(.*?)^\1```", re.DOTALL)
COMMAND = re.compile(r"(?m)(?:^|[$>(&;] ?)(?:kms-gateway|(?:python )?manage\.py) ([^\n]+)")
VARIABLE = re.compile(r"(?:^|[ $])([A-Z][A-Z0-9_]*)=(\S*)")
OF_TESTS = {"test"}  # Django's, which reads its options with a second parser


class Block(NamedTuple):
    page: str
    language: str
    text: str


def blocks() -> Iterator[Block]:
    for page in PAGES:
        for indent, language, text in BLOCK.findall(page.read_text("utf-8")):
            lines = [line.removeprefix(indent) for line in text.splitlines(keepends=True)]
            yield Block(page.name, language, re.sub(r"\\\n(?:> )?", " ", "".join(lines)))


ALL = list(blocks())


def of(*languages: str) -> list[Block]:
    return [block for block in ALL if block.language in languages]


def test_pages_have_such_blocks() -> None:
    assert len(of("python")) > 15
    assert len(of("json")) >= 3
    assert len(list(commands())) > 40
    assert len(list(assignments())) > 30


@each_case("block", of("python"))
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("block", of("json", "toml"))
def test_data_parses(block: Block) -> None:
    (json.loads if block.language == "json" else tomllib.loads)(block.text)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield the page and the words of each command of ours or of Django."""
    for block in of("", "console", "sh"):
        for line in COMMAND.findall(block.text):
            words = list(_words(line))
            words = words[1:] if words[0] == "--local" else words
            if words and not words[0].startswith("["):
                yield block.page, words


def _words(line: str) -> Iterator[str]:
    """Yield the words of a command up to what is the shell's."""
    reader = shlex.shlex(line, posix=True, punctuation_chars=True)
    reader.whitespace_split = True
    for word in reader:
        if set(word) <= set("();<>|&"):
            return
        yield word


@each_case(("page", "words"), sorted({(page, tuple(words)) for page, words in commands()}))
def test_command_exists_and_takes_its_options(page: str, words: tuple[str, ...]) -> None:
    name, *options = words
    known = get_commands()
    assert name in known, page
    if name in {"serve", "runlocal", *OF_TESTS} or any("[" in each for each in options):
        return  # It reads its options by itself, or they are a synopsis.
    parser = load_command_class(str(known[name]), name).create_parser("manage.py", name)
    parser.parse_args(options)  # raises CommandError


def assignments() -> Iterator[tuple[str, str, str]]:
    for block in of("", "console", "sh", "ini"):
        for name, value in VARIABLE.findall(block.text):
            yield block.page, name, value


@each_case(("page", "name"), sorted({(p, n) for p, n, _ in assignments()}))
def test_variable_is_one_that_the_gateway_knows(page: str, name: str) -> None:
    found = variables.find_unknown({name: "x"})
    # One of several variables of a provider or an upstream: the page names the others elsewhere.
    assert [each for each in found if "has no effect" not in each] == [], page
