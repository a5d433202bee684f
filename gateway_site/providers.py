"""OAuth providers by environment: `OAUTH_<NAME>_CLIENT_ID` and its companions.

What enters are environment variables; what leaves are allauth's
`SOCIALACCOUNT_PROVIDERS` and the origins that a sign-in form may lead to.
A provider is never configured in the database, which would hold its secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from gateway_site import admission
from gateway_site.environment import FALSE, LOOPBACK_HOSTS, TRUE, refuse_unknown

CLIENT_ID = re.compile(r"OAUTH_([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)_CLIENT_ID")
# The first makes the provider.
SUFFIXES = (
    "CLIENT_ID",
    "CLIENT_SECRET",
    "ISSUER",
    "NAME",
    "SCOPES",
    "AUTH_PARAMS",
    "FORM_ACTION",
    "TOKEN_AUTH",
    "PRIVATE_KEY_FILE",
    "PRIVATE_KEY_ID",
    "REVOCATION_URL",
    "REFRESH_LEEWAY",
    "SINGLE_LOGOUT",
    "BACKCHANNEL_LOGOUT",
    "ALLOW_PRIVATE",
    *admission.SUFFIXES,
)
NAME_LENGTH = 40  # of allauth's SocialApp.name and of its provider column

GOOGLE = "google"
GITHUB = "github"
GOOGLE_ISSUER = "https://accounts.google.com"
GITHUB_ORIGIN = "https://github.com"
LABELS = {GOOGLE: "Google", GITHUB: "GitHub"}
SCOPES: dict[str, tuple[str, ...]] = {GITHUB: ()}
OPENID_SCOPES = ("openid", "profile", "email")
# Google answers with a refresh token only to a consent that asks for offline access, and the
# session is the only place an earlier one could have been kept.
# https://developers.google.com/identity/protocols/oauth2/web-server#offline
AUTH_PARAMS = {GOOGLE: {"access_type": "offline", "prompt": "consent"}}
AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")
LEEWAY_MAX = 3600  # seconds


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One configured provider."""

    name: str
    label: str
    client_id: str
    client_secret: str = field(repr=False)
    issuer: str | None
    scopes: tuple[str, ...]
    auth_params: Mapping[str, str]
    form_action: tuple[str, ...]
    sign_out: Mapping[str, Any] = field(default_factory=dict)
    tokens: Mapping[str, Any] = field(default_factory=dict)

    def allauth_app(self) -> dict[str, Any]:
        """Return this provider as an entry of allauth's `APPS`, PKCE on (RFC 7636)."""
        settings: dict[str, Any] = {
            "oauth_pkce_enabled": True,
            "scope": list(self.scopes),
            "auth_params": dict(self.auth_params),
            **self.sign_out,
            **self.tokens,
        }
        app = {"name": self.label, "client_id": self.client_id, "secret": self.client_secret}
        if self.issuer is None:
            return app | {"settings": settings}
        return app | {
            "provider_id": self.name,
            "settings": settings | {"server_url": self.issuer, "uid_field": "sub"},
        }


def configured(environment: Mapping[str, str]) -> list[Provider]:
    """Return the providers of the environment, by name.

    Raises ImproperlyConfigured, naming the variable, when one is missing, unusable or unknown.
    """
    names = sorted(
        match[1]
        for variable, value in environment.items()
        if (match := CLIENT_ID.fullmatch(variable)) and value.strip()
    )
    refuse_unknown(environment, "OAUTH", names, SUFFIXES)
    providers = [
        _admitting(environment, _Variables(environment, name).provider()) for name in names
    ]
    # allauth finds the provider of an unfinished sign-up again by its client id.
    clients = [provider.client_id for provider in providers if provider.issuer is not None]
    if len(set(clients)) < len(clients):
        raise ImproperlyConfigured(
            "Two providers have the same OAUTH_<NAME>_CLIENT_ID: register one of them anew."
        )
    return providers


