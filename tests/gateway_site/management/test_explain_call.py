"""`explain_call`: the decision about a call, by the code that decides, and the line."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from gateway_site.rules.upstream import read_upstreams
from oauth.clients.server import AuthorizationServer
from tests.sessions_kms.support.commands import Run, run
from tests.support.processes import run_to_end

RULES = """\
# Who may do what.

[[rule]]  # sales
action = "allow"
groups = ["sales"]
tools = ["search_*"]

# The rest.

[[rule]]
action = "deny"
tools = ["search_all"]
[[rule]]
action = "allow"
clients = ["own", "app.example", "unverified"]
methods = ["tools/call"]
tools = ["read"]
[[rule]]
action = "allow"
groups = ["docs"]
resources = ["db:a*"]
prompts = ["p"]
"""


@pytest.fixture
def rules(settings: Settings, tmp_path: Path) -> Path:
    """Declare an upstream with rules, and return their file."""
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    declare(settings, POLICY_FILE=str(path), CLIENTS="1")
    settings.AUTHORIZATION_SERVER = AuthorizationServer(
        issuer="https://gateway.example",
        upstreams={},
        listed={"own": None},  # type: ignore[dict-item]  # only its id matters
    )
    return path


def declare(settings: Settings, **variables: str) -> None:
    given = {"URL": "https://notes.example", "PROVIDER": "corp"} | variables
    settings.UPSTREAMS = read_upstreams(
        {f"UPSTREAM_NOTES_{name}": value for name, value in given.items()}
    )


def explain(*arguments: str) -> Run:
    return run("explain_call", "notes", *arguments)


def test_line_that_decides_is_shown(rules: Path) -> None:
    allowed = explain("tools/call", "search_a", "--group", "x", "--group", "sales")
    assert (allowed.status, allowed.out.splitlines()) == (
        0,
        [
            "allowed:",
            f"  Line 3 of {rules} allows it:",
            "      3  [[rule]]  # sales",
            '      4  action = "allow"',
            '      5  groups = ["sales"]',
            '      6  tools = ["search_*"]',
        ],
    )
    denied = explain("tools/call", "search_all", "--group", "sales")
    assert (denied.status, denied.out.splitlines()) == (
        1,
        [
            "denied:",
            f"  Line 10 of {rules} denies it:",
            "     10  [[rule]]",
            '     11  action = "deny"',
            '     12  tools = ["search_all"]',
        ],
    )
    unknown = explain("tools/call", "search_a")
    assert (unknown.status, unknown.out) == (1, f"denied:\n  No rule of {rules} allows it.\n")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("tools/call read --client own", 13),
        ("tools/call read --client app.example", 13),
        ("tools/call read --client unverified", 13),
        ("tools/call read", None),
        ("tools/call read --client other.example", None),
        ("tools/call search_a --client own --group sales", 3),
        ("tools/list --client own", 13),
        ("tools/list --group other", None),
        ("GET --group sales", 3),
        ("DELETE", None),
        ("notifications/initialized --group docs", 18),
        ("resources/read db:a/b --group docs", 18),
        ("resources/read db:b --group docs", None),
        ("prompts/get p --group docs", 18),
        ('completion/complete --group docs --params {"ref":{"type":"ref/prompt","name":"p"}}', 18),
        ('tools/call --group sales --params {"name":"search_a","arguments":{"a":1}}', 3),
    ],
)
def test_rules_decide_as_for_a_call(rules: Path, arguments: str, line: int | None) -> None:
    done = explain(*arguments.split(), "--json")
    found = done.json
    assert (done.status, found["allowed"], found["line"]) == (
        (1, False, None) if line is None else (0, True, line)
    )
    assert found["file"] == str(rules)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("tools/call a\u00e9 --group sales", "may take a\u00e9"),
        ("resources/read db:a/../b --group docs", "may take db:a/../b for another name"),
        ("Tools/Call --group sales", "may take the method for another one"),
        ("completion/complete --group docs", "does not say clearly"),
    ],
)
def test_call_that_no_rule_can_allow_is_explained(rules: Path, arguments: str, words: str) -> None:
    done = explain(*arguments.split())
    assert (done.status, words in done.out) == (1, True), done.out


def test_file_that_is_not_in_force_can_be_tried(rules: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[[rule]]\naction = "allow"\n')
    assert explain("tools/call", "x").status == 1
    done = explain("tools/call", "x", "--file", str(other))
    assert (done.status, f"Line 1 of {other} allows it:" in done.out) == (0, True)


def test_variables_and_pins_of_the_upstream_decide_too(
    rules: Path, settings: Settings, tmp_path: Path
) -> None:
    pins = tmp_path / "pins.json"
    pins.write_text(json.dumps({"tools": [{"name": "search_a"}]}))
    declare(settings, POLICY_FILE=str(rules), TOOLS_PINNED=str(pins), ALLOWED_GROUPS="sales,docs")
    assert explain("tools/call", "search_a", "--group", "sales").status == 0
    not_pinned = explain("tools/call", "search_b", "--group", "sales")
    assert (not_pinned.status, "not pinned in" in not_pinned.out) == (1, True)
    of_client = explain("tools/call", "search_a", "--group", "sales", "--client", "own")
    assert (of_client.status, "UPSTREAM_NOTES_CLIENTS is not set" in of_client.out) == (1, True)
    other = explain("tools/call", "search_a", "--group", "other")
    assert (other.status, "UPSTREAM_NOTES_ALLOWED_GROUPS has none" in other.out) == (1, True)
    declare(settings, TOOLS_PINNED=str(pins))
    assert explain("tools/call", "search_a").status == 0
    assert explain("tools/call", "search_b").status == 1


def test_upstream_without_rules_allows_everything(settings: Settings) -> None:
    declare(settings)
    done = explain("tools/call", "x")
    assert (done.status, done.out) == (
        0,
        "allowed:\n  The upstream has no file of rules: UPSTREAM_NOTES_POLICY_FILE names one.\n",
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("tools/call", "name must be a string"),
        ("tools/call a --params {}", "not both"),
        ("tools/list a", "has no NAME"),
        ("GET a", "neither a name nor parameters"),
        ("tools/list --params {", "--params is not JSON"),
        ('tools/list --params {},"id":2', "--params is not JSON"),
        ('tools/list --params {"a":1,"a":2}', "is rejected"),
        ("tools/call a --client http://x", "--client:"),
        ("tools/call a --file /nowhere/rules.toml", "/nowhere/rules.toml: file not found."),
    ],
)
def test_wrong_options_are_errors(rules: Path, arguments: str, words: str) -> None:
    done = explain(*arguments.split())
    assert (done.status, words in done.err, done.out) == (2, True, ""), done.err


@pytest.mark.parametrize("params", ["{x", "[" * 100_000])
def test_argument_that_is_not_json_is_named(rules: Path, params: str) -> None:
    done = run("explain_call", "notes", "tools/call", "--params", params)
    assert done.status == 2
    assert done.err.startswith("--params is not JSON (")


def test_faults_in_files_and_names_are_errors(rules: Path) -> None:
    rules.write_text('[[rule]]\naction = "maybe"\n')
    done = explain("tools/list")
    assert (done.status, f"{rules}: Line 1: the action" in done.err) == (2, True), done.err
    unknown: Any = run("explain_call", "note", "tools/list")
    assert (unknown.status, "Did you mean notes?" in unknown.err) == (2, True)


@pytest.mark.long
@pytest.mark.parametrize(("name", "status"), [("search_a", 0), ("search_all", 1), ("", 2)])
def test_file_is_enough_for_a_decision(rules: Path, name: str, status: int) -> None:
    """There is neither a database, nor a table or a key."""
    environment = {
        "PATH": os.environ["PATH"],
        "GATEWAY_LOCAL": "1",
        "DJANGO_SECRET_KEY": "x" * 50,
        "UPSTREAM_NOTES_URL": "https://notes.example",
        "UPSTREAM_NOTES_PROVIDER": "github",
    }
    tool = [name] if name else []
    tried = ["--file", str(rules.with_name("tried.toml")), "--group", "sales"]
    rules.with_name("tried.toml").write_text(RULES.partition('[[rule]]\naction = "allow"\ncl')[0])
    command = [sys.executable, "manage.py", "explain_call", "notes", "tools/call", *tool, *tried]
    assert run_to_end(command, environment).returncode == status
