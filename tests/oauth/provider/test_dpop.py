"""Tokens are bound to a key that only the session holds (DPoP, RFC 9449)."""

import logging
import sqlite3
import time

import pytest
from django.db import connection
from pytest_django import Settings

import oauth
from oauth.doctor.provider import client_findings
from oauth.network.responses import ProviderResponse
from oauth.provider import dpop, metadata
from oauth.provider.config import find_provider
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor, configure, environment
from tests.oauth.support.requests import assert_no_token, get_token, stored_tokens
from tests.sessions_kms.support.stacks import Stack
from tests.support.cases import each_case


@pytest.fixture
def binding(strict: FakeProvider, settings: Settings) -> FakeProvider:
    """Give a provider that takes nothing without a proof, nor one without its nonce."""
    strict.requires_proofs = True
    strict.checker.nonce = "nonce-1"
    configure(settings, environment("corp", strict, DPOP="1"))
    return strict


def key_of(visitor: Visitor) -> str:
    key = stored_tokens(visitor).dpop_key
    assert key is not None
    return key


def test_sign_in_sends_a_proof_with_each_request(binding: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(binding)
    held = stored_tokens(visitor)
    assert (held.token_type, held.access_token in binding.bound_tokens) == ("DPoP", True)
    assert [claims["htu"] for claims in binding.checker.taken] == [
        f"{binding.issuer}/token",
        f"{binding.issuer}/userinfo",
    ]
    assert len({claims["jti"] for claims in binding.checker.taken}) == 2


def test_refresh_uses_the_same_key_and_the_newest_nonce(
    binding: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(binding)
    key = key_of(visitor)
    for nonce in ("nonce-2", "nonce-3"):
        binding.checker.nonce = nonce
        store.clock.advance(4000)
        assert get_token(visitor) == stored_tokens(visitor)
        assert key_of(visitor) == key
        assert binding.checker.taken[-1]["nonce"] == nonce
    assert len(binding.refreshes) == 2  # what was refused for its nonce spent no token


def test_new_sign_in_makes_a_new_key(binding: FakeProvider, visitor: Visitor) -> None:
    visitor.sign_in(binding)
    first = stored_tokens(visitor)
    binding.gives_refresh_token = False
    visitor.sign_in(binding)
    assert key_of(visitor) != first.dpop_key
    assert stored_tokens(visitor).refresh_token is None  # the old one is bound to the old key


def test_grant_from_before_dpop_is_bound_at_its_next_refresh(
    strict: FakeProvider, visitor: Visitor, store: Stack, settings: Settings
) -> None:
    visitor.sign_in(strict)
    assert stored_tokens(visitor).dpop_key is None
    strict.requires_proofs = True
    configure(settings, environment("corp", strict, DPOP="1"))
    store.clock.advance(4000)
    assert get_token(visitor).access_token in strict.bound_tokens
    assert stored_tokens(visitor).token_type == "DPoP"


def test_response_without_a_bound_token_fails_the_sign_in(
    binding: FakeProvider, visitor: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    binding.sends_bearer = True
    assert visitor.sign_in(binding).status_code == 401
    assert visitor.user_id is None
    assert dpop.NOT_BOUND in caplog.text
    assert "token_not_bound" in caplog.text


def test_refresh_without_a_bound_token_keeps_the_old_one(
    binding: FakeProvider, visitor: Visitor, store: Stack
) -> None:
    visitor.sign_in(binding)
    before = stored_tokens(visitor)
    binding.sends_bearer = True
    store.clock.advance(4000)
    assert_no_token(visitor, oauth.ProviderUnavailable)
    assert stored_tokens(visitor) == before


def test_constantly_changing_nonce_does_not_loop(binding: FakeProvider, visitor: Visitor) -> None:
    url, asked = visitor.callback_address(binding), []

    def change() -> None:
        asked.append(1)
        binding.checker.nonce = f"another-{len(asked)}"

    binding.hooks["/token"] = change
    assert visitor.client.get(url).status_code == 401
    assert len(asked) == 2


def test_key_is_in_no_database_log_or_repr(
    binding: FakeProvider,
    visitor: Visitor,
    store: Stack,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        visitor.sign_in(binding)
        store.clock.advance(4000)
        get_token(visitor)
    key = key_of(visitor)
    connection.ensure_connection()
    database: sqlite3.Connection = connection.connection
    dump = "\n".join(database.iterdump())
    assert "ada@example.com" in dump
    assert key not in dump + caplog.text + repr(stored_tokens(visitor)) + repr(store.items())


@each_case("nonce", ["", "a b", "a\tb", 'a"b', "a\\b", "é", "a" * 513, None])
def test_invalid_nonce_is_not_cached(nonce: str | None) -> None:
    dpop.nonces.remember("https://a.example/x", "good")
    dpop.nonces.remember("https://a.example/y?z", nonce)
    assert dpop.nonces.of("https://a.example/") == "good"
    assert dpop.nonces.of("https://a.example:444/") is None


def test_nonce_cache_is_bounded() -> None:
    for number in range(dpop.ORIGINS_MAX + 10):
        dpop.nonces.remember(f"https://{number}.example/", "n")
    assert len(dpop.nonces._by_origin) == dpop.ORIGINS_MAX


class Shared(dpop.Nonces):
    """The nonces of a process in which another call learns a newer one after each of ours."""

    def remember(self, url: str, nonce: str | None) -> str | None:
        found = super().remember(url, nonce)
        super().remember(url, "anothers")
        return found


@pytest.mark.parametrize(("named", "asked"), [("of-this", ["old", "of-this"]), (None, ["old"])])
def test_request_is_retried_with_the_nonce_of_its_own_rejection(
    monkeypatch: pytest.MonkeyPatch, named: str | None, asked: list[str]
) -> None:
    """Others share what is known, and a nonce may serve once only."""
    url, nonces = "https://a.example/", []
    dpop.nonces.remember(url, "old")
    shared = Shared()
    shared._by_origin = dpop.nonces._by_origin
    monkeypatch.setattr(dpop, "nonces", shared)

    def ask(nonce: str | None) -> ProviderResponse:
        nonces.append(nonce)
        body = b'{"error": "use_dpop_nonce"}'
        return ProviderResponse(400, "application/json", body, dpop_nonce=named)

    assert dpop.send_with_nonce(url, ask).status == 400
    assert nonces == asked


def test_doctor_sends_a_dpop_proof(binding: FakeProvider) -> None:
    corp = find_provider("corp")
    assert corp is not None
    (finding,) = client_findings(corp, metadata.load_metadata(corp), None, time.time)
    assert (finding.name, finding.level) == ("client", "ok")
