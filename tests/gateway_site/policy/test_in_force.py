"""The rules in force: a fault in any file is an error that names it, and changes nothing."""

import hashlib
import json
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from gateway_site.edge import http_metrics
from gateway_site.policy import in_force as rules_in_force
from gateway_site.policy.client_names import find_client_problem
from gateway_site.policy.in_force import RulesInForce, pins_of, rules_of
from gateway_site.policy.policy_file import read_rules
from gateway_site.rules.upstream import Upstream
from tests.gateway_site.support.declared_upstreams import read_api
from tests.gateway_site.support.loading import local
from tests.support.cases import each_case

ALLOW, DENY = '[[rule]]\naction = "allow"\n', '[[rule]]\naction = "deny"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rules.toml"


@pytest.fixture
def upstream(path: Path) -> Upstream:
    return read_api(POLICY_FILE=str(path))


def test_file_implies_that_messages_are_read(upstream: Upstream, path: Path) -> None:
    assert (upstream.read_mcp, upstream.policy_file) == (True, str(path))
    assert read_api().policy_file is None
    assert rules_of(read_api()) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "file not found."),
        (b"\xff", "The file is not UTF-8."),
        ("[[rule]\n", r"The file is not valid TOML: .*\(at line 1, column 7\)\. Correct it"),
        (
            "[[rule]]\na = [",
            r"The file is not .* \(at line 2, the end\)\. Correct it there: .*policy",
        ),
        ("", "The file must have 1 to 1000 rules."),
        (ALLOW + "[[rule]]\n", 'Line 3: the action must be "allow" or "deny".'),
        (ALLOW + DENY + 'tool = ["a"]\n', "Line 3: 'tool' is unknown"),
        (ALLOW + DENY + 'clients = ["own", "other"]', "Line 3: clients: 'other' is neither"),
    ],
)
def test_any_fault_is_an_error_of_the_settings(
    tmp_path: Path, path: Path, text: str | bytes | None, problem: str
) -> None:
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    clients = tmp_path / "clients.json"
    clients.write_text(json.dumps([{"client_id": "own", "redirect_uris": ["https://a.example/"]}]))
    with pytest.raises(ImproperlyConfigured, match=rf"^UPSTREAM_A_POLICY_FILE: {path}: {problem}"):
        local(
            UPSTREAM_A_URL="https://a.example",
            UPSTREAM_A_PROVIDER="github",
            UPSTREAM_A_CLIENTS="1",
            UPSTREAM_A_POLICY_FILE=str(path),
            CLIENTS_FILE=str(clients),
            PUBLIC_URL="http://127.0.0.1:8000",
        )


@each_case(
    ("name", "problem"),
    [
        ("own", None),
        ("unverified", None),
        ("app.example", None),
        ("Own", "is neither an id"),
        ("App.example", "is neither an id"),
        ("127.0.0.1", "is neither an id"),
        ("https://app.example/client", "is neither an id"),
        ("dcr.e30", None),  # plausible, but no document's host: it matches nothing
        ("app.example.", "is neither an id"),
        (f"{'a' * 60}.{'b' * 36}.example", "is a host of more than 100 characters"),
        ("ours.example", "is an id in CLIENTS_FILE, and has another meaning"),
    ],
)
def test_rule_names_only_clients_that_there_may_be(name: str, problem: str | None) -> None:
    found = find_client_problem(name, {"own", "ours.example"})
    assert found is None if problem is None else (found or "").startswith(problem)
    assert "another meaning" in (find_client_problem("unverified", {"unverified"}) or "")


@each_case(
    ("text", "lines"),
    [
        (ALLOW, [1]),
        (DENY + ALLOW, [3]),
        (ALLOW + ALLOW, [1, 3]),
        (DENY, []),
        *((f"{ALLOW}{name} = ['a']\n", []) for name in ("groups", "clients", "tools", "prompts")),
        (ALLOW + "methods = ['ping', '*']\n", [1]),
        *((f"{ALLOW}{name}\n", []) for name in ("methods = ['a*']", "resources = ['db:*']")),
        (ALLOW + "methods = ['*']\ntools = ['*']\n", []),
        (ALLOW + "methods = ['*']\ngroups = ['a']\n", []),
    ],
)
def test_only_a_rule_that_limits_neither_callers_nor_calls_allows_every_caller_everything(
    text: str, lines: list[int]
) -> None:
    rules = read_rules(text.encode()).rules
    assert [each.line for each in rules if each.allows_everything] == lines


