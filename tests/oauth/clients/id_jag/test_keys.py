"""Clients that authenticate with a key, and tokens that are bound to one."""

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest
from pytest_django import Settings

from oauth.clients import metadata_documents
from oauth.clients.authentication.dpop_proof import RequestProof
from oauth.clients.grants import grants
from oauth.clients.metadata_documents import PERSON_PER_MINUTE
from oauth.clients.rules.errors import WrongTokenType
from sessions_kms.concurrency.waits import run_sync
from tests.oauth.clients.support.app import ISSUER, App
from tests.oauth.clients.support.asserted import open_session
from tests.oauth.clients.support.asserting import FORM, SECRET, AssertingClient, make_server
from tests.oauth.clients.support.keyed_app import CLIENT_ID, KEYS_URL, Key, Site
from tests.oauth.support.fixtures import Visitor
from tests.oauth.support.id_jag_provider import IdJagProvider, new_key
from tests.oauth.support.proof_maker import ProofKey
from tests.sessions_kms.support.stacks import Stack

TOKEN_URL = f"{ISSUER}/oauth/token"


def make_thumbprint(key: ProofKey) -> str:
    """Return the thumbprint of RFC 7638."""
    members = {name: key.jwk[name] for name in ("crv", "kty", "x", "y")}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(methods=["private_key_jwt"])
    fetcher = metadata_documents.DocumentFetcher(made.get, made.clock)
    monkeypatch.setattr(metadata_documents, "_fetcher", fetcher)
    return made


@pytest.fixture
def keyed(tool: AssertingClient, corp: IdJagProvider, site: Site) -> AssertingClient:
    return AssertingClient(corp, CLIENT_ID, {})


def test_client_with_a_document_authenticates_with_its_key(
    keyed: AssertingClient, site: Site
) -> None:
    response = keyed.present(keyed.assertion(), **site.key.proof())
    assert response.status_code == 200, response.content
    assert site.fetched == [CLIENT_ID, KEYS_URL]
    session = open_session(response.json()["access_token"])
    assert session is not None
    assert session["_about"]["client"] == "App"
    assert session["_about"]["client_host"] == "app.example.com"
    wrong = keyed.present(keyed.assertion(), **Key().proof())
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
    unauthorized = keyed.ask()
    assert unauthorized.json()["error"] == "unauthorized_client"


def test_token_of_a_client_with_a_key_is_revoked_only_with_the_key(
    keyed: AssertingClient, site: Site
) -> None:
    site.methods = ["none", "private_key_jwt"]
    token = keyed.present(keyed.assertion(), **site.key.proof()).json()["access_token"]
    form = {"token": token, "client_id": CLIENT_ID}
    assert keyed.http.post("/oauth/revoke", urlencode(form), FORM).status_code == 401
    assert open_session(token) is not None
    signed = form | site.key.proof()
    assert keyed.http.post("/oauth/revoke", urlencode(signed), FORM).status_code == 200
    assert open_session(token) is None


def test_forged_assertions_cause_no_fetch_of_documents(keyed: AssertingClient, site: Site) -> None:
    for number in range(20):
        for assertion in (
            keyed.assertion(key=new_key()),
            keyed.assertion(key=new_key(f"unknown-{number}")),
            keyed.assertion({"typ": "JWT"}),
            keyed.assertion(aud="https://other.example"),
            keyed.assertion(iss="https://other.example"),
            keyed.assertion(client_id="tool"),
            keyed.assertion(sub=""),
        ):
            assert keyed.present(assertion, **site.key.proof()).status_code in {400, 503}
    assert site.fetched == []


def test_what_a_user_caused_to_be_fetched_elsewhere_counts(
    keyed: AssertingClient, corp: IdJagProvider, site: Site, visitor: Visitor
) -> None:
    """A minute's limit is one of the user, whatever page or request uses it up."""
    visitor.sign_in(corp)
    for number in range(PERSON_PER_MINUTE):
        page = App(client_id=f"https://app.example.com/{number}.json").address()
        visitor.client.get(page, headers={"Sec-Fetch-Site": "none"})
    assert len(site.fetched) == PERSON_PER_MINUTE
    assert keyed.present(keyed.assertion(), **site.key.proof()).status_code == 503
    assert len(site.fetched) == PERSON_PER_MINUTE
    response = keyed.present(keyed.assertion(sub="2002"), **site.key.proof())
    assert response.status_code == 200, response.content


