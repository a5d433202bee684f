"""What is kept of sign-ins that wait for their provider's answer: little, and of few.

Whoever has no account may begin as many as they like, and allauth keeps in the session what
the address and the form of each say. The session is read at every request of theirs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from allauth.socialaccount.internal import statekit
from allauth.socialaccount.providers.base import AuthProcess, Provider
from allauth.utils import get_request_param
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest

from sessions_kms import AnonymousSessionTooLarge

AT_ONCE = 10  # sign-ins of one session
SIZE_MAX = 8 * 1024  # bytes of all of them, serialized
NEXT_MAX = 2000  # bytes
PROCESSES = frozenset({AuthProcess.LOGIN, AuthProcess.CONNECT, AuthProcess.REDIRECT})
NEW = "x" * statekit.STATE_ID_LENGTH  # stands for an id that allauth has not chosen yet


def check_wishes(request: HttpRequest) -> None:
    """Refuse what no page of ours asks for, before anything is fetched or kept.

    Raises SuspiciousOperation, which is a 400.
    """
    process = get_request_param(request, "process")
    if process and process not in PROCESSES:
        raise SuspiciousOperation("The process of a sign-in is none that there is.")
    address = get_request_param(request, REDIRECT_FIELD_NAME) or ""
    if len(address.encode(errors="surrogatepass")) > NEXT_MAX:
        raise SuspiciousOperation(f"The address after a sign-in is over {NEXT_MAX:,} bytes long.")


def bound(provider: Provider) -> None:
    """Have what a provider's sign-ins keep make room for the next: the oldest go first."""
    stash = provider.stash_redirect_state

    def stash_redirect_state(
        request: HttpRequest, process: str, next_url: str | None = None, *args: Any, **more: Any
    ) -> Any:
        __traceback_hide__ = True
        state = {"process": process, "next": next_url, "data": args, **more}
        _make_room(request, provider.sub_id, state)
        return stash(request, process, next_url, *args, **more)

    provider.stash_redirect_state = stash_redirect_state


def _make_room(request: HttpRequest, provider: str, state: Mapping[str, Any]) -> None:
    """Drop the oldest that wait, until a new one fits. Raises AnonymousSessionTooLarge."""
    __traceback_hide__ = True
    states = statekit.get_states(request)
    by_age = sorted(states, key=lambda each: states[each][1], reverse=True)
    kept = {each: states[each] for each in by_age[: AT_ONCE - 1]}
    new = {NEW: (state, time.time(), provider)}
    while (size := _size(request.session, kept | new)) > SIZE_MAX:
        if not kept:
            raise AnonymousSessionTooLarge(size, SIZE_MAX)
        kept.popitem()
    if len(kept) < len(states):
        request.session[statekit.STATES_SESSION_KEY] = kept


def _size(session: SessionBase, states: Mapping[str, Any]) -> int:
    __traceback_hide__ = True
    return len(session.serializer().dumps({statekit.STATES_SESSION_KEY: states}))
