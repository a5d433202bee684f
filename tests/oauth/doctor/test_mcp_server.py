"""Findings of `check_providers` about MCP servers, with one fault at a time."""

from typing import Any

import pytest
from pytest_django import Settings

from oauth import doctor
from oauth.mcp.discovery import discover
from oauth.mcp.pins import load_pin
from sessions_kms.doctor.finding import Level
from tests.oauth.support.hostile_fixtures import internet
from tests.oauth.support.mcp_internet import (
    SERVER_PATH,
    URL,
    WITH_PATH,
    World,
    document,
    world,
)
from tests.sessions_kms.support.commands import run

__all__ = ["internet", "world"]

EVIL, ISSUER = "https://evil.example", "https://mcp.notes.example"


@pytest.fixture
def is_elsewhere() -> bool:
    return False


def faults(world: World, *, in_production: bool = True) -> dict[str, tuple[Level, str]]:
    """Return the findings that are not ok: their level, and what to do."""
    world.forget()
    found = doctor.examine_server(
        world.server, None, in_production=in_production, clock=lambda: 0.0
    )
    return {
        each.name: (each.level, f"{each.detail} {each.remedy}")
        for each in found
        if each.level is not Level.OK and each.name not in {"clock", "TLS"}
    }


def fault(world: World, name: str) -> tuple[Level, str]:
    found = faults(world, in_production=False)
    assert list(found) == [name]
    return found[name]


def test_good_server_has_no_fault_but_the_issuer_in_production(world: World) -> None:
    assert faults(world, in_production=False) == {}
    level, text = faults(world)["issuer"]
    assert level is Level.WARNING
    assert text.endswith(f"Set UPSTREAM_NOTES_ISSUER={ISSUER}")
    world.declare(issuer=ISSUER)
    assert faults(world) == {}


def test_resource_above_the_address_is_a_warning(world: World) -> None:
    world.publish_resource(resource="https://mcp.notes.example")
    level, text = fault(world, "resource")
    assert (level, "RFC 9728 section 3.3" in text) == (Level.WARNING, True)


def test_issuer_elsewhere_is_failing_until_it_is_set_and_listed_while_it_is_only_pinned(
    world: World,
) -> None:
    world.publish_server(issuer=EVIL)
    world.publish_resource(authorization_servers=[EVIL])
    line = f"set UPSTREAM_NOTES_ISSUER={EVIL}"
    level, text = fault(world, "issuer")
    assert (level, "(issuer_not_accepted)" in text, line in text) == (Level.FAILING, True, True)
    world.accept()  # or an earlier version pinned it
    level, text = fault(world, "issuer")
    assert (level, "only pinned" in text, line in text) == (Level.WARNING, True, True)
    world.declare(issuer=EVIL)
    assert faults(world) == {}


def test_issuer_that_is_set_but_not_listed_is_a_warning(world: World) -> None:
    world.declare(issuer=ISSUER)
    world.publish_resource(authorization_servers=[EVIL])
    assert fault(world, "issuer")[0] is Level.WARNING


def test_changes_since_the_pin_are_findings_with_the_command_that_accepts_them(
    world: World,
) -> None:
    discover(world.server)
    world.publish_server(token_endpoint=f"{EVIL}/token")
    level, text = fault(world, "endpoints")
    assert (level, "evil.example" in text) == (Level.WARNING, True)
    world.publish_server()
    world.publish_resource(scopes_supported=["all"])
    level, text = fault(world, "scopes")
    assert (level, "requested: all" in text) == (Level.WARNING, True)
    for members, code in (
        ({"authorization_servers": [EVIL]}, "pinned_issuer"),
        ({"resource": f"{URL}/"}, "pinned_resource"),
    ):
        world.publish_resource(**members)
        level, text = fault(world, "pin")
        assert (level, code in text) == (Level.FAILING, True)
        assert "discover_upstream notes --accept" in text


