"""A browser's visits, through SessionMiddleware."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from tests.sessions_kms.support.stacks import Stack, install

BACKEND = "django.contrib.auth.backends.ModelBackend"

View = Callable[[HttpRequest], object]


class Browser:
    """Keeps the session cookie of one visitor; every visit goes through SessionMiddleware."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.SESSION_COOKIE_NAME
        self.key: str | None = None
        self.max_age: object = None

    def visit(self, view: View) -> None:
        def get_response(request: HttpRequest) -> HttpResponse:
            view(request)
            return HttpResponse()

        request = RequestFactory().get("/")
        if self.key:
            request.COOKIES[self._name] = self.key
        self.keep(SessionMiddleware(get_response)(request))

    def keep(self, response: Any) -> None:
        if self._name in response.cookies:
            cookie = response.cookies[self._name]
            self.key, self.max_age = cookie.value or None, cookie["max-age"]


def sign_in_view(user: User) -> View:
    return lambda request: login(request, user, backend=BACKEND)


def limit_sessions(stack: Stack, limit: int | None) -> None:
    config = replace(stack.services.config, max_sessions_per_user=limit)
    stack.services = replace(stack.services, config=config)
    install(stack.services)
