"""A person is told of each app that was allowed lately, once in each of their browser sessions.

So whoever allowed one in a stolen session is noticed in any other. It costs no query: the home page
counts sessions by an index that says when each began, and only those that are new to the browser's
session are looked at. That remembers until when it knows all, and what began since.

What it promises: at the first view of the home page after an app was allowed, in every browser
session of the person, a new one included for a week. Not what has ended again by then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.contrib import messages
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from gateway_site.forwarding.passage import wait_in_thread
from oauth.clients.told import ToldGrant
from sessions_kms import SHORT_ID, StoreUnavailable, about, id_of
from sessions_kms.concurrency.waits import run_sync
from sessions_kms.services import services

logger = logging.getLogger(__name__)

SEEN = "_apps_seen"  # in the session: a moment, and the short ids of what began since then
WEEK = 7 * 24 * 3600  # seconds; that a new browser session looks back
LAG = 60  # seconds that the index may be behind
LOOKED_AT = 10  # sessions for one view of a page, each by one read

Session = SessionBase | Mapping[str, Any]  # or what it holds
Newest = Sequence[tuple[str, int]]  # sessions of a person, and when each began


def are_due(session: Session, session_key: str, newest: Newest) -> bool:
    """Tell whether a person's sessions are to be looked at, which needs a thread."""
    __traceback_hide__ = True
    return bool(_unknown(session, session_key, newest, _now()))


def tell(request: HttpRequest, newest: Newest) -> None:
    """Leave a message of each new app; ``newest`` are the person's sessions by the index."""
    now = _now()
    unknown = _unknown(request.session, request.session.session_key or "", newest, now)
    if not unknown:
        return
    wait_in_thread(request)
    new = unknown[:LOOKED_AT]
    try:
        found = list(_grants(new))
    except StoreUnavailable as exc:  # They are told of at the next view.
        logger.warning("What is new among the sessions of a user cannot be read: %s", exc)
        return
    for grant in found:
        messages.info(request, _sentence(grant))
    # What was too many for this view is for the next one.
    after, known = _seen(request.session, now)
    settled = max(after, now - LAG) if new == unknown else after
    known |= {each[:SHORT_ID] for each in new}
    since = [each[:SHORT_ID] for each, began in newest if began > settled]
    request.session[SEEN] = [settled, [each for each in since if each in known]]


def _now() -> int:
    return int(services().clock())


def _unknown(session: Session, session_key: str, newest: Newest, now: int) -> list[str]:
    __traceback_hide__ = True
    after, known = _seen(session, now)
    own = id_of(session_key)
    young = [each for each, began in newest if began > after and each != own]
    return [each for each in young if each[:SHORT_ID] not in known]


def _seen(session: Session, now: int) -> tuple[int, set[str]]:
    __traceback_hide__ = True
    seen = session.get(SEEN)
    return (now - WEEK, set()) if seen is None else (max(seen[0], now - WEEK), set(seen[1]))


def _grants(ids: Sequence[str]) -> Iterator[ToldGrant]:
    labels = about.About(services().of_any)
    for each in ids:
        if (grant := ToldGrant.in_words(run_sync(labels.read(each)))) is not None:
            yield grant


def _sentence(grant: ToldGrant) -> str:
    return format_html(
        "“<bdi>{}</bdi>” was allowed to call {} in your name. If that was not you, disconnect it "
        'under <a href="{}">Connected apps</a>.',
        grant.client,
        grant.upstream,
        reverse("apps"),
    )
