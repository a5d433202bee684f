"""The code uses exactly the private names of other projects that contributing/libraries.md lists.

A private name is one with an underscore, or one that another project does not document. Whoever
updates a dependency learns here which row to read; the row's own test shows what the name does.
"""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests import ROOT

PAGE = "docs/contributing/libraries.md"
PACKAGES = ("sessions_kms", "oauth", "gateway_site")
# They begin with an underscore, and are documented: of named tuples, `os` and Django's models.
DOCUMENTED = {"_replace", "_exit", "_meta", "_default_manager", "_base_manager"}
# Attributes of our own classes that another object of the same package reads.
OWN_ATTRIBUTES = {"_signed_in", "_baseline", "_recipients"}
GONE = {"_OctalPatt"}  # a name by which older versions of Python are recognized
# Our own keys of a session, attributes of a request, and parts of names.
OWN_TEXTS = {
    "_ALLOWED_", "_CLIENT_ID", "_FILE", "_OTHER", "_PROVIDER", "_about", "_apps_seen",
    "_auth_password_digest", "_callback", "_change", "_claim_names", "_client", "_delete",
    "_gateway_personal", "_gateway_session_full", "_gateway_signed_out", "_grant",
    "_grant_refreshed", "_links", "_oauth_apps", "_oauth_arrived", "_oauth_is_behind",
    "_oauth_leaving", "_oauth_way_back", "_other", "_provider_asked",
    "_session_store_unavailable", "_sessions_kms_sifted_by",
}  # fmt: skip


def rows() -> list[tuple[str, str]]:
    """Return each listed name, by its path in Python, and the test of its row."""
    text = (ROOT / PAGE).read_text(encoding="utf-8").partition("## Private names")[2]
    table = re.findall(r"(?m)^\| (`.*?) \| .* \| (.*) \|$", text)
    return [(name, test) for names, test in table for name in re.findall("`([^`]+)`", names)]


@cache
def private_names() -> dict[str, str]:
    """Return the last part of each private name in the product's code, and where it is used."""
    found: dict[str, str] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for name, line in _used_in(tree):
                found.setdefault(name, f"{path.relative_to(ROOT)}:{line}")
    return found


def _used_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    declared = {id(each) for slots in _slots(tree) for each in ast.walk(slots)}
    classes = {each.name for each in tree.body if isinstance(each, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] not in PACKAGES:
            names = [*(node.module or "").split("."), *(each.name for each in node.names)]
            yield from ((name, node.lineno) for name in names if _is_private(name))
        elif isinstance(node, ast.Attribute) and not _is_of_self(node.value):
            if _is_private(node.attr) and node.attr not in OWN_ATTRIBUTES:
                yield node.attr, node.lineno
        elif isinstance(node, ast.Constant) and id(node) not in declared:
            text = node.value
            if (
                isinstance(text, str)
                and _is_private(text)
                and text not in OWN_TEXTS | GONE | classes
            ):
                yield text, node.lineno


def _slots(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__slots__":
            yield node


def _is_private(name: str) -> bool:
    return re.fullmatch("_[A-Za-z]\\w*", name) is not None and name not in DOCUMENTED


def _is_of_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id in {"self", "cls"}


@dataclass(frozen=True)
class Inherited:
    """A private name of another project's class that a subclass of ours defines or uses."""

    name: str
    place: str
    ours: type
    theirs: type


@cache
def inherited() -> list[Inherited]:
    return list(_inherited())


def _inherited() -> Iterator[Inherited]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                    if module.startswith("gateway_site.local.provider"):
                        continue
                    yield from _inherited_by(node, module.removesuffix(".__init__"))


def _inherited_by(node: ast.ClassDef, module: str) -> Iterator[Inherited]:
    found = vars(importlib.import_module(module))
    # A mixin's are those of the classes that it is mixed into.
    family = [
        each
        for each in found.values()
        if inspect.isclass(each) and found.get(node.name) in each.__mro__
    ]
    others = [
        each
        for each in chain.from_iterable(each.__mro__ for each in family)
        if each.__module__.split(".")[0] not in {*PACKAGES, "builtins", "typing", "enum", "abc"}
    ]
    names = {each.name for each in node.body if isinstance(each, ast.FunctionDef)}
    names |= {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute) and ast.unparse(each.value) in {"self", "super()"}
    }
    for name in filter(_is_private, names):
        for other in [each for each in others if _has(each, name)][:1]:
            yield Inherited(name, f"{module}.{node.name}", found[node.name], other)


def _has(owner: Any, name: str) -> bool:
    """Return True if a module or a class has a name, or mentions it: objects get it later."""
    classes = owner.__mro__ if inspect.isclass(owner) else (owner,)
    word = rf"(?<![A-Za-z0-9]){name}" + ("" if name.endswith("_") else r"\b")
    return hasattr(owner, name) or any(re.search(word, _source(each)) for each in classes)


@cache
def _source(owner: Any) -> str:
    try:
        return inspect.getsource(owner)
    except (OSError, TypeError):  # It is written in C.
        return ""


def _owner(path: str) -> Any:
    """Return the module or class of a listed name."""
    parts = path.split(".")[:-1]
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ImportError(path)


@pytest.mark.parametrize("path", [path for path, _ in rows()])
def test_listed_name_exists(path: str) -> None:
    try:
        exists = _has(_owner(path), path.rpartition(".")[2])
    except (ImportError, AttributeError):
        exists = False
    assert exists, f"{path} is gone or renamed: {PAGE} says what needs it, and its test what it did"


@pytest.mark.slow
def test_page_lists_exactly_the_private_names_that_the_code_uses() -> None:
    used = {each.name: each.place for each in inherited()} | private_names()
    listed = {path.rpartition(".")[2] for path, _ in rows()}
    for name, place in used.items():
        assert name in listed, f"{place} uses {name}, which has no row in {PAGE}"
    of_tests = {path.rpartition(".")[2] for path, _ in rows() if path.startswith("_pytest.")}
    private = {name for name in listed - of_tests if name.startswith("_")}
    assert private - set(used) == set(), "rows that nothing needs"


@pytest.mark.slow
def test_overridden_private_method_has_the_parameters_of_the_other_project() -> None:
    compared = set()
    for each in inherited():
        ours, theirs = vars(each.ours).get(each.name), getattr(each.theirs, each.name, None)
        if inspect.isfunction(ours) and inspect.isfunction(theirs):
            compared.add(each.name)
            parameters = [list(inspect.signature(method).parameters) for method in (ours, theirs)]
            assert parameters[0] == parameters[1], f"{each.place}.{each.name}: see {PAGE}"
    assert {"_new_conn", "_start_asgi_task", "_get_session", "_reject"} <= compared


def test_tests_list_what_they_take_of_pytest() -> None:
    listed = {path for path, _ in rows()}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for module, names in re.findall(r"(?m)^from (_pytest[.\w]*) import (.+)$", text):
            for name in names.split(", "):
                used = re.findall(rf"\b{name}(?:\.|, \")(\w+)", text)
                taken = {f"{module}.{name}.{each}" for each in used} or {f"{module}.{name}"}
                assert taken <= listed, path


@pytest.mark.parametrize("test", sorted({test for _, test in rows()}))
def test_test_of_a_row_exists(test: str) -> None:
    found = re.fullmatch(r"`([\w/]+\.py)`(?:: `(\w+)`)?", test)
    assert found is not None, test
    text = (Path(ROOT) / "tests" / found[1]).read_text(encoding="utf-8")
    assert found[2] is None or f"def {found[2]}(" in text, test
