"""Dynamic client registration: the request, and what is accepted as its response (RFC 7591).

Also the question whether the server still knows a client that it made.

What a server answers besides the client's id and its secret is dropped unread. That is above all
the `registration_access_token`: together with the table and KMS it would let someone change the
client's redirect URI at the server (RFC 7592).
"""

import json
import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.network import http
from oauth.network.vetted_addresses import LOOPBACK_NAMES
from oauth.provider.config import BASIC, POST, ProviderConfig
from oauth.provider.metadata import Metadata
from oauth.provider.token_endpoint import request_tokens

NONE: Final = "none"  # the method of a client without a secret
VISIBLE: Final = re.compile(r"[\x20-\x7e]{1,2048}")  # RFC 6749, appendix A.1 and A.2
RESPONSE_MAX: Final = 64 * 1024  # bytes
LIFETIME_MIN: Final = 600  # seconds that a new secret must last
LIFETIME_MAX: Final = 10 * 365 * 86_400  # seconds; a longer one counts as endless
PROBE_TIMEOUT: Final = 5.0  # seconds
# RFC 6749 section 5.2. The second one is what MCP's SDK for Python called an unknown client.
UNKNOWN: Final = ("invalid_client", "unauthorized_client")
REMEDY: Final = "If this is intended, set UPSTREAM_<NAME>_ALLOW_PRIVATE=1."


class UnusableClient(ProviderRefused):
    """The server made a client that this gateway cannot use."""


@dataclass(frozen=True)
class MadeClient:
    """The client that a server made. ``secret_expires_at`` is in epoch seconds, or None."""

    client_id: str
    client_secret: str = field(repr=False)
    auth_method: str | None
    secret_expires_at: int | None


def make_metadata(
    *,
    name: str,
    origin: str,
    redirect_uri: str,
    auth_method: str,
) -> dict[str, Any]:
    """Return the metadata that describes this gateway as a client (RFC 7591, section 2)."""
    host = urlsplit(redirect_uri).hostname
    metadata: dict[str, Any] = {
        "client_name": name,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": auth_method,
        # OpenID Connect Registration, section 2: a web client may not be on this machine.
        "application_type": "native" if host in LOOPBACK_NAMES else "web",
    }
    if origin.startswith("https://"):
        metadata["client_uri"] = origin
    return metadata


def choose_auth_method(methods: Sequence[str]) -> str:
    """Return the method to register: no secret if the server offers that.

    Without a list it offers `client_secret_basic` (RFC 8414, section 2). Servers with the MCP SDK
    for Python offer it but look for the client in the form, and revoke only with the secret in it.
    """
    for method in (NONE, POST, BASIC):
        if method in methods:
            return method
    return BASIC


def request_registration(
    metadata: Metadata, content: Mapping[str, Any], *, redirect_uri: str, now: float
) -> MadeClient:
    """Register at the server; return the client that it made.

    Raises ProviderUnavailable if it did not answer, ProviderRefused if it makes none, and
    UnusableClient if it made one that must not be used.
    """
    __traceback_hide__ = True
    if metadata.registration_endpoint is None:
        raise ProviderRefused(
            "The server registers no clients, so the operator has to set one.",
            Code.REGISTRATION_MISSING,
        )
    response = http.request(
        "POST",
        metadata.registration_endpoint,
        {"Content-Type": "application/json"},
        json.dumps(content).encode(),
        reach=metadata.reach,
        max_bytes=RESPONSE_MAX,
        remedy=REMEDY,
    )
    if response.is_overloaded:
        raise ProviderUnavailable("The server registers nobody now.", Code.REGISTRATION_REFUSED)
    if response.status not in {200, 201}:
        raise ProviderRefused(
            f"The server does not register this gateway: status {response.status}.",
            Code.REGISTRATION_REFUSED,
        )
    try:
        content = response.parse()
    except ProviderUnavailable:
        raise _unusable("it cannot be parsed") from None
    return read_response(content, redirect_uri=redirect_uri, now=now)


def read_response(content: Mapping[str, Any], *, redirect_uri: str, now: float) -> MadeClient:
    """Return the client of a response (RFC 7591, section 3.2.1). Raises UnusableClient."""
    __traceback_hide__ = True
    client_id = _visible(content.get("client_id"))
    if client_id is None:
        raise _unusable("it has no client id")
    # Absent ones are those of the request; others could send people's codes elsewhere.
    if content.get("redirect_uris") not in (None, [redirect_uri]):
        raise _unusable("it has other redirect URIs than were registered")
    secret = _visible(content.get("client_secret"))
    if secret is None and content.get("client_secret") not in (None, ""):
        raise _unusable("its secret is no text")
    method = content.get("token_endpoint_auth_method")
    if method is None:
        method = BASIC if secret else NONE
    if method == NONE:
        return MadeClient(client_id, "", None, None)
    if method not in (BASIC, POST):
        raise _unusable("it has an unknown authentication method")
    if secret is None:
        raise _unusable("it has no secret")
    return MadeClient(client_id, secret, method, _secret_end(content, now))


def _secret_end(content: Mapping[str, Any], now: float) -> int | None:
    """Return when the secret expires. Raises UnusableClient if that is at once."""
    end = content.get("client_secret_expires_at", 0)
    if type(end) is not int and (type(end) is not float or math.isnan(end)):
        raise _unusable("its secret's end is no number")
    if end == 0 or end > now + LIFETIME_MAX:
        return None
    if end < now + LIFETIME_MIN:
        raise _unusable("its secret expires at once")
    return int(end)


def is_unknown_client(
    provider: ProviderConfig,
    metadata: Metadata,
    *,
    redirect_uri: str,
    clock: Callable[[], float],
) -> bool:
    """Return True if the server says, for a code that nobody issued, that the client is wrong.

    Every other response, and none, is for the connection to find out: servers differ in their
    status, and some answer such a code with a server error. ``provider`` has the client's
    credentials.
    """
    __traceback_hide__ = True
    form = {
        "grant_type": "authorization_code",
        "code": secrets.token_urlsafe(24),
        "code_verifier": secrets.token_urlsafe(32),
        "redirect_uri": redirect_uri,
    }
    try:
        response = request_tokens(provider, metadata, form, clock=clock, timeout=PROBE_TIMEOUT)
        return response.parse().get("error") in UNKNOWN
    except ProviderUnavailable:
        return False


def _visible(value: object) -> str | None:
    """Return a text of visible characters; None for anything else."""
    return value if isinstance(value, str) and VISIBLE.fullmatch(value) else None


def _unusable(reason: str) -> UnusableClient:
    return UnusableClient(
        f"The server's response to the registration is unusable: {reason}.",
        Code.REGISTRATION_UNUSABLE,
    )
