"""The allowed imports, and the size of files and folders, checked in the source."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from tests import ROOT
from tests.support.processes import output_of, run_to_end

PACKAGES = ("sessions_kms", "oauth", "gateway_site")
SERVICES = "sessions_kms.services"
GIVEN_SERVICES = (
    "sessions_kms/operations",
    "sessions_kms/sealed_items",
    "sessions_kms/session",
    "oauth/provider",
    "oauth/admission",
    "oauth/tokens",
    "oauth/logout",
)
# The parts of a `Wait`: the only code below the middlewares that awaits asyncio.
LEAVES = {
    "oauth.network.http",
    "oauth.network.vetted_addresses",
    "sessions_kms.aws.http_client.asynchronous",
    "sessions_kms.http.connecting",
    "sessions_kms.concurrency.finishing",
}
NAMED = re.compile(r"(?<![\w*<.-])(?:\w+/)*(\w+\.py)\b")  # a file's name, without folders
MAX_LINES = 500
MAX_MODULES = 15  # in a folder, without its __init__


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.slow
def test_imports_are_in_the_declared_order() -> None:
    """In a separate process: import-linter disables all existing loggers."""
    code = "from importlinter.cli import lint_imports; exit(lint_imports(no_cache=True))"
    done = run_to_end([sys.executable, "-c", code], seconds=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_access_rule_imports_neither_django_nor_the_network() -> None:
    graph = grimp.build_graph("oauth", include_external_packages=True, cache_dir=None)
    rule = {"oauth.access_rule", "oauth.admission.claims"}
    imported = {name for each in rule for name in graph.find_modules_directly_imported_by(each)}
    assert imported - rule - sys.stdlib_module_names == {"idna"}


def test_only_entry_points_import_the_services_of_the_process() -> None:
    importers = {
        module_of(path)
        for folder in GIVEN_SERVICES
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.module in {"sessions_kms", SERVICES}
        if any(alias.name == "services" for alias in node.names)
    }
    assert importers == set()


def awaited_expressions(tree: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Yield each awaited expression, and whether this is within the `suspend` of a `Wait`."""
    functions: list[tuple[ast.AST, bool]] = [(tree, False)]
    while functions:
        node, is_leaf = functions.pop()
        for each in ast.iter_child_nodes(node):
            is_suspend = isinstance(each, ast.AsyncFunctionDef) and each.name == "suspend"
            functions.append((each, is_leaf or is_suspend))
            if isinstance(each, ast.Await):
                yield each.value, is_leaf
            elif isinstance(each, ast.AsyncWith):
                yield from ((item.context_expr, is_leaf) for item in each.items)
            elif isinstance(each, ast.AsyncFor):
                yield each.iter, is_leaf


def is_of_asyncio(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Name) and each.id == "asyncio" for each in ast.walk(node))


@pytest.mark.parametrize("package", ["sessions_kms", "oauth"])
def test_only_waits_await_asyncio(package: str) -> None:
    """Threads without an event loop run the same coroutines (`concurrency.waits`)."""
    found = {
        module_of(path)
        for path in files(package)
        for node, is_leaf in awaited_expressions(ast.parse(path.read_bytes()))
        if is_of_asyncio(node) and not is_leaf
    }
    assert found == {each for each in LEAVES if each.startswith(package)}


@pytest.mark.parametrize("package", ["sessions_kms", "oauth"])
def test_no_thread_lock_is_held_across_an_await(package: str) -> None:
    """Other tasks of the same event loop would wait for it forever."""
    held = [
        (module_of(path), node.lineno)
        for path in files(package)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.With)
        and any("lock" in ast.unparse(item.context_expr).lower() for item in node.items)
        and any(isinstance(each, ast.Await) for each in ast.walk(node))
    ]
    assert held == []


def test_tests_import_helpers_from_no_other_test() -> None:
    """A star import runs the same tests with other fixtures."""
    found = {
        (module_of(path), node.module)
        for path in files("tests")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and [alias.name for alias in node.names] != ["*"]
        for name in (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names))
        if name.startswith("tests.") and name.rpartition(".")[2].startswith("test_")
        if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()
    }
    assert found == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_each_subpackage_has_a_docstring(package: str) -> None:
    found = [
        path for path in (ROOT / package).glob("*/__init__.py") if "migrations" not in str(path)
    ]
    assert found
    assert [path for path in found if not ast.get_docstring(ast.parse(path.read_bytes()))] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_files_named_in_docstrings_and_comments_exist(package: str) -> None:
    folders = (*PACKAGES, "tests")
    existing = {path.name for folder in folders for path in (ROOT / folder).rglob("*.py")}
    existing |= {"manage.py"}
    named = {
        (module_of(path), name)
        for path in files(package)
        for name in NAMED.findall(path.read_text(encoding="utf-8"))
    }
    assert sorted((module, name) for module, name in named if name not in existing) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_long(package: str) -> None:
    lengths = {module_of(path): len(path.read_bytes().splitlines()) for path in files(package)}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_has_too_many_modules(package: str) -> None:
    folders = {path.parent for path in files(package)}
    counts = {
        str(folder.relative_to(ROOT)): len(set(folder.glob("*.py")) - {folder / "__init__.py"})
        for folder in folders
    }
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


@pytest.mark.slow
def test_importing_the_backend_reads_no_setting_and_imports_no_boto() -> None:
    code = """
import sys
import sessions_kms.backend
from django.conf import settings
print(settings.configured, [name for name in sys.modules if name.startswith("boto")])
"""
    assert output_of(code, {"PATH": ""}) == "False []"


@pytest.mark.slow
def test_engine_without_commands_and_admin_is_imported_without_settings() -> None:
    # Django itself imports the models and the admin, when its settings are configured.
    modules = [
        module_of(path)
        for path in files("sessions_kms")
        if not {"commands", "migrations"} & set(path.parts)
        and not path.name.startswith(("admin", "models"))
        and "admin" not in path.parts
    ]
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    assert output_of(code, {"PATH": ""}) == ""
