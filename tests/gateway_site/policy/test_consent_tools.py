"""The tools that a consent page names are those that calls of the same client could use.

The adversary is a client that wants its person to believe that it may do less than it can, and an
operator who changes the files between the consent and the call.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from django.http import HttpRequest
from pytest_django import Settings

from gateway_site.policy import consent_tools
from gateway_site.policy.in_force import RulesInForce
from gateway_site.policy.rules import Caller
from gateway_site.policy.subjects import TOOLS, Subject
from oauth.clients.rules.client import Client, Source
from tests.gateway_site.support.declared_upstreams import read_api

ITSELF = Client("dcr.x", "Claude", ("http://127.0.0.1/cb",), Source.ITSELF)
DOCUMENT = Client(
    "https://app.example/c", "App", ("https://app.example/cb",), Source.DOCUMENT, "app.example"
)
LISTED = Client("ours", "Ours", ("https://ours.example/cb",), Source.OPERATOR)
ALLOW, DENY = '[[rule]]\naction = "allow"\n', '[[rule]]\naction = "deny"\n'


@dataclass
class Asker:
    """Somebody in the group `sales`, whom a client asks for its consent."""

    settings: Settings
    folder: Path

    def configure(self, rules: str | None, pinned: tuple[str, ...] | None = None) -> None:
        files: dict[str, Any] = {}
        if rules is not None:
            (self.folder / "rules.toml").write_text(rules)
            files["POLICY_FILE"] = str(self.folder / "rules.toml")
        if pinned is not None:
            tools = [{"name": each, "inputSchema": {}} for each in pinned]
            (self.folder / "pins.json").write_text(json.dumps({"tools": tools}))
            files["TOOLS_PINNED"] = str(self.folder / "pins.json")
        upstream = read_api(**files)
        self.settings.UPSTREAMS = {upstream.name: upstream}
        self.settings.UPSTREAM_RULES = RulesInForce([upstream], ["ours"])

    def find_tools(self, client: Client = ITSELF) -> tuple[str, ...] | None:
        request = cast("HttpRequest", SimpleNamespace(session={}))
        return consent_tools.find_tools(request, client, "api")


@pytest.fixture
def asker(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asker:
    monkeypatch.setattr("oauth.groups_of", lambda session, provider: ("sales",))
    return Asker(settings, tmp_path)


@pytest.mark.parametrize(
    "case",
    [
        (None, ITSELF, None),
        (ALLOW, ITSELF, None),
        (ALLOW + 'clients = ["ours"]\n', ITSELF, ()),
        (ALLOW + 'clients = ["ours"]\n', LISTED, None),
        (ALLOW + 'clients = ["app.example"]\ntools = ["b", "a"]\n', DOCUMENT, ("a", "b")),
        (ALLOW + 'clients = ["unverified"]\ntools = ["a"]\n', ITSELF, ("a",)),
        (ALLOW + 'groups = ["sales"]\ntools = ["a"]\n', ITSELF, ("a",)),
        (ALLOW + 'groups = ["other"]\ntools = ["a"]\n', ITSELF, ()),
        (ALLOW + 'tools = ["get_*", "x"]\n', ITSELF, ("get_*", "x")),
        (ALLOW + 'tools = ["get_*", "x"]\n' + DENY + 'tools = ["get_*"]\n', ITSELF, ("x",)),
        (ALLOW + 'tools = ["get_*"]\n' + DENY + 'tools = ["get_me"]\n', ITSELF, ("get_*",)),
        (ALLOW + 'tools = ["get*"]\n' + DENY + 'tools = ["get_*"]\n', ITSELF, ("get*",)),
        (ALLOW + 'tools = ["get_*"]\n' + DENY + 'tools = ["G*"]\n', ITSELF, ()),
        (ALLOW + 'tools = ["*"]\n' + DENY + 'tools = ["_*"]\n', ITSELF, None),
        (ALLOW + 'tools = ["*"]\n' + DENY + 'tools = ["*"]\n', ITSELF, ()),
        (ALLOW + 'tools = ["a*"]\n' + DENY + 'prompts = ["*"]\n', ITSELF, ("a*",)),
        (ALLOW + 'tools = ["a*"]\n' + DENY + 'clients = ["ours"]\n', ITSELF, ("a*",)),
        (ALLOW + 'tools = ["a", "b"]\n' + DENY + 'tools = ["B"]\n', ITSELF, ("a",)),
        (ALLOW + 'tools = ["a"]\n' + DENY + 'methods = ["tools/*"]\n', ITSELF, ()),
        (ALLOW + 'methods = ["tools/list"]\n', ITSELF, ()),
        (ALLOW + 'resources = ["https://a.example/x"]\n', ITSELF, ()),
    ],
)  # fmt: skip
def test_tools_are_those_that_rules_allow_this_client(
    asker: Asker, case: tuple[str | None, Client, tuple[str, ...] | None]
) -> None:
    rules, client, expected = case
    asker.configure(rules)
    assert asker.find_tools(client) == expected


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (None, ("a", "b", "c")),
        (ALLOW, ("a", "b", "c")),
        (ALLOW + 'tools = ["a", "d"]\n', ("a",)),
        (ALLOW + DENY + 'tools = ["b*"]\n', ("a", "c")),
        (ALLOW + 'groups = ["other"]\n', ()),
    ],
)
def test_pinned_tools_are_named_as_far_as_rules_allow_them(
    asker: Asker, rules: str | None, expected: tuple[str, ...]
) -> None:
    asker.configure(rules, ("c", "a", "b"))
    assert asker.find_tools() == expected


def test_every_named_tool_would_pass_and_the_list_follows_the_file(asker: Asker) -> None:
    asker.configure(ALLOW + 'tools = ["a", "b", "c"]\n' + DENY + 'tools = ["b"]\n')
    found = asker.find_tools()
    decided = asker.settings.UPSTREAM_RULES["api"].of(
        Caller(groups=frozenset({"sales"}), clients=frozenset({"unverified"}))
    )
    assert found == ("a", "c")
    assert all(decided.decide("tools/call", (Subject(TOOLS, each),)).is_allowed for each in found)
    (asker.folder / "rules.toml").write_text(ALLOW + 'tools = ["z"]\n')
    assert asker.settings.UPSTREAM_RULES.reload() == []
    assert asker.find_tools() == ("z",)
