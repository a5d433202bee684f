"""Finds secrets in logs at DEBUG, in errors and their frames, and in Django's error reports.

Values of the test itself do not count: only frames in files of Django, asgiref, the SDK and the
engine are examined.
"""

import base64
import concurrent.futures
import hashlib
import json
import logging
import os
import pprint
import secrets as randomness
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any
from unittest.mock import patch

import asgiref
import boto3
import botocore
import django
import pytest
import urllib3
from django.conf import settings
from django.http import HttpRequest
from django.template import Engine, Template
from django.test import RequestFactory
from django.views.debug import DEBUG_ENGINE, ExceptionReporter, SafeExceptionReporterFilter

import sessions_kms
from sessions_kms.backend import SessionStore
from tests.sessions_kms.support.faulty import FaultyStack
from tests.sessions_kms.support.sessions import save_session

TOKEN = "token-" + randomness.token_hex(16)
OTHER = "other-" + randomness.token_hex(16)

WATCHED = tuple(
    str(Path(module.__file__ or "").parent) + os.sep
    for module in (asgiref, boto3, botocore, concurrent.futures, django, sessions_kms, urllib3)
)


def forms(secret: str | bytes) -> set[str]:
    """Return the forms of a secret in text."""
    raw = secret.encode() if isinstance(secret, str) else secret
    # A part of it is as bad, if the text was truncated.
    encoded = {base64.b64encode(raw)[:20], base64.urlsafe_b64encode(raw)[:20]}
    return {repr(raw)[2:-1], raw.hex(), *(text.decode() for text in encoded)}


@dataclass
class Secrets:
    """Values that must not be visible. It reports their names, never the values."""

    known: dict[str, set[str]] = field(default_factory=dict, repr=False)

    def add(self, name: str, secret: str | bytes) -> None:
        self.known.setdefault(name, set()).update(forms(secret))

    def within(self, text: str) -> set[str]:
        """Return the names of the secrets in a text."""
        return {name for name, shapes in self.known.items() if any(s in text for s in shapes)}

    def in_bytes(self, data: bytes) -> set[str]:
        return self.within(repr(data)) | self.within(data.decode("latin-1"))


class Visitor:
    """A person with a session of secrets, whose own frames do not count."""

    def __init__(self, faulty: FaultyStack) -> None:
        self.faulty = faulty
        self.secrets = Secrets()
        self.secrets.add("token", TOKEN)
        self.secrets.add("other token", OTHER)
        self.begin()

    def begin(self) -> None:
        """Start a session without faults, and return with its cookie."""
        self.learn()
        self.faulty.restart()
        session = save_session("1", token=TOKEN)
        self.key = session.session_key or ""
        self.come_back()

    def come_back(self) -> None:
        """Return with the same cookie to a new process."""
        self.learn()
        self.faulty.restart()
        self.session = SessionStore(self.key)

    def learn(self) -> None:
        """Add the data keys from KMS to the secrets."""
        for body in self.faulty.kms.responses:
            if plaintext := json.loads(body).get("Plaintext"):
                self.secrets.add("data key", base64.b64decode(plaintext))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "key":
            self.secrets.add("session key", value)
            derived = hashlib.sha256(b"sessions_kms/1/secret\0" + value.encode()).digest()
            self.secrets.add("secret of the session key", derived)
        super().__setattr__(name, value)

    def request(self) -> HttpRequest:
        request = RequestFactory().get("/")
        request.COOKIES[settings.SESSION_COOKIE_NAME] = self.key
        request.META["HTTP_COOKIE"] = f"{settings.SESSION_COOKIE_NAME}={self.key}"
        return request


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all its causes and contexts, even suppressed ones."""
    waiting, seen = [error], set[int]()
    while waiting:
        found = waiting.pop()
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [e for e in (found.__cause__, found.__context__) if e is not None]


def frames(tb: TracebackType | None) -> Iterator[FrameType]:
    while tb is not None:
        if tb.tb_frame.f_code.co_filename.startswith(WATCHED):
            yield tb.tb_frame
        tb = tb.tb_next


def in_error(error: BaseException, secrets: Secrets) -> set[str]:
    """Return the secrets in an error and its chain, each as "place: name"."""
    found: set[str] = set()
    for link in error_chain(error):
        kind = type(link).__name__
        told = [str(link), repr(link), repr(link.args), repr(vars(link))]
        found |= {f"{kind}: {name}" for text in told for name in secrets.within(text)}
        for frame in frames(link.__traceback__):
            if frame.f_locals.get("__traceback_hide__"):
                continue
            where = f"{kind}: {frame.f_code.co_qualname}"
            for variable, value in frame.f_locals.items():
                names = secrets.within(pprint.pformat(value)) | secrets.within(repr(value))
                found |= {f"{where}.{variable}: {name}" for name in names}
    return found


class ReporterFilter(SafeExceptionReporterFilter):
    """Django's filter without the settings, which contain no visitor's data and take long."""

    def get_safe_settings(self) -> dict[str, Any]:
        return {}


@cache
def _compile(source: str) -> Template:
    """Return a template of Django's reports, which Django compiles for each report anew."""
    return Engine.from_string(DEBUG_ENGINE, source)


def in_reports(error: BaseException, request: HttpRequest, secrets: Secrets) -> set[str]:
    """Return the secrets in Django's reports of an error."""
    request.exception_reporter_filter = ReporterFilter()
    reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
    with patch.object(DEBUG_ENGINE, "from_string", _compile):
        reports = {
            "text": reporter.get_traceback_text(),
            "html": reporter.get_traceback_html(),
            "traceback": "".join(traceback.format_exception(error)),
        }
    return {f"{kind}: {name}" for kind, text in reports.items() for name in secrets.within(text)}


class Messages(logging.Formatter):
    """Formats an exception without its frames, which show only source code and take long."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(
            "\n".join([type(link).__name__, str(link), *getattr(link, "__notes__", [])])
            for link in error_chain(ei[1])
        )


class EveryRecord(logging.Handler):
    """Stores the text of every log record, with its arguments."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(Messages())
        self.texts: list[str] = []
        self.loggers: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        extra = {name: value for name, value in vars(record).items() if name != "exc_info"}
        self.texts.append(f"{record.name}: {self.format(record)} {extra!r}")
        self.loggers.add(record.name)

    def showing(self, secrets: Secrets) -> set[str]:
        if not secrets.within("\n".join(self.texts)):  # One search in all of them is much faster.
            return set()
        return {
            f"{text.partition(':')[0]}: {name}"
            for text in self.texts
            for name in secrets.within(text)
        }


def record_everything(monkeypatch: pytest.MonkeyPatch) -> EveryRecord:
    """Record every logger at DEBUG, regardless of the settings.

    What loggers remember of their levels is put aside: it would stay true for later tests.
    """
    handler = EveryRecord()
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.DEBUG)
    monkeypatch.setattr(root, "_cache", {})
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            monkeypatch.setattr(logger, "level", logging.NOTSET)
            monkeypatch.setattr(logger, "propagate", True)
            monkeypatch.setattr(logger, "disabled", False)
            monkeypatch.setattr(logger, "_cache", {})
    return handler


def error_of(call: Callable[[], object]) -> BaseException | None:
    try:
        call()
    except Exception as exc:  # noqa: BLE001 - handed to the test
        return exc
    return None
