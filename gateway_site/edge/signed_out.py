"""A cookie of browsers in which somebody signed out, and nobody in since.

It serves the sign-in page: whoever signed out is asked before they are led to a provider that
still knows them. It says nothing of whom.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware

ATTRIBUTE = "_gateway_signed_out"  # of a request: True once it signed out, False once in again


@receiver(user_logged_out, dispatch_uid="gateway_site.signed_out")
def _note_sign_out(request: HttpRequest | None, **kwargs: Any) -> None:
    if request is not None:
        setattr(request, ATTRIBUTE, True)


@receiver(user_logged_in, dispatch_uid="gateway_site.signed_in")
def _note_sign_in(request: HttpRequest | None, **kwargs: Any) -> None:
    if request is not None:
        setattr(request, ATTRIBUTE, False)


class SignedOutMiddleware(SyncAndAsyncMiddleware):
    """Keeps, in a cookie of this browser, that somebody signed out and nobody in since."""

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on; where no sign-in page needs the cookie, there is no more to do."""
        if settings.SKIP_PROVIDER_BUTTON:
            return super().__call__(request)
        return self.get_response(request)

    async def process(self, request: HttpRequest) -> HttpResponseBase:
        """Set the cookie with the answer to a sign-out, take it with that to a sign-in."""
        return _marked(request, await self.get_answer(request))


def _marked(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    signed_out = getattr(request, ATTRIBUTE, None)
    name = settings.SIGNED_OUT_COOKIE_NAME
    is_over = signed_out is False and name in request.COOKIES
    if signed_out or is_over:
        response.set_cookie(
            name,
            "1" if signed_out else "",
            max_age=None if signed_out else 0,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
    return response
