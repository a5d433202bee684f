"""`/oauth/authorize`: asks a person whether a client may call an upstream for them.

OAuth 2.1 section 4.1. Nothing is stored before consent: the form posts the same query, which is
validated again. People sign in first, before a client's document is fetched. Pages of other sites
cannot cause a fetch, since they could use up a person's fetches per minute: the person sees the
document's host and a button. Consent is required each time, since a client may have changed.
"""

import logging
from http import HTTPStatus

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from oauth.clients.endpoints import approval, pages, server_consent
from oauth.clients.endpoints.pages import ConsentRequest
from oauth.clients.metadata_documents import (
    CACHE_SECONDS_MAX,
    CONSENT_CACHE_SECONDS,
    DocumentUnavailable,
    document_fetcher,
)
from oauth.clients.rules import authorization_request, resources
from oauth.clients.rules.authorization_request import AuthorizationRequest
from oauth.clients.rules.client import Client, document_host
from oauth.clients.rules.errors import (
    ACCESS_DENIED,
    INVALID_REQUEST,
    RequestRejected,
    UnknownClient,
)
from oauth.clients.server import AuthorizationServer, authorization_server
from oauth.mcp.servers import find_server
from oauth.sign_in import click_delay
from oauth.sign_in.failures import sign_in_url

logger = logging.getLogger(__name__)

DECISION, ALLOW, DENY = "decision", "allow", "deny"  # of the form
# A URL that was typed or opened by another program, or a page of this origin. Older browsers do not
# send the header: they are treated as if another site had caused the request.
OWN_SITES = frozenset({"none", "same-origin"})


class ClickRequired(Exception):
    """A client's document would be fetched, but another site may have caused the request."""


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def authorize(request: HttpRequest) -> HttpResponse:
    """Ask for consent (GET), or apply the decision (POST)."""
    try:
        auth_request = authorization_request.parse_authorization_request(
            request.META["QUERY_STRING"]
        )
    except RequestRejected as refused:
        return _reject(request, refused)
    if not (request.user.is_authenticated and request.user.is_active):
        return HttpResponseRedirect(sign_in_url(pages.request_url(request)))
    server = authorization_server()
    try:
        client = _find_client(request, server, auth_request)
    except ClickRequired:
        return pages.confirm_fetch_page(request, document_host(auth_request.client_id))
    except (UnknownClient, DocumentUnavailable) as refused:
        return _reject(request, refused)
    try:
        choices = authorization_request.find_choices(auth_request, server.issuer, server.upstreams)
    except RequestRejected as refused:
        return pages.error_response(request, server, client, auth_request, refused)
    asked = ConsentRequest(server, client, auth_request, choices)
    return _apply_decision(request, asked)


def waits_for_document(method: str, query: str, fetch_site: str) -> bool:
    """Return True if a client's document is fetched for such a request of a signed-in person."""
    try:
        auth_request = authorization_request.parse_authorization_request(query)
    except RequestRejected:
        return False
    max_age = CONSENT_CACHE_SECONDS if method == "POST" else CACHE_SECONDS_MAX
    return (
        authorization_server().may_fetch(auth_request.client_id)
        and document_fetcher().cached(auth_request.client_id, max_age) is None
        and _may_fetch(method, fetch_site)
    )


def connected_server(method: str, query: str) -> str | None:
    """Return the MCP server that such a request may ask; "" for one of several, None for none."""
    if method != "POST":
        return None
    server = authorization_server()
    try:
        auth_request = authorization_request.parse_authorization_request(query)
        choices = authorization_request.find_choices(auth_request, server.issuer, server.upstreams)
    except RequestRejected:
        return None
    names = [server.upstreams[each] for each in choices]
    if not any(map(find_server, names)):
        return None
    return names[0] if len(names) == 1 else ""


# The gateway's handler puts requests that wait for others into separate queues.
setattr(authorize, waits_for_document.__name__, waits_for_document)
setattr(authorize, connected_server.__name__, connected_server)


def _may_fetch(method: str, fetch_site: str) -> bool:
    """Return True if the person caused the request: other sites cannot send the form's CSRF token.

    https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header: a navigation that another site
    caused, or that was redirected over one, is `cross-site` or `same-site`.
    """
    return method == "POST" or fetch_site in OWN_SITES


def _find_client(
    request: HttpRequest, server: AuthorizationServer, auth_request: AuthorizationRequest
) -> Client:
    """Return the client, after a check that the redirect URI is the client's.

    Raises ClickRequired, UnknownClient and DocumentUnavailable.
    """
    decides = request.POST.get(DECISION) in {ALLOW, DENY}
    max_age = CONSENT_CACHE_SECONDS if decides else CACHE_SECONDS_MAX
    if not server.may_fetch(auth_request.client_id):
        client = server.find_client(auth_request.client_id)
    elif (cached := document_fetcher().cached(auth_request.client_id, max_age)) is not None:
        client = cached
    elif _may_fetch(request.method or "", request.headers.get("Sec-Fetch-Site", "")):
        client = document_fetcher().load_client(
            server, auth_request.client_id, str(request.user.pk), max_age
        )
    else:
        raise ClickRequired
    if not server.accepts_redirect(client, auth_request.redirect_uri):
        raise UnknownClient("The response would go to an address that is not this client's.")
    return client


def _apply_decision(request: HttpRequest, asked: ConsentRequest) -> HttpResponse:
    decision = request.POST.get(DECISION)
    if decision == DENY:
        denied = RequestRejected(ACCESS_DENIED, "The person did not allow it.")
        return pages.error_response(request, asked.server, asked.client, asked.auth_request, denied)
    if decision != ALLOW:
        return pages.consent_page(request, asked)
    if click_delay.is_too_soon(request):
        return pages.consent_page(request, asked, notice=str(click_delay.TOO_SOON))
    choice = request.POST.get(pages.UPSTREAM_FIELD) if len(asked.choices) > 1 else None
    try:
        upstream = resources.choose_upstream(asked.choices, choice)
    except RequestRejected:
        return pages.consent_page(request, asked, notice=str(pages.NO_CHOICE))
    return _allow(request, asked, upstream, choice)


def _allow(
    request: HttpRequest, asked: ConsentRequest, upstream: str, choice: str | None
) -> HttpResponse:
    """Go to the provider of the upstream, or to the MCP server's own."""
    provider = asked.server.upstreams[upstream]
    if (mcp_server := find_server(provider)) is not None:
        return server_consent.connect_server(request, asked, upstream, mcp_server)
    if not pages.accounts_of(request, provider):
        return pages.consent_page(request, asked)
    logger.info("A person allows a client to call %s, and goes to %s.", upstream, provider)
    return approval.redirect_to_provider(request, provider, asked.client, choice)


def _reject(request: HttpRequest, why: RequestRejected | DocumentUnavailable) -> HttpResponse:
    """Return an error page: the redirect URI is not validated yet, so there is no redirect."""
    is_temporary = isinstance(why, DocumentUnavailable)
    status = HTTPStatus.SERVICE_UNAVAILABLE if is_temporary else HTTPStatus.BAD_REQUEST
    code = why.code if isinstance(why, RequestRejected) else INVALID_REQUEST
    logger.info("An authorization request was refused (%s): %s", code, why)
    supported = why.supported if isinstance(why, UnknownClient) else ()
    return pages.rejection_page(request, str(why), status, supported)
