"""`/oauth/authorize`: a person is asked whether a client may call an upstream for them.

OAuth 2.1 section 4.1. Nothing is kept until they allow it: the form posts the same query again, and
all of it is judged anew. Whoever is not signed in signs in first, before anything that a client
names is fetched. A page of another site cannot cause a fetch either, or it could use up those that
a person has in a minute: the person sees the document's host and a button. Consent is asked for
each time: a client that was allowed once may be another one by now.
"""

from __future__ import annotations

import logging
from http import HTTPStatus

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from oauth.clients.documents import AGE_MOST, CONSENT_AGE, DocumentUnavailable, documents
from oauth.clients.endpoints import consent_page, leading_back, pending
from oauth.clients.rules import authorization_request, resources
from oauth.clients.rules.authorization_request import Asked
from oauth.clients.rules.client import Client
from oauth.clients.rules.document import host_of
from oauth.clients.rules.refusal import ACCESS_DENIED, INVALID_REQUEST, Refused, UnknownClient
from oauth.clients.server import AuthorizationServer, authorization_server
from oauth.sign_in import click_delay
from oauth.sign_in.way_back import sign_in_address

logger = logging.getLogger(__name__)

DECISION, ALLOW, DENY = "decision", "allow", "deny"  # of the form
FETCH_SITE = "Sec-Fetch-Site"
# An address that was typed or opened by another program, or a page of this origin. Older browsers
# do not say: they are treated as if another site had sent the person.
OWN_SITES = frozenset({"none", "same-origin"})


class ClickRequired(Exception):
    """A client's document would have to be fetched for somebody who may not have asked for it."""


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
        client = _client(request, server, asked)
    except ClickRequired:
        return consent_page.before_fetch(request, host_of(asked.client_id))
    except (UnknownClient, DocumentUnavailable) as refused:
        return _refused(request, refused)
    try:
        choices = authorization_request.choices(asked, server.issuer, server.upstreams)
    except Refused as refused:
        return leading_back.error(request, server, client, asked, refused)
    return _decided(request, server, client, asked, choices)


def waits_for_document(method: str, query: str, fetch_site: str) -> bool:
    """Return True if a client's document is fetched for such a request of a signed-in person."""
    try:
        asked = authorization_request.read(query)
    except Refused:
        return False
    max_age = CONSENT_AGE if method == "POST" else AGE_MOST
    return (
        authorization_server().may_fetch(asked.client_id)
        and documents().cached(asked.client_id, max_age) is None
        and _may_fetch(method, fetch_site)
    )


# The gateway's handler has those who wait for one wait in a line of their own.
setattr(authorize, waits_for_document.__name__, waits_for_document)


def _may_fetch(method: str, fetch_site: str) -> bool:
    """Return True if the person meant the request: no other site can send the form's CSRF token.

    https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header: a navigation that another site
    caused, or that was redirected over one, is `cross-site` or `same-site`.
    """
    return method == "POST" or fetch_site in OWN_SITES


def _client(request: HttpRequest, server: AuthorizationServer, asked: Asked) -> Client:
    """Return the client, whose address it is that the answer goes to.

    Raises ClickRequired, UnknownClient and DocumentUnavailable.
    """
    decides = request.POST.get(DECISION) in {ALLOW, DENY}
    max_age = CONSENT_AGE if decides else AGE_MOST
    if not server.may_fetch(asked.client_id):
        client = server.described(asked.client_id)
    elif (cached := documents().cached(asked.client_id, max_age)) is not None:
        client = cached
    elif _may_fetch(request.method or "", request.headers.get(FETCH_SITE, "")):
        client = documents().client(server, asked.client_id, str(request.user.pk), max_age)
    else:
        raise ClickRequired
    if not server.has(client, asked.redirect_uri):
        raise UnknownClient("The answer would go to an address that is not this client's.")
    return client


def _decided(
    request: HttpRequest,
    server: AuthorizationServer,
    client: Client,
    asked: Asked,
    choices: tuple[str, ...],
) -> HttpResponse:
    decision = request.POST.get(DECISION)
    if decision == DENY:
        denied = Refused(ACCESS_DENIED, "The person did not allow it.")
        return leading_back.error(request, server, client, asked, denied)
    if decision != ALLOW:
        return consent_page.page(request, server, client, asked, choices)
    if click_delay.is_too_soon(request):
        return consent_page.page(
            request, server, client, asked, choices, notice=click_delay.TOO_SOON
        )
    choice = request.POST.get(consent_page.UPSTREAM) if len(choices) > 1 else None
    try:
        upstream = resources.chosen(choices, choice)
    except Refused:
        return consent_page.page(
            request, server, client, asked, choices, notice=consent_page.NO_CHOICE
        )
    provider = server.upstreams[upstream]
    if not consent_page.accounts_of(request, provider):
        return consent_page.page(request, server, client, asked, choices)
    logger.info("A person allows a client to call %s, and goes to %s.", upstream, provider)
    return pending.led_to(request, provider, client, choice)


def _refused(request: HttpRequest, why: Refused | DocumentUnavailable) -> HttpResponse:
    """Return a page: nobody knows yet whom else to tell."""
    is_temporary = isinstance(why, DocumentUnavailable)
    status = HTTPStatus.SERVICE_UNAVAILABLE if is_temporary else HTTPStatus.BAD_REQUEST
    code = why.code if isinstance(why, Refused) else INVALID_REQUEST
    logger.info("An authorization request was refused (%s): %s", code, why)
    return leading_back.refused(request, str(why), status)
