"""Consents for MCP servers that people connect: the person goes on to the server's own issuer.

What the consent page could not name, since the server was not asked yet or has changed since, is
named by the page again before anything is allowed. The grant gets the tokens of this connection
only; those of the browser's session stay there.
"""

import logging
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from oauth.clients.endpoints import approval, pages
from oauth.clients.endpoints.approval import PendingConsent
from oauth.clients.endpoints.pages import ConsentRequest
from oauth.clients.server_terms import current_terms
from oauth.connect import failures, flow
from oauth.connect.requested_scopes import RequestedScopes
from oauth.connect.state import PendingConnection
from oauth.exceptions import OAuthError
from oauth.mcp.discovery import discover
from oauth.mcp.registrations import registration_for
from oauth.mcp.servers import McpServer
from oauth.provider.token_set import TokenSet

logger = logging.getLogger(__name__)

NAMED_NOW = _(
    "Nothing was allowed yet. This page now says more about where you will sign in and what you "
    "will be asked for: please read it, then confirm again."
)


def connect_server(
    request: HttpRequest, asked: ConsentRequest, upstream: str, server: McpServer
) -> HttpResponse:
    """Go on to the issuer of the MCP server, if the form's page named all that it has to.

    Raises StoreUnavailable.
    """
    wanted = pages.find_wanted(request, asked)
    try:
        discovered = discover(server)
        requested = RequestedScopes.of(discovered, None, wanted[upstream])
        terms = current_terms(discovered, requested)
        if not terms.were_named(request.POST, upstream):
            return pages.consent_page(
                request, asked, notice=str(NAMED_NOW), wanted=wanted, terms={upstream: terms}
            )
        registration = registration_for(
            discovered, flow.callback_url(request, server), requested.scopes
        )
    except OAuthError as error:
        return failures.failure_page(request, server, error, pages.request_url(request))
    logger.info("A person allows a client to call %s, and goes to its issuer.", upstream)
    choice = upstream if len(asked.choices) > 1 else None
    return flow.begin(
        request,
        discovered,
        registration,
        scopes=requested.scopes,
        next_url=pages.request_url(request),
        pending=PendingConsent.of(request, asked.client, choice).to_state(),
    )


@receiver(flow.authorized, dispatch_uid="oauth.clients.approve_server")
def complete_consent(
    request: HttpRequest,
    server: McpServer,
    token_set: TokenSet,
    state: PendingConnection,
    **kwargs: Any,
) -> None:
    """Complete the consent with which a connection began, if one did.

    Raises ImmediateHttpResponse, after which the connection is not stored in the browser's session,
    and StoreUnavailable.
    """
    __traceback_hide__ = True
    pending = PendingConsent.from_state(state.pending, state.next_url)
    if pending is None:
        return
    if not request.user.is_active or str(request.user.pk) != pending.user:
        raise AssertionError("The connection checks that it is still the same person.")
    raise ImmediateHttpResponse(approval.issue_code(request, pending, server.name, token_set))
