"""No token, session key or data key in a log, an error, a report, on the wire or in the table."""

import asyncio
import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from itertools import product
from typing import Any

import pytest
from django.conf import settings as live_settings
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.core.signals import got_request_exception
from django.http import HttpRequest
from django.test import AsyncClient, Client
from django.views.debug import get_default_exception_reporter_filter
from pytest_django import Settings

from sessions_kms.exceptions import KMSUnavailable, SessionTooLarge, StoreUnavailable
from sessions_kms.format.attributes import Item
from sessions_kms.format.item_types import session_id
from tests.sessions_kms.support.faults import (
    Fault,
    apply_and,
    change_response,
    cut_off,
    drop_connection,
    error,
)
from tests.sessions_kms.support.faulty import MakeFaulty
from tests.sessions_kms.support.leaks import (
    OTHER,
    TOKEN,
    EveryRecord,
    Visitor,
    error_of,
    in_error,
    in_reports,
    record_everything,
)

pytestmark = [
    pytest.mark.parametrize("make_stack", ["servers"], indirect=True),
    pytest.mark.timeout(600),  # seconds where nothing else runs, minutes on a busy machine
]


class Odd:
    """What no serializer takes."""

    def __repr__(self) -> str:
        return TOKEN


@pytest.fixture
def visitor(make_faulty: MakeFaulty) -> Visitor:
    return Visitor(make_faulty())


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch, visitor: Visitor) -> EveryRecord:
    return record_everything(monkeypatch)


# Each method, with and without the session loaded before.


def setitem(visitor: Visitor) -> None:
    visitor.session["token"] = OTHER


def getitem(visitor: Visitor) -> None:
    visitor.session["token"]


METHODS: dict[str, Callable[[Visitor], Any]] = {
    "getitem": getitem,
    "setitem": setitem,
    "get": lambda v: v.session.get("token", OTHER),
    "pop": lambda v: v.session.pop("token", OTHER),
    "update": lambda v: v.session.update({"token": OTHER}),
    "setdefault": lambda v: v.session.setdefault("token", OTHER),
    "save": lambda v: v.session.save(),
    "create": lambda v: v.session.create(),
    "cycle_key": lambda v: v.session.cycle_key(),
    "flush": lambda v: v.session.flush(),
    "delete": lambda v: v.session.delete(v.key),
    "exists": lambda v: v.session.exists(v.key),
    "load": lambda v: v.session.load(),
    "expiry": lambda v: v.session.get_expiry_age(),
    "aget": lambda v: v.session.aget("token", OTHER),
    "aset": lambda v: v.session.aset("token", OTHER),
    "apop": lambda v: v.session.apop("token", OTHER),
    "aupdate": lambda v: v.session.aupdate({"token": OTHER}),
    "asetdefault": lambda v: v.session.asetdefault("token", OTHER),
    "asave": lambda v: v.session.asave(),
    "acreate": lambda v: v.session.acreate(),
    "acycle_key": lambda v: v.session.acycle_key(),
    "aflush": lambda v: v.session.aflush(),
    "adelete": lambda v: v.session.adelete(v.key),
    "aexists": lambda v: v.session.aexists(v.key),
    "aload": lambda v: v.session.aload(),
}


def call(method: str, visitor: Visitor) -> BaseException | None:
    def run() -> Any:
        result = METHODS[method](visitor)
        return asyncio.run(await_result(result)) if inspect.isawaitable(result) else result

    return error_of(run)


async def await_result(result: Awaitable[Any]) -> Any:
    return await result


def shown_texts(
    raised: BaseException,
    visitor: Visitor,
    settings: Settings,
    *,
    debug: tuple[bool, ...] = (True,),
) -> set[str]:
    """Return where an error and Django's reports of it show secrets.

    Without DEBUG, Django hides some of what it shows with it, and shows nothing more.
    """
    visitor.learn()
    found = in_error(raised, visitor.secrets)
    for value in debug:
        settings.DEBUG = value
        found |= in_reports(raised, visitor.request(), visitor.secrets)
    return found