def test_server_that_cannot_be_used_is_failing_with_a_remedy(world: World) -> None:
    world.publish_server(registration_endpoint=None)
    assert fault(world, "client")[0] is Level.FAILING
    world.declare(client_id="id")
    world.login.put("/token", document({"error": "invalid_grant"}, status=400))
    assert faults(world, in_production=False) == {}
    world.publish_server(code_challenge_methods_supported=[])
    level, text = fault(world, "discovery")
    assert (level, "metadata_pkce" in text) == (Level.FAILING, True)
    del world.mcp.responses[WITH_PATH]
    assert "Correct UPSTREAM_NOTES_MCP" in fault(world, "discovery")[1]


def test_required_pushed_requests_are_reported(world: World) -> None:
    required: dict[str, Any] = {"require_pushed_authorization_requests": True}
    world.publish_server(**required, pushed_authorization_request_endpoint=f"{ISSUER}/par")
    assert faults(world, in_production=False) == {}
    assert "PAR: is required" in run("check_providers", "notes").out
    world.forget()
    assert "requires    PAR" in run("discover_upstream", "notes").out
    world.publish_server(**required)
    level, text = fault(world, "PAR")
    assert (level, "par_endpoint" in text) == (Level.FAILING, True)


def test_check_providers_names_each_server(world: World, settings: Settings) -> None:
    settings.GATEWAY_LOCAL = False
    found = run("check_providers", "notes", "--json", "--strict")
    assert found.status == 4
    assert [each["name"] for each in found.json["providers"]["notes"]][:3] == [
        "discovery", "resource", "issuer",
    ]  # fmt: skip
    world.login.responses.pop(SERVER_PATH)
    world.forget()
    assert run("check_providers", "notes").status == 1
    assert "Did you mean notes?" in run("check_providers", "note").err


def test_discover_upstream_shows_the_line_for_an_issuer_elsewhere_and_pins_nothing(
    world: World,
) -> None:
    world.publish_server(issuer=EVIL)
    world.publish_resource(authorization_servers=[EVIL])
    for options in ([], ["--dry-run"]):
        found = run("discover_upstream", "notes", *options)
        assert (found.status, "(issuer_not_accepted)" in found.err) == (1, True)
        assert f"UPSTREAM_NOTES_ISSUER={EVIL}" in found.err
        assert "discover_upstream notes --accept" in found.err
    assert load_pin(world.server) is None
    assert run("discover_upstream", "notes", "--accept", "--no-input").status == 0
    assert run("discover_upstream", "notes").status == 0


def test_discover_upstream_pins_prints_the_setting_and_accepts_a_change(world: World) -> None:
    tried = run("discover_upstream", "notes", "--dry-run")
    assert f"To fix the issuer, set UPSTREAM_NOTES_ISSUER={ISSUER}" in tried.out
    world.publish_resource(resource="https://mcp.notes.example")
    world.forget()
    assert (
        run("discover_upstream", "notes", "--json").json["resource"] == "https://mcp.notes.example"
    )
    world.publish_server(issuer=EVIL)
    world.publish_resource(authorization_servers=[EVIL])
    world.forget()
    changed = run("discover_upstream", "notes")
    assert (changed.status, "(pinned_issuer)" in changed.err) == (1, True)
    assert "discover_upstream notes --accept" in changed.err
    unconfirmed = run("discover_upstream", "notes", "--accept")
    assert (unconfirmed.status, "No terminal" in unconfirmed.err) == (1, True)
    assert run("discover_upstream", "notes", "--accept", "--dry-run").status == 0
    assert run("discover_upstream", "notes").status == 1
    assert run("discover_upstream", "notes", "--accept", "--no-input").status == 0
    accepted = run("discover_upstream", "notes", "--json")
    assert (accepted.status, accepted.json["issuer"]) == (0, EVIL)
    assert run("discover_upstream", "note").status == 2
