"""What sessions and grants hold of accounts: vectors, read by the package and a second program."""

import json
from typing import Any

import pytest

from oauth.mcp.servers import McpServer
from oauth.provider.token_set import TokenSet
from oauth.tokens import asserted_account, vault
from oauth.tokens.asserted_token import is_paused, make_placeholder
from sessions_kms import GrantStore
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.operations.used_tokens import is_identity_assertion_used, use_identity_assertion
from sessions_kms.services import services
from tests.sessions_kms.support.stacks import Stack, install
from tests.sessions_kms.support.vector_services import open_by_reference, services_of
from tests.vectors.vector import FOLDER, Vector, load

CONTENTS = ("provider", "asserted_server", "assertion_failed")
NOTES = McpServer(name="notes", label="Notes", url="https://mcp.notes.example/mcp")


def content_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="ascii"))
    return found


def open_vector(name: str) -> tuple[Vector, dict[str, Any]]:
    """Return a vector, and what the second program decrypts."""
    vector = load(f"accounts/{name}")
    plaintext = open_by_reference(vector)
    assert plaintext.decode() == vector.plaintext
    install(services_of(vector))
    return vector, json.loads(plaintext)


@pytest.mark.parametrize("name", CONTENTS)
def test_tokens_of_a_session_are_read_and_written_alike(name: str) -> None:
    vector, content = open_vector(name)
    session = SessionStore(vector.session_key)
    assert session.load() == content
    for provider in vault.stored_providers(session):
        found = vault.load_token_set(session, provider)
        assert isinstance(found, TokenSet)
        assert found.to_session() == content[f"oauth:{provider}"]
    assert is_paused(session, NOTES, vector.now) is (name == "assertion_failed")


def test_account_of_a_grant_is_read_and_written_alike() -> None:
    vector, content = open_vector("asserted_grant")
    assert SessionStore(vector.session_key).load() == {}
    grant = GrantStore(vector.session_key)
    assert run_sync(grant.load_grant())
    found = asserted_account.parse_account(grant[asserted_account.KEY])
    assert found is not None
    asserted_account.store_account(grant, found)
    assert dict(grant.items()) == content
    assert int(vector.item["ttl"]["N"]) - int(vector.item["createdAt"]["N"]) == 900


def test_used_assertion_is_found_and_stored_alike(store: Stack) -> None:
    content = content_of("accounts/used_assertion")
    identity = services(), content["issuer"], content["jti"]
    assert run_sync(use_identity_assertion(*identity, until=content["now"] + 300 + 60))
    [item] = [each for name, each in store.items().items() if name.startswith("assertion#")]
    assert item.keys() == content["item"].keys()
    expected = content["item"] | {"stamp": item["stamp"]}
    assert item == expected
    assert run_sync(is_identity_assertion_used(*identity))


def test_lease_of_an_assertion_has_the_secret_of_its_session_and_server() -> None:
    content = content_of("leases/of_an_assertion")
    session = SessionStore(content["sessionKey"])
    assert content["server"] == NOTES.name
    placeholder = make_placeholder(session, NOTES, "corp", "42")
    assert placeholder.grant_secret == content["leaseSecret"]