TABLE_OPERATIONS = ("GetItem", "PutItem", "DeleteItem", "TransactWriteItems")
OUTAGES: dict[str, Fault] = {
    "dropped": drop_connection,
    "denied": error("AccessDeniedException"),
    "garbled": change_response(lambda body: b"\xff" + body),
}


@pytest.mark.parametrize(
    ("outage", "loaded"),
    [
        ("dropped", False),
        ("denied", True),
        ("garbled", False),
        pytest.param("dropped", True, marks=pytest.mark.long),
        pytest.param("denied", False, marks=pytest.mark.long),
        pytest.param("garbled", True, marks=pytest.mark.long),
    ],
)
def test_error_of_the_table_shows_nothing(
    visitor: Visitor, records: EveryRecord, settings: Settings, *, outage: str, loaded: bool
) -> None:
    found = {}
    for method in METHODS:
        visitor.begin()
        if loaded:
            visitor.session["more"] = OTHER
        for operation in TABLE_OPERATIONS:
            visitor.faulty.table.on(operation, OUTAGES[outage])
        raised = call(method, visitor)
        assert loaded or isinstance(raised, StoreUnavailable), method
        if raised and (shown := shown_texts(raised, visitor, settings)):
            found[method] = shown
    assert found == {}
    assert records.showing(visitor.secrets) == set()


def rewritten(**members: Any) -> Fault:
    """Forward, and give a response with other members; None leaves one out."""

    def change(body: bytes) -> bytes:
        response = json.loads(body) | members
        return json.dumps({name: value for name, value in response.items() if value}).encode()

    return change_response(change)


# Each response holds the plaintext data key, and cannot be used.
UNDECODABLE: dict[str, Fault] = {
    "not UTF-8": change_response(lambda body: b"\xff" + body),
    "truncated": change_response(lambda body: body[:-1]),
    "cut off": cut_off,
    "in a list": change_response(lambda body: b"[" + body + b"]"),
    "base64 broken": change_response(lambda body: body.replace(b'="', b'"')),
    "with error 500": change_response(lambda body: body, status=500),
    "with error 500, truncated": change_response(lambda body: body[:-1], status=500),
    "with error 400": change_response(lambda body: body, status=400),
    "with error 400, truncated": change_response(lambda body: body[:-1], status=400),
    "with error 400, not UTF-8": change_response(lambda body: b"\xff" + body, status=400),
    "key id missing": rewritten(KeyId=None),
    "of another key": rewritten(KeyId="arn:aws:kms:eu-west-1:1:key/other"),
    "key id a number": rewritten(KeyId=5),
    "key id a list": rewritten(KeyId=[5]),
    "dropped": apply_and(drop_connection),
}


@pytest.mark.parametrize("what", UNDECODABLE)
def test_error_of_kms_shows_nothing(
    make_faulty: MakeFaulty, monkeypatch: pytest.MonkeyPatch, settings: Settings, what: str
) -> None:
    visitor = Visitor(make_faulty(data_key_period=0))
    records = record_everything(monkeypatch)
    for method in ("getitem", "save", "create", "aget"):
        visitor.begin()
        if method == "save":
            setitem(visitor)
        for operation in ("Decrypt", "GenerateDataKey"):
            visitor.faulty.kms.on(operation, UNDECODABLE[what])
        raised = call(method, visitor)
        assert isinstance(raised, KMSUnavailable), method
        assert shown_texts(raised, visitor, settings) == set(), method
    assert records.showing(visitor.secrets) == set()


@pytest.mark.parametrize("wrong", ["unserializable", "too large", "ended", "forged"])
def test_refused_write_shows_nothing(
    visitor: Visitor, records: EveryRecord, settings: Settings, wrong: str
) -> None:
    for method in ("save", "create", "cycle_key", "asave", "acreate"):
        visitor.begin()
        visitor.session["more"] = OTHER
        spoil(visitor, wrong)
        raised = call(method, visitor)
        assert isinstance(raised, EXPECTED[wrong]) or "create" in method
        if raised:
            shown = shown_texts(raised, visitor, settings, debug=(False, True))
            assert shown == set(), method
    assert records.showing(visitor.secrets) == set()


