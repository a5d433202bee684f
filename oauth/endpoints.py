"""A provider's endpoints, as its metadata names them, and requests to them.

A `Provider` enters; `Metadata`, or the answer of its token endpoint, leaves. The
metadata of a provider is kept for an hour; while it cannot be fetched the last one
serves on, and only now and then it is tried again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from oauth import http
from oauth.client_authentication import authenticated
from oauth.exceptions import ProviderUnavailable
from oauth.providers import POST, Provider
from sessions_kms.services import services

logger = logging.getLogger(__name__)

METADATA_AGE = 3600  # seconds
BACK_OFF = 5  # seconds after a failure during which this process does not ask again
METADATA_MAX = 64  # providers; there are as many as are configured
WELL_KNOWN = "/.well-known/openid-configuration"
NEEDED = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
OPTIONAL = ("revocation_endpoint", "end_session_endpoint")


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a provider says of itself (OpenID Connect Discovery section 3; RFC 8414)."""

    issuer: str | None
    token_endpoint: str
    revocation_endpoint: str | None = None
    end_session_endpoint: str | None = None
    jwks_uri: str | None = None
    backchannel_logout: bool = False
    auth_methods: tuple[str, ...] = ()
    auth_algorithms: tuple[str, ...] = ()


def metadata(provider: Provider) -> Metadata:
    """Return the provider's metadata. Raises ProviderUnavailable when it is not to be had."""
    if provider.issuer is None:
        return _without_discovery(provider)
    return _memory_of(provider.issuer).metadata(provider, provider.issuer)


def known(provider: Provider) -> Metadata | None:
    """Return the provider's metadata if nobody has to be asked for it."""
    if provider.issuer is None:
        return None
    memory = _memory_of(provider.issuer)
    return memory.found if memory.is_fresh() else None


def forget() -> None:
    """Forget all metadata, and that any could not be fetched."""
    _memories.clear()


def ask_token_endpoint(
    provider: Provider,
    found: Metadata,
    form: Mapping[str, str],
    *,
    url: str | None = None,
    patience: float | None = None,
) -> http.Answer:
    """Post a form as this client, to the token endpoint or another one that wants the same proof.

    ``patience`` is in seconds. Raises ProviderUnavailable.
    """
    __traceback_hide__ = True
    proven, headers = authenticated(
        provider,
        form,
        audience=found.token_endpoint,
        methods=found.auth_methods,
        algorithms=found.auth_algorithms,
    )
    return http.post(url or found.token_endpoint, proven, headers, patience=patience)


def read_metadata(config: Mapping[str, Any], discovery_url: str) -> Metadata:
    """Read an OpenID provider's metadata, if it is of the issuer asked (Discovery 4.3).

    Its endpoints must be as safe as the issuer itself: a secret, a code or a token
    is never sent over plain http because a document said so. Raises
    ProviderUnavailable, and what reading a malformed document raises.
    """
    issuer = config["issuer"]
    expected = discovery_url.partition("/.well-known/")[0]
    if issuer.rstrip("/") != expected.rstrip("/"):
        raise ProviderUnavailable("The provider's metadata names another issuer.")
    scheme = urlsplit(issuer).scheme
    for name in (*NEEDED, *(name for name in OPTIONAL if config.get(name) is not None)):
        endpoint = urlsplit(config[name])
        if endpoint.scheme != scheme or not endpoint.netloc:
            raise ProviderUnavailable(
                "The provider's metadata names an endpoint that is not as safe as the issuer."
            )
    return Metadata(
        issuer=issuer,
        token_endpoint=config["token_endpoint"],
        revocation_endpoint=config.get("revocation_endpoint"),
        end_session_endpoint=config.get("end_session_endpoint"),
        jwks_uri=config["jwks_uri"],
        backchannel_logout=config.get("backchannel_logout_supported") is True,
        auth_methods=_names(config, "token_endpoint_auth_methods_supported"),
        auth_algorithms=_names(config, "token_endpoint_auth_signing_alg_values_supported"),
    )


def _names(config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    listed = config.get(name) or []
    return tuple(each for each in listed if isinstance(each, str))


@dataclass
class _Memory:
    """What is known of one issuer. The lock makes one fetch of many at once."""

    found: Metadata | None = None
    fetched_at: float = 0.0
    failed_at: float | None = None
    lock: Lock = field(default_factory=Lock)

    def metadata(self, provider: Provider, issuer: str) -> Metadata:
        # Whoever has the last one at hand does not wait for another's fetch.
        if not self.is_fresh() and self.lock.acquire(blocking=self.found is None):
            try:
                if not self.is_fresh() and not self._is_resting():
                    self._fetch(provider, issuer)
            finally:
                self.lock.release()
        if self.found is None:
            raise ProviderUnavailable("The provider's metadata cannot be fetched.")
        return self.found

    def is_fresh(self) -> bool:
        age = services().clock() - self.fetched_at
        return self.found is not None and 0 <= age < METADATA_AGE

    def _is_resting(self) -> bool:
        """Tell whether a fetch failed a moment ago: not each caller is to wait for it again."""
        return self.failed_at is not None and 0 <= services().clock() - self.failed_at < BACK_OFF

    def _fetch(self, provider: Provider, issuer: str) -> None:
        try:
            self.found = _discovered(provider, issuer)
        except ProviderUnavailable as exc:
            logger.warning("The metadata of %s cannot be had: %s", provider.name, exc)
            self.failed_at = services().clock()  # of the failure: it may have taken its time
        else:
            self.fetched_at = services().clock()


def _memory_of(issuer: str) -> _Memory:
    if issuer not in _memories and len(_memories) >= METADATA_MAX:
        _memories.clear()
    return _memories.setdefault(issuer, _Memory())


def _discovered(provider: Provider, issuer: str) -> Metadata:
    url = issuer if "/.well-known/" in issuer else issuer + WELL_KNOWN
    answer = http.get(url)
    if answer.status != 200:
        raise ProviderUnavailable("The provider's metadata cannot be fetched.")
    config = {**answer.content(), **provider.metadata_overrides}
    try:
        found = read_metadata(config, url)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ProviderUnavailable("The provider's metadata cannot be read.") from None
    return _with_settings(provider, found)


def _with_settings(provider: Provider, found: Metadata) -> Metadata:
    if provider.revocation_url is None:
        return found
    return Metadata(**{**vars(found), "revocation_endpoint": provider.revocation_url})


def _without_discovery(provider: Provider) -> Metadata:
    url = provider.fixed_endpoint("access_token_url")
    if url is None:
        raise ProviderUnavailable("The provider's token endpoint is not known.")
    # What allauth sends these providers, GitHub among them, and they document.
    return Metadata(
        issuer=None,
        token_endpoint=url,
        revocation_endpoint=provider.revocation_url,
        auth_methods=(POST,),
    )


_memories: dict[str, _Memory] = {}
os.register_at_fork(after_in_child=forget)  # the parent may have forked while it held a lock