def social_providers(providers: Iterable[Provider]) -> dict[str, Any]:
    """Return allauth's `SOCIALACCOUNT_PROVIDERS`."""
    kinds: dict[str, Any] = {
        kind: {"OAUTH_PKCE_ENABLED": True, "APPS": []} for kind in ("openid_connect", GITHUB)
    }
    for provider in providers:
        kind = GITHUB if provider.issuer is None else "openid_connect"
        kinds[kind]["APPS"].append(provider.allauth_app())
    return kinds


def form_action_origins(providers: Iterable[Provider]) -> list[str]:
    """Return the origins that the Content-Security-Policy must let forms lead to.

    Browsers apply form-action to the redirect that answers the sign-in form
    (https://www.w3.org/TR/CSP3/#directive-form-action), so the origin of each
    provider's authorization endpoint belongs in it.
    """
    return sorted({origin for provider in providers for origin in provider.form_action})


def _admitting(environment: Mapping[str, str], provider: Provider) -> Provider:
    """Return a provider that knows who may sign in, and is asked for what tells it."""
    found = admission.read(environment, provider.name, provider.issuer)
    if not found.settings:
        return provider
    return replace(
        provider,
        scopes=tuple(dict.fromkeys([*provider.scopes, *found.scopes])),
        auth_params={**provider.auth_params, **found.auth_params},
        tokens={**provider.tokens, "admission": dict(found.settings)},
    )


