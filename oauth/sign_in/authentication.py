"""The middleware that sets `request.user`, in place of Django's of the same name.

`oauth.sign_in.session_user` says how it differs. Projects name this module in MIDDLEWARE.
"""

from __future__ import annotations

from functools import partial

from django.contrib.auth import middleware
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from oauth.sign_in.session_user import get_user
from sessions_kms.concurrency.threads import in_djangos_thread

CACHED_USER = "_cached_user"  # the request's attribute, which is Django's own


class AuthenticationMiddleware(middleware.AuthenticationMiddleware):
    """Sets `request.user`, and ends no session that another process can verify."""

    def process_request(self, request: HttpRequest) -> None:
        """Have the person looked up when somebody asks for them."""
        super().process_request(request)

        def user() -> User | AnonymousUser:
            __traceback_hide__ = True
            if not hasattr(request, CACHED_USER):
                setattr(request, CACHED_USER, get_user(request))
            found: User | AnonymousUser = getattr(request, CACHED_USER)
            return found

        request.user = SimpleLazyObject(user)  # type: ignore[assignment]  # as Django's own does
        request.auser = partial(in_djangos_thread, user)
