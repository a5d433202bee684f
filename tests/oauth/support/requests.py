"""Requests of a visitor as views receive them, each with its own session object."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from django.http import HttpRequest
from django.test import RequestFactory

import oauth
from oauth.provider.config import find_provider as configured
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault
from oauth.tokens.refresh_coordinator import Refresh
from oauth.tokens.remaining_access import RemainingAccess
from sessions_kms.backend import SessionStore
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services
from tests.oauth.support.fixtures import Visitor


def request_of(
    visitor: Visitor, session_key: str | None = None, query: Mapping[str, str] | None = None
) -> HttpRequest:
    request: HttpRequest = RequestFactory().get("/", query)
    request.session = SessionStore(session_key or visitor.session.session_key)
    return request


def get_token(visitor: Visitor, provider: str = "corp", **more: Any) -> TokenSet:
    return oauth.get_token(request_of(visitor), provider, **more)


def assert_no_token(
    visitor: Visitor, error: type[Exception], provider: str = "corp", **more: Any
) -> None:
    """Expect that a request for the visitor's token fails with this error."""
    with pytest.raises(error):
        get_token(visitor, provider, **more)


def stored_tokens(visitor: Visitor, provider: str = "corp") -> TokenSet:
    """Return the token set of the session in the table."""
    held = vault.load_token_set(SessionStore(visitor.session.session_key), provider)
    assert held is not None
    return held


def drop_tokens(visitor: Visitor, provider: str) -> None:
    """Have the session in the table contain no tokens of this provider."""
    session = visitor.session
    vault.drop_token_set(session, provider)
    session.save()


@dataclass(frozen=True)
class Successor:
    """The token set after another one; ``made`` just now, or found."""

    token_set: TokenSet
    made: bool


def refresh_of(held: TokenSet) -> Refresh:
    corp = configured("corp")
    assert corp is not None
    return Refresh(services(), corp, held, RemainingAccess(services(), None))


def successor_of(held: TokenSet) -> Successor:
    """Act as another process, which does not share this one's queues and saves no session."""
    refresh = refresh_of(held)
    found = run_sync(refresh.find(patient=True))
    return Successor(found or run_sync(refresh.perform()), made=found is None)


Ask = Callable[[Visitor], Any]


def request_in_threads(ask: Ask, visitors: list[Visitor]) -> list[Any]:
    def asked(visitor: Visitor) -> Any:
        try:
            return ask(visitor)
        finally:
            connection.close()

    with ThreadPoolExecutor(len(visitors)) as pool:
        return list(pool.map(asked, visitors))
