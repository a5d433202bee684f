"""The response to a call of which a step fails. Nothing is rendered in the event loop."""

import logging

from django.core.exceptions import SuspiciousOperation
from django.core.handlers.exception import response_for_exception
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.log import log_response

from gateway_site.forwarding.calls.caller import Caller
from gateway_site.rules import problems
from gateway_site.rules.problems import Problem
from oauth import SessionFull, largest_connection
from sessions_kms import SessionTooLarge, StoreUnavailable, outages
from sessions_kms.concurrency.threads import executor, in_thread
from sessions_kms.middleware import retry_headers

ERROR_THREADS = 2


class CsrfCheck(CsrfViewMiddleware):
    """Django's check; its rejection is a problem document."""

    def _reject(self, request: HttpRequest, reason: str) -> HttpResponse:
        response = HttpResponse(status=403)
        log_response("Forbidden (%s): %s", reason, request.path, response=response, request=request)
        return problems.as_problem(response)


async def failure_response(
    request: HttpRequest, caller: Caller | None, error: Exception
) -> HttpResponse:
    """Return the response to what a step raised; nothing is rendered here."""
    if isinstance(error, Problem):
        return error.response()
    if isinstance(error, SessionFull | SessionTooLarge):
        largest = None if caller is None else largest_connection(caller.session)
        return problems.session_full(largest).response()
    if isinstance(error, StoreUnavailable):
        response = HttpResponse(status=503, headers=retry_headers(type(error)))
        outages.note(error)
        outages.log_refusal(request, str(error), response)
    elif isinstance(error, SuspiciousOperation):
        response = HttpResponse(status=400)
        kind = f"django.security.{type(error).__name__}"  # as Django logs it
        details = {"status_code": 400, "request": request}
        logging.getLogger(kind).error(str(error), exc_info=error, extra=details)
    else:
        response = await in_thread(
            executor("gateway-errors", ERROR_THREADS), _report_error, request, error
        )
    return problems.as_problem(response)


def _report_error(request: HttpRequest, error: Exception) -> HttpResponse:
    """Log an error, and send Django's signal of it; return Django's response."""
    try:
        raise error  # noqa: TRY301 - as above
    except Exception as raised:  # noqa: BLE001 - Django's code looks at the error being handled
        return response_for_exception(request, raised)
