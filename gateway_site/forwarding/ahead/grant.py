"""The session of a client's call, read in the event loop before Django asks for it.

The ASGI scope that Django will see enters. What its token opens is left there, an error too, and
nowhere else: no other request comes upon it. The middleware takes it (`client_session`); who does
not, or takes it a second time, reads for itself. Loaded only where clients are let in.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest

from oauth.clients.grants import grants
from sessions_kms import GrantStore, ahead
from sessions_kms.concurrency.waits import BlockingCall
from sessions_kms.services import are_made, services

BEARER = re.compile(r"bearer(?: +(?P<token>.*))?", re.IGNORECASE)  # RFC 6750 section 2.1
KEY = "gateway.grant"  # in the scope

Session = GrantStore | None


class GrantAhead:
    """What one token opened at one upstream, for one taking."""

    def __init__(self, token: str, upstream: str) -> None:
        self._of: tuple[str, str] | None = (token, upstream)
        self._outcome: Future[Session] = Future()

    async def read(self) -> Session:
        """Read; return what was found. What goes wrong is raised to who takes it."""
        __traceback_hide__ = True
        assert self._of is not None  # noqa: S101 - it is read before it is taken
        try:
            self._outcome.set_result(await _opened(*self._of))
        except Exception as error:  # noqa: BLE001 - whoever takes it gets it
            self._outcome.set_exception(error)
            return None
        return self._outcome.result()

    def is_of(self, token: str, upstream: str) -> bool:
        """Tell whether it is there for this token at this upstream."""
        __traceback_hide__ = True
        return self._of == (token, upstream)

    def taken(self) -> Session:
        """Return what was read, or raise its error, once."""
        __traceback_hide__ = True
        self._of, outcome = None, self._outcome
        del self._outcome  # A scope is kept for as long as an answer streams.
        return outcome.result()


@asynccontextmanager
async def session(
    scope: dict[str, Any], token: str, upstream: str
) -> AsyncIterator[Mapping[str, Any] | SessionBase]:
    """Read what a token opens at an upstream, and leave it in the scope; give it to be looked at.

    That is nothing where it opens none, or where it cannot be told. What is waited for here and
    within is bounded together.
    """
    __traceback_hide__ = True
    with ahead.bounded():
        scope[KEY] = left = GrantAhead(token, upstream)
        found = await left.read()
        yield {} if found is None else found


def token_of(authorization: str) -> str | None:
    """Return what an `Authorization` header shows as a bearer's; None where it does not."""
    __traceback_hide__ = True
    match = BEARER.fullmatch(authorization)
    return None if match is None else match["token"] or ""


def shown(scope: Mapping[str, Any]) -> str | None:
    """Return the token of a scope, whose header Django reads in the same way."""
    __traceback_hide__ = True
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    return token_of(b",".join(found).decode("latin-1"))


def of(request: HttpRequest, token: str, upstream: str) -> GrantAhead | None:
    """Return what is at hand for this token at this upstream."""
    __traceback_hide__ = True
    left: GrantAhead | None = getattr(request, "scope", {}).get(KEY)
    return left if left is not None and left.is_of(token, upstream) else None


async def _opened(token: str, upstream: str) -> Session:
    __traceback_hide__ = True
    if not are_made():
        await BlockingCall(services)
    return await grants().session(token, upstream=upstream)
