"""Requests a token of an MCP server's issuer with an assertion of the person's provider (ID-JAG).

First the provider exchanges the person's id token for an assertion (RFC 8693), then the issuer
exchanges that for an access token (RFC 7523). Nobody consents there, so the operator has decided it
(`McpServer.id_jag`). Does not depend on sessions.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from oauth.codes import Code
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.mcp.discovery import Discovered, discover
from oauth.mcp.provider import provider_of_registration
from oauth.mcp.registration import Registration
from oauth.mcp.registrations import known_registration
from oauth.mcp.servers import McpServer
from oauth.network.http import POST_TIMEOUT
from oauth.network.responses import ProviderResponse
from oauth.provider import id_jag, metadata, token_endpoint
from oauth.provider.config import ProviderConfig
from oauth.provider.id_jag import InvalidAssertion, Purpose
from oauth.provider.token_set import MalformedTokens, TokenSet, TokensTooLarge
from oauth.tokens.refresh_request import TOKENS_TOO_LARGE, GrantRefused
from sessions_kms.services import Services

logger = logging.getLogger(__name__)

# Seconds for discovery and both requests. The caller waits no longer than
# `refresh_coordinator.WORK_MAX` from the time that they are queued.
SECONDS_MAX = 24.0
ASSERTION_INVALID = "assertion_invalid"
BEARER = "bearer"
UNKNOWN_LIFETIME = 3600  # seconds after which the provider decides again if the server names none
# RFC 6749 section 4.1.2.1 has these for another endpoint, but some servers send them here as well.
TEMPORARY = frozenset({"server_error", "temporarily_unavailable"})


@dataclass(frozen=True)
class AssertionRequest:
    """Requests the access token of one user at a server.

    ``provider`` vouches for the user, by the id token in ``account``, its token set.
    """

    services: Services = field(repr=False)
    server: McpServer
    provider: ProviderConfig
    account: TokenSet
    user: str

    def send(self) -> TokenSet:
        """Return a token set without a refresh token, within `SECONDS_MAX`.

        Nothing is requested later, since nobody would store or revoke it. Raises GrantRefused if
        provider or issuer return an OAuth error or something that must not be used,
        ProviderUnavailable if they cannot be reached, and StoreUnavailable.
        """
        __traceback_hide__ = True
        ends_at = monotonic() + SECONDS_MAX
        try:
            with self._naming(self.server.name):
                discovered = discover(self.server)
                registration = known_registration(discovered)
        except ProviderRefused as exc:
            raise self._refused(exc.code, str(exc)) from None
        with self._naming(self.provider.name):
            assertion = self._request_assertion(discovered, registration, ends_at)
        with self._naming(self.server.name):
            return self._redeem(assertion, discovered, registration, ends_at)

    @contextmanager
    def _naming(self, side: str) -> Iterator[None]:
        """Log which side does not answer."""
        __traceback_hide__ = True
        try:
            yield
        except ProviderUnavailable as exc:
            logger.warning(
                "%s cannot be connected through %s now, because of %s: %s",
                self.server.name,
                self.provider.name,
                side,
                exc,
            )
            raise

    def _request_assertion(
        self, discovered: Discovered, registration: Registration, ends_at: float
    ) -> str:
        """Exchange the id token at the provider."""
        __traceback_hide__ = True
        purpose = Purpose(
            audience=discovered.issuer,
            client_id=registration.client_id,
            resource=discovered.resource,
        )
        form = {
            "grant_type": id_jag.TOKEN_EXCHANGE,
            "requested_token_type": id_jag.ID_JAG,
            "audience": purpose.audience,
            "resource": purpose.resource,
            "subject_token": self.account.id_token or "",
            "subject_token_type": id_jag.ID_TOKEN,
        }
        if scopes := _pinned_scopes(discovered):
            form["scope"] = " ".join(scopes)
        found = metadata.load_metadata(self.provider, anonymous=False)
        clock = self.services.clock
        response = token_endpoint.post_as_client(
            self.provider, found, form, clock=clock, timeout=_remaining(ends_at)
        )
        content = self._read(response, self.provider.name)
        try:
            return id_jag.read_assertion(content, purpose, now=clock())
        except InvalidAssertion as exc:
            why = str(exc)
        raise self._refused(ASSERTION_INVALID, why)

    def _redeem(
        self, assertion: str, discovered: Discovered, registration: Registration, ends_at: float
    ) -> TokenSet:
        """Exchange the assertion at the server's issuer."""
        __traceback_hide__ = True
        client = provider_of_registration(self.server, registration, discovered.resource)
        form = {"grant_type": id_jag.JWT_BEARER, "assertion": assertion}
        clock = self.services.clock
        response = token_endpoint.request_tokens(
            client, discovered.metadata, form, clock=clock, timeout=_remaining(ends_at)
        )
        content = self._read(response, self.server.name)
        try:
            token_set = TokenSet.from_response(
                content,
                subject=self.user,
                client_id=registration.client_id,
                requested_scope=_pinned_scopes(discovered),
                now=int(clock()),
                source=self.server.name,
            )
        except TokensTooLarge:
            raise self._refused(TOKENS_TOO_LARGE, "The tokens are too large.") from None
        except MalformedTokens as exc:
            raise ProviderUnavailable(str(exc)) from None
        expires_at = token_set.expires_at or int(clock()) + UNKNOWN_LIFETIME
        token_set = replace(
            token_set,
            expires_at=expires_at,
            refresh_token=None,  # The provider decides each time whether the user may go on.
            refresh_expires_at=None,
            id_token=None,
            issuer=discovered.issuer,
            resource=discovered.resource,
            asserted_by=self.provider.name,
            asserted_subject=self.account.subject,
        )
        if token_set.token_type.lower() != BEARER:
            raise self._refused(Code.TOKEN_OTHER, "The server issues tokens of another type.")
        if token_set.is_too_large:
            raise self._refused(TOKENS_TOO_LARGE, "The tokens are too large.")
        return token_set

    def _read(self, response: ProviderResponse, source: str) -> Mapping[str, Any]:
        """Return the members of a successful response of ``source``."""
        __traceback_hide__ = True
        try:
            content = response.parse_tokens()
        except ProviderRefused as exc:
            code = exc.code
        else:
            return content
        error = response.parse().get("error")
        if isinstance(error, str) and error in TEMPORARY:
            raise ProviderUnavailable("The provider issues no tokens at the moment.")
        raise self._refused(code, f"{source} rejects the request.")

    def _refused(self, code: str, why: str) -> GrantRefused:
        logger.warning(
            "%s was not connected through %s (%s): %s",
            self.server.name,
            self.provider.name,
            code,
            why,
        )
        return GrantRefused(code)


def _remaining(ends_at: float) -> float:
    """Return the seconds for one request. Raises ProviderUnavailable if none are left."""
    left = ends_at - monotonic()
    if left <= 0:
        raise ProviderUnavailable("An earlier request took too long.", Code.TIMEOUT)
    return min(left, POST_TIMEOUT)


def _pinned_scopes(discovered: Discovered) -> tuple[str, ...]:
    """Return the scopes to request: nobody reads a page that could name others."""
    return tuple(each for each in discovered.scopes if each not in discovered.new_scopes)
