"""The middleware that sets `request.user`; it replaces Django's of the same name.

`oauth.sign_in.session_user` describes the difference. Projects name this module in MIDDLEWARE.
"""

from functools import partial

from django.contrib.auth import middleware
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from oauth.sign_in.session_user import get_user
from sessions_kms.concurrency.threads import in_djangos_thread

CACHED_USER = "_cached_user"  # Django's own attribute of the request


class AuthenticationMiddleware(middleware.AuthenticationMiddleware):
    """Sets `request.user`, without ending sessions that another process can verify."""

    def process_request(self, request: HttpRequest) -> None:
        """Set `request.user` and `request.auser`, which load the user when first used."""
        super().process_request(request)

        def user() -> User | AnonymousUser:
            __traceback_hide__ = True
            if not hasattr(request, CACHED_USER):
                setattr(request, CACHED_USER, get_user(request))
            found: User | AnonymousUser = getattr(request, CACHED_USER)
            return found

        request.user = SimpleLazyObject(user)  # type: ignore[assignment]  # as Django's own does
        request.auser = partial(in_djangos_thread, user)
