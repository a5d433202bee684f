"""The configured providers: reads allauth's `SOCIALACCOUNT_PROVIDERS` once.

Takes the name of a provider (allauth's `provider_id`, or its kind) and returns a frozen
`ProviderConfig`. Uses neither the database nor the network, so every request may call it.

In addition to allauth's own keys, an app's `settings` may have `token_auth_method`
(`client_secret_basic`, `client_secret_post`, `private_key_jwt`), `private_key_file`
(PEM), `private_key_id`, `assertion_audience` (`issuer` or `endpoint`), `par` (whether
authorization requests are pushed; by default the metadata decides), `dpop` (whether tokens are
bound to a key), `resource` (what tokens are requested for, RFC 8707), `revocation_url`,
`revocation` (`last`, `always` or `never`, see `oauth.tokens.revocation`),
`refresh_leeway` (seconds), `client_prompt` (see `sign_in.prompts`), `single_logout`
(`hint`, `no-hint`, `post` or `post-no-hint`, see `logout.single_logout`), `backchannel_logout`
(whether the provider ends sessions here; by default its metadata decides),
`allow_private` (whether its metadata may name addresses of a private network), `allow_http`
(whether requests to such addresses may go without TLS), `ca_file` (PEM; replaces the public
certificate authorities), `identity` (the claims that together identify an account),
`allowed_tenants` (for an issuer with many tenants, see `oauth.provider.metadata`), `apple_team_id`
(see `oauth.provider.token_endpoint`), `id_jag_clients` (whether the provider's assertions get
tokens for OAuth clients, see `oauth.clients.id_jag`) and `admission` (who may sign in:
`oauth.access_rule`).

An app of the kind `openid_connect` without `server_url` is a plain OAuth 2.0 provider, and
`openid_configuration_overrides` names its endpoints. For other providers it replaces single
members of the metadata.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from allauth.socialaccount import app_settings
from allauth.socialaccount.providers import registry
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from oauth.access_rule import DEFAULT_ADMISSION, Admission

REFRESH_LEEWAY = 60  # seconds
BASIC = "client_secret_basic"
POST = "client_secret_post"
PRIVATE_KEY = "private_key_jwt"
MCP_KIND = "mcp"  # of the authorization server of an MCP server (`oauth.mcp`), unknown to allauth
ISSUER, ENDPOINT = "issuer", "endpoint"  # audiences of an assertion
LAST, ALWAYS, NEVER = REVOCATIONS = ("last", "always", "never")  # when tokens are revoked
# The issuers of Amazon Cognito's user pools.
# https://docs.aws.amazon.com/cognito/latest/developerguide/federation-endpoints.html
COGNITO = re.compile(r"https://cognito-idp\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/.*")
# https://www.iana.org/assignments/oauth-parameters (Token Endpoint Authentication Methods)
AUTH_METHODS = (BASIC, POST, PRIVATE_KEY)
# Kinds of single logout: those that send the id token, and those that use POST instead of GET.
HINTED = frozenset({"hint", "post"})
POSTED = frozenset({"post", "post-no-hint"})


@dataclass(frozen=True, kw_only=True)
class ProviderConfig:
    """One configured provider. ``issuer`` is None if it does not support OpenID Connect.

    ``resource`` is what tokens are requested for (RFC 8707), None if it is left to the provider.
    ``private_key`` is for MCP servers only: a key in PEM that is in no file. ``revocation`` is None
    if the settings leave it to `when_revoked`.
    """

    name: str
    kind: str
    label: str
    client_id: str
    client_secret: str = field(repr=False)
    issuer: str | None
    scope: tuple[str, ...] = ()
    auth_method: str | None = None
    private_key_file: str | None = None
    private_key_id: str | None = None
    private_key: bytes | None = field(default=None, repr=False, compare=False)
    assertion_audience: str = ISSUER
    par: bool | None = None
    dpop: bool = False
    revocation_url: str | None = None
    revocation: str | None = None
    refresh_leeway: int = REFRESH_LEEWAY
    client_prompt: str | None = None
    single_logout: str | None = None
    backchannel_logout: bool | None = None
    allow_private: bool = False
    allow_http: bool = False
    ca_file: str | None = None
    identity: tuple[str, ...] = ("sub",)
    allowed_tenants: frozenset[str] = frozenset()
    apple_team_id: str | None = None
    posts_responses: bool = False
    resource: str | None = None
    id_jag_clients: bool = False
    admission: Admission = DEFAULT_ADMISSION
    metadata_overrides: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)

    @property
    def when_revoked(self) -> str:
        """When tokens are revoked: `last`, `always` or `never`.

        By default with the user's last access, since many providers revoke everything that a user
        granted to the client. Cognito documents that other refresh tokens stay valid:
        https://docs.aws.amazon.com/cognito/latest/developerguide/token-revocation.html
        """
        if self.revocation is not None:
            return self.revocation
        return ALWAYS if COGNITO.fullmatch(self.issuer or "") else LAST

    def fixed_endpoint(self, name: str) -> str | None:
        """Return a URL attribute of allauth's adapter for this kind, such as `access_token_url`."""
        provider_class = registry.get_class(self.kind)
        adapter = getattr(provider_class, "oauth2_adapter_class", None)
        url = getattr(adapter, name, None)
        return url if isinstance(url, str) else None


