"""Requests of a visitor as a view gets them, each with a session object of its own."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.test import RequestFactory

import oauth
from oauth.provider.token_set import TokenSet
from oauth.tokens import vault as tokens
from sessions_kms.backend import SessionStore
from tests.oauth.support.fixtures import Visitor


def request_of(visitor: Visitor, session_key: str | None = None) -> HttpRequest:
    request: HttpRequest = RequestFactory().get("/")
    request.session = SessionStore(session_key or visitor.session.session_key)
    return request


def get_token(visitor: Visitor, provider: str = "corp", **more: Any) -> TokenSet:
    return oauth.get_token(request_of(visitor), provider, **more)


def stored(visitor: Visitor, provider: str = "corp") -> TokenSet:
    """Return what the session holds as it lies in the table."""
    held = tokens.load(SessionStore(visitor.session.session_key), provider)
    assert held is not None
    return held
