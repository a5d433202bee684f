"""The authorization request of a connection (RFC 6749 section 4.1.1, RFC 7636, RFC 8707).

Takes what a connection began with, returns the address at which the browser continues. If the
issuer's metadata requires it, the request is pushed, and the browser gets a reference to it only
(RFC 9126).
"""

import base64
import hashlib
from collections.abc import Mapping
from urllib.parse import urlencode

from oauth.connect.state import PendingConnection
from oauth.mcp.discovery import OFFLINE_ACCESS, Discovered
from oauth.mcp.provider import provider_of_registration
from oauth.mcp.registration import Registration
from oauth.provider.pushed_requests import push_request
from oauth.sign_in.oauth2_adapter import exchanges, reject_unreadable
from sessions_kms.services import services


def authorization_address(
    discovered: Discovered, registration: Registration, begun: PendingConnection, state: str
) -> str:
    """Return the address for the browser. ``state`` is the name of the stored state.

    Raises ProviderUnavailable, ProviderRefused and StoreUnavailable if the request has to be
    pushed, and cannot be.
    """
    __traceback_hide__ = True
    parameters: Mapping[str, str] = _parameters(begun, state)
    if discovered.metadata.requires_pushing:
        reference = _push(discovered, registration, parameters)
        parameters = {"client_id": begun.client_id, "request_uri": reference}
    endpoint = discovered.metadata.authorization_endpoint or ""
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"


def _parameters(begun: PendingConnection, state: str) -> dict[str, str]:
    __traceback_hide__ = True
    digest = hashlib.sha256(begun.verifier.encode()).digest()
    parameters = {
        "response_type": "code",
        "client_id": begun.client_id,
        "redirect_uri": begun.callback,
        "state": state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
        "resource": begun.resource,
    }
    if begun.scopes:
        parameters["scope"] = " ".join(begun.scopes)
    if OFFLINE_ACCESS in begun.scopes:
        parameters["prompt"] = "consent"  # OpenID Connect Core section 11
    return parameters


def _push(discovered: Discovered, registration: Registration, parameters: Mapping[str, str]) -> str:
    """Push the request and return its `request_uri`, as `push_request` does."""
    __traceback_hide__ = True
    server = discovered.server
    provider = provider_of_registration(server, registration, discovered.resource)
    with exchanges.slot(server.name), reject_unreadable():
        return push_request(provider, discovered.metadata, parameters, clock=services().clock)