# The settings of an app that have the same name here; those that are converted replace them.
SETTINGS = {each.name for each in fields(ProviderConfig)} - {"private_key"}


def find_provider(name: str) -> ProviderConfig | None:
    """Return the provider with this name; None if it is not configured."""
    return _providers_by_name().get(name)


def all_providers() -> list[ProviderConfig]:
    """Return all configured providers."""
    return list(_providers_by_name().values())


@cache
def _providers_by_name() -> dict[str, ProviderConfig]:
    return {each.name: each for each in _read_providers(app_settings.PROVIDERS)}


def _read_providers(kinds: Mapping[str, Any]) -> Iterator[ProviderConfig]:
    for kind, configuration in kinds.items():
        for app in apps_of(configuration):
            settings = app.get("settings") or {}
            response_mode = (settings.get("auth_params") or {}).get("response_mode")
            found = {name: value for name, value in settings.items() if name in SETTINGS} | {
                "name": app.get("provider_id") or kind,
                "kind": kind,
                "label": app.get("name") or app.get("provider_id") or kind,
                "client_id": app.get("client_id", ""),
                "client_secret": app.get("secret", ""),
                "issuer": settings.get("server_url"),
                "scope": tuple(settings.get("scope") or configuration.get("SCOPE") or ()),
                "auth_method": settings.get("token_auth_method"),
                "dpop": settings.get("dpop") is True,
                "revocation": read_revocation(settings.get("revocation")),
                "allow_private": settings.get("allow_private") is True,
                "allow_http": settings.get("allow_http") is True,
                "identity": tuple(settings.get("identity") or ("sub",)),
                "allowed_tenants": frozenset(settings.get("allowed_tenants") or ()),
                "posts_responses": response_mode == "form_post",
                "id_jag_clients": settings.get("id_jag_clients") is True,
                "admission": _read_admission(settings.get("admission") or {}),
                "metadata_overrides": settings.get("openid_configuration_overrides") or {},
            }
            yield ProviderConfig(**found)


def _read_admission(settings: Mapping[str, Any]) -> Admission:
    try:
        return Admission.from_settings(settings)
    except (TypeError, ValueError):
        raise ImproperlyConfigured(
            'The "admission" of a provider in SOCIALACCOUNT_PROVIDERS cannot be read.'
        ) from None


def read_revocation(value: object) -> str | None:
    """Return the setting `revocation`. Raises ImproperlyConfigured."""
    if value is None or value in REVOCATIONS:
        return None if value is None else str(value)
    raise ImproperlyConfigured(f'"revocation" must be one of these: {", ".join(REVOCATIONS)}.')


def apps_of(configuration: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the apps of one kind of provider, from `APP` or `APPS`."""
    single = configuration.get("APP")
    return list(configuration.get("APPS") or ([single] if single else []))


def _clear_cache(*, setting: str, **_: Any) -> None:
    if setting == "SOCIALACCOUNT_PROVIDERS":
        _providers_by_name.cache_clear()


setting_changed.connect(_clear_cache, dispatch_uid="oauth.providers")
