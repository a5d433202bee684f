"""Revokes token sets that are no longer in any session, in the background.

A connection to an MCP server is revoked in threads of that server, so that it delays no other. Its
client's secret or key is stored, so it is loaded there too.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future

from oauth.exceptions import OAuthError
from oauth.mcp.servers import find_server
from oauth.network import concurrency
from oauth.provider import config
from oauth.provider.revocation import Outcome, Revocation
from oauth.provider.token_set import TokenSet
from oauth.tokens import providers
from sessions_kms import StoreUnavailable
from sessions_kms.services import Services

logger = logging.getLogger(__name__)


def revoke_soon(services: Services, name: str, token_set: TokenSet) -> Future[Outcome]:
    """Revoke a token set in the background, and log the outcome.

    The future is cancelled if the queue is full.
    """
    account = f"{name}/{token_set.subject}"
    if find_server(name) is not None:
        return concurrency.run_for_server(
            name, lambda: _revoke_connection(services, name, token_set), account
        )
    return concurrency.run_in_background(lambda: _revoke(services, name, token_set), account)


def _revoke(services: Services, name: str, token_set: TokenSet) -> Outcome:
    provider = config.find_provider(name)
    if provider is None or provider.client_id != token_set.client_id:
        logger.warning("A grant of %s was not revoked: its client is not configured.", name)
        return Outcome.FAILED
    return Revocation(provider, services).run(token_set)


def _revoke_connection(services: Services, name: str, token_set: TokenSet) -> Outcome:
    __traceback_hide__ = True
    try:
        provider = providers.provider_of(name, token_set)
        provider = providers.with_credentials(provider, token_set)
    except (OAuthError, StoreUnavailable) as exc:
        logger.warning("A grant of %s was not revoked: %s", name, type(exc).__name__)
        return Outcome.FAILED
    return Revocation(provider, services, every_token=True).run(token_set)
