"""Requests of this client to a provider: its token endpoint, and others that want the same proof.

A form enters, the provider's answer leaves. Knows nothing of what is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from oauth.network import http
from oauth.provider import dpop
from oauth.provider.client.authentication import authenticated
from oauth.provider.config import Provider
from oauth.provider.metadata import Metadata


def ask(
    provider: Provider,
    found: Metadata,
    form: Mapping[str, str],
    *,
    clock: Callable[[], float],
    url: str | None = None,
    dpop_key: str | None = None,
    patience: float | None = None,
) -> http.Answer:
    """Post a form as this client, to the token endpoint or another one that wants the same proof.

    With ``dpop_key`` the request also proves that this client holds that key; it is sent again
    where the proof lacked the provider's nonce. ``patience`` is in seconds, for both. Raises
    ProviderUnavailable.
    """
    __traceback_hide__ = True
    address = url or found.token_endpoint
    given_up_at = time.monotonic() + (http.POST_TIMEOUT if patience is None else patience)

    def posted(nonce: str | None) -> http.Answer:
        __traceback_hide__ = True
        proven, headers = authenticated(
            provider,
            form,
            issuer=found.issuer,
            endpoint=address,
            methods=found.auth_methods,
            algorithms=found.auth_algorithms,
            now=int(clock()),
        )
        if dpop_key is not None:
            headers[dpop.PROOF] = dpop.proof(dpop_key, "POST", address, now=clock(), nonce=nonce)
        left = max(given_up_at - time.monotonic(), 0.001)
        return http.post(address, proven, headers, reach=found.reach, patience=left)

    return posted(None) if dpop_key is None else dpop.asked(address, posted)
