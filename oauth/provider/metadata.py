"""A provider's endpoints, from its metadata.

Takes a `ProviderConfig` and returns `Metadata`. It is cached for an hour
(`oauth.network.document_cache`), and allauth's adapters use the same cache. While the metadata
cannot be fetched, the last version is used.

The authorization server of a connected MCP server is a stranger's: `oauth.provider.server_metadata`
has what differs.

Some issuers have many tenants, such as Entra ID's `common` and `organizations`. Their metadata
names `https://login.microsoftonline.com/{tenantid}/v2.0` as the issuer; their id tokens have the
person's tenant in its place, and in the claim `tid`. Anybody can create a tenant there, so only
listed tenants are accepted.
https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-the-issuer
"""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from oauth.codes import Code
from oauth.exceptions import ProviderUnavailable
from oauth.network import http
from oauth.network.document_cache import FETCH_PAUSE, CachedDocument, DocumentCache
from oauth.network.vetted_addresses import ANYWHERE, LOOPBACK_NAMES, PUBLIC, Reach
from oauth.provider.config import MCP_KIND, POST, ProviderConfig
from oauth.provider.id_token import MisdirectedIdToken
from oauth.provider.server_metadata import (
    SERVER_OPTIONAL,
    SERVER_REQUIRED,
    URL_MAX,
    check_server_document,
    fetch_server_document,
)

logger = logging.getLogger(__name__)

TENANT_PLACEHOLDER = "{tenantid}"

METADATA_AGE = 3600  # seconds
# Seconds between two fetches on behalf of a grant; other requests cause at most one a minute.
GRANT_FETCH_PAUSE = 5
WELL_KNOWN = "/.well-known/openid-configuration"
REQUIRED = ("authorization_endpoint", "token_endpoint", "jwks_uri")
OPTIONAL = (
    "userinfo_endpoint",
    "revocation_endpoint",
    "end_session_endpoint",
    "pushed_authorization_request_endpoint",
)
URL_CHARACTERS = re.compile(r"[!-~]+")  # RFC 3986


def issuer_of_metadata(provider: ProviderConfig, issuer: str) -> str:
    """Return the issuer that the metadata must have for a configured issuer."""
    if not provider.allowed_tenants:
        return issuer
    parts = urlsplit(issuer)
    _, _, *rest = parts.path.split("/")  # the first segment is `common` or `organizations`
    return parts._replace(path="/".join(["", TENANT_PLACEHOLDER, *rest])).geturl()


def issuer_of_id_token(provider: ProviderConfig, issuer: str, tenant: object) -> str:
    """Return the issuer that an id token of this tenant must have.

    Raises MisdirectedIdToken if the tenant is not listed.
    """
    if TENANT_PLACEHOLDER not in issuer:
        return issuer
    if not isinstance(tenant, str) or tenant not in provider.allowed_tenants:
        raise MisdirectedIdToken(
            "The account is of a tenant that is not listed.", Code.ID_TOKEN_TENANT
        )
    return issuer.replace(TENANT_PLACEHOLDER, tenant)


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """A provider's metadata (OpenID Connect Discovery section 3; RFC 8414).

    ``reach`` limits the addresses of its endpoints; ``document`` is the whole document. With
    ``iss_supported`` each authorization response names the issuer (RFC 9207); with
    ``documents_supported`` a client id may be the address of a metadata document. A
    ``registration_endpoint`` is only read for a connected MCP server.
    """

    issuer: str | None
    token_endpoint: str
    authorization_endpoint: str | None = None
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    end_session_endpoint: str | None = None
    pushing_endpoint: str | None = None
    requires_pushing: bool = False
    jwks_uri: str | None = None
    backchannel_logout: bool = False
    auth_methods: tuple[str, ...] = ()
    auth_algorithms: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    iss_supported: bool = False
    documents_supported: bool = False
    reach: Reach = PUBLIC
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)


def load_metadata(provider: ProviderConfig, *, anonymous: bool = True) -> Metadata:
    """Return the provider's metadata. Raises ProviderUnavailable if it cannot be fetched.

    ``anonymous`` requests, those without a grant of the provider, cause at most one fetch a minute,
    and so do all requests for a connected MCP server.
    """
    if provider.issuer is None:
        return _configured_metadata(provider)
    is_frequent = not anonymous and provider.kind != MCP_KIND
    return _cached(provider, provider.issuer).get(
        pause=GRANT_FETCH_PAUSE if is_frequent else FETCH_PAUSE
    )


