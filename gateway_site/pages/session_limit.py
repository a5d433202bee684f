"""Tells a browser which sessions its sign-in has ended, with `SESSIONS_MAX_PER_USER`.

The session engine ends them once the new session is stored. So the middleware stores it before the
response is complete: then the message can be part of it. In the browser of an ended session, the
person finds the sign-in page.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast

from django.conf import settings
from django.contrib import messages
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from gateway_site.edge.middleware import SIGNED_OUT
from gateway_site.pages.session_label import SignInLabel
from sessions_kms import EndedSession, SessionStore


class SessionLimitMiddleware(MiddlewareMixin):
    """Stores the session of a sign-in, and adds a message about the sessions that it has ended."""

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Do so at a sign-in, where the number of sessions is limited."""
        limit = settings.SESSIONS_KMS.get("MAX_SESSIONS_PER_USER")
        has_signed_in = getattr(request, SIGNED_OUT, None) is False
        if limit is not None and has_signed_in and response.status_code < 500:
            session = cast("SessionStore", request.session)
            with suppress(UpdateError):  # It has ended; the session's own middleware answers that.
                session.save()
            if session.ended_at_sign_in:
                messages.info(request, _describe(session.ended_at_sign_in, limit))
        return response


def _describe(ended: Sequence[EndedSession], limit: int) -> str:
    """Return the message about ended sessions."""
    text = ngettext(
        "This sign-in has ended an older session, because you can have at most %(limit)d: "
        "%(sessions)s. Its tokens could not be revoked at the provider, since only its browser can "
        "decrypt them: there they stay valid until they expire.",
        "This sign-in has ended older sessions, because you can have at most %(limit)d: "
        "%(sessions)s. Their tokens could not be revoked at the provider, since only their "
        "browsers can decrypt them: there they stay valid until they expire.",
        len(ended),
    )
    return text % {"limit": limit, "sessions": "; ".join(map(_describe_one, ended))}


def _describe_one(ended: EndedSession) -> str:
    day = date_format(datetime.fromtimestamp(ended.signed_in_at, UTC), "MONTH_DAY_FORMAT")
    device = SignInLabel.from_metadata(ended.labels).device or _("unknown browser")
    return _("%(device)s, signed in on %(day)s") % {"device": device, "day": day}
