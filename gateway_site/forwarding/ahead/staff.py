"""Whether a request is a staff member's, found out in the event loop before its body is read.

The scope that Django will see enters. Without a session cookie nothing is read; with one, made up
or not, its session is, as for any page, and the person only of a session that exists.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY

from gateway_site.edge import own_cookies
from gateway_site.forwarding.ahead import page
from sessions_kms import ahead


async def is_staff(seen: Any, in_thread: page.InThread) -> bool:
    """Return whether the session of a request belongs to an active staff member.

    Raises StoreUnavailable and django.db.OperationalError: it cannot be known then.
    """
    __traceback_hide__ = True
    cookies = own_cookies.believed(seen)
    async with ahead.session(cookies) as content:
        if content.get(SESSION_KEY) is None:
            # Nobody is signed in; or nothing was read, and the first load says why.
            store = import_module(settings.SESSION_ENGINE).SessionStore
            await store(cookies.get(settings.SESSION_COOKIE_NAME)).aget(SESSION_KEY)
            return False
        person = await page.who(content, page.of_database(in_thread))
        return person is not None and getattr(person, "is_staff", False)


def has_cookie(seen: Any) -> bool:
    """Return whether a request names a session."""
    return settings.SESSION_COOKIE_NAME in own_cookies.believed(seen)
