"""Checks of this gateway as a client of an MCP server's authorization server.

Nothing is registered and nothing is stored. A client that exists is tried with a made-up code, as a
provider's is.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from oauth.codes import Code, remedy
from oauth.doctor.provider import CLIENT, client_findings
from oauth.mcp import client_documents
from oauth.mcp.discovery import Discovered
from oauth.mcp.provider import provider_of_registration
from oauth.mcp.registration import DAY, DYNAMIC, Registration
from oauth.mcp.registration_request import is_unknown_client
from oauth.mcp.stored_registrations import load_registrations, operators_registration
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.services import services

CORRECT: Final = "Correct UPSTREAM_<NAME>_CLIENT_ID and _CLIENT_SECRET."


def mcp_client_findings(
    discovered: Discovered, site: str | None, *, clock: Callable[[], float]
) -> Iterator[Finding]:
    """Check which client the gateway is or would be; remedies name `<NAME>`.

    ``site`` is the origin of this site for browsers. Raises ProviderUnavailable, StoreUnavailable.
    """
    server, metadata = discovered.server, discovered.metadata
    if server.client_id is not None:
        yield from _operators_findings(discovered, clock)
    elif metadata.documents_supported and client_documents.may_use_document(discovered.issuer):
        address = client_documents.document_url(server.name)
        yield ok(CLIENT, f"is described by a document: {address}")
    elif metadata.registration_endpoint is not None:
        yield _registration_finding(discovered, site, clock)
    elif metadata.documents_supported:
        yield failing(
            CLIENT,
            "the authorization server takes only clients that are described by a document",
            "Set CONNECT_DOCUMENTS=1 if it can reach PUBLIC_URL, or UPSTREAM_<NAME>_CLIENT_ID.",
        )
    else:
        yield failing(
            CLIENT,
            "the authorization server registers no clients",
            remedy(Code.REGISTRATION_MISSING),
        )


def _operators_findings(discovered: Discovered, clock: Callable[[], float]) -> Iterator[Finding]:
    server = discovered.server
    registration = operators_registration(server, discovered.issuer, "")
    provider = provider_of_registration(server, registration, discovered.resource)
    for finding in client_findings(provider, discovered.metadata, None, clock):
        yield replace(finding, remedy=finding.remedy and CORRECT)


def _registration_finding(
    discovered: Discovered, site: str | None, clock: Callable[[], float]
) -> Finding:
    found = _newest(discovered, site)
    if found is None:
        return ok(CLIENT, "will be registered for the first connection")
    provider = provider_of_registration(discovered.server, found, discovered.resource)
    if is_unknown_client(
        provider, discovered.metadata, redirect_uri=found.redirect_uri, clock=clock
    ):
        return warning(
            CLIENT,
            "the authorization server no longer knows it",
            "The next connection registers again. Everybody who is connected has to connect again.",
        )
    if found.secret_expires_at is None:
        return ok(CLIENT, "is registered")
    days = (found.secret_expires_at - int(clock())) // DAY
    return ok(CLIENT, f"is registered; its secret expires in {days} days, and is then replaced")


def _newest(discovered: Discovered, site: str | None) -> Registration | None:
    """Return the newest registration for this site's redirect URI."""
    for each in load_registrations(services(), discovered.server.name).registrations:
        is_ours = site is None or each.redirect_uri.startswith(f"{site}/")
        if each.source == DYNAMIC and each.issuer == discovered.issuer and is_ours:
            return each
    return None
