"""A provider's public keys (RFC 7517), fetched from its `jwks_uri` and cached.

Takes an address, a key id and an algorithm, and returns the keys that may have made such a
signature. An unknown key id causes another fetch, since providers replace their keys, but only once
a minute, since anybody can send a made-up key id. In between, a signature with an unknown key id
can neither be accepted nor rejected.
"""

from typing import Any

from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.document_cache import DocumentCache
from oauth.network.vetted_addresses import PUBLIC, Reach
from oauth.provider.signing_keys import ALGORITHMS, KeySet, parse_keys

KEYS_AGE = 3600  # seconds; limits how long a withdrawn key is trusted
KEYS_MAX_STALE = 24 * 3600  # seconds, while the provider is unavailable


def find_signing_keys(
    url: str, *, key_id: str | None, algorithm: str, reach: Reach = PUBLIC
) -> list[Any]:
    """Return the keys that may have signed with this algorithm; an empty list if there are none.

    Without a key id, exactly one key must match (OpenID Connect Core 10.1). Raises
    ProviderUnavailable if the keys cannot be fetched, or were fetched too recently to try again.
    """
    cached = _key_sets.of(url, reach)
    fetches = cached.fetches
    if keys := _select_keys(cached.get(), key_id, algorithm):
        return keys
    if not (keys := _select_keys(cached.refetch(fetches), key_id, algorithm)):
        cached.note_missing()
    return keys


def load_signing_keys(url: str, reach: Reach = PUBLIC) -> KeySet:
    """Return the accepted signing keys of a set. Raises ProviderUnavailable."""
    return _key_sets.of(url, reach).get()


def _select_keys(keys: KeySet, key_id: str | None, algorithm: str) -> list[Any]:
    matching = [
        each.key
        for each in keys
        if (key_id is None or each.id == key_id)
        and each.kind == ALGORITHMS[algorithm]
        and each.algorithm in (None, algorithm)
    ]
    return matching if key_id is not None or len(matching) == 1 else []


def _fetch_keys(url: str, reach: Reach) -> KeySet:
    response = http.get(url, reach=reach)
    listed = response.parse().get("keys") if response.status == 200 else None
    if not isinstance(listed, list):
        raise ProviderUnavailable("The provider's keys cannot be read.")
    return parse_keys(listed)


_key_sets = DocumentCache(_fetch_keys, max_age=KEYS_AGE, max_stale=KEYS_MAX_STALE)
