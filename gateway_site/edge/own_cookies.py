"""Drops cookies by stricter rules than other sites can have: the gateway names all of its own.

A cookie whose name no standard allows is somebody else's, whatever it is for. The session's
counts for nothing where it comes twice, in a local run too, whose names have no prefix.
"""

from django.conf import settings
from django.http import HttpRequest
from django.http.cookie import parse_cookie
from django.http.response import HttpResponseBase

from gateway_site.edge.asgi import Scope
from sessions_kms.concurrency.steps import Steps
from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware
from sessions_kms.cookies import foreign
from sessions_kms.cookies.names import Rules, sift, site_rules


class OwnCookiesMiddleware(SyncAndAsyncMiddleware):
    """Outermost, so that nothing reads a cookie before."""

    def steps(self, request: HttpRequest) -> Steps[HttpResponseBase]:
        """Pass the request on with what counts of its cookies."""
        foreign.drop(request, _rules())
        response: HttpResponseBase = yield from self.answer(request)
        return response


def believed(scope: Scope) -> dict[str, str]:
    """Return what counts of a request's cookies, before there is a request for Django."""
    __traceback_hide__ = True
    header = sift(foreign.header_in(scope["headers"]), _rules()).header
    return parse_cookie(header.decode("latin-1"))


def _rules() -> Rules:
    return site_rules(
        settings.SESSION_COOKIE_NAME,
        settings.CSRF_COOKIE_NAME,
        settings.MESSAGE_COOKIE_NAME,
        settings.OAUTH_LOGOUT_COOKIE_NAME,
        settings.SIGNED_OUT_COOKIE_NAME,
        strict=True,
    )
