"""Django middlewares around every request: public address, content policy, cookies, visits."""

from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

from csp.constants import HEADER
from csp.middleware import CSPMiddleware
from django.conf import settings
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.deprecation import MiddlewareMixin

from oauth.sign_in.authentication import CACHED_USER
from sessions_kms import SessionStore
from sessions_kms.concurrency.sync_and_async import SyncAndAsyncMiddleware


class PublicAddressMiddleware(SyncAndAsyncMiddleware):
    """Replaces the Host by that of `PUBLIC_URL`; comes before everything that reads the Host.

    Redirect URIs, addresses after a sign-out, what upstreams receive and which origins may post
    here all follow from the Host. So neither a proxy that passes on another Host nor a made-up one
    changes them. ALLOWED_HOSTS is checked first.
    """

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on under the public host. Raises DisallowedHost as Django does."""
        if settings.PUBLIC_URL:
            use_public_host(request)
        return self.get_response(request)  # or what is awaited for it


def use_public_host(request: HttpRequest) -> None:
    """Check the Host, and replace it by the public one. Raises DisallowedHost."""
    request.get_host()
    if settings.PUBLIC_URL:
        request.META["HTTP_HOST"] = urlsplit(settings.PUBLIC_URL).netloc


# A link to one of our pages cannot scroll past its explanation.
# https://wicg.github.io/document-policy/, https://wicg.github.io/scroll-to-text-fragment/
UPSTREAMS = "/gateway/"  # pages of upstreams
DOCUMENT_POLICY, LOAD_AT_TOP = "Document-Policy", "force-load-at-top"
DECORATOR_PREFIX = "_csp_"  # of the attributes that django-csp's decorators set
NONCE = "_csp_nonce"  # of a request, once something asked for it


class ContentPolicyMiddleware(CSPMiddleware):
    """Sets the Content-Security-Policy of the settings, built once.

    django-csp builds it twice for every response. Responses with a policy of their own, by a
    decorator or a nonce, are left to django-csp.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Set the header, unless the response has one or is exempt."""
        if not request.path_info.startswith(UPSTREAMS):
            response.headers.setdefault(DOCUMENT_POLICY, LOAD_AT_TOP)
        if settings.DEBUG or hasattr(request, NONCE) or _is_marked(response):
            return super().process_response(request, response)
        headers, too_late = self._usual
        for name, value in headers.items():
            if name not in response:
                response[name] = value
        setattr(request, "csp_nonce", too_late)  # noqa: B010 - for mypy it has none
        return response

    @cached_property
    def _usual(self) -> tuple[dict[str, str], object]:
        """The headers of an ordinary response, and the nonce of a request that was answered.

        It raises CSPNonceError when it is evaluated: the header lacks this nonce.
        """
        request: Any = HttpRequest()
        plain = super().process_response(request, HttpResponse())
        headers = {name: value for name, value in plain.items() if name.startswith(HEADER)}
        return headers, request.csp_nonce


def _is_marked(response: HttpResponseBase) -> bool:
    return bool([name for name in vars(response) if name.startswith(DECORATOR_PREFIX)])


SIGNED_OUT = "_gateway_signed_out"  # of a request: True once it signed out, False once in again


@receiver(user_logged_out, dispatch_uid="gateway_site.signed_out")
def _note_sign_out(request: HttpRequest | None, **kwargs: Any) -> None:
    if request is not None:
        setattr(request, SIGNED_OUT, True)


@receiver(user_logged_in, dispatch_uid="gateway_site.signed_in")
def _note_sign_in(request: HttpRequest | None, **kwargs: Any) -> None:
    if request is not None:
        setattr(request, SIGNED_OUT, False)


class SignedOutMiddleware(SyncAndAsyncMiddleware):
    """Sets a cookie in browsers in which somebody signed out and nobody has signed in since.

    The sign-in page reads it: after a sign-out it asks before it redirects to a provider that may
    still know the person. The cookie does not say who signed out.
    """

    def __call__(self, request: HttpRequest) -> Any:
        """Pass the request on; the cookie is only needed with SKIP_PROVIDER_BUTTON."""
        if settings.SKIP_PROVIDER_BUTTON:
            return super().__call__(request)
        return self.get_response(request)

    async def process(self, request: HttpRequest) -> HttpResponseBase:
        """Set the cookie at a sign-out, and delete it at a sign-in."""
        return _set_cookie(request, await self.await_response(request))


def _set_cookie(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    signed_out = getattr(request, SIGNED_OUT, None)
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


class VisitMiddleware(MiddlewareMixin):
    """Extends the session of a signed-in user by each page that is shown; rejections do not count.

    Calls of upstreams are visits of their own, once they are admitted.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Extend the session, whose middleware then renews the cookie."""
        is_page = response.status_code < 400 and not request.path_info.startswith(UPSTREAMS)
        # Set if the page needed to know the user: others do not depend on the session.
        user = getattr(request, CACHED_USER, None)
        if is_page and user is not None and user.is_authenticated:
            cast("SessionStore", request.session).visit()
        return response
