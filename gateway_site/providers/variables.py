"""The variables of one provider, `OAUTH_<NAME>_…`."""

from collections.abc import Mapping

from gateway_site.environment.admission_variables import AdmissionVariables
from gateway_site.environment.parsers import (
    ALLOW_HTTP,
    ALLOW_PRIVATE,
    CA_FILE,
    REVOCATION,
    declare_flag,
    declare_text,
    number,
    one_of,
    parse_flag,
    parse_words,
    switch,
)
from gateway_site.environment.variable import InvalidValue, Variable, list_parser

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


@list_parser
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
    """The variables of one provider; `name` is part of its URLs here."""

    client_id = declare_text("the gateway's client id; creates the provider", creates=True)
    client_secret = declare_text(
        "the gateway's client secret", shown_default="required without a key", secret=True
    )
    issuer = declare_text("OpenID Connect issuer", shown_default="")
    authorization_url = declare_text(
        "authorization endpoint; required [without OpenID Connect](providers.md)",
        shown_default="metadata",
    )
    token_url = declare_text("token endpoint", shown_default="metadata")
    userinfo_url = declare_text("userinfo endpoint", shown_default="metadata")
    jwks_url = declare_text("address of the signing keys", shown_default="metadata")
    id_field = declare_text("userinfo field with the permanent id, without OpenID Connect")
    allowed_tenants = Variable[tuple[str, ...]](
        parse_words, (), "Entra ID tenants that may sign in at shared issuers"
    )
    team_id = declare_text("Apple's team id")
    label = Variable(
        parse_label, "", "label of the button", shown_default="from `<NAME>`", name="NAME"
    )
    scopes = Variable[tuple[str, ...]](
        parse_words, (), "requested scopes", shown_default="`openid,profile,email`"
    )
    auth_params = Variable[Mapping[str, str]](
        parse_pairs,
        {},
        "more authorization parameters, such as `prompt=consent,audience=api`",
        shown_default="",
    )
    client_prompt = Variable(
        parse_prompt,
        "",
        "`prompt` after consent to an OAuth client, from `consent`, `login` and"
        " `select_account`, or `unchanged`",
        shown_default="[metadata](mcp.md#what-a-person-sees)",
    )
    form_action = Variable[tuple[str, ...]](
        parse_words, (), "more origins on the way to the sign-in page"
    )
    token_auth = Variable(
        one_of(TOKEN_AUTH_METHODS),
        "",
        "`client_secret_basic`, `client_secret_post` or `private_key_jwt`",
        shown_default="metadata",
    )
    private_key_file = declare_text(
        "PEM file for `private_key_jwt`: an RSA, EC or Ed25519 key without a password"
    )
    private_key_id = declare_text("id of that key")
    assertion_audience = Variable(
        one_of(AUDIENCES),
        "",
        "`issuer` or `endpoint`, the [audience](gateway.md#par-and-dpop) of `private_key_jwt`",
        shown_default="`issuer`",
    )
    par = Variable[bool | str](
        switch("auto"),
        "auto",
        "`auto`, `1` or `0`, which decides whether to push"
        " [authorization requests](gateway.md#par-and-dpop)",
    )
    dpop = declare_flag("bind [tokens](gateway.md#par-and-dpop) to a key")
    revocation_url = declare_text("revocation endpoint", shown_default="metadata")
    revocation = REVOCATION
    refresh_leeway = Variable(
        number(maximum=LEEWAY_MAX, unit="seconds"),
        None,
        "seconds before expiry at which a token is refreshed, at most half its lifetime",
        shown_default="`60`",
    )
    single_logout = Variable[bool | str](
        switch("no-hint", "post", "post-no-hint"),
        False,
        "sign out there too, with `1`, `no-hint`, `post` or `post-no-hint`",
    )
    backchannel_logout = Variable(
        parse_flag,
        None,
        "`1` if sign-outs there end sessions here, or `0`",
        shown_default="metadata",
    )
    id_jag_clients = declare_flag(
        "accept [assertions](mcp.md#clients-whose-provider-vouches-for-them) of this provider"
    )
    allow_private = ALLOW_PRIVATE
    allow_http = ALLOW_HTTP
    ca_file = CA_FILE