def test_reload_is_logged_and_a_fault_is_counted_once(
    path: Path,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[str] = []
    monkeypatch.setattr(http_metrics.gateway, "count", counted.append)
    caplog.set_level("INFO", logger=rules_in_force.__name__)
    path.write_text(ALLOW + "tools = ['a']\n")
    settings.UPSTREAM_RULES = RulesInForce([read_api(POLICY_FILE=str(path))], ())
    path.write_text(DENY)
    rules_in_force.reload_rules()
    digest = hashlib.sha256(DENY.encode()).hexdigest()
    assert (caplog.messages, counted) == ([f"Rules in force: api {digest[:12]}"], [])
    path.write_text(DENY + "x = 1")
    rules_in_force.reload_rules()
    assert caplog.messages[1].startswith(f"UPSTREAM_API_POLICY_FILE: {path}: Line 1: 'x' is")
    assert caplog.messages[1].endswith(" The rules in force stay as they are.")
    assert (len(caplog.messages), counted) == (2, ["policy.reload_failures"])
    settings.UPSTREAM_RULES = RulesInForce([read_api()], ())
    rules_in_force.reload_rules()
    del settings.UPSTREAM_RULES  # as in a project with settings of its own
    rules_in_force.reload_rules()
    assert not rules_in_force.has_rules()
    assert len(caplog.messages) == 2


def test_fault_in_one_file_changes_the_rules_of_none(path: Path, settings: Settings) -> None:
    other = path.with_name("other.toml")
    path.write_text(ALLOW)
    other.write_text(ALLOW)
    upstreams = [read_api(POLICY_FILE=str(path)), read_api(POLICY_FILE=str(other))]
    object.__setattr__(upstreams[1], "name", "b")
    settings.UPSTREAM_RULES = in_force = RulesInForce(upstreams, ())
    before = [rules_of(each) for each in upstreams]
    path.write_text(DENY)
    other.write_text(DENY + "x = 1")
    assert in_force.reload() == [
        f"UPSTREAM_B_POLICY_FILE: {other}: Line 1: 'x' is unknown; "
        "a rule has action, groups, clients, methods, tools, resources, prompts."
    ]
    assert [rules_of(each) for each in upstreams] == before
    other.write_text(DENY)
    assert in_force.reload() == []
    after = [rules_of(each) for each in upstreams]
    assert [rules.rules[0].action for rules in after if rules] == ["deny", "deny"]
    other.unlink()
    path.unlink()
    assert [each.split(":")[0] for each in in_force.reload()] == [
        "UPSTREAM_API_POLICY_FILE",
        "UPSTREAM_B_POLICY_FILE",
    ]
    assert bool(in_force)
    assert not RulesInForce([read_api()], ())


def test_new_group_needs_a_restart(path: Path, upstream: Upstream) -> None:
    """Sign-ins do not store it yet, so a rule that denies it would deny nobody."""
    path.write_text(ALLOW + 'groups = ["a", "b"]\n')
    in_force = RulesInForce([upstream], ())
    assert in_force.groups == {"api": frozenset({"a", "b"})}
    path.write_text(ALLOW + DENY + 'groups = ["b", "c"]\n')
    assert in_force.reload() == [
        f"UPSTREAM_API_POLICY_FILE: {path}: Line 3: groups: 'c' is new: restart the gateway, "
        "which then stores it at sign-ins."
    ]
    path.write_text(ALLOW + DENY + 'groups = ["b"]\n')
    assert in_force.reload() == []


def test_missing_file_of_pins_is_an_error_of_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    with pytest.raises(ImproperlyConfigured, match=f"^UPSTREAM_A_TOOLS_PINNED: {path}: File not"):
        local(
            UPSTREAM_A_URL="https://a.example",
            UPSTREAM_A_PROVIDER="github",
            UPSTREAM_A_TOOLS_PINNED=str(path),
        )
    assert read_api(TOOLS_PINNED=str(path)).read_mcp
    assert pins_of(read_api()) is None


def test_rules_and_pins_are_replaced_together(path: Path, settings: Settings) -> None:
    pins = path.with_name("pins.json")
    path.write_text(ALLOW)
    pins.write_text('{"tools": [{"name": "a"}]}')
    upstream = read_api(POLICY_FILE=str(path), TOOLS_PINNED=str(pins))
    settings.UPSTREAM_RULES = in_force = RulesInForce([upstream], ())

    def find() -> tuple[str, set[str]]:
        rules, pinned = rules_of(upstream), pins_of(upstream)
        assert rules is not None
        assert pinned is not None
        return rules.rules[0].action, set(pinned[0].digests)

    path.write_text(DENY)
    pins.write_text('{"tools": [{}]}')
    (fault,) = in_force.reload()
    assert fault.startswith(f"UPSTREAM_API_TOOLS_PINNED: {pins}: Tool 1 has no name")
    assert find() == ("allow", {"a"})
    pins.write_text('{"tools": [{"name": "b"}]}')
    path.write_text("x")
    assert len(in_force.reload()) == 1
    assert find() == ("allow", {"a"})
    path.write_text(DENY)
    assert in_force.reload() == []
    assert find() == ("deny", {"b"})
    assert bool(RulesInForce([read_api(TOOLS_PINNED=str(pins))], ()))


def test_what_was_seen_of_tools_survives_new_pins(path: Path, settings: Settings) -> None:
    path.write_text('{"tools": [{"name": "a"}, {"name": "b"}]}')
    upstream = read_api(TOOLS_PINNED=str(path))
    settings.UPSTREAM_RULES = in_force = RulesInForce([upstream], ())

    def is_current(name: str) -> bool:
        pinned = pins_of(upstream)
        assert pinned is not None
        return pinned[1].is_current(name, pinned[0])

    before = pins_of(upstream)
    assert before is not None
    assert not before[1].note("a", "0" * 64, before[0])
    path.write_text('{"tools": [{"name": "a", "x": 1}, {"name": "b"}]}')
    assert in_force.reload() == []
    assert (is_current("a"), is_current("b")) == (False, True)
    path.write_text('{"tools": [{"name": "b"}]}')
    assert in_force.reload() == []
    assert vars(before[1])["_last"] == {}
