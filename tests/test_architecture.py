"""Who may import whom, read from the source, so that no test has to run into it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("sessions_kms", "oauth", "gateway_site")
MAX_LINES = 350
BOTO = {"boto3", "botocore", "mypy_boto3_dynamodb", "mypy_boto3_kms"}
# The core of the engine: it would work in another framework.
WITHOUT_DJANGO = {
    "sessions_kms.aws.translation",
    "sessions_kms.aws.errors",
    "sessions_kms.concurrency.background",
    "sessions_kms.aws.boto_http",
    "sessions_kms.aws.boto_session",
    "sessions_kms.data_keys.cached_keyring",
    "sessions_kms.aws.calls",
    "sessions_kms.aws.circuit",
    "sessions_kms.aws.clients",
    "sessions_kms.aws.clock",
    "sessions_kms.cookies.names",
    "sessions_kms.concurrency.deadline",
    "sessions_kms.storage.doubts",
    "sessions_kms.format.envelope",
    "sessions_kms.exceptions",
    "sessions_kms.concurrency.single_flight",
    "sessions_kms.storage.condition",
    "sessions_kms.storage.data_key_items",
    "sessions_kms.storage.description",
    "sessions_kms.storage.sending",
    "sessions_kms.storage.session_items",
    "sessions_kms.data_keys.keyring",
    "sessions_kms.concurrency.lanes",
    "sessions_kms.format.ancestors",
    "sessions_kms.concurrency.error_checking_lock",
    "sessions_kms.concurrency.bounded_pool",
    "sessions_kms.session.merge",
    "sessions_kms.storage.not_before",
    "sessions_kms.concurrency.backoff",
    "sessions_kms.format.record",
    "sessions_kms.aws.resolving",
    "sessions_kms.aws.retrying",
    "sessions_kms.aws.role_credentials",
    "sessions_kms.aws.signing",
    "sessions_kms.concurrency.elapsed",
    "sessions_kms.storage.table",
    "sessions_kms.concurrency.steps",
    "sessions_kms.telemetry",
    "sessions_kms.format.tombstone",
}


@dataclass(frozen=True)
class Import:
    """One import: which module of ours imports what, and whether for type checkers only."""

    of: str
    what: str
    for_types: bool

    @property
    def package(self) -> str:
        return self.what.partition(".")[0]


class Reader(ast.NodeVisitor):
    """Collects the imports of one module, wherever in it they stand."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.imports: list[Import] = []
        self._module = module
        self._is_package = is_package
        self._for_types = False

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._found(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = node.module or ""
        if node.level:
            parts = self._module.split(".")
            up = parts[: len(parts) - node.level + self._is_package]
            base = ".".join([*up, *([node.module] if node.module else [])])
        for alias in node.names:  # `from package import module` imports the module.
            self._found(f"{base}.{alias.name}")

    def visit_If(self, node: ast.If) -> None:
        typing_only = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        before, self._for_types = self._for_types, self._for_types or typing_only
        for child in node.body:
            self.visit(child)
        self._for_types = before
        for child in node.orelse:
            self.visit(child)

    def _found(self, what: str) -> None:
        self.imports.append(Import(self._module, what, self._for_types))


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(package: str) -> list[Import]:
    found = []
    for path in files(package):
        reader = Reader(module_of(path), path.name == "__init__.py")
        reader.visit(ast.parse(path.read_text(encoding="utf-8")))
        found += reader.imports
    return found


def all_imports() -> Iterator[Import]:
    for package in PACKAGES:
        yield from imports(package)


def module_imported(each: Import) -> str:
    """Return the module that an import names, or that has what it names."""
    parts = each.what.split(".")
    while not (ROOT.joinpath(*parts).with_suffix(".py").exists() or len(parts) == 1):
        parts.pop()
    return ".".join(parts)


def is_under(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [("sessions_kms", {"oauth", "gateway_site"}), ("oauth", {"gateway_site"})],
)
def test_imports_point_one_way(package: str, forbidden: set[str]) -> None:
    assert [each for each in imports(package) if each.package in forbidden] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_the_tests(package: str) -> None:
    assert [each for each in imports(package) if each.package == "tests"] == []


def test_cryptography_is_in_the_envelope_and_the_proofs_of_a_key_only() -> None:
    users = {
        each.of
        for each in all_imports()
        if each.package == "cryptography" and not is_under(each.of, "gateway_site.local")
    }
    assert users == {"sessions_kms.format.envelope", "oauth.provider.dpop"}


def test_boto_is_in_few_modules_and_in_two_more_for_type_checkers() -> None:
    users = {
        (each.of, each.for_types)
        for each in all_imports()
        if each.package in BOTO and not is_under(each.of, "gateway_site.local")
    }
    assert users == {
        ("sessions_kms.aws.translation", True),
        ("sessions_kms.aws.boto_http", False),
        ("sessions_kms.aws.boto_session", False),
        ("sessions_kms.aws.calls", False),
        ("sessions_kms.aws.calls", True),
        ("sessions_kms.aws.clients", False),
        ("sessions_kms.aws.clients", True),
        ("sessions_kms.aws.errors", True),
        ("sessions_kms.aws.role_credentials", False),
        ("sessions_kms.aws.signing", False),
        ("sessions_kms.storage.table", True),
        ("sessions_kms.storage.sending", True),
    }


def test_core_knows_no_django() -> None:
    users = {each.of for each in imports("sessions_kms") if each.package == "django"}
    assert users & WITHOUT_DJANGO == set()


def test_core_imports_nothing_of_the_engine_that_does_know_django() -> None:
    core = WITHOUT_DJANGO
    assert {
        module for module in core if not (ROOT / f"{module.replace('.', '/')}.py").exists()
    } == set()
    reached = {
        module_imported(each)
        for each in imports("sessions_kms")
        if each.of in core and each.package == "sessions_kms" and not each.for_types
    }
    assert reached <= core


def test_rule_of_who_may_sign_in_knows_neither_django_nor_the_network() -> None:
    reached = {
        each.package
        for each in imports("oauth")
        if is_under(each.of, "oauth.access_rule") and not is_under(each.what, "oauth.access_rule")
    }
    assert reached - sys.stdlib_module_names == {"idna"}


def test_local_stack_is_imported_by_its_command_only() -> None:
    users = {
        each.of
        for each in all_imports()
        if is_under(each.what, "gateway_site.local") and not is_under(each.of, "gateway_site.local")
    }
    assert users == {"gateway_site.management.commands.runlocal"}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_is_long(package: str) -> None:
    lengths = {module_of(path): len(path.read_bytes().splitlines()) for path in files(package)}
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def in_new_process(code: str) -> str:
    """Run code in a Python without settings; give what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_backend_reads_no_setting_and_imports_no_boto() -> None:
    code = """
import sys
import sessions_kms.backend
from django.conf import settings
print(settings.configured, [name for name in sys.modules if name.startswith("boto")])
"""
    assert in_new_process(code) == "False []"


def test_whole_engine_but_its_commands_and_admin_is_imported_without_settings() -> None:
    # Django itself imports the model and the admin, once its settings are there.
    modules = [
        module_of(path)
        for path in files("sessions_kms")
        if not {"commands", "migrations"} & set(path.parts)
        and not path.name.startswith(("admin", "models"))
        and "admin" not in path.parts
    ]
    code = f"import importlib\nfor name in {modules!r}: importlib.import_module(name)"
    assert in_new_process(code) == ""


def test_reader_sees_every_kind_of_import() -> None:
    reader = Reader("a.b", is_package=False)
    reader.visit(
        ast.parse(
            "import x.y\nfrom . import c\nfrom ..d import e\n"
            "def f():\n    from g import h\n"
            "if TYPE_CHECKING:\n    import t\nelse:\n    import u"
        )
    )
    assert [(each.what, each.for_types) for each in reader.imports] == [
        ("x.y", False),
        ("a.c", False),
        ("d.e", False),
        ("g.h", False),
        ("t", True),
        ("u", False),
    ]