def cached_metadata(provider: ProviderConfig) -> Metadata | None:
    """Return the provider's metadata from the cache; None if it is not cached or has expired."""
    if provider.issuer is None:
        return None
    return _cached(provider, provider.issuer).fresh


def _cached(provider: ProviderConfig, issuer: str) -> CachedDocument[Metadata]:
    if provider.kind == MCP_KIND:  # Its client and scopes may differ from one person to the next.
        provider = ProviderConfig(
            name=provider.name,
            kind=MCP_KIND,
            label=provider.name,
            client_id="",
            client_secret="",
            issuer=issuer,
            resource=provider.resource,
            allow_private=provider.allow_private,
            allow_http=provider.allow_http,
            ca_file=provider.ca_file,
        )
    return _cache.of(provider, issuer)


def clear_metadata_cache() -> None:
    """Remove all metadata from the cache, and all records of failed fetches."""
    _cache.clear()


def reach_of(provider: ProviderConfig | None, *, issuer_at: str | None = None) -> Reach:
    """Return the addresses that the endpoints of a provider may have.

    These are public addresses, and the network from which the issuer itself responded, since the
    issuer comes from the settings. Metadata may not name other addresses of private networks,
    unless the settings allow it.
    """
    ca_file = None if provider is None else provider.ca_file
    if provider is not None and provider.allow_private:
        return replace(ANYWHERE, ca_file=ca_file)
    reach = PUBLIC if issuer_at is None else PUBLIC.with_network_of(issuer_at)
    return replace(reach, ca_file=ca_file)


def read_metadata(
    config: Mapping[str, Any],
    expected_issuer: str,
    *,
    allow_http: bool = False,
    required: Iterable[str] = REQUIRED,
    optional: Iterable[str] = OPTIONAL,
) -> Metadata:
    """Parse an OpenID provider's metadata and check its issuer (Discovery 4.3).

    Endpoints with plain http are rejected, since secrets, codes and tokens are sent to them, unless
    the issuer itself is on this machine without TLS or the settings allow it. Raises
    ProviderUnavailable, and AttributeError, LookupError, TypeError or ValueError for a malformed
    document.
    """
    issuer = _required_url(config, "issuer")
    if issuer.rstrip("/") != expected_issuer.rstrip("/"):
        raise ProviderUnavailable(
            "The provider's metadata names another issuer.", Code.METADATA_ISSUER
        )
    for name in (*required, *(name for name in optional if config.get(name) is not None)):
        if not is_safe_endpoint(_required_url(config, name), issuer, allow_http=allow_http):
            raise ProviderUnavailable(
                f"The {name} of the provider's metadata is not as safe as the issuer.",
                Code.METADATA_ENDPOINT,
            )
    return Metadata(
        issuer=issuer,
        token_endpoint=config["token_endpoint"],
        authorization_endpoint=config["authorization_endpoint"],
        revocation_endpoint=config.get("revocation_endpoint"),
        end_session_endpoint=config.get("end_session_endpoint"),
        pushing_endpoint=config.get("pushed_authorization_request_endpoint"),
        requires_pushing=config.get("require_pushed_authorization_requests") is True,
        jwks_uri=config.get("jwks_uri"),
        backchannel_logout=config.get("backchannel_logout_supported") is True,
        auth_methods=_optional_names(config, "token_endpoint_auth_methods_supported"),
        auth_algorithms=_optional_names(config, "token_endpoint_auth_signing_alg_values_supported"),
        scopes=_optional_names(config, "scopes_supported"),
        iss_supported=config.get("authorization_response_iss_parameter_supported") is True,
        documents_supported=config.get("client_id_metadata_document_supported") is True,
        document=config,
    )


def is_safe_endpoint(url: str, issuer: str, *, allow_http: bool) -> bool:
    """Return True if an endpoint is as safe as its issuer."""
    # First: `urlsplit` takes quadratic time for what is not ASCII.
    if len(url) > URL_MAX or not URL_CHARACTERS.fullmatch(url):
        return False
    try:
        endpoint = urlsplit(url)
        port = endpoint.port
    except ValueError:
        return False
    if not endpoint.hostname or port == 0:
        return False
    if "@" in endpoint.netloc:  # a user name or password
        return False
    if endpoint.scheme == "http":
        is_local = urlsplit(issuer).scheme == "http" and endpoint.hostname in LOOPBACK_NAMES
        return is_local or allow_http
    return endpoint.scheme == "https"


