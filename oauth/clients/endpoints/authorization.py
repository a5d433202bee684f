"""`/oauth/authorize`: a person is asked whether a client may call an upstream for them.

OAuth 2.1 section 4.1. Nothing is kept until they allow it: the form posts the same query again, and
all of it is judged anew. Whoever is not signed in signs in first, before anything that a client
names is fetched. Consent is asked for each time: a client that was allowed once may be another one
by now.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from oauth.clients.documents import DocumentUnavailable, documents
from oauth.clients.endpoints import consent_page, leading_back, pending
from oauth.clients.rules import authorization_request
from oauth.clients.rules.authorization_request import Asked, Wish
from oauth.clients.rules.client import Client
from oauth.clients.rules.refusal import ACCESS_DENIED, INVALID_REQUEST, Refused, UnknownClient
from oauth.clients.server import AuthorizationServer, authorization_server
from oauth.sign_in.way_back import sign_in_address

logger = logging.getLogger(__name__)

DECISION, ALLOW, DENY = "decision", "allow", "deny"  # of the form


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def authorize(request: HttpRequest) -> HttpResponse:
    """Ask for consent (GET), or act on it (POST)."""
    try:
        asked = authorization_request.read(request.META["QUERY_STRING"])
    except Refused as refused:
        return _refused(request, refused)
    if not (request.user.is_authenticated and request.user.is_active):
        return HttpResponseRedirect(sign_in_address(pending.address_of(request)))
    server = authorization_server()
    try:
        client = _client(server, asked, str(request.user.pk))
    except UnknownClient as refused:
        return _refused(request, refused)
    except DocumentUnavailable as failure:
        return _refused(request, failure, HTTPStatus.SERVICE_UNAVAILABLE)
    try:
        wish = authorization_request.wish(asked, server.issuer, server.upstreams)
    except Refused as refused:
        return leading_back.error(request, server.issuer, client, asked, refused)
    return _decided(request, server, client, asked, wish)


def _client(server: AuthorizationServer, asked: Asked, person: str) -> Client:
    """Return the client, whose address it is that the answer goes to.

    Raises UnknownClient and DocumentUnavailable.
    """
    if server.may_fetch(asked.client_id):
        client = documents().client(server, asked.client_id, person)
    else:
        client = server.described(asked.client_id)
    if not server.has(client, asked.redirect_uri):
        raise UnknownClient("The answer would go to an address that is not this client's.")
    return client


def _decided(
    request: HttpRequest, server: AuthorizationServer, client: Client, asked: Asked, wish: Wish
) -> HttpResponse:
    decision = request.POST.get(DECISION)
    provider = server.upstreams[wish.upstream]
    if decision == DENY:
        denied = Refused(ACCESS_DENIED, "The person did not allow it.")
        return leading_back.error(request, server.issuer, client, asked, denied)
    if decision == ALLOW and consent_page.has_account(request, provider):
        logger.info("A person allows a client to call %s, and goes to %s.", wish.upstream, provider)
        return pending.led_to(request, provider, client)
    return consent_page.page(request, client, asked, wish, provider)


def _refused(
    request: HttpRequest, why: Exception, status: HTTPStatus = HTTPStatus.BAD_REQUEST
) -> HttpResponse:
    """Return a page: nobody knows yet whom else to tell."""
    code = why.code if isinstance(why, Refused) else INVALID_REQUEST
    logger.info("An authorization request was refused (%s): %s", code, why)
    return leading_back.refused(request, str(why), status)
