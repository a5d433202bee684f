"""Error reports and log lines without secrets, whether DEBUG is on or off.

Reports show where an error happened and its type, and no value of a cookie, a header, a form, a
query or a variable. Frequent events are counted and logged once a minute (`Tally`).
"""

import logging
import time
from collections.abc import Callable, ItemsView, Mapping
from http import HTTPStatus
from types import FrameType
from typing import Any

from django.http import HttpRequest, QueryDict
from django.views import debug

# Everything else in META may hold a secret: cookies, authorization headers, the query and the
# referrer with an authorization code, and under some servers the process's whole environment.
PLAIN_META = frozenset(
    {
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "HTTP_ACCEPT",
        "HTTP_ACCEPT_LANGUAGE",
        "HTTP_HOST",
        "HTTP_USER_AGENT",
        "PATH_INFO",
        "REMOTE_ADDR",
        "REQUEST_METHOD",
        "SCRIPT_NAME",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
    }
)


class ExceptionReporterFilter(debug.SafeExceptionReporterFilter):
    """Hides values by default; Django shows them unless they are marked."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """Filter with DEBUG too: debug pages are saved, sent and screenshotted."""
        return True

    def get_safe_request_meta(self, request: HttpRequest | None) -> dict[str, Any]:
        """Return META with all values hidden that are not known to be harmless."""
        meta = getattr(request, "META", {})
        return {
            key: value if key in PLAIN_META else self.cleansed_substitute
            for key, value in meta.items()
        }

    def get_safe_cookies(self, request: HttpRequest | None) -> dict[str, Any]:
        """Return the names of the cookies."""
        return self._hide_values(getattr(request, "COOKIES", {}))

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        """Return the names of the form's fields."""
        return self._hide_values({} if request is None else request.POST)

    def get_query_parameters(self, request: HttpRequest) -> dict[str, Any]:
        """Return the names of the query's parameters; a callback has `code` and `state`."""
        return self._hide_values(request.GET)

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> ItemsView[str, Any]:
        """Return the types of a frame's variables: allauth's and requests' hold tokens."""
        return {
            name: f"<{type(value).__name__}>" for name, value in tb_frame.f_locals.items()
        }.items()

    def _hide_values(self, values: Mapping[str, Any] | QueryDict) -> dict[str, Any]:
        return dict.fromkeys(values, self.cleansed_substitute)


class ExceptionReporter(debug.ExceptionReporter):
    """Applies the filter to the query too, which Django does not."""

    def get_traceback_data(self) -> dict[str, Any]:
        """Return the report's data with the query's values hidden."""
        data: dict[str, Any] = super().get_traceback_data()
        if self.request is not None:
            hidden = getattr(self.filter, "get_query_parameters", None)
            data["request_GET_items"] = hidden(self.request).items() if hidden else []
            data["request_insecure_uri"] = str(data["request_insecure_uri"]).partition("?")[0]
        return data


class RefusalFilter(logging.Filter):
    """Removes the traceback from rejected requests, which strangers send by the thousand.

    https://docs.djangoproject.com/en/stable/ref/logging/#django-security
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record in place, and keep it."""
        status = getattr(record, "status_code", HTTPStatus.INTERNAL_SERVER_ERROR)
        is_refusal = status < HTTPStatus.INTERNAL_SERVER_ERROR
        if is_refusal or record.name.startswith("django.security."):
            record.exc_info = record.exc_text = None
        return True


TALLY_INTERVAL = 60.0  # seconds


class Tally:
    """Logs a warning with `%d` for the number of events since it was last logged."""

    def __init__(
        self, logger: logging.Logger, sentence: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._logger = logger
        self._sentence = sentence
        self._clock = clock
        self._count = 0
        self._logged_at = float("-inf")

    def add(self) -> None:
        """Count an event; log, unless that was done within the last minute."""
        self._count += 1
        now = self._clock()
        if now - self._logged_at >= TALLY_INTERVAL:
            self._logger.warning(self._sentence, self._count)
            self._count, self._logged_at = 0, now
