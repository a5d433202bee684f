"""Answers to programs: JSON, readable for programs of every origin, and kept by nobody.

No cookie is read for them and none set, so whatever page asks learns nothing that it could not
learn by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from oauth.clients.errors import GrantError, KeyMissing
from oauth.clients.rules.basic_credentials import CHALLENGE
from oauth.clients.rules.refusal import (
    INVALID_CLIENT,
    INVALID_REQUEST,
    TEMPORARILY_UNAVAILABLE,
    Refused,
)
from sessions_kms import StoreUnavailable, outages

View = Callable[..., HttpResponse]

NOT_NOW = "not_now"  # of a view: takes a sentence, and gives the 503
REFUSED = "refused"  # of a view: takes a status and a sentence, and gives the answer
ANYWHERE = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT_AGE = 3600  # seconds
REQUEST_HEADERS = "Authorization, Content-Type, MCP-Protocol-Version"
NO_STORE = {"Cache-Control": "no-store"}
RETRY_AFTER = 5  # seconds


def for_programs(*methods: str) -> Callable[[View], View]:
    """Make a view that programs ask by these methods, be they pages of other sites.

    What is refused is JSON (RFC 6749 section 5.2); what cannot be told is 503. Who serves the view
    says so by its ``not_now`` where it is not reached, and by its ``refused``: after a 503 of
    another form some clients give up their tokens (the SDK for TypeScript does).
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @login_not_required
        @functools.wraps(view)
        def answering(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if request.method == "OPTIONS":
                return _preflight(methods)
            return _answered(view, methods, request, *args, **kwargs)

        setattr(answering, NOT_NOW, not_now)
        setattr(answering, REFUSED, refused)
        return answering

    return decorate


def json_answer(
    document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] = NO_STORE
) -> HttpResponse:
    """Return a document; without other headers nobody may keep it."""
    return JsonResponse(document, status=status, headers=ANYWHERE | dict(headers))


def refusal(
    code: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """Return why nothing is given (RFC 6749 section 5.2)."""
    document = {"error": code, "error_description": description}
    return json_answer(document, status, {**NO_STORE, **(headers or {})})


def not_now(description: str) -> HttpResponse:
    """Return that trying later may help. Nothing was decided: no client is to give up a token."""
    again = {"Retry-After": str(RETRY_AFTER)}
    return refusal(TEMPORARILY_UNAVAILABLE, description, 503, again)


def refused(status: int, description: str) -> HttpResponse:
    """Return why a request was not read."""
    return refusal(INVALID_REQUEST, description, status)


def _answered(
    view: View, methods: tuple[str, ...], request: HttpRequest, *args: Any, **kwargs: Any
) -> HttpResponse:
    __traceback_hide__ = True
    if request.method not in methods:
        allowed = {"Allow": ", ".join((*methods, "OPTIONS"))}
        return refusal(INVALID_REQUEST, "This method is not for this address.", 405, allowed)
    try:
        return view(request, *args, **kwargs)
    except Refused as refused:
        return _refused(request, refused)
    except GrantError as error:
        is_undecided = isinstance(error, KeyMissing)
        return not_now(str(error)) if is_undecided else refusal(error.code, str(error))
    except Http404:
        return refusal(INVALID_REQUEST, "There is nothing at this address.", 404)
    except StoreUnavailable as error:
        outages.note(error)
        return not_now("The session store cannot be used at the moment.")


def _refused(request: HttpRequest, refused: Refused) -> HttpResponse:
    """Return why nothing is given; 401 to a client that tried `Authorization` (section 5.2)."""
    if refused.code == INVALID_CLIENT and "Authorization" in request.headers:
        challenge = {"WWW-Authenticate": CHALLENGE}
        return refusal(refused.code, refused.description, 401, challenge)
    return refusal(refused.code, refused.description)


def _preflight(methods: tuple[str, ...]) -> HttpResponse:
    """Return what a page of another site may send (https://fetch.spec.whatwg.org/#http-cors-protocol)."""
    return HttpResponse(
        status=204,
        headers={
            **ANYWHERE,
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_AGE),
        },
    )
