"""The order of the middleware's steps before other code sees the request."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import AsyncRequestFactory, RequestFactory

from sessions_kms.concurrency import deadline
from sessions_kms.middleware import StoreUnavailableMiddleware
from sessions_kms.session import next_cookie

Seen = list[tuple[float | None, str | None, dict[str, str]]]


def ask(cookies: str, look: Callable[[HttpRequest], None], *, is_async: bool) -> None:
    async def aget_response(request: HttpRequest) -> HttpResponseBase:
        look(request)
        return HttpResponse()

    def get_response(request: HttpRequest) -> HttpResponseBase:
        look(request)
        return HttpResponse()

    headers = {"cookie": cookies}
    if is_async:
        made: Any = StoreUnavailableMiddleware(aget_response)
        asyncio.run(made(AsyncRequestFactory().get("/", headers=headers)))
    else:
        StoreUnavailableMiddleware(get_response)(RequestFactory().get("/", headers=headers))


@pytest.mark.parametrize("is_async", [False, True])
def test_waits_are_summed_up_and_a_planted_cookie_is_no_key_of_the_request(
    *, is_async: bool
) -> None:
    name = settings.SESSION_COOKIE_NAME
    seen: Seen = []

    def look(request: HttpRequest) -> None:
        keys = next_cookie._keys.get()
        assert keys is not None
        assert keys.named == ()
        seen.append((deadline.budget_left(), keys.cookie, request.COOKIES))

    planted = f"\xa0{name}={'p' * 32}; \xa0{name}-next-AAAAAAAA={'p' * 32}.AAAAAAAA"
    ask(planted, look, is_async=is_async)
    ask(f"{planted}; {name}={'k' * 32}", look, is_async=is_async)
    assert seen == [(deadline.REQUEST, None, {}), (deadline.REQUEST, "k" * 32, {name: "k" * 32})]
    assert deadline.budget_left() is None
    assert next_cookie._keys.get() is None
