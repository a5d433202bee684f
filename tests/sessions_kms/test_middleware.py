"""A store that cannot be used is a 503 that keeps the cookie, wherever in a request it shows."""

import asyncio
import errno
import gc
import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from typing import Any, NamedTuple

import pytest
from asgiref.sync import SyncToAsync, iscoroutinefunction
from django.conf import settings as live_settings
from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template import loader
from django.test import AsyncClient, Client
from pytest_django import Settings

from sessions_kms import middleware, outages
from sessions_kms.exceptions import StoreUnavailable, TableUnavailable
from sessions_kms.middleware import RETRY_AFTER, TEXT, StoreUnavailableMiddleware, unavailable
from sessions_kms.outages import Outage
from sessions_kms.services import id_of
from tests.sessions_kms.sites import serving
from tests.sessions_kms.support.fakes import KEY
from tests.sessions_kms.support.memory_dynamodb import after, refuse_write
from tests.sessions_kms.support.sessions import saved_key
from tests.sessions_kms.support.stacks import Stack
from tests.support.signals import record_signal

OURS = "sessions_kms.middleware.StoreUnavailableMiddleware"
SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
LOGIN_REQUIRED = "django.contrib.auth.middleware.LoginRequiredMiddleware"
SITES = "tests.sessions_kms.sites"
LINES = "sessions_kms.refused"

TEMPLATES = {
    "session.html": "{{ request.session.name }}",
    "user.html": "{{ user }}",
    "if.html": "{% if user.is_authenticated %}in{% else %}out{% endif %}",
    "and.html": "{% if user.is_authenticated and user.is_active %}in{% else %}out{% endif %}",
}


@pytest.fixture(autouse=True)
def site(settings: Settings, fake: Stack) -> None:
    settings.ROOT_URLCONF = f"{SITES}.pages"
    settings.MIDDLEWARE = [OURS, SESSION, AUTH]
    settings.SESSION_COOKIE_SECURE = False
    templates(settings, TEMPLATES)


@pytest.fixture
def key_in_outage(fake: Stack) -> str:
    """Return the key of a session in a store that cannot be used from now on."""
    key = saved_key(name="old")
    fake.dynamodb.unavailable = True
    return key


def templates(settings: Settings, sources: dict[str, str]) -> None:
    context_processors = [
        "django.template.context_processors.request",
        "django.contrib.auth.context_processors.auth",
    ]
    settings.TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [("django.template.loaders.locmem.Loader", sources)],
                "context_processors": context_processors,
            },
        }
    ]


Ask = Callable[[str, str], Any]


def ask_wsgi(path: str, session_key: str) -> Any:
    client = Client(raise_request_exception=False)
    client.cookies[live_settings.SESSION_COOKIE_NAME] = session_key
    return client.get(path)


def ask_asgi(path: str, session_key: str) -> Any:
    client = AsyncClient(raise_request_exception=False)
    client.cookies[live_settings.SESSION_COOKIE_NAME] = session_key
    return asyncio.run(client.get(path))


def assert_unavailable(response: Any) -> None:
    """Assert the 503, and that it leaves the visitor's cookie alone."""
    assert response.status_code == 503
    assert response["Retry-After"] == str(RETRY_AFTER)
    assert response["Cache-Control"] == "no-store"
    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content.decode() == str(TEXT)
    told = [name for name in response.cookies if "-next-" not in name]  # It changes no other.
    assert not told


class Where(NamedTuple):
    """A page, the middlewares around it, and what of the table fails (None: all of it)."""

    path: str
    middleware: tuple[str, ...] = ()
    failing: str | None = None
    every_request: bool = False


