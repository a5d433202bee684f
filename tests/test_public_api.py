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

PACKAGES = [sessions_kms, oauth]
USERS = {"sessions_kms": ("oauth", "gateway_site"), "oauth": ("gateway_site",)}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CALL = re.compile(r"`(?:await )?((?:oauth|sessions_kms)(?:\.\w+)*)\.(\w+)\(")
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def imported_names(tree: ast.AST, package: str) -> Iterator[tuple[str, str | None]]:
    """Yield the modules of a package that are imported, with the names taken from each."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((each.name, None) for each in node.names if is_of(each.name, package))
        elif isinstance(node, ast.ImportFrom) and is_of(node.module or "", package):
            yield from ((node.module or "", each.name) for each in node.names)


def is_of(module: str, package: str) -> bool:
    return module.partition(".")[0] == package


def is_public(package: ModuleType, module: str, name: str | None) -> bool:
    if module == package.__name__:
        return name in package.__all__ or f"{module}.{name}" in package.PUBLIC_MODULES
    return {module, f"{module}.{name}"} & {*package.PUBLIC_MODULES} != set()


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_packages_use_only_each_others_api(package: ModuleType) -> None:
    inner = [
        (path.relative_to(ROOT).as_posix(), module, name)
        for user in USERS[package.__name__]
        for path in sorted((ROOT / user).rglob("*.py"))
        for module, name in imported_names(ast.parse(path.read_bytes()), package.__name__)
        if not is_public(package, module, name)
    ]
    assert inner == []


@pytest.mark.parametrize("package", PACKAGES)
def test_documents_import_only_from_the_api(package: ModuleType) -> None:
    blocks = [block for page in PAGES for block in PYTHON_BLOCK.findall(page.read_text("utf-8"))]
    inner = [
        (module, name)
        for block in blocks
        for module, name in imported_names(ast.parse(re.sub(r"…", "...", block)), package.__name__)
        if not is_public(package, module, name)
    ]
    assert inner == []


def test_calls_that_documents_show_are_of_the_api() -> None:
    calls = [call for page in PAGES for call in CALL.findall(page.read_text("utf-8"))]
    assert calls
    for module, name in calls:
        package = importlib.import_module(module.partition(".")[0])
        assert is_public(package, module, name)
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("package", PACKAGES)
def test_each_name_exists_with_the_type_that_checkers_see(package: ModuleType) -> None:
    tree = ast.parse(Path(str(package.__file__)).read_bytes())
    checked = {
        alias.asname or alias.name: (str(node.module), alias.name)
        for branch in tree.body
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in ast.walk(branch)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(checked) == sorted(package.__all__)
    for name, (module, what) in checked.items():
        assert getattr(package, name) is getattr(importlib.import_module(module), what)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_public_module_exists(package: ModuleType) -> None:
    for module in package.PUBLIC_MODULES:
        assert importlib.import_module(module).__name__ == module


@pytest.mark.parametrize("package", PACKAGES)
def test_unknown_name_does_not_exist(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018 - that is the test


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("oauth.adapter", "SocialAccountAdapter"),
        ("oauth.sign_in.authentication", "AuthenticationMiddleware"),
        ("oauth.sign_out", "SignOutMiddleware"),
        ("sessions_kms.backend", "SessionStore"),
        ("sessions_kms.middleware", "StoreUnavailableMiddleware"),
        ("sessions_kms.moving_in", "SessionStore"),
        ("sessions_kms.moving_out", "SessionStore"),
    ],
)
def test_paths_that_projects_write_into_their_settings_stay(module: str, name: str) -> None:
    found = getattr(importlib.import_module(module), name)
    assert found.__module__ == module
    pages = "".join(page.read_text("utf-8") for page in PAGES)
    assert f"{module}.{name}" in pages or f'"{module}"' in pages


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("oauth", "aget_token"),
        ("oauth", "get_token"),
        ("oauth", "needs_consent"),
        ("oauth.provider.dpop", "headers"),
        ("sessions_kms.services", "services"),
        ("sessions_kms.sealed_items.about", "SessionMetadata"),
    ],
)
def test_calls_that_documents_promise_stay(module: str, name: str) -> None:
    assert callable(getattr(importlib.import_module(module), name))
    assert re.search(rf"\b{name}\(", "".join(page.read_text("utf-8") for page in PAGES))