def spoil(visitor: Visitor, wrong: str) -> None:
    """Make the next write of the visitor's session fail."""
    if wrong == "unserializable":
        visitor.session["odd"] = {"nested": [Odd(), TOKEN]}
    elif wrong == "too large":
        visitor.session["large"] = TOKEN * 20_000
    else:
        name = session_id(visitor.faulty.stack.config.namespace, visitor.key)
        item = visitor.faulty.stack.sessions()[name]
        visitor.faulty.stack.delete_item(name)
        if wrong == "forged":
            forged: Item = {"revision": {"N": "7"}, "authTag": {"B": bytes(16)}}
            visitor.faulty.stack.put_item(item | forged)


EXPECTED: dict[str, tuple[type[Exception], ...]] = {
    "unserializable": (TypeError,),
    "too large": (SessionTooLarge,),
    "ended": (UpdateError, SessionInterrupted),
    "forged": (UpdateError, SessionInterrupted),
}


@pytest.fixture
def plain_reports(settings: Settings) -> Iterator[None]:
    """Have Django's own reports, not the gateway's more careful ones."""
    settings.DEFAULT_EXCEPTION_REPORTER = "django.views.debug.ExceptionReporter"
    settings.DEFAULT_EXCEPTION_REPORTER_FILTER = "django.views.debug.SafeExceptionReporterFilter"
    get_filter: Any = get_default_exception_reporter_filter  # Cached, which its stubs do not say.
    get_filter.cache_clear()
    yield
    get_filter.cache_clear()


OURS = ["sessions_kms.middleware.StoreUnavailableMiddleware"]


def ask(path: str, key: str, *, asynchronous: bool) -> Any:
    client: Any = (AsyncClient if asynchronous else Client)(raise_request_exception=False)
    client.cookies[live_settings.SESSION_COOKIE_NAME] = key
    answered = client.get(path, headers={"accept": "text/html"})
    return asyncio.run(await_result(answered)) if asynchronous else answered


@pytest.mark.usefixtures("plain_reports")
@pytest.mark.parametrize(
    ("debug", "asynchronous", "ours"),
    [
        # Each two of them together; the long tier has all three.
        pytest.param(*combined, marks=() if sum(map(bool, combined)) % 2 else pytest.mark.long)
        for combined in product((False, True), (False, True), ([], OURS))
    ],
)
def test_failing_request_shows_nothing(
    visitor: Visitor,
    records: EveryRecord,
    settings: Settings,
    *,
    debug: bool,
    asynchronous: bool,
    ours: list[str],
) -> None:
    settings.DEBUG = debug
    settings.ROOT_URLCONF = "tests.sessions_kms.sites.pages"
    settings.MIDDLEWARE = [
        *ours,
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]
    settings.ADMINS = []
    found: set[str] = set()

    def report(request: HttpRequest, **_: Any) -> None:
        if raised := sys.exc_info()[1]:
            found.update(in_error(raised, visitor.secrets))
            found.update(in_reports(raised, request, visitor.secrets))

    got_request_exception.connect(report)
    try:
        for path in ("read", "write", "cycle", "flush", "async-read", "async-write"):
            for operations in (TABLE_OPERATIONS, TABLE_OPERATIONS[1:]):
                visitor.begin()
                for operation in operations:
                    visitor.faulty.table.on(operation, OUTAGES["garbled"])
                response = ask(f"/{path}/", visitor.key, asynchronous=asynchronous)
                failed = response.status_code == (503 if ours else 500)
                assert failed or "GetItem" not in operations, path
                found |= {f"page: {name}" for name in visitor.secrets.in_bytes(response.content)}
    finally:
        got_request_exception.disconnect(report)
    assert found == set()
    assert records.showing(visitor.secrets) == set()
