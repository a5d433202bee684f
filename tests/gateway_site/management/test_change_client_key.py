"""`change_client_key`: changes one key, after a question."""

from pytest_django import Settings

from oauth.mcp import client_key
from tests.oauth.support.fixtures import store
from tests.oauth.support.registering import RESOURCE
from tests.sessions_kms.support.commands import run
from tests.sessions_kms.support.stacks import Stack

__all__ = ["store"]


def key_id(stack: Stack) -> str | None:
    key = client_key.load_key(stack.services, "wiki")
    return None if key is None else key.key_id


def test_key_is_changed_only_on_request(store: Stack, settings: Settings) -> None:
    settings.OAUTH_MCP_SERVERS = {"wiki": {"url": RESOURCE}}
    missing = run("change_client_key", "wiki", "--no-input")
    assert (missing.status, "has no key for wiki" in missing.err) == (2, True)
    before = client_key.ensure_key(store.services, "wiki").key_id
    assert run("change_client_key", "wiki", "--dry-run").out == "Would change the key for wiki.\n"
    unconfirmed = run("change_client_key", "wiki")
    assert (unconfirmed.status, "No terminal" in unconfirmed.err) == (1, True)
    unknown = run("change_client_key", "wikis", "--no-input")
    assert (unknown.status, "Did you mean wiki?" in unknown.err) == (2, True)
    assert key_id(store) == before
    changed = run("change_client_key", "wiki", "--no-input", "--json")
    assert (changed.status, changed.json) == (0, {"changed": True, "key_id": key_id(store)})
    assert key_id(store) != before
