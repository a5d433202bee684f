"""docs/contributing/tests.md names tests that exist, and has an answer to each of the 28 points."""

import ast
import re

from tests import ROOT

TESTS = ROOT / "tests"
DOCUMENT = ROOT / "docs" / "contributing" / "tests.md"
POINTS = 28
PATH = re.compile(r"`([\w/]+/test_\w+\.py)`")
NAME = re.compile(r"`(test_\w+)`")


def points() -> dict[int, str]:
    """Return what shows each point, by its number."""
    rows = re.findall(r"^\| (\d+) \|[^|]*\| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    return {int(number): shown for number, shown in rows}


def names_in(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text())
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, functions)}


def test_every_point_is_answered_in_order() -> None:
    assert list(points()) == list(range(1, POINTS + 1))


def test_every_named_test_exists_in_the_file_before_it() -> None:
    for number, shown in points().items():
        _, *parts = PATH.split(shown)
        assert parts, f"point {number} names no test"
        for path, named in zip(parts[::2], parts[1::2], strict=True):
            names = set(NAME.findall(named))
            assert names, f"point {number} names no test of {path}"
            assert names <= names_in(path), f"point {number}: {names - names_in(path)}"


def test_every_named_file_exists() -> None:
    for path in PATH.findall(DOCUMENT.read_text()):
        assert (TESTS / path).exists()
