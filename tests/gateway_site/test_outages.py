"""A database that cannot be used is a 503 with the cookie kept, whatever met it; a fault a 500."""

import errno
import logging
import sqlite3
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import DataError, OperationalError, ProgrammingError, connection
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient
from psycopg import errors
from psycopg_pool import PoolTimeout
from pytest_django import Settings

from gateway_site import outages
from gateway_site.edge.access_log import REQUEST_ID
from gateway_site.edge.reports import Tally
from gateway_site.outages import is_outage
from gateway_site.rules import problems
from sessions_kms.outages import QUIET, Outage
from tests.gateway_site.support.page_requests import assert_accessible
from tests.oauth.support.fake_provider import FakeProvider
from tests.oauth.support.fixtures import Visitor
from tests.support.cases import each_case
from tests.support.clock import FakeClock

GetResponse = Callable[[HttpRequest], HttpResponse]


def of_sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("told by its code")
    error.sqlite_errorcode = code
    return error


OUTAGES = [
    psycopg.OperationalError("the connection is closed"),
    PoolTimeout("couldn't get a connection after 3.00 sec"),
    errors.AdminShutdown(),
    errors.CannotConnectNow(),
    errors.QueryCanceled(),  # by the time-out of a statement
    errors.TooManyConnections(),
    errors.DeadlockDetected(),
    errors.LockNotAvailable(),
    of_sqlite(sqlite3.SQLITE_BUSY),
    of_sqlite(sqlite3.SQLITE_IOERR_READ),
    of_sqlite(sqlite3.SQLITE_CANTOPEN),
]
FAULTS = [
    errors.StatementTooComplex(),
    of_sqlite(sqlite3.SQLITE_ERROR),  # no such table
    sqlite3.OperationalError("without a code"),
]


def make_error(kind: type[Exception], cause: Exception | None) -> Exception:
    error = kind("as Django raises it")
    error.__cause__ = cause
    return error


@each_case("cause", OUTAGES, ids=lambda cause: type(cause).__name__)
def test_database_that_cannot_be_used_is_an_outage(cause: Exception) -> None:
    assert is_outage(make_error(OperationalError, cause))


@pytest.mark.parametrize("cause", FAULTS, ids=lambda cause: str(cause) or type(cause).__name__)
def test_invalid_query_is_no_outage(cause: Exception) -> None:
    assert not is_outage(make_error(OperationalError, cause))


@pytest.mark.parametrize("error", [ProgrammingError, DataError, ValueError])
def test_other_errors_are_no_outage(error: type[Exception]) -> None:
    assert not is_outage(make_error(error, None))


NO_SERVER = make_error(OperationalError, psycopg.OperationalError("no server"))


class Failing:
    """Fails whatever is asked of the database."""

    error: Exception = NO_SERVER

    def __call__(self, *_: Any) -> Any:
        raise self.error


