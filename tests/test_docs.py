"""Docs, settings, commands, metrics and error names are in step with the code."""

import argparse
import ast
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.core.management import BaseCommand, get_commands, load_command_class
from django.dispatch import Signal

import oauth.exceptions
import oauth.signals
import sessions_kms.exceptions
import sessions_kms.signals
from sessions_kms.conf import FIELDS, Config
from sessions_kms.management.base import OperatorCommand
from tests import ROOT
from tests.support.cases import each_case

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "tests/**/*.md", "requirements/*.md")
    for path in ROOT.glob(pattern)
)
COMMANDS = sorted(
    path.stem
    for path in (ROOT / "sessions_kms/management/commands").glob("*.py")
    if path.stem != "__init__"
)
GIVEN_BY_DJANGO = {
    "--help", "--version", "--verbosity", "--settings", "--pythonpath", "--traceback",
    "--no-color", "--force-color", "--skip-checks",
}  # fmt: skip


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """Return the cells of a page's tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def sources(*packages: str) -> Iterator[tuple[Path, ast.AST]]:
    for package in packages or ("sessions_kms", "oauth"):
        for path in (ROOT / package).rglob("*.py"):
            yield path, parse_page(path)


@cache
def parse_page(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def metrics_of_the_code() -> set[str]:
    """Return the names given to `telemetry.count`, `measure`, `record`, `timed`, `spanned`."""
    found = set()
    for path, tree in sources():
        package = path.relative_to(ROOT).parts[0]
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "telemetry"
                and node.func.attr in {"count", "measure", "record", "timed", "spanned"}
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(f"{package}.{node.args[0].value!s}")
    return found


def default_of(name: str) -> str:
    if FIELDS[name].required:
        return "required"
    value: Any = getattr(Config(key_id="", table_name=""), name.lower())
    if isinstance(value, str):
        return '`"' + value.replace("django.contrib.sessions.", "…") + '"`'
    if isinstance(value, tuple):
        value = list(value)
    return "`" + repr(dict(value) if isinstance(value, Mapping) else value) + "`"


def test_every_setting_is_described_with_its_default() -> None:
    listed = page("settings.md").partition("## Engines")[0]
    described = dict(re.findall(r"^- `([A-Z_]+)` \((.+?)\): ", listed, re.MULTILINE))
    assert described == {name: default_of(name) for name in FIELDS}


@pytest.mark.parametrize("module", [sessions_kms.exceptions, oauth.exceptions])
def test_every_error_is_described(module: ModuleType) -> None:
    own = [name for name, value in vars(module).items() if is_error_of(value, module)]
    assert own
    assert [name for name in own if f"`{name}`" not in page("settings.md")] == []


def is_error_of(value: object, module: ModuleType) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, Exception)
        and value.__module__ == module.__name__
    )


@pytest.mark.slow
def test_every_metric_is_described_and_no_other() -> None:
    described = re.findall(
        r"^\| `((?:sessions_kms|oauth)\.[a-z_.]+)` \|", page("operations.md"), re.MULTILINE
    )
    assert sorted(described) == sorted(metrics_of_the_code())


def test_every_signal_is_described_and_no_other() -> None:
    own = [
        name
        for module in (sessions_kms.signals, oauth.signals)
        for name, value in vars(module).items()
        if isinstance(value, Signal)
    ]
    described = re.findall(
        r"^\| `((?:session|token|grant|sign_in|rights)_[a-z]+)` \|",
        page("operations.md"),
        re.MULTILINE,
    )
    assert sorted(described) == sorted(own)


@each_case("name", COMMANDS)
def test_every_command_and_option_is_described(name: str) -> None:
    parser = load_command_class("sessions_kms", name).create_parser("manage.py", name)
    options = {option for action in parser._actions for option in action.option_strings[:1]}
    described = page("commands.md")
    assert f"## `{name}`" in described
    missing = {option for option in options - GIVEN_BY_DJANGO if f"`{option}" not in described}
    assert {option for option in missing if option.startswith("--")} == set()


def test_table_of_commands_is_that_of_the_code() -> None:
    """Each command for operators has its row, with the options that it takes."""
    table = page("commands.md").partition("| command |")[2].partition("\n\n")[0]
    told = {
        cells[0].strip("`"): cells[2].split(", ") if cells[2] else []
        for line in table.splitlines()[2:]
        if (cells := [cell.strip() for cell in line.strip("|").split("|")])
    }
    assert told == {name: _options_of(command) for name, command in operator_commands().items()}


def operator_commands() -> dict[str, OperatorCommand]:
    apps = {"sessions_kms", "oauth", "gateway_site"}
    loaded = {
        name: load_command_class(app, name) for name, app in get_commands().items() if app in apps
    }
    return {name: each for name, each in loaded.items() if isinstance(each, OperatorCommand)}


def _options_of(command: BaseCommand) -> list[str]:
    """Return which of the common options a command, or one of its subcommands, takes."""
    parsers = [command.create_parser("manage.py", "x")]
    for action in parsers[0]._actions:
        if isinstance(action, argparse._SubParsersAction):
            parsers += action.choices.values()
    options = {option for each in parsers for option in each._option_string_actions}
    return [name for name in ("json", "dry-run", "no-input") if f"--{name}" in options]


def test_runbooks_of_the_alarms_exist() -> None:
    text = page("operations.md")
    headings = {
        heading.lower().replace(" ", "-")
        for heading in re.findall(r"^###? (.+)$", text, re.MULTILINE)
    }
    asked_for = set(re.findall(r"\]\(#([a-z-]+)\)", text))
    assert asked_for
    assert asked_for <= headings


@each_case("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (path.parent / link).exists()] == []


@each_case("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_into_a_page_lead_to_headings(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", path.read_text(encoding="utf-8"))
    local = [(name or path.name, anchor) for name, anchor in links if "://" not in name]
    assert [link for link in local if link[1] not in anchors(path.parent / link[0])] == []


def anchors(path: Path) -> set[str]:
    """Return the names that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


