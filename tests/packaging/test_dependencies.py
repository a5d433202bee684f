"""Each distribution requires exactly what its packages import."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest

from tests import ROOT
from tests.packaging.building import ENGINE, GATEWAY, load_project

OURS = {"sessions_kms", "oauth", "gateway_site"}
# Parts of a requirement that is named, by its own documentation.
COMES_WITH = {
    "anyio": "mcp",
    "asgiref": "django",
    "botocore": "boto3",
    "pydantic": "mcp",
    "starlette": "mcp",
    "urllib3": "boto3",
}
LOCAL = "gateway_site/local"  # what `make run` starts, and nobody else imports
FOR_TYPE_CHECKERS = {"mypy_boto3_dynamodb", "mypy_boto3_kms"}
FOR_PYTEST = {"pytest"}  # which imports the plugin of the test kit


def imports_of(package: str) -> Iterator[str]:
    """Yield the top-level packages that a package of ours imports, or its local stack alone."""
    for path in (ROOT / package).rglob("*.py"):
        if package != LOCAL and path.is_relative_to(ROOT / LOCAL):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def requirements_of(package: str) -> set[str]:
    """Return the names of the requirements, in one spelling."""
    engine = load_project(ENGINE)["project"]
    listed = [*engine["dependencies"], *engine["optional-dependencies"]["otel"]]
    if package != "sessions_kms":
        gateway = load_project(GATEWAY)["project"]
        listed += [*gateway["dependencies"], *gateway["optional-dependencies"]["otel"]]
        if package == LOCAL:
            listed += gateway["optional-dependencies"]["local"]
    return {spelt(re.split(r"[\[<>=; ]", each)[0]) for each in listed}


def spelt(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@pytest.mark.slow
@pytest.mark.parametrize("package", [*sorted(OURS), LOCAL])
def test_every_import_is_of_a_requirement(package: str) -> None:
    makers = packages_distributions()
    allowed = requirements_of(package)
    others = (
        set(imports_of(package)) - OURS - FOR_TYPE_CHECKERS - FOR_PYTEST - sys.stdlib_module_names
    )
    by_name = {
        each: {spelt(maker) for maker in makers[COMES_WITH.get(each, each)]} for each in others
    }
    assert {each for each, names in by_name.items() if names.isdisjoint(allowed)} == set()


def test_packages_that_tests_skip_without_are_installed_for_the_suite() -> None:
    """Else `.ci/run` would skip them, too; only `make bench` has pygal."""
    skipped = {
        spelt(name)
        for path in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r'importorskip\(\s*"(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert {"freezegun", "time-machine"} <= skipped
    pinned = (ROOT / "requirements/dev.txt").read_text(encoding="utf-8")
    assert {each for each in skipped if f"\n{each}==" not in pinned} == {"pygal"}
