"""The body of a request for a page: how large it may be, and reading it before a thread is taken.

No page accepts files. Staff may send larger bodies, so `is_staff_request` determines in the event
loop whether a request is a staff member's. Bodies of calls to upstreams are not read here.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.base_user import AbstractBaseUser
from django.core.exceptions import RequestAborted, RequestDataTooBig
from django.db import close_old_connections, reset_queries
from django.urls import ResolverMatch

from gateway_site.edge import own_cookies
from gateway_site.edge.client import Client
from gateway_site.forwarding.calls.user_cache import user_cache
from gateway_site.forwarding.thread_pools import ThreadPool
from gateway_site.rules.headers import single_value
from oauth import POSTED_FORM_MAX
from oauth.backchannel import backchannel_logout
from oauth.sign_in.views import callback
from sessions_kms import ahead

PAGE_SIZE = 16 * 1024  # bytes, for all other pages
ADMIN_SIZE = 2_621_440  # bytes, for staff: what Django parses by default
BODY_TIME = 30.0  # seconds in which a body must be there
LENGTH_DIGITS = 18

POSTED_BY_PROVIDERS = frozenset({callback, backchannel_logout})
BODY_MAX_ATTRIBUTE = "body_max"  # of a view that takes more: bytes, which it limits itself
ADMIN = "admin"  # the name of Django's application
ADMIN_LOGIN = "login"  # the name of its page for people who are not signed in


class PageBody:
    """The body of one request.

    `is_staff` determines whether the session belongs to a staff member. That costs a read of the
    session, so it is awaited only for a body that is too large for anybody else, before more is
    received.
    """

    def __init__(
        self,
        scope: Any,
        client: Client,
        match: ResolverMatch | None,
        is_staff: Callable[[], Awaitable[bool]],
    ) -> None:
        self._client = client
        self._announced = _announced_size(scope)
        self._limit = body_limit(match)
        self._staff_limit = ADMIN_SIZE if _is_in_admin(match) else self._limit
        self._is_staff = is_staff

    async def read(self) -> io.BytesIO:
        """Return the body.

        Raises RequestDataTooBig, TimeoutError, RequestAborted, and what `is_staff` raises.
        """
        body, more = io.BytesIO(), True
        async with asyncio.timeout(BODY_TIME):
            await self._check(self._announced)
            while more:
                more = await self._add_piece(body)
                await self._check(body.tell())
        body.seek(0)
        return body

    async def _add_piece(self, body: io.BytesIO) -> bool:
        """Add the next piece; return whether more will come."""
        message = await self._client.receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        body.write(message.get("body", b""))
        return bool(message.get("more_body", False))

    async def _check(self, size: int) -> None:
        if self._limit < size <= self._staff_limit and await self._is_staff():
            self._limit = self._staff_limit
        if size > self._limit:
            raise RequestDataTooBig


def body_limit(match: ResolverMatch | None) -> int:
    """Return how many bytes anybody may send to a view."""
    if match is None:
        return PAGE_SIZE
    is_providers = match.func in POSTED_BY_PROVIDERS
    return POSTED_FORM_MAX if is_providers else getattr(match.func, BODY_MAX_ATTRIBUTE, PAGE_SIZE)


def _is_in_admin(match: ResolverMatch | None) -> bool:
    return match is not None and ADMIN in match.app_names and match.url_name != ADMIN_LOGIN


def _announced_size(scope: Any) -> int:
    """Return the length that a request's head announces, 0 without one."""
    length = single_value(scope["headers"], b"content-length") or b""
    return int(length) if length.isdigit() and len(length) <= LENGTH_DIGITS else 0


async def is_staff_request(scope: Any, pool: ThreadPool) -> bool:
    """Return True if the session of a request belongs to an active staff member.

    Raises StoreUnavailable and django.db.OperationalError if that cannot be determined.
    """
    __traceback_hide__ = True
    cookies = own_cookies.cookies_of(scope)
    async with ahead.session(cookies) as content:
        if content.get(SESSION_KEY) is None:
            # Nobody is signed in; or the session was not read, and loading it raises the error.
            store = import_module(settings.SESSION_ENGINE).SessionStore
            await store(cookies.get(settings.SESSION_COOKIE_NAME)).aget(SESSION_KEY)
            return False
        known = user_cache().cached_user(content)
        person = known or await pool.run_with_context(partial(_load_user, content))
        return person is not None and getattr(person, "is_staff", False)


def _load_user(content: Mapping[str, Any]) -> AbstractBaseUser | None:
    """Load a session's user like a request of its own: the connection is given back."""
    __traceback_hide__ = True
    reset_queries()
    close_old_connections()
    try:
        return user_cache().load_user(content)
    finally:
        close_old_connections()


def has_session_cookie(scope: Any) -> bool:
    """Return True if a request has a session cookie."""
    return settings.SESSION_COOKIE_NAME in own_cookies.cookies_of(scope)