# The pages that messages name

# Links between the pages, as the descriptions of variables have them, are left out.
PAGE_IN_TEXT = re.compile(r"\bdocs/|\b[a-z-]+\.md\b(?!\]|#)(?!\))")


def pages_of_the_code() -> Iterator[list[str]]:
    """Yield the arguments of each call of `hints.page`."""
    for _, tree in sources("sessions_kms", "oauth", "gateway_site"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "page":
                yield [ast.literal_eval(argument) for argument in node.args]


@pytest.mark.slow
def test_pages_and_headings_that_messages_name_exist() -> None:
    named = list(pages_of_the_code())
    assert len(named) > 10
    for name, *headings in named:
        text = page(f"{name}.md")
        assert [each for each in headings if not re.search(rf"(?m)^#+ {each}$", text)] == []


@pytest.mark.slow
def test_messages_name_no_file_of_the_repository() -> None:
    """A wheel does not contain the pages: `hints.page` names them."""
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path, tree in sources("sessions_kms", "oauth", "gateway_site")
        for text in texts(tree)
        if PAGE_IN_TEXT.search(text)
    ]
    assert found == []


def texts(tree: ast.AST) -> Iterator[str]:
    """Yield the strings of a module that are not docstrings."""
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, described) and node.body and isinstance(node.body[0], ast.Expr)
    }
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    for node in constants:
        if node not in docstrings and isinstance(node.value, str):
            yield node.value


# The cost model

READ, WRITE = 0.125 / 1e6, 0.625 / 1e6  # dollars a unit
STORED, RECOVERABLE = 0.25, 0.20  # dollars a GB and month
KMS_CALL, KMS_FREE, KMS_KEY = 0.03 / 10_000, 20_000, 1.0
MONTH = 30 * 24 * 3600
KILOBYTES, CHANGING = 2, 1 / 20
RENEWALS = 1 / 0.8  # a process renews a data key before its maximum age
CACHE_AGE, PERIOD, LIFETIME = Config.data_key_cache_age, Config.data_key_period, 7 * 24 * 3600


def worked_example(requests: int, processes: int, sessions: int) -> list[str]:
    """Return the column of docs/cost.md, by the formulas that stand above it there."""
    reads = requests * math.ceil(KILOBYTES / 4) * MONTH * READ
    writes = requests * CHANGING * math.ceil(KILOBYTES) * MONTH * WRITE
    gigabytes = sessions * (KILOBYTES + 0.2) / 1e6
    storage = gigabytes * (STORED + RECOVERABLE)
    renewals = RENEWALS * processes * (1 + LIFETIME / PERIOD) / CACHE_AGE
    calls = (renewals + (1 + processes) / PERIOD) * MONTH
    kms = max(0.0, calls - KMS_FREE) * KMS_CALL + KMS_KEY
    dollars = [f"${round(part):,}" for part in (reads, writes, storage)]
    total = round(reads + writes + storage + kms)
    return [*dollars, f"{round(calls):,}", f"${round(kms):,}", f"${total:,}"]


def test_worked_costs_follow_from_the_formula() -> None:
    table = {row[0]: row[1:] for row in rows(page("cost.md")) if len(row) == 4}
    numbers = [
        [int(cell.replace(",", "")) for cell in table[name]]
        for name in ("requests a second", "processes", "sessions")
    ]
    shown = [
        table[name]
        for name in (
            "DynamoDB reads", "DynamoDB writes", "storage and recovery",
            "KMS calls a month, at most", "KMS", "together, a month",
        )
    ]  # fmt: skip
    assert [list(column) for column in zip(*shown, strict=True)] == [
        worked_example(*column) for column in zip(*numbers, strict=True)
    ]


def test_pictures_are_small_shown_and_described() -> None:
    picture = r'!\[(?P<text>[^]]*)\]\((?P<path>[^)]+\.png)\)|<img src="([^"]+\.png)" alt="([^"]*)">'
    shown = {
        (page.parent / (found["path"] or found[3])).resolve(): found["text"] or found[4]
        for page in PAGES
        for found in re.finditer(picture, page.read_text("utf-8"))
    }
    files = set((ROOT / "docs" / "images").glob("*.png"))
    light = {file for file in files if not file.stem.endswith("-dark")}
    assert set(shown) == light
    assert files - light == {file.with_name(f"{file.stem}-dark.png") for file in light}
    assert [file.name for file in light if not shown[file]] == []
    assert [file.name for file in files if file.stat().st_size > 60_000] == []