WHERE = {
    "view": Where("/read/"),
    "async view": Where("/async-read/"),
    "template": Where("/template/session/"),
    "auth context processor": Where("/template/user/"),
    "condition in a template": Where("/template/if/"),
    "deferred template": Where("/deferred/session/"),
    "auth in a deferred template": Where("/deferred/user/"),
    "process_request": Where("/anonymous/", (f"{SITES}.middlewares.reads_before",)),
    "process_view": Where("/anonymous/", (f"{SITES}.middlewares.ReadsInProcessView",)),
    "process_template_response": Where(
        "/deferred/if/", (f"{SITES}.middlewares.ReadsInProcessTemplateResponse",)
    ),
    "middleware after the view": Where("/anonymous/", (f"{SITES}.middlewares.reads_after",)),
    "login required": Where("/anonymous/", (LOGIN_REQUIRED,)),
    "save": Where("/write/", failing="PutItem session"),
    "save after an async view": Where("/async-write/", failing="PutItem session"),
    "new key": Where("/cycle/", failing="TransactWriteItems session session"),
    "logout": Where("/flush/", failing="DeleteItem session"),
    "save every request": Where("/anonymous/", every_request=True),
    "save every request after a failing view": Where("/read/", every_request=True),
    "stream that reads first": Where("/read-then-stream/"),
    "async stream that reads first": Where("/async-read-then-stream/"),
}


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
@pytest.mark.parametrize("place", WHERE)
def test_store_unavailable_is_503_and_keeps_the_cookie(
    place: str, ask: Ask, *, debug: bool, settings: Settings, fake: Stack
) -> None:
    where = WHERE[place]
    settings.DEBUG = debug
    settings.MIDDLEWARE = [OURS, SESSION, AUTH, *where.middleware]
    settings.SESSION_SAVE_EVERY_REQUEST = where.every_request
    key = saved_key(name="old")
    if where.failing:
        fake.dynamodb.on(where.failing, refuse_write)
    else:
        fake.dynamodb.unavailable = True
    assert_unavailable(ask(where.path, key))
    fake.dynamodb.heal()
    settings.MIDDLEWARE = [OURS, SESSION]
    assert ask("/read/", key).content == b"name=old"


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_DEFAULT_REGION", None),
        ("AWS_PROFILE", "mistyped"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "no-address"),
    ],
)
def test_environment_of_which_no_client_can_be_made_is_503(
    ask: Ask, variable: str, value: str | None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = saved_key(name="old")
    settings.SESSIONS_KMS = {"KEY_ID": KEY, "TABLE_NAME": "sessions"}  # The real store, not a fake.
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    assert_unavailable(ask("/read/", key))


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
def test_other_errors_stay_500(ask: Ask, debug: bool, settings: Settings) -> None:
    settings.DEBUG = debug
    response = ask("/broken/", saved_key(name="old"))
    assert response.status_code == 500
    assert (b"not the store" in response.content) == debug
    assert "Retry-After" not in response


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
def test_session_ended_meanwhile_stays_400(ask: Ask, fake: Stack) -> None:
    key = saved_key(name="old")
    fake.dynamodb.on("PutItem session", after(lambda: fake.delete_item(id_of(key))))
    assert ask("/write/", key).status_code == 400


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
def test_page_without_a_session_works_in_an_outage(ask: Ask, key_in_outage: str) -> None:
    assert ask("/anonymous/", key_in_outage).content == b"anonymous"


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
@pytest.mark.parametrize("path", ["/read/", "/anonymous/"])
def test_page_of_the_project_is_shown(
    ask: Ask, key_in_outage: str, path: str, settings: Settings
) -> None:
    settings.MIDDLEWARE = [OURS, SESSION, AUTH, f"{SITES}.middlewares.reads_before"]
    # A page that looks at its context must not ask the store again.
    templates(settings, {"503.html": "<p>Back soon{{ user }}{{ request }}</p>"})
    response = ask(path, key_in_outage)
    assert (response.status_code, response["Retry-After"]) == (503, str(RETRY_AFTER))
    assert response.content == b"<p>Back soon</p>"
    assert response["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("where", ["template", "middleware after the view", "async view"])
def test_refused_request_has_a_line_of_its_own_and_no_traceback(
    where: str,
    key_in_outage: str,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, middleware = WHERE[where][:2]
    settings.MIDDLEWARE = [OURS, SESSION, AUTH, *middleware]
    known = {TableUnavailable: Outage(logging.getLogger("tests.outage"), "table", "The table")}
    monkeypatch.setattr(outages, "OUTAGES", known)
    caplog.set_level(logging.ERROR, logger=LINES)  # the gateway silences it
    for ask in (ask_wsgi, ask_asgi):
        assert_unavailable(ask(path, key_in_outage))
    told = [record for record in caplog.records if record.name != "asyncio"]
    assert [record.name for record in told if record.name == "tests.outage"] == ["tests.outage"]
    lines = [record for record in told if record.name != "tests.outage"]
    assert {(record.name, record.exc_info) for record in lines} == {(LINES, None)}
    assert [record.getMessage() for record in lines] == [
        f"GET {path}: {TableUnavailable.message}"
    ] * 2


def test_line_of_a_refused_request_has_its_path_escaped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger=LINES)
    request = HttpRequest()
    request.method, request.path = "GET", "/a\nINFO forged"
    StoreUnavailableMiddleware(lambda _: HttpResponse()).process_exception(
        request, TableUnavailable()
    )
    assert "\n" not in caplog.records[-1].getMessage()


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
def test_request_finishes_once(ask: Ask, key_in_outage: str, settings: Settings) -> None:
    """Django closes database connections then, which outer middlewares may still use."""
    settings.MIDDLEWARE = [OURS, SESSION, f"{SITES}.middlewares.reads_after"]
    with record_signal(request_finished) as finished:
        assert_unavailable(ask("/anonymous/", key_in_outage))
    assert len(finished) == 1


# Limits, so that nobody is surprised


def consume_wsgi(response: Any) -> bytes:
    return b"".join(response.streaming_content)


def consume_asgi(response: Any) -> bytes:
    async def first() -> bytes:
        return bytes(await anext(aiter(response.streaming_content)))

    return asyncio.run(first())


@pytest.mark.parametrize(
    ("ask", "path", "consume"),
    [(ask_wsgi, "/stream/", consume_wsgi), (ask_asgi, "/async-stream/", consume_asgi)],
)
def test_stream_that_first_reads_in_its_body_fails_there(
    ask: Ask, key_in_outage: str, path: str, consume: Callable[[Any], bytes]
) -> None:
    """The status is out before a stream's first byte: it must read its session before."""
    response = ask(path, key_in_outage)
    assert (response.status_code, len(response.cookies)) == (200, 0)
    with pytest.raises(StoreUnavailable):
        consume(response)


@pytest.mark.parametrize("ask", [ask_wsgi, ask_asgi])
def test_template_operator_swallows_the_error_and_the_cookie_is_kept(
    ask: Ask, key_in_outage: str
) -> None:
    """Django's `and`, `or`, `not` in a template take any error for False."""
    response = ask("/template/and/", key_in_outage)
    assert (response.content, len(response.cookies)) == (b"out", 0)


# Threads and real servers


async def test_middleware_adds_no_thread_hop(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hops: list[object] = []
    call = SyncToAsync.__call__

    async def count(self: Any, *args: Any, **kwargs: Any) -> Any:
        hops.append(self.func)
        return await call(self, *args, **kwargs)

    monkeypatch.setattr(SyncToAsync, "__call__", count)
    counts = []
    for installed in ([], [OURS]):
        settings.MIDDLEWARE = installed
        hops.clear()
        assert (await AsyncClient().get("/thread/")).status_code == 200
        counts.append(len(hops))
    assert counts[0] == counts[1]


def test_middleware_is_sync_or_async_like_the_next_one() -> None:
    async def get_response(request: HttpRequest) -> HttpResponseBase:
        return HttpResponse()

    assert iscoroutinefunction(StoreUnavailableMiddleware(get_response))
    assert not iscoroutinefunction(StoreUnavailableMiddleware(lambda _: HttpResponse()))


def get(port: int, path: str, session_key: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        cookie = f"{live_settings.SESSION_COOKIE_NAME}={session_key}"
        connection.request("GET", path, headers={"Cookie": cookie})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("serve", [serving.wsgi, serving.asgi])
def test_real_server_answers_503_and_recovers(
    serve: Callable[[], AbstractContextManager[int]],
    settings: Settings,
    fake: Stack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.MIDDLEWARE = [OURS, SESSION, AUTH, f"{SITES}.middlewares.reads_after"]
    key = saved_key(name="old")
    with serve() as port:
        for path in ("/read/", "/async-read/", "/anonymous/", "/write/"):
            with monkeypatch.context() as outage:
                outage.setattr(fake.dynamodb, "unavailable", True)
                response, body = get(port, path, key)
            assert (response.status, body.decode()) == (503, str(TEXT)), path
            assert response.headers["Retry-After"] == str(RETRY_AFTER)
            assert response.headers["Set-Cookie"] is None
        assert get(port, "/read/", key)[1] == b"name=old"


# Django leaves the request's body open when a stream breaks; the collector closes it.
@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")
def test_stream_broken_by_an_outage_is_visibly_incomplete(
    key_in_outage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A captured record would keep the traceback, and with it the body, beyond this test.
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "disabled", True)
    with serving.wsgi() as port:  # wsgiref sends its status with the first byte.
        assert get(port, "/stream/", key_in_outage)[0].status == 500
    with serving.asgi() as port, pytest.raises(IncompleteRead):
        get(port, "/async-stream/", key_in_outage)
    gc.collect()


def test_page_is_loaded_once_and_before_the_first_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(name: str, _: dict[str, Any]) -> str:
        loaded.append(name)
        return ""

    monkeypatch.setattr(loader, "render_to_string", load)
    middleware._load_page.cache_clear()
    for _ in range(2):
        StoreUnavailableMiddleware(lambda _: HttpResponse())
    assert loaded == ["503.html"]


def test_template_that_cannot_be_opened_gives_way_to_plain_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(loader, "render_to_string", fail)
    response = unavailable()
    assert (response.status_code, response.content.decode()) == (503, str(TEXT))
    assert response["Retry-After"] == str(RETRY_AFTER)
