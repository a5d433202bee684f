"""The site's `handler400`, and its `handler500`.

The latter is a 503 with `Retry-After` if the database is unusable, otherwise a 500.

Django calls it for any error in a view, a template or a middleware. The visitor's cookie is
unchanged, since Django saves no session with such a status. With DEBUG Django shows its page of
details instead.
"""

import codecs
import logging
import sqlite3
import sys
from typing import Any

from django.db import OperationalError
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse, HttpResponseServerError
from django.template import loader
from django.views import defaults

from gateway_site.edge import access_log, descriptors, languages
from gateway_site.edge.reports import Tally
from gateway_site.rules import problems, url_rules
from sessions_kms.middleware import unavailable_for
from sessions_kms.outages import log_refusal

logger = logging.getLogger(__name__)

codecs.lookup("unicode_escape")  # Django's log needs it; loaded now, while files can be opened

DETAIL = "The database cannot be used at the moment. Try again in a few seconds."

NO_DESCRIPTOR = "The gateway has too many files open. Try again in a few seconds."

_out_of_descriptors = Tally(
    logger, "%d requests were answered 503: no file descriptor was left. Raise `ulimit -n`."
)

# Classes of https://www.postgresql.org/docs/current/errcodes-appendix.html that are about the
# server or the moment, not the query: connection, rollback (deadlock), resources, not in a
# state for it (locked), intervention (shutdown, the time-out of a statement), system.
PASSING = frozenset({"08", "40", "53", "55", "57", "58"})
# https://www.sqlite.org/rescode.html: the primary codes, likewise.
PASSING_SQLITE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return Django's 400 in the visitor's language, which no middleware may have chosen yet."""
    with languages.of_request(request):
        return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return a 503 if the database is unreachable or no descriptor is left, otherwise a 500."""
    with languages.of_request(request):
        return _server_error(request, sys.exc_info()[1])


def _server_error(request: HttpRequest, error: BaseException | None) -> HttpResponse:
    if descriptors.is_exhaustion(error):
        _out_of_descriptors.add()
        response = _response(request, "service_unavailable", NO_DESCRIPTOR)
        log_refusal(request, "No descriptor was left.", response)
        return response
    if error is None or not is_outage(error):
        return _failure(request)
    response = _response(request, "database_unavailable", DETAIL)
    problems.database_outage.refused(error)
    kind = type(error.__cause__ or error).__name__
    log_refusal(request, f"The database cannot be used: {kind}.", response)
    return response


def _failure(request: HttpRequest) -> HttpResponse:
    """Return the 500 page, with the id under which the log has the error.

    Without a request context: what failed may be what the context would load.
    """
    content = loader.render_to_string(
        "500.html", {"request_id": getattr(request, access_log.REQUEST_ID, "")}
    )
    return HttpResponseServerError(content)


def _response(request: HttpRequest, code: str, detail: str) -> HttpResponse:
    """Return the 503 in the format for a call, for a view for programs, or for a person."""
    if request.path_info.startswith(url_rules.ROOT):
        return problems.unavailable(code, detail).response()
    view = request.resolver_match.func if request.resolver_match else None
    return problems.unavailable_response(view, detail) or unavailable_for(request)


@receiver(connection_created, dispatch_uid="gateway.database_reached")
def note_reached(**_: Any) -> None:
    """Note a connection: the outage is over, if there was one."""
    problems.database_outage.served()


def is_outage(error: BaseException) -> bool:
    """Return True if the database could not be used, whatever was queried.

    A query that can never work is not an outage, though some raise the same error. (psycopg uses
    InterfaceError for misuse of itself: a lost connection is an OperationalError.)
    """
    if not isinstance(error, OperationalError):
        return False
    cause = error.__cause__
    if isinstance(cause, sqlite3.Error):
        primary = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        return primary in PASSING_SQLITE
    state: str | None = getattr(cause, "sqlstate", None)
    # Without a code no server has answered.
    return state is None or state[:2] in PASSING
