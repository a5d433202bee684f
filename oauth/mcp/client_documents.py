"""Client metadata documents: they describe this gateway to authorization servers that fetch them.

The address of a document is the gateway's client id there, so nobody has to register it
(draft-ietf-oauth-client-id-metadata-document). Each document belongs to one MCP server, and names
one redirect URI and one authentication method. There are none unless the operator says with
`CONNECT_DOCUMENTS=1` that others can reach `PUBLIC_URL`.
"""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from oauth.mcp import client_key
from oauth.mcp.registration import DOCUMENT, Registration
from oauth.mcp.registration_request import NONE, make_metadata
from oauth.mcp.servers import find_server
from oauth.mcp.stored_registrations import load_registrations
from oauth.provider.config import PRIVATE_KEY
from oauth.provider.id_jag import JWT_BEARER
from sessions_kms.services import services
from sessions_kms.session.cookies import without_session

SETTING: Final = "OAUTH_MCP_CLIENT"
DOCUMENT_URL: Final = "oauth_client_document"
KEYS_URL: Final = "oauth_client_keys"
MAX_AGE: Final = 300  # seconds for which a server may cache a document or key set
KNOWN_FOR: Final = 60  # seconds for which a process does not read a registration again

# The registrations that were read last, by client id, each with the time. Anybody may request a
# document, and to read all registrations of a server costs as much as 16 sessions. A key is read
# each time: it may have changed, and a server that gets an old one rejects this gateway.
known: dict[str, tuple[float, Registration]] = {}


@dataclass(frozen=True)
class ClientSettings:
    """How this gateway describes itself as a client: the setting `OAUTH_MCP_CLIENT`.

    ``name`` is shown to people at their consent, ``origin`` is `PUBLIC_URL`. ``documents`` says
    that other servers can fetch documents from there.
    """

    name: str = "Gateway"
    origin: str = ""
    documents: bool = False


def client_settings() -> ClientSettings:
    """Return the configured description."""
    return ClientSettings(**getattr(settings, SETTING, {}))


def may_use_document(issuer: str) -> bool:
    """Return True if a document can describe this gateway to an issuer.

    Our own authorization server rejects documents of its own host.
    """
    ours = client_settings()
    return ours.documents and urlsplit(issuer).hostname != urlsplit(ours.origin).hostname


def document_url(name: str) -> str:
    """Return the address of the document for an MCP server, which is the client id."""
    return client_settings().origin + reverse(DOCUMENT_URL, args=[name])


def make_document(registration: Registration, name: str) -> dict[str, Any]:
    """Return the document of a registration with an MCP server; it has less than 5 KB."""
    ours = client_settings()
    method = registration.auth_method or NONE
    document = make_metadata(
        name=ours.name,
        origin=ours.origin,
        redirect_uri=registration.redirect_uri,
        auth_method=method,
    )
    server = find_server(name)
    if server is not None and server.id_jag is not None:
        document["grant_types"].append(JWT_BEARER)
    if method == PRIVATE_KEY:
        document["jwks_uri"] = ours.origin + reverse(KEYS_URL, args=[name])
    return {"client_id": registration.client_id, **document}


@login_not_required
@without_session
@require_safe
def client_document(_request: HttpRequest, name: str) -> HttpResponse:
    """Return the document for an MCP server; 404 before the first connection."""
    registration = _current_registration(name)
    return _public_json(make_document(registration, name))


@login_not_required
@without_session
@require_safe
def client_keys(_request: HttpRequest, name: str) -> HttpResponse:
    """Return the public key of the client in the document for an MCP server."""
    _current_registration(name)
    key = client_key.load_key(services(), name)
    if key is None:
        raise Http404
    return _public_json(key.jwks)


def _current_registration(name: str) -> Registration:
    """Return the newest registration by a document. Raises Http404."""
    if client_settings().documents and find_server(name) is not None:
        client_id, now = document_url(name), services().clock()
        read_at, registration = known.get(client_id, (0.0, None))
        if registration is not None and 0 <= now - read_at < KNOWN_FOR:
            return registration
        for each in load_registrations(services(), name).registrations:
            if each.source == DOCUMENT and each.client_id == client_id:
                known[client_id] = now, each
                return each
    raise Http404


def _public_json(content: dict[str, Any]) -> HttpResponse:
    return JsonResponse(content, headers={"Cache-Control": f"public, max-age={MAX_AGE}"})
