"""`list_clients` and `end_sessions --client`: grants are found by their metadata only."""

import pytest

from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations.listing import Inspection
from sessions_kms.services import services
from tests.sessions_kms.support.commands import end, run
from tests.sessions_kms.support.granted import grant_access
from tests.sessions_kms.support.sessions import is_alive, save_session
from tests.sessions_kms.support.stacks import Stack

LONG = "dcr." + "x" * 700
DOCUMENT = "https://claude.ai/client.json"


def browsers() -> SessionStore:
    """Sign somebody in by a browser, whose words name no client."""
    return save_session(_auth_user_id="7", _about={"browser": "Firefox", "provider": "Tool"})


def is_there(session_id: str) -> bool:
    return run_sync(Inspection(services()).find(session_id)) is not None


def test_clients_are_listed_with_their_grants_and_people(stack: Stack) -> None:
    browsers()
    grant_access("Tool", client_id=LONG)
    stack.clock.advance(60)
    grant_access("Tool", client_id=LONG, user_id="8")
    grant_access("Tool", client_id=LONG, user_id="8")
    grant_access("Claude", client_id=DOCUMENT)
    found = run("list_clients", "--json")
    assert found.status == 0
    tool, claude = found.json["clients"]
    assert (tool["name"], tool["grants"], tool["people"]) == ("Tool", 3, 2)
    assert tool["client_id"].startswith("sha256:")
    assert (claude["name"], claude["client_id"], claude["grants"]) == ("Claude", DOCUMENT, 1)
    assert f"Claude  {DOCUMENT}  grants: 1" in run("list_clients").out


def test_ended_grants_are_not_listed(stack: Stack) -> None:
    grant_access("Tool")
    stack.clock.advance(100 * 24 * 3600)
    browsers()
    assert run("list_clients").out.strip() == "No client has a grant."


def test_names_play_no_tricks_on_a_terminal(stack: Stack) -> None:
    grant_access("T\N{CYRILLIC SMALL LETTER O}ol \x1b[2J")
    out = run("list_clients").out
    assert "\x1b" not in out
    assert r"T\u043eol" in out


@pytest.mark.parametrize("named", ["Tool", LONG, "by digest"])
def test_client_is_ended_by_name_or_id_and_nothing_else(stack: Stack, named: str) -> None:
    browser = browsers()
    others = [
        grant_access("Claude", client_id=DOCUMENT),
        grant_access("Toolbox", client_id=LONG + "x"),
    ]
    grants = [
        grant_access("Tool", client_id=LONG),
        grant_access("Tool", client_id=LONG, user_id="8"),
    ]
    if named == "by digest":
        named = run("list_clients", "--json").json["clients"][0]["client_id"]
    result = end("--client", named, "--json")
    assert (result.status, result.json["ended"]) == (0, 2)
    assert [is_there(each) for each in (*grants, *others)] == [False, False, True, True]
    assert is_alive(browser)


def test_dry_run_reports_and_ends_nothing(stack: Stack) -> None:
    grant = grant_access("Tool", client_id=DOCUMENT)
    result = run("end_sessions", "--client", "Tool", "--dry-run")
    assert result.out.strip() == f"Would end 1 grant of {DOCUMENT}."
    assert is_there(grant)


def test_unknown_client_is_named_with_the_nearest(stack: Stack) -> None:
    grant = grant_access("Claude", client_id=DOCUMENT)
    result = end("--client", "Claud")
    assert result.status == 2
    assert "Did you mean Claude?" in result.err
    assert is_there(grant)


def test_client_option_excludes_other_selections(stack: Stack) -> None:
    assert end("--client", "Tool", "--all").status == 2
