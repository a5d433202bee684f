"""Endpoints for programs: read a bounded body, respond in JSON that pages of every origin may read.

No cookie is read and none is set, so a page of another site learns nothing that it could not learn
by itself. Nothing may be cached. A request may have waited for its body and for a thread before it
gets here, so the server notes when it arrived: the age of a token is counted to that moment.
"""

import functools
import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from oauth.clients.rules.errors import (
    INVALID_CLIENT,
    INVALID_REQUEST,
    TEMPORARILY_UNAVAILABLE,
    ClientNotAuthenticated,
    GrantError,
    InvalidAssertion,
    RequestRejected,
    Undecided,
)
from oauth.clients.rules.parsing import BASIC_CHALLENGE
from sessions_kms import StoreUnavailable, outages
from sessions_kms.services import services
from sessions_kms.session.cookies import without_session

logger = logging.getLogger(__name__)

ARRIVED_ATTRIBUTE = "arrived"

BODY_MAX = 8 * 1024  # bytes
FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

View = Callable[..., HttpResponse]

NOT_NOW = "not_now"  # attribute of a view: takes a sentence, and returns the 503
REFUSED = "refused"  # attribute of a view: takes a status and a sentence, and returns the response
BODY_MAX_ATTRIBUTE = "body_max"  # attribute of a view: the most bytes that the server passes on
ANY_ORIGIN = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT_AGE = 3600  # seconds
REQUEST_HEADERS = "Authorization, Content-Type, DPoP, MCP-Protocol-Version"
NO_STORE = {"Cache-Control": "no-store"}
RETRY_AFTER = 5  # seconds


def arrival_time(request: HttpRequest) -> float:
    """Return when a request arrived, by the clock of the session store."""
    waited = perf_counter() - float(getattr(request, ARRIVED_ATTRIBUTE, perf_counter()))
    return services().clock() - max(waited, 0.0)


def read_body(request: HttpRequest, kind: str, maximum: int = BODY_MAX) -> str:
    """Return the body, which must be of a kind. Raises RequestRejected."""
    __traceback_hide__ = True
    if request.content_type != kind:
        raise RequestRejected(INVALID_REQUEST, f"The request must be {kind}.")
    body = request.read(maximum + 1)
    if len(body) > maximum:
        raise too_long(maximum)
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise RequestRejected(INVALID_REQUEST, "The request is no text in UTF-8.") from None


def too_long(maximum: int) -> RequestRejected:
    """Return the error for a body of more bytes."""
    return RequestRejected(INVALID_REQUEST, f"The request is over {maximum:,} bytes long.")


def api_endpoint(*methods: str) -> Callable[[View], View]:
    """Return a decorator for views that programs call by these methods, also from other sites.

    Errors are JSON (RFC 6749 section 5.2), and unknown outcomes a 503. The server responds by the
    view's ``not_now`` and ``refused`` if it does not call the view: after a 503 in another format
    some clients drop their tokens (such as the TypeScript SDK).
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @login_not_required
        @without_session
        @functools.wraps(view)
        def respond_or_reject(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method == "OPTIONS":
                return _preflight_response(methods)
            return _call_view(view, methods, request, *args, **kwargs)

        setattr(respond_or_reject, NOT_NOW, unavailable_response)
        setattr(respond_or_reject, REFUSED, rejection_response)
        return respond_or_reject

    return decorate


def json_response(
    document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] = NO_STORE
) -> HttpResponse:
    """Return a document, by default not to be cached."""
    return JsonResponse(document, status=status, headers=ANY_ORIGIN | dict(headers))


def error_response(
    code: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return an error response (RFC 6749 section 5.2)."""
    document = {"error": code, "error_description": description}
    return json_response(document, status, {**NO_STORE, **(headers or {})})


def unavailable_response(description: str, retry_after: int = RETRY_AFTER) -> HttpResponse:
    """Return a 503. Nothing was decided, so clients must keep their tokens."""
    again = {"Retry-After": str(retry_after)}
    return error_response(TEMPORARILY_UNAVAILABLE, description, 503, again)


def rejection_response(status: int, description: str) -> HttpResponse:
    """Return the error for a request that was not read."""
    return error_response(INVALID_REQUEST, description, status)


def _call_view(
    view: View, methods: tuple[str, ...], request: HttpRequest, *args: Any, **kwargs: Any
) -> HttpResponse:
    __traceback_hide__ = True
    if request.method not in methods:
        allowed = {"Allow": ", ".join((*methods, "OPTIONS"))}
        return error_response(INVALID_REQUEST, "This method is not for this address.", 405, allowed)
    try:
        return view(request, *args, **kwargs)
    except RequestRejected as refused:
        return _rejection(request, refused)
    except GrantError as error:
        return _grant_error_response(request, error)
    except Http404:
        return error_response(INVALID_REQUEST, "There is nothing at this address.", 404)
    except StoreUnavailable as error:
        outages.note(error)
        return unavailable_response("The session store cannot be used at the moment.")


def _grant_error_response(request: HttpRequest, error: GrantError) -> HttpResponse:
    """Return the error response of a token or revocation request."""
    if isinstance(error, Undecided):
        return unavailable_response(str(error), error.retry_after or RETRY_AFTER)
    if isinstance(error, InvalidAssertion):
        logger.info("An assertion was rejected: %s", error.reason)
    if isinstance(error, ClientNotAuthenticated):
        logger.info("A client was not authenticated: %s", error.reason)
        challenged = "Authorization" in request.headers  # RFC 6749 section 5.2
        challenge = {"WWW-Authenticate": BASIC_CHALLENGE} if challenged else None
        return error_response(error.code, str(error), error.status, challenge)
    return error_response(error.code, str(error), error.status)


def _rejection(request: HttpRequest, refused: RequestRejected) -> HttpResponse:
    """Return the error response; 401 if the client used `Authorization` (section 5.2)."""
    if refused.code == INVALID_CLIENT and "Authorization" in request.headers:
        challenge = {"WWW-Authenticate": BASIC_CHALLENGE}
        return error_response(refused.code, refused.description, 401, challenge)
    return error_response(refused.code, refused.description)


def _preflight_response(methods: tuple[str, ...]) -> HttpResponse:
    """Return what other sites may send (https://fetch.spec.whatwg.org/#http-cors-protocol)."""
    return HttpResponse(
        status=204,
        headers={
            **ANY_ORIGIN,
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_AGE),
        },
    )
