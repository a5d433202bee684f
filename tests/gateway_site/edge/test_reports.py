"""Error reports and access logs hold no secret, with DEBUG on and off."""

import io
import logging
import os
import sys
from types import TracebackType
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path
from django.views.debug import get_exception_reporter_class
from pytest_django import Settings

from gateway_site.edge.reports import ExceptionReporter, RefusalFilter
from tests.deploy_check import PRODUCTION
from tests.sessions_kms.support.stacks import Stack
from tests.support.processes import run_to_end

CANARY = "canary-" + "0123456789"  # not as one text: a report shows lines of this file


def callback(request: HttpRequest) -> HttpResponse:
    code = request.GET["code"]
    tokens = {"access_token": code}
    form = request.POST
    raise RuntimeError(f"no {len(tokens) + len(form)}")


urlpatterns = [path("callback", callback)]


def failing_request() -> HttpRequest:
    query = {"code": CANARY, "state": CANARY}
    return RequestFactory(
        headers={
            "Authorization": f"Bearer {CANARY}",
            "Cookie": f"gateway_sessionid={CANARY}; other={CANARY}",
            "Referer": f"https://idp.example/?code={CANARY}",
            "X-Session-Token": CANARY,
        },
        DATABASE_URL=f"postgres://u:{CANARY}@h/db",
    ).post("/callback", {"csrfmiddlewaretoken": CANARY, "password": CANARY}, query_params=query)


def report(request: HttpRequest) -> ExceptionReporter:
    kind: type[BaseException] | None
    value: BaseException | None
    frames: TracebackType | None
    try:
        callback(request)
    except RuntimeError:
        kind, value, frames = sys.exc_info()
    reporter_class: Any = get_exception_reporter_class(request)
    assert reporter_class is ExceptionReporter
    return ExceptionReporter(request, kind, value, frames)


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("form", ["html", "text"])
def test_report_contains_no_value_of_the_request_or_of_a_variable(
    settings: Settings, debug: bool, form: str
) -> None:
    settings.DEBUG = debug
    reporter = report(failing_request())
    content = reporter.get_traceback_html() if form == "html" else reporter.get_traceback_text()
    assert CANARY not in content
    assert "RuntimeError" in content
    assert "/callback" in content
    assert "HTTP_AUTHORIZATION" in content  # its name is shown


def test_report_shows_the_types_of_variables(settings: Settings) -> None:
    content = report(failing_request()).get_traceback_html()
    assert "&lt;dict&gt;" in content
    assert "access_token&#x27;:" not in content


def test_report_hides_secrets_of_the_settings(settings: Settings) -> None:
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {"APPS": [{"client_id": "c", "secret": CANARY}]}
    }
    settings.DATABASES["default"] |= {"PASSWORD": CANARY}
    settings.SECRET_KEY_FALLBACKS = [CANARY]
    content = report(failing_request()).get_traceback_html()
    assert CANARY not in content


def test_report_without_a_request_works() -> None:
    error = RuntimeError("plain")
    reporter = ExceptionReporter(None, RuntimeError, error, None)
    assert "RuntimeError" in reporter.get_traceback_text()


@pytest.mark.parametrize("debug", [True, False])
def test_failing_callback_leaks_into_neither_page_nor_log(
    store: Stack, settings: Settings, debug: bool, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ROOT_URLCONF = __name__
    settings.DEBUG = debug
    client = Client(raise_request_exception=False)
    client.cookies["gateway_sessionid"] = CANARY
    with caplog.at_level(logging.DEBUG):
        response = client.get("/callback", {"code": CANARY, "state": CANARY})
    assert response.status_code == 500
    assert CANARY not in response.content.decode()
    assert CANARY not in caplog.text


@pytest.mark.slow
def test_uvicorn_as_it_is_logs_no_access_beside_ours() -> None:
    """It has set up its log before it loads the application, and asks this as it accepts."""
    asked = (
        "import logging, uvicorn\n"
        "uvicorn.Config('gateway_site.asgi:application').load()\n"
        "print(logging.getLogger('uvicorn.access').hasHandlers())\n"
    )
    done = run_to_end([sys.executable, "-c", asked], PRODUCTION | {"PATH": os.environ["PATH"]})
    assert done.stdout == "False\n", done.stderr


def test_request_rejected_for_its_host_is_one_log_line(client: Client) -> None:
    """Whoever looks for holes in the whole Internet would write a dozen with each request."""
    [console] = [each for each in logging.root.handlers if type(each) is logging.StreamHandler]
    written = io.StringIO()
    before = console.setStream(written)
    try:
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    finally:
        console.setStream(before)
    lines = written.getvalue().splitlines()
    assert [line for line in lines if "evil.example" in line] == lines
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("status", "is_kept"), [(400, False), (403, False), (500, True), (None, True)]
)
def test_refused_request_has_no_traceback_in_the_log(status: int | None, is_kept: bool) -> None:
    """Anybody can send such by the thousand; a failure of the site keeps its traceback."""
    record = logging.LogRecord(
        "django.request", logging.WARNING, "", 0, "x", (), (None, None, None)
    )
    if status is not None:
        record.status_code = status
    assert RefusalFilter().filter(record)
    assert (record.exc_info is not None) == is_kept