def test_own_assertion_of_the_client_is_accepted_with_one_of_its_provider(
    keyed: AssertingClient, site: Site
) -> None:
    proof = site.key.proof()
    assert keyed.present(keyed.assertion(), **proof).status_code == 200
    response = keyed.present(keyed.assertion(), **proof)
    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


def test_unreachable_keys_of_the_client_are_a_503_that_uses_up_nothing(
    keyed: AssertingClient, site: Site
) -> None:
    assertion, proof = keyed.assertion(), site.key.proof()
    site.down.add(KEYS_URL)
    assert keyed.present(assertion, **proof).status_code == 503
    site.down.clear()
    assert keyed.present(assertion, **proof).status_code == 200


@pytest.fixture
def bound(tool: AssertingClient, settings: Settings) -> AssertingClient:
    settings.AUTHORIZATION_SERVER = make_server(dpop=True)
    return tool


def send(client: AssertingClient, assertion: str, key: ProofKey | None) -> Any:
    headers = {} if key is None else {"DPoP": key.proof("POST", TOKEN_URL)}
    return client.present(assertion, headers=headers)


def test_proof_binds_the_access_token(bound: AssertingClient, store: Stack) -> None:
    key = ProofKey(store.clock)
    response = send(bound, bound.assertion(), key)
    assert response.json()["token_type"] == "DPoP"
    token = response.json()["access_token"]
    with pytest.raises(WrongTokenType):
        open_session(token)
    url = f"{ISSUER}/gateway/tools"
    proof = RequestProof(text=key.proof("GET", url, token), method="GET", url=url)
    assert run_sync(grants().open(token, upstream="tools", proof=proof)) is not None
    assert send(bound, bound.assertion(), None).json()["token_type"] == "Bearer"


def test_assertion_that_is_bound_to_a_key_needs_its_proof(
    bound: AssertingClient, store: Stack, settings: Settings
) -> None:
    key, other = ProofKey(store.clock), ProofKey(store.clock)
    first = send(bound, bound.assertion(), key)
    assert first.status_code == 200
    thumbprint = make_thumbprint(key)
    assertion = bound.assertion(cnf={"jkt": thumbprint})
    for sent in (None, other):
        assert send(bound, assertion, sent).json()["error"] == "invalid_grant"
    for cnf in ({}, {"jkt": thumbprint, "x5t#S256": "x"}, {"jwk": key.jwk}, None, thumbprint):
        response = send(bound, bound.assertion(cnf=cnf), key)
        assert response.json()["error"] == "invalid_grant", cnf
    settings.AUTHORIZATION_SERVER = make_server()
    assert send(bound, assertion, key).json()["error"] == "invalid_grant"
    settings.AUTHORIZATION_SERVER = make_server(dpop=True)
    assert send(bound, assertion, key).json()["token_type"] == "DPoP"


def test_client_that_wants_bound_tokens_needs_a_proof(
    bound: AssertingClient, store: Stack, settings: Settings
) -> None:
    server = make_server(dpop=True)
    listed = dict(server.listed)
    listed["tool"] = replace(listed["tool"], needs_proof=True)
    settings.AUTHORIZATION_SERVER = make_server(dpop=True, listed=listed)
    assertion = bound.assertion()
    response = send(bound, assertion, None)
    assert (response.status_code, response.json()["error"]) == (400, "invalid_dpop_proof")
    assert send(bound, assertion, ProofKey(store.clock)).status_code == 200
    assert SECRET not in response.content.decode()


def test_document_that_wants_bound_tokens_counts_when_it_is_first_fetched(
    keyed: AssertingClient, site: Site, store: Stack, settings: Settings
) -> None:
    settings.AUTHORIZATION_SERVER = make_server(dpop=True)
    site.more = {"dpop_bound_access_tokens": True}
    response = keyed.present(keyed.assertion(), **site.key.proof())
    assert response.json()["error"] == "invalid_dpop_proof"
    headers = {"DPoP": ProofKey(store.clock).proof("POST", TOKEN_URL)}
    response = keyed.present(keyed.assertion(), headers, **site.key.proof())
    assert response.json()["token_type"] == "DPoP"


def test_document_that_left_the_cache_meanwhile_decides_nothing(
    keyed: AssertingClient, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may want bound tokens."""
    assertion, proof = keyed.assertion(), site.key.proof()
    with monkeypatch.context() as patch:
        patch.setattr(metadata_documents.document_fetcher(), "cached", lambda client_id: None)
        assert keyed.present(assertion, **proof).status_code == 503
    assert keyed.present(assertion, **proof).status_code == 200
