"""A browser with concurrent requests, and pages that change session keys.

A request is sent with the cookies at its start; responses arrive in any order.
"""

import asyncio
from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, aget_user
from django.contrib.auth import SESSION_KEY as USER_ID
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path

ADA = "7"
NOBODY = "nobody"
TOGETHER = 10  # requests of `rotated`
MIDDLEWARE = [
    "sessions_kms.middleware.StoreUnavailableMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
]


class InMemory:
    """An authentication backend with one user and without a database."""

    def get_user(self, user_id: int) -> User:
        return User(pk=user_id, password="hashed")

    async def aget_user(self, user_id: int) -> User:
        return self.get_user(user_id)


def rotate(request: HttpRequest) -> HttpResponse:
    request.session.cycle_key()
    return HttpResponse("rotated")


def login(request: HttpRequest) -> HttpResponse:
    """Do the same as Django's `login`."""
    request.session.cycle_key()
    request.session[USER_ID] = ADA
    return HttpResponse("signed in")


def replace_session(request: HttpRequest) -> HttpResponse:
    """Change the key, replace the session object, as allauth does, and fail."""
    request.session.cycle_key()
    request.session = type(request.session)(request.session.session_key)
    return HttpResponse("failed", status=500)


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.session.get(USER_ID, NOBODY))


def save(request: HttpRequest) -> HttpResponse:
    request.session["seen"] = request.session.get("seen", 0) + 1
    return HttpResponse(request.session.get(USER_ID, NOBODY))


def cookies(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(sorted(request.COOKIES)))


def logout(request: HttpRequest) -> HttpResponse:
    request.session.get(USER_ID)
    request.session.flush()
    return HttpResponse("signed out")


def logout_unread(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return HttpResponse("signed out")


async def get_user_together(request: HttpRequest) -> HttpResponse:
    """Get the user, as Django does, when TOGETHER requests have read the session."""
    await request.session.aget(USER_ID)
    await _together().wait()
    user = await aget_user(request)
    return HttpResponse(str(user.pk or NOBODY))


_barriers: dict[asyncio.AbstractEventLoop, asyncio.Barrier] = {}


def _together() -> asyncio.Barrier:
    return _barriers.setdefault(asyncio.get_running_loop(), asyncio.Barrier(TOGETHER))


PAGES = (
    rotate,
    login,
    replace_session,
    view,
    save,
    cookies,
    logout,
    logout_unread,
    get_user_together,
)
urlpatterns = [path(f"{page.__name__}/", page) for page in PAGES]


def signed_in_content(user: User) -> dict[str, Any]:
    """Return the session content after Django's `login`."""
    return {
        USER_ID: str(user.pk),
        BACKEND_SESSION_KEY: f"{__name__}.InMemory",
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }


class Browser:
    """A browser's cookies, by name."""

    def __init__(self, session_key: str) -> None:
        self.cookies = {settings.SESSION_COOKIE_NAME: session_key}

    @property
    def key(self) -> str | None:
        return self.cookies.get(settings.SESSION_COOKIE_NAME)

    def send(self, page: str) -> Any:
        """Send a request; its response is not received yet."""
        return send(page, self.cookies)

    def receive(self, response: Any) -> None:
        """Store the cookies of a response."""
        for name, cookie in response.cookies.items():
            if cookie["max-age"] == 0 or not cookie.value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = cookie.value

    def ask(self, page: str) -> Any:
        response = self.send(page)
        self.receive(response)
        return response

    def copy(self) -> "Browser":
        other = Browser("")
        other.cookies = dict(self.cookies)
        return other


def send(page: str, cookies: dict[str, str]) -> Any:
    """Send a request with these cookies."""
    client = Client(raise_request_exception=False)
    for name, value in cookies.items():
        client.cookies[name] = value
    return client.get(f"/{page}/")
