"""The variables of one provider, `OAUTH_<NAME>_…`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway_site.environment.admission_variables import AdmissionVariables
from gateway_site.environment.parsers import (
    LOOPBACK_HOSTS,
    number,
    one_of,
    parse_ca_file,
    parse_flag,
    parse_text,
    parse_words,
    switch,
)
from gateway_site.environment.variable import InvalidValue, Variable

LABEL_LENGTH = 40  # of allauth's SocialApp.name
LEEWAY_MAX = 3600  # seconds
AUDIENCES = ("issuer", "endpoint")
TOKEN_AUTH_METHODS = ("client_secret_basic", "client_secret_post", "private_key_jwt")
# OpenID Connect Core 1.0 section 3.1.2.1; `none` would show nothing.
PROMPTS = frozenset({"consent", "login", "select_account"})
UNCHANGED = "unchanged"


def parse_label(text: str) -> str:
    """Return the label of a button."""
    if len(text) > LABEL_LENGTH:
        raise InvalidValue(f"must not exceed {LABEL_LENGTH} letters.")
    return text


def parse_pairs(text: str) -> dict[str, str]:
    """Return parameters of the authorization request."""
    pairs = [pair.partition("=") for pair in parse_words(text)]
    if not all(key and value for key, _, value in pairs):
        raise InvalidValue("must be pairs, such as prompt=consent,audience=api.")
    return {key: value for key, _, value in pairs}


def parse_prompt(text: str) -> str:
    """Return one or more values of `prompt`, or `unchanged`."""
    prompts = text.split()
    if not PROMPTS.issuperset(prompts) and prompts != [UNCHANGED]:
        raise InvalidValue(
            f"must be {UNCHANGED}, or one or more of {', '.join(sorted(PROMPTS))}, separated by "
            "blanks."
        )
    return " ".join(prompts)


class ProviderVariables(AdmissionVariables):
    """The variables of one provider; `name` is the one in its addresses."""

    client_id = Variable(
        "CLIENT_ID",
        parse_text,
        default="",
        help_text="creates a provider: the client id that the provider gave the gateway",
    )
    client_secret = Variable(
        "CLIENT_SECRET",
        parse_text,
        default="",
        shown_default="required without a key",
        secret=True,
        help_text="the client secret that the provider gave the gateway",
    )
    issuer = Variable(
        "ISSUER",
        parse_text,
        default="",
        shown_default="built in for `GOOGLE` and `APPLE`",
        help_text="the OpenID Connect issuer",
    )
    authorization_url = Variable(
        "AUTHORIZATION_URL",
        parse_text,
        default="",
        shown_default="the provider's metadata",
        help_text="the authorization endpoint; required for a plain OAuth 2.0 provider"
        " ([providers.md](providers.md))",
    )
    token_url = Variable(
        "TOKEN_URL",
        parse_text,
        default="",
        shown_default="the provider's metadata",
        help_text="the token endpoint",
    )
    userinfo_url = Variable(
        "USERINFO_URL",
        parse_text,
        default="",
        shown_default="the provider's metadata",
        help_text="the userinfo endpoint",
    )
    jwks_url = Variable(
        "JWKS_URL",
        parse_text,
        default="",
        shown_default="the provider's metadata",
        help_text="the address of the provider's keys",
    )
    id_field = Variable(
        "ID_FIELD",
        parse_text,
        default="",
        help_text="the field of a plain provider's userinfo that has the account's permanent id",
    )
    allowed_tenants = Variable[tuple[str, ...]](
        "ALLOWED_TENANTS",
        parse_words,
        default=(),
        help_text="tenants of Entra ID that may sign in at its shared issuers",
    )
    team_id = Variable("TEAM_ID", parse_text, default="", help_text="the team of a client at Apple")
    label = Variable(
        "NAME",
        parse_label,
        default="",
        shown_default="from `<NAME>`",
        help_text="the label of its button",
    )
    scopes = Variable[tuple[str, ...]](
        "SCOPES",
        parse_words,
        default=(),
        shown_default="`openid,profile,email`",
        help_text="the scopes to request",
    )
    auth_params = Variable[Mapping[str, str]](
        "AUTH_PARAMS",
        parse_pairs,
        default={},
        shown_default="",
        help_text="further parameters of the authorization request",
    )
    client_prompt = Variable(
        "CLIENT_PROMPT",
        parse_prompt,
        default="",
        shown_default="[the provider's metadata decides](mcp.md#what-a-person-sees)",
        help_text="`prompt` of the authorization request after a person allowed an OAuth client:"
        " `consent`, `login`, `select_account`, several of them, or `unchanged` to keep"
        " `AUTH_PARAMS`",
    )
    form_action = Variable[tuple[str, ...]](
        "FORM_ACTION",
        parse_words,
        default=(),
        help_text="origins that browsers pass on the way to its sign-in page",
    )
    token_auth = Variable(
        "TOKEN_AUTH",
        one_of(TOKEN_AUTH_METHODS),
        default="",
        shown_default="the provider's metadata decides",
        help_text="`client_secret_basic`, `client_secret_post` or `private_key_jwt`",
    )
    private_key_file = Variable(
        "PRIVATE_KEY_FILE",
        parse_text,
        default="",
        help_text="path of the key for `private_key_jwt`, read at each use",
    )
    private_key_id = Variable(
        "PRIVATE_KEY_ID",
        parse_text,
        default="",
        help_text="the id under which the provider knows that key",
    )
    assertion_audience = Variable(
        "ASSERTION_AUDIENCE",
        one_of(AUDIENCES),
        default="",
        shown_default="`issuer`",
        help_text="the audience of an assertion of `private_key_jwt`: `issuer` or `endpoint`",
    )
    par = Variable[bool | str](
        "PAR",
        switch("auto"),
        default="auto",
        help_text="whether authorization requests are pushed: `auto`, `1` or `0`"
        " ([gateway.md](gateway.md#par-and-dpop))",
    )
    dpop = Variable(
        "DPOP",
        parse_flag,
        default=False,
        help_text="whether tokens are bound to a key of the session",
    )
    revocation_url = Variable(
        "REVOCATION_URL",
        parse_text,
        default="",
        shown_default="the provider's metadata",
        help_text="the address at which tokens are revoked",
    )
    refresh_leeway = Variable(
        "REFRESH_LEEWAY",
        number(maximum=LEEWAY_MAX, unit="seconds"),
        default=None,
        shown_default="`60`",
        help_text="seconds before a token's expiry at which it is refreshed",
    )
    single_logout = Variable[bool | str](
        "SINGLE_LOGOUT",
        switch("no-hint", "post", "post-no-hint"),
        default=False,
        help_text="whether signing out here also signs out there: `1`, `no-hint`, `post` or"
        " `post-no-hint`",
    )
    backchannel_logout = Variable(
        "BACKCHANNEL_LOGOUT",
        parse_flag,
        default=None,
        shown_default="the provider's metadata decides",
        help_text="whether sign-outs there end sessions here: `1` or `0`",
    )
    allow_private = Variable(
        "ALLOW_PRIVATE",
        parse_flag,
        default=None,
        shown_default="`0`",
        help_text="whether its metadata may name addresses of a private network",
    )
    allow_http = Variable(
        "ALLOW_HTTP",
        parse_flag,
        default=False,
        help_text="whether it may be called without TLS in a private network",
    )
    ca_file = Variable(
        "CA_FILE",
        parse_ca_file,
        default=None,
        shown_default="the public authorities",
        help_text="path of the certificates of the authorities that count",
    )

    def get_origin(self, variable: Variable[str] | Variable[tuple[str, ...]], url: str) -> str:
        """Return the origin of an https URL from a variable.

        Plain http is allowed on this machine, and where the provider's ALLOW_HTTP is 1.
        """
        try:
            return _parse_origin(url, allow_http=self.allow_http)
        except ValueError:
            raise self.error(
                variable,
                "must be an https:// address, without user name, query or fragment. http:// is "
                "allowed on loopback, and in a private network with "
                f"{self.get_name(ProviderVariables.allow_http)}=1.",
            ) from None


def _parse_origin(url: str, *, allow_http: bool) -> str:
    parts = urlsplit(url)
    port, host = parts.port, parts.hostname or ""
    is_local = allow_http or host in LOOPBACK_HOSTS
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and is_local)
    is_plain = re.fullmatch(r"[A-Za-z0-9.:/\[\]_~%-]+", url) is not None
    if not (host and is_secure and is_plain):
        raise ValueError
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