class _Variables:
    """The variables of one provider."""

    def __init__(self, environment: Mapping[str, str], name: str) -> None:
        self.environment = environment
        self.prefix = f"OAUTH_{name}_"
        self.name = name.lower()

    def provider(self) -> Provider:
        if self.name == "openid_connect" or len(self.name) > NAME_LENGTH:
            raise ImproperlyConfigured(
                f"{self.prefix}CLIENT_ID: choose another provider name, such as OAUTH_CORP_…"
            )
        issuer = self._issuer()
        label = self._text("NAME") or LABELS.get(self.name) or self.name.replace("_", " ").title()
        if len(label) > NAME_LENGTH:
            raise ImproperlyConfigured(f"{self.prefix}NAME must not exceed {NAME_LENGTH} letters.")
        return Provider(
            name=self.name,
            label=label,
            client_id=self._text("CLIENT_ID"),
            client_secret=self._secret(),
            issuer=issuer,
            scopes=self._scopes(),
            auth_params=self._auth_params(),
            form_action=self._form_action(issuer),
            sign_out=self._sign_out(),
            tokens=self._authentication() | self._token_settings() | self._networks(),
        )

    def _text(self, suffix: str) -> str:
        return self.environment.get(self.prefix + suffix, "").strip()

    def _list(self, suffix: str) -> tuple[str, ...]:
        return tuple(re.split(r"[\s,]+", self._text(suffix))) if self._text(suffix) else ()

    def _authentication(self) -> dict[str, Any]:
        """Return how the token endpoint is shown who asks, as `oauth.providers` calls it."""
        method, key = self._text("TOKEN_AUTH"), self._text("PRIVATE_KEY_FILE")
        if method and method not in AUTH_METHODS:
            raise ImproperlyConfigured(
                f"{self.prefix}TOKEN_AUTH must be one of {', '.join(AUTH_METHODS)}."
            )
        if (method == "private_key_jwt") != bool(key):
            raise ImproperlyConfigured(
                f"{self.prefix}PRIVATE_KEY_FILE and {self.prefix}TOKEN_AUTH=private_key_jwt "
                "need each other."
            )
        if method.startswith("client_secret") and not self._text("CLIENT_SECRET"):
            raise ImproperlyConfigured(f"{self.prefix}TOKEN_AUTH needs {self.prefix}CLIENT_SECRET.")
        found = {
            "token_auth_method": method,
            "private_key_file": key,
            "private_key_id": self._text("PRIVATE_KEY_ID"),
        }
        return {name: value for name, value in found.items() if value}

    def _token_settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if url := self._text("REVOCATION_URL"):
            _origin(f"{self.prefix}REVOCATION_URL", url)
            found["revocation_url"] = url
        if leeway := self._text("REFRESH_LEEWAY"):
            if not re.fullmatch(r"[0-9]{1,4}", leeway) or int(leeway) > LEEWAY_MAX:
                raise ImproperlyConfigured(
                    f"{self.prefix}REFRESH_LEEWAY must be seconds, {LEEWAY_MAX} at most."
                )
            found["refresh_leeway"] = int(leeway)
        return found

    def _networks(self) -> dict[str, Any]:
        """Return whether metadata may name addresses of a private network."""
        allowed = self._text("ALLOW_PRIVATE").lower()
        if allowed not in TRUE | FALSE:
            raise ImproperlyConfigured(f"{self.prefix}ALLOW_PRIVATE must be 1 or 0.")
        return {"allow_private": True} if allowed in TRUE else {}

    def _secret(self) -> str:
        secret = self._text("CLIENT_SECRET")
        if not secret and self.name in LABELS:
            raise ImproperlyConfigured(f"{self.prefix}CLIENT_SECRET is missing.")
        return secret

    def _issuer(self) -> str | None:
        issuer = self._text("ISSUER")
        if self.name in LABELS:
            if issuer:
                raise ImproperlyConfigured(
                    f"{self.prefix}ISSUER is built in: remove it, or choose another provider name."
                )
            return GOOGLE_ISSUER if self.name == GOOGLE else None
        if not issuer:
            raise ImproperlyConfigured(
                f"{self.prefix}ISSUER is missing: the provider's OpenID Connect issuer, "
                "such as https://login.example.com."
            )
        _origin(f"{self.prefix}ISSUER", issuer)
        return issuer.rstrip("/")  # allauth appends "/.well-known/…"

    def _scopes(self) -> tuple[str, ...]:
        scopes = self._list("SCOPES") or SCOPES.get(self.name, OPENID_SCOPES)
        if self.name != GITHUB and "openid" not in scopes:
            raise ImproperlyConfigured(f"{self.prefix}SCOPES must include openid.")
        return scopes

    def _auth_params(self) -> Mapping[str, str]:
        pairs = [pair.partition("=") for pair in self._list("AUTH_PARAMS")]
        if not all(key and value for key, _, value in pairs):
            raise ImproperlyConfigured(
                f"{self.prefix}AUTH_PARAMS must be pairs, such as prompt=consent,audience=api."
            )
        return {key: value for key, _, value in pairs} or AUTH_PARAMS.get(self.name, {})

    def _sign_out(self) -> dict[str, Any]:
        """Return what `oauth.providers` calls single_logout and backchannel_logout."""
        found: dict[str, Any] = {}
        single, back = self._text("SINGLE_LOGOUT").lower(), self._text("BACKCHANNEL_LOGOUT").lower()
        if single not in TRUE | FALSE | {"no-hint"}:
            raise ImproperlyConfigured(f"{self.prefix}SINGLE_LOGOUT must be 1, 0 or no-hint.")
        if back not in TRUE | FALSE:
            raise ImproperlyConfigured(f"{self.prefix}BACKCHANNEL_LOGOUT must be 1 or 0.")
        if single not in FALSE:
            found["single_logout"] = "no-hint" if single == "no-hint" else "hint"
        if back:
            found["backchannel_logout"] = back in TRUE
        return found

    def _form_action(self, issuer: str | None) -> tuple[str, ...]:
        more = self._list("FORM_ACTION")
        variable = f"{self.prefix}FORM_ACTION"
        own = GITHUB_ORIGIN if issuer is None else _origin(f"{self.prefix}ISSUER", issuer)
        return (own, *(_origin(variable, url) for url in more))


def _origin(variable: str, url: str) -> str:
    """Return the origin of an https URL; plain http is good for this machine only."""
    error = ImproperlyConfigured(
        f"{variable} must be an https:// address (http:// only on loopback), without user name, "
        "query or fragment."
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise error from None
    host = parts.hostname or ""
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK_HOSTS)
    plain = re.fullmatch(r"[A-Za-z0-9.:/\[\]_~%-]+", url) is not None
    if not (host and secure and plain):
        raise error
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