def failing_before(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponse:
        User.objects.exists()
        return get_response(request)

    return middleware


def failing_after(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        User.objects.exists()
        return response

    return middleware


@pytest.fixture
def database(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Outage:
    outage = Outage(problems.outage_logger, "database", "The database", clock)
    monkeypatch.setattr(problems, "database_outage", outage)
    return outage


@pytest.fixture
def staff(corp: FakeProvider, visitor: Visitor) -> Visitor:
    visitor.sign_in_directly(corp)
    User.objects.update(is_staff=True, is_superuser=True)
    visitor.client.raise_request_exception = False
    return visitor


@pytest.mark.parametrize("path", ["/", "/sessions/", "/admin/", "/admin/auth/user/", "/try/x/"])
def test_page_in_an_outage_is_a_503_that_keeps_the_cookie_and_logs_no_traceback(
    staff: Visitor, path: str, caplog: pytest.LogCaptureFixture, database: Outage
) -> None:
    database.refused(NO_SERVER)
    caplog.clear()  # of its beginning
    with connection.execute_wrapper(Failing()), caplog.at_level(logging.INFO):
        response = staff.client.get(path)
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert "Back in a moment" in response.content.decode()
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert not response.cookies
    # The access log has a line of the request.
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert staff.client.get("/").status_code == 200


def test_outage_has_one_traceback_and_its_end_is_logged(
    staff: Visitor, caplog: pytest.LogCaptureFixture, database: Outage, clock: FakeClock
) -> None:
    with connection.execute_wrapper(Failing()):
        for _ in range(3):
            staff.client.get("/")
    clock.advance(QUIET)
    connection_created.send(type(connection), connection=connection)
    messages = [
        each.getMessage() for each in caplog.records if each.name == problems.outage_logger.name
    ]
    assert len(messages) == 2
    assert messages[0].startswith("OperationalError: no server. The database cannot be used")
    assert "Traceback" in messages[0]
    assert messages[1].startswith("The database can be used again: 3 requests")


@pytest.mark.parametrize("middleware", ["failing_before", "failing_after"])
def test_outage_in_a_middleware_is_a_503_too(
    staff: Visitor, settings: Settings, middleware: str
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.{middleware}"]
    with connection.execute_wrapper(Failing()):
        response = staff.client.get("/accounts/login/")
    assert (response.status_code, response.cookies) == (503, {})
    assert int(response["Retry-After"]) > 0


def test_gateway_in_an_outage_answers_with_a_problem_document(staff: Visitor) -> None:
    User.objects.get().save()  # or they would be known
    with connection.execute_wrapper(Failing()):
        response = staff.client.get("/gateway/")
    assert response.status_code == 503
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "database_unavailable"
    assert int(response["Retry-After"]) > 0
    assert not response.cookies


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_page_that_can_open_nothing_is_a_503_and_the_log_counts_it(
    staff: Visitor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    counted = Tally(outages.logger, "%d met no descriptor", FakeClock(0))
    monkeypatch.setattr(outages, "_out_of_descriptors", counted)
    failing = Failing()
    failing.error = OSError(number, "as the system says it")
    with connection.execute_wrapper(failing), caplog.at_level(logging.INFO):
        responses = [staff.client.get("/") for _ in range(3)]
    for response in responses:
        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
        assert "Back in a moment" in response.content.decode()
        assert not response.cookies
    messages = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    assert messages == ["1 met no descriptor"]
    assert staff.client.get("/").status_code == 200


def test_call_without_descriptors_gets_a_problem_document(staff: Visitor) -> None:
    User.objects.get().save()  # or they would be known
    failing = Failing()
    failing.error = OSError(errno.EMFILE, "as the system says it")
    with connection.execute_wrapper(failing):
        response = staff.client.get("/gateway/")
    assert response.status_code == 503
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["code"] == "service_unavailable"
    assert not response.cookies


def test_file_that_cannot_be_read_for_another_reason_is_a_500(
    staff: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing()
    failing.error = OSError(errno.EACCES, "as the system says it")
    with connection.execute_wrapper(failing):
        assert staff.client.get("/").status_code == 500
    assert any(each.exc_info for each in caplog.records)


def test_outage_is_a_503_under_asgi_as_well(staff: Visitor) -> None:
    client = AsyncClient(raise_request_exception=False)
    client.cookies = staff.client.cookies
    with connection.execute_wrapper(Failing()):
        response = async_to_sync(client.get)("/")
    assert (response.status_code, response["Retry-After"]) == (503, "5")


def test_fault_of_a_query_stays_a_500_with_its_traceback(
    staff: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    fault = Failing()
    fault.error = make_error(OperationalError, of_sqlite(sqlite3.SQLITE_ERROR))
    with connection.execute_wrapper(fault):
        response = staff.client.get("/")
    assert response.status_code == 500
    assert "Something went wrong" in response.content.decode()
    assert any(each.exc_info for each in caplog.records)


def test_failure_is_a_page_with_the_number_that_the_log_has() -> None:
    request = HttpRequest()
    setattr(request, REQUEST_ID, "41c6")
    response = outages.server_error(request)
    assert response.status_code == 500
    page = assert_accessible(response.content.decode())
    [code] = page.all("code")
    assert code.text == "Error 500 (request 41c6)"
    [button] = page.all("button")
    assert button.attributes["data-copy"] == code.attributes["id"]
