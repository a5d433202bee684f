"""The logout index: the names under which a provider's back-channel logout finds a session.

From a token set come keyed digests of its issuer with its session id, and of its issuer with its
subject, which are stored as the session's links (`sessions_kms.session.links`). Without the key, a
reader of the table cannot tell who is signed in, and a writer cannot forge a name.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase
from django.utils.crypto import salted_hmac

from oauth.exceptions import ProviderUnavailable
from oauth.provider import config, metadata
from oauth.provider.config import ProviderConfig
from oauth.provider.id_token import decode_stored_claims
from oauth.provider.metadata import Metadata
from oauth.provider.token_set import TokenSet
from sessions_kms import LINKS, LINKS_MAX

logger = logging.getLogger(__name__)

PREFIX = "oauth_links:"  # one key for each provider, as with the token sets
SALT = "oauth.links"
SESSION = "sid"
SUBJECT = "sub"


def link_session(
    session: SessionBase, name: str, token_set: TokenSet, kinds: Sequence[str] = (SESSION, SUBJECT)
) -> None:
    """Link the session to the provider's session, if the provider offers back-channel logout.

    ``kinds`` are the claims to link by.
    """
    provider = config.find_provider(name)
    if provider is None or not offers_backchannel_logout(provider):
        unlink_session(session, name)
        return
    store_links(session, name, names_of_claims(decode_stored_claims(token_set.id_token), kinds))


def names_of_claims(claims: Mapping[str, Any], kinds: Sequence[str]) -> list[str]:
    """Return the link names of an id token's or assertion's claims."""
    return [
        link_name(claims["iss"], kind, claims[kind])
        for kind in kinds
        if isinstance(claims.get("iss"), str) and isinstance(claims.get(kind), str)
    ]


def store_links(session: SessionBase, name: str, names: list[str]) -> None:
    """Store these names in the session, under the name of a provider or another unique name."""
    session[PREFIX + name] = names
    _update_links(session, first=name)


def unlink_session(session: SessionBase, name: str) -> None:
    """Unlink the session from the provider."""
    if session.pop(PREFIX + name, None) is not None:
        _update_links(session, first=name)


def offers_backchannel_logout(provider: ProviderConfig) -> bool:
    """Return True if a provider uses back-channel logout, by its configuration or its metadata.

    Also True while its metadata cannot be fetched: an unneeded link does no harm.
    """
    if provider.issuer is None:
        return False
    try:
        found = metadata.load_metadata(provider)
    except ProviderUnavailable:
        return provider.backchannel_logout is not False
    return allows_backchannel_logout(provider, found)


def allows_backchannel_logout(provider: ProviderConfig, found: Metadata) -> bool:
    """Return the same for a provider whose metadata is known."""
    if provider.backchannel_logout is not None:
        return provider.backchannel_logout
    return found.backchannel_logout


def link_name(issuer: str, kind: str, value: str, *, secret: str | None = None) -> str:
    """Return the link name of a provider's session (`sid`) or subject (`sub`)."""
    named = json.dumps([issuer, kind, value])
    return salted_hmac(SALT, named, secret=secret, algorithm="sha256").hexdigest()


def link_names(issuer: str, kind: str, value: str) -> Iterator[str]:
    """Yield the names under the current key and the previous ones (SECRET_KEY_FALLBACKS)."""
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        yield link_name(issuer, kind, value, secret=secret)


def _update_links(session: SessionBase, *, first: str) -> None:
    """Store the links of all providers for the session engine, the provider ``first`` first."""
    keys = [key for key in session.keys() if key.startswith(PREFIX)]  # noqa: SIM118 - a session is no dict
    keys.sort(key=lambda key: (key != PREFIX + first, key))
    names = list(dict.fromkeys(name for key in keys for name in session[key]))
    if len(names) > LINKS_MAX:
        logger.warning("A session has more logout links than are stored: some were dropped.")
    if names:
        session[LINKS] = names[:LINKS_MAX]
    else:
        session.pop(LINKS, None)
