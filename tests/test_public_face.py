"""What sessions_kms and oauth offer, and that what uses them uses that and no more."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import oauth
import sessions_kms
from tests import ROOT

FACES = [sessions_kms, oauth]
USERS = {"sessions_kms": ("oauth", "gateway_site"), "oauth": ("gateway_site",)}
# How a package that is built on ours offers its names; how it keeps old paths goes with ours.
MACHINERY = {"sessions_kms.face.offering", "sessions_kms.face.old_paths"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CALL = re.compile(r"`(?:await )?((?:oauth|sessions_kms)(?:\.\w+)*)\.(\w+)\(")
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def imported(tree: ast.AST, package: str) -> Iterator[tuple[str, str | None]]:
    """Yield the modules of a package that are imported, with the names taken from each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name, None) for each in node.names if is_of(each.name, package))
        elif isinstance(node, ast.ImportFrom) and is_of(node.module or "", package):
            yield from ((node.module or "", each.name) for each in node.names)


def is_of(module: str, package: str) -> bool:
    return module.partition(".")[0] == package


def is_public(face: ModuleType, module: str, name: str | None) -> bool:
    if module == face.__name__:
        return name in face.__all__ or f"{module}.{name}" in face.PUBLIC_MODULES
    return {module, f"{module}.{name}"} & {*face.PUBLIC_MODULES, *MACHINERY} != set()


@pytest.mark.parametrize("face", FACES)
def test_packages_use_only_each_others_face(face: ModuleType) -> None:
    inner = [
        (path.relative_to(ROOT).as_posix(), module, name)
        for user in USERS[face.__name__]
        for path in sorted((ROOT / user).rglob("*.py"))
        for module, name in imported(ast.parse(path.read_bytes()), face.__name__)
        if not is_public(face, module, name)
    ]
    assert inner == []


@pytest.mark.parametrize("face", FACES)
def test_documents_import_only_from_the_face(face: ModuleType) -> None:
    blocks = [block for page in PAGES for block in PYTHON_BLOCK.findall(page.read_text("utf-8"))]
    inner = [
        (module, name)
        for block in blocks
        for module, name in imported(ast.parse(re.sub(r"…", "...", block)), face.__name__)
        if not is_public(face, module, name)
    ]
    assert inner == []


def test_calls_that_documents_show_are_of_the_face() -> None:
    calls = [call for page in PAGES for call in CALL.findall(page.read_text("utf-8"))]
    assert calls
    for module, name in calls:
        face = importlib.import_module(module.partition(".")[0])
        assert is_public(face, module, name)
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("face", FACES)
def test_each_name_is_there_and_is_what_type_checkers_take_it_for(face: ModuleType) -> None:
    tree = ast.parse(Path(str(face.__file__)).read_bytes())
    checked = {
        alias.asname or alias.name: (str(node.module), alias.name)
        for branch in tree.body
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(checked) == sorted(face.__all__)
    for name, (module, what) in checked.items():
        assert getattr(face, name) is getattr(importlib.import_module(module), what)


@pytest.mark.parametrize("face", FACES)
def test_each_public_module_is_there(face: ModuleType) -> None:
    for module in face.PUBLIC_MODULES:
        assert importlib.import_module(module).__name__ == module


@pytest.mark.parametrize("face", FACES)
def test_another_name_is_not_there(face: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        face.nothing  # noqa: B018 - that is the test
