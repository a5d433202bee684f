"""docs/architecture.md names every room, and files and functions that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("sessions_kms", "oauth", "gateway_site")
ROOM = re.compile(r"^\| `(\w+)` \|", re.MULTILINE)
FILE = re.compile(r"`([\w.][\w./]*(?:\.py|/))`")
# After a file and a colon: names in it, one or more.
NAMES = re.compile(r"`([\w/]+\.py)`: (`\w[\w.]*`(?:(?:, | and | or )`\w[\w.]*`)*)")
# What Django finds in a folder that is no room of the code.
NO_ROOMS = {"migrations", "static", "templates"}


def named() -> list[tuple[str, str]]:
    """Return each name that the page puts into a file."""
    return [
        (path, name)
        for path, names in NAMES.findall(TEXT)
        for name in re.findall(r"`([^`]+)`", names)
    ]


@cache
def defined_in(path: str) -> set[str]:
    """Return the names at the top of a file, and those in its classes as `Class.name`."""
    body = ast.parse((ROOT / path).read_text(encoding="utf-8")).body
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    within = {f"{each.name}.{name}" for each in classes for name in _names_of(each.body)}
    return within | set(_names_of(body))


def _names_of(body: list[ast.stmt]) -> list[str]:
    names: list[str] = []
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.append(node.name)
            case ast.Assign(targets=targets):
                names += [each.id for each in targets if isinstance(each, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
    return names


def rooms_of(package: str) -> set[str]:
    return {
        path.name
        for path in (ROOT / package).iterdir()
        if path.is_dir() and any(path.glob("*.py")) and path.name not in NO_ROOMS
    }


def section(package: str) -> str:
    return TEXT.partition(f"\n### {package}: ")[2].partition("\n##")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_is_on_the_page_and_no_other(package: str) -> None:
    assert sorted(ROOM.findall(section(package))) == sorted(rooms_of(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_that_stands_in_no_room_is_on_the_page(package: str) -> None:
    stand = {f"{package}/{path.name}" for path in (ROOT / package).glob("[!_]*.py")}
    assert sorted(stand - {*FILE.findall(TEXT)}) == []


def test_every_file_that_is_named_exists() -> None:
    found = FILE.findall(TEXT)
    assert len(found) > 50
    assert [path for path in found if not (ROOT / path).exists()] == []


def test_every_name_stands_in_the_file_before_it() -> None:
    assert len(named()) > 50
    assert [(path, name) for path, name in named() if name not in defined_in(path)] == []


def test_every_way_has_a_file_at_each_step() -> None:
    steps = [line for line in TEXT.splitlines() if re.match(r"^\| (?:\d+|-) \|", line)]
    assert len(steps) > 30
    assert [line for line in steps if not FILE.search(line.rpartition(" | ")[2])] == []


def test_every_room_has_its_tests() -> None:
    """Tests mirror the rooms, but for those that put others together or serve both packages."""
    together = {"management", "templatetags"}
    missing = [
        f"{package}/{room}"
        for package in PACKAGES
        for room in rooms_of(package) - together
        if not (ROOT / "tests" / package / room).is_dir() and room != "local"
    ]
    assert missing == []


def test_page_is_linked_from_where_readers_begin() -> None:
    for reader in ("docs/index.md", "CONTRIBUTING.md"):
        assert "architecture.md" in Path(ROOT / reader).read_text(encoding="utf-8")
