"""docs/architecture.md names every subpackage, and only files and functions that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGES = ("sessions_kms", "oauth", "gateway_site")
SUBPACKAGE = re.compile(r"^- `(\w+)`: ", re.MULTILINE)
FILE = re.compile(r"`([\w.][\w./]*(?:\.py|/))(?:::[\w.]+)?`")
STEPS = re.compile(r"^## [^\n]* step by step\n(.*?)(?=^## )", re.MULTILINE | re.DOTALL)
# A file and a name in it, perhaps followed by other names in it.
NAMES = re.compile(r"`([\w/]+\.py)::(\w[\w.]*`(?:(?:, | and | or )`\w[\w.]*`)*)")
# Folders for Django without code to document.
DJANGO_FOLDERS = {"migrations", "static", "templates"}


def named_files() -> list[tuple[str, str]]:
    """Return each file on the page with the names in it."""
    return [
        (path, name)
        for path, names in NAMES.findall(re.sub(r"\n +", " ", TEXT))
        for name in re.findall(r"[\w.]+(?=`)", names)
    ]


@cache
def definitions_in(path: str) -> set[str]:
    """Return the top-level names of a file, and those in its classes as `Class.name`."""
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


def subpackages_of(package: str) -> set[str]:
    return {
        path.name
        for path in (ROOT / package).iterdir()
        if path.is_dir() and any(path.glob("*.py")) and path.name not in DJANGO_FOLDERS
    }


def section(package: str) -> str:
    return TEXT.partition(f"\n### {package}: ")[2].partition("\n##")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_page_lists_exactly_the_subpackages(package: str) -> None:
    assert sorted(SUBPACKAGE.findall(section(package))) == sorted(subpackages_of(package))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_top_level_module_is_on_the_page(package: str) -> None:
    modules = {f"{package}/{path.name}" for path in (ROOT / package).glob("[!_]*.py")}
    assert sorted(modules - {*FILE.findall(TEXT)}) == []


def test_every_file_on_the_page_exists() -> None:
    found = FILE.findall(TEXT)
    assert len(found) > 50
    assert [path for path in found if not (ROOT / path).exists()] == []


def test_every_name_on_the_page_is_defined_in_its_file() -> None:
    assert len(named_files()) > 50
    assert [(path, name) for path, name in named_files() if name not in definitions_in(path)] == []


def test_every_step_names_a_file() -> None:
    listed = [re.sub(r"\n +", " ", section) for section in STEPS.findall(TEXT)]
    steps = [
        line for section in listed for line in re.findall(r"^\d+\. .*$", section, re.MULTILINE)
    ]
    assert len(steps) > 30
    assert [line for line in steps if not FILE.search(line)] == []


def test_every_subpackage_has_a_folder_of_tests() -> None:
    """Except commands and template tags, which are tested with the code that they use."""
    tested_elsewhere = {"management", "templatetags"}
    missing = [
        f"{package}/{name}"
        for package in PACKAGES
        for name in subpackages_of(package) - tested_elsewhere
        if not (ROOT / "tests" / package / name).is_dir() and name != "local"
    ]
    assert missing == []


def test_page_is_linked_from_the_first_pages() -> None:
    for page in ("docs/index.md", "CONTRIBUTING.md"):
        assert "architecture.md" in Path(ROOT / page).read_text(encoding="utf-8")