def _required_url(config: Mapping[str, Any], name: str) -> str:
    url = config.get(name)
    if not isinstance(url, str) or not url:
        raise ProviderUnavailable(
            f"The provider's metadata has no {name} that is a text.", Code.METADATA_UNREADABLE
        )
    return url


def _optional_names(config: Mapping[str, Any], name: str) -> tuple[str, ...]:
    listed = config.get(name)
    if listed is None:
        return ()
    if not isinstance(listed, list):
        raise ProviderUnavailable(
            f"The {name} of the provider's metadata is no list.", Code.METADATA_UNREADABLE
        )
    return tuple(each for each in listed if isinstance(each, str))


def _fetch_and_log(provider: ProviderConfig, issuer: str) -> Metadata:
    try:
        return _discover(provider, issuer)
    except ProviderUnavailable as exc:
        logger.warning("Could not fetch metadata for %s: %s", provider.name, exc)
        raise


def _discover(provider: ProviderConfig, issuer: str) -> Metadata:
    if provider.kind == MCP_KIND:
        return _discover_server(provider, issuer)
    document, peer = _fetch_document(provider, issuer)
    config = {**document, **provider.metadata_overrides}
    expected = issuer_of_metadata(provider, issuer.partition("/.well-known/")[0])
    try:
        metadata = read_metadata(config, expected, allow_http=provider.allow_http)
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ProviderUnavailable(
            "The provider's metadata is malformed.", Code.METADATA_UNREADABLE
        ) from None
    return replace(
        metadata,
        revocation_endpoint=provider.revocation_url or metadata.revocation_endpoint,
        reach=reach_of(provider, issuer_at=peer),
    )


def _discover_server(provider: ProviderConfig, issuer: str) -> Metadata:
    """Fetch the metadata of an MCP server's authorization server."""
    beside = provider.resource or issuer
    if not is_safe_endpoint(issuer, beside, allow_http=provider.allow_http):
        raise ProviderUnavailable(
            "The issuer is not as safe as the MCP server.", Code.METADATA_ISSUER
        )
    document, reach = fetch_server_document(
        issuer, beside, allow_private=provider.allow_private, ca_file=provider.ca_file
    )
    try:
        check_server_document(document, issuer, reach)
        metadata = read_metadata(
            document,
            issuer,
            allow_http=provider.allow_http,
            required=SERVER_REQUIRED,
            optional=SERVER_OPTIONAL,
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        raise ProviderUnavailable("The metadata is malformed.", Code.METADATA_UNREADABLE) from None
    return replace(
        metadata, registration_endpoint=document.get("registration_endpoint"), reach=reach
    )


def _fetch_document(provider: ProviderConfig, issuer: str) -> tuple[dict[str, Any], str | None]:
    """Return the metadata and the address that it came from.

    It is not fetched if the settings have all required members: this machine may reach the provider
    under another host name than the issuer's.
    """
    if all(name in provider.metadata_overrides for name in REQUIRED):
        return {"issuer": issuer}, None
    url = issuer if "/.well-known/" in issuer else issuer + WELL_KNOWN
    # The address comes from the settings, so it may be in any network.
    response = http.get(url, reach=replace(ANYWHERE, ca_file=provider.ca_file))
    if response.status != 200:
        raise ProviderUnavailable(
            "The provider's metadata cannot be fetched.", Code.METADATA_STATUS
        )
    return response.parse(), response.peer


def _configured_metadata(provider: ProviderConfig) -> Metadata:
    document = provider.metadata_overrides
    url = document.get("token_endpoint") or provider.fixed_endpoint("access_token_url")
    if url is None:
        raise ProviderUnavailable("The provider's token endpoint is not known.")
    # allauth uses this method for these providers, such as GitHub, and they document it.
    return Metadata(
        issuer=None,
        token_endpoint=url,
        revocation_endpoint=provider.revocation_url,
        auth_methods=(POST,),
        reach=reach_of(provider),
        document=document,
    )


_cache = DocumentCache(_fetch_and_log, max_age=METADATA_AGE)
