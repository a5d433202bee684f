"""Whether a call that was admitted still would be, asked again while its answer streams."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import close_old_connections
from django.http import HttpRequest

THREADS = 2


async def stands(request: HttpRequest) -> bool:
    """Tell whether the session is there and its person active.

    Raises StoreUnavailable, and django.db.Error, when that cannot be told.
    """
    key = request.session.session_key
    if key is None or not await request.session.aexists(key):
        return False
    asking = sync_to_async(_is_active, thread_sensitive=False, executor=_threads())
    return await asking(request.user.pk)


@cache
def _threads() -> ThreadPoolExecutor:
    """Return threads of its own: a database that does not answer holds up nothing else."""
    return ThreadPoolExecutor(THREADS, thread_name_prefix="gateway-standing")


def _is_active(user_id: Any) -> bool:
    """Ask as in a request of its own: Django looks after connections where one begins and ends."""
    close_old_connections()
    try:
        users = get_user_model()._default_manager
        return users.filter(pk=user_id, is_active=True).exists()
    finally:
        close_old_connections()
