"""Parsers from a variable's text to its value; each raises InvalidValue for an invalid text."""

import re
import ssl
from collections.abc import Callable, Collection
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway_site.environment.variable import InvalidValue, Variable, Variables, list_parser
from sessions_kms import conf

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
# Integers that JSON represents exactly: https://www.rfc-editor.org/rfc/rfc8259#section-6
NUMBER = re.compile("[0-9]{1,16}")
NUMBER_MAX = 2**53 - 1
ALLOWED_HOST = re.compile(r"\*|\.?[A-Za-z0-9_-][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]")
ORIGIN = re.compile(
    r"https?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
)
Network = IPv4Network | IPv6Network
LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})


def declare_text(help_text: str, **options: Any) -> Variable[str]:
    """Declare a variable whose value is its text; ``options`` are those of `Variable`."""
    return Variable(str, "", help_text, **options)


def declare_flag(help_text: str) -> Variable[bool]:
    """Declare a switch that is off by default."""
    return Variable(parse_flag, default=False, help_text=help_text)


@list_parser
def parse_items(text: str) -> list[str]:
    """Return the items between commas."""
    return [item.strip() for item in text.split(",") if item.strip()]


@list_parser
def parse_words(text: str) -> tuple[str, ...]:
    """Return the words separated by commas or whitespace."""
    return tuple(filter(None, re.split(r"[\s,]+", text)))


def words_that(fit: Callable[[str], object], problem: str) -> Callable[[str], frozenset[str]]:
    """Return a parser of words that all fit."""

    @list_parser
    def parse(text: str) -> frozenset[str]:
        found = frozenset(parse_words(text))
        if not all(map(fit, found)):
            raise InvalidValue(problem)
        return found

    return parse


def parse_flag(text: str) -> bool:
    """Return True if a switch is on. A misspelt value is an error, not "off"."""
    if text.lower() not in TRUE | FALSE:
        raise InvalidValue("must be 1 or 0 (or true/false, yes/no, on/off).")
    return text.lower() in TRUE


def switch(*words: str) -> Callable[[str], bool | str]:
    """Return a parser of a switch that may also have one of some words as its value."""

    def parse(text: str) -> bool | str:
        value = text.lower()
        if value in words:
            return value
        if value not in TRUE | FALSE:
            raise InvalidValue(f"must be 1, 0 or one of these: {', '.join(words)}.")
        return value in TRUE

    return parse


def one_of(choices: Collection[str]) -> Callable[[str], str]:
    """Return a parser of one of some texts."""

    def parse(text: str) -> str:
        if text not in choices:
            raise InvalidValue(f"must be one of these: {', '.join(choices)}.")
        return text

    return parse


def number(minimum: int = 0, maximum: int | None = None, unit: str = "") -> Callable[[str], int]:
    """Return a parser of a whole number within these bounds."""
    what = f"a whole number of {unit}" if unit else "a whole number"
    bounds = f"{minimum} or more" if maximum is None else f"from {minimum} to {maximum}"

    def parse(text: str) -> int:
        highest = NUMBER_MAX if maximum is None else maximum
        if not NUMBER.fullmatch(text) or not minimum <= int(text) <= highest:
            raise InvalidValue(f"must be {what}, {bounds}.")
        return int(text)

    return parse


def parse_secret_key(text: str) -> str:
    """Return Django's key, which must have the length that Django recommends (security.W009)."""
    if len(text) < 50:
        raise InvalidValue(
            f"has {len(text)} characters. Use at least 50; "
            "python -c 'import secrets; print(secrets.token_urlsafe(50))' prints such a key."
        )
    return text


def parse_log_level(text: str) -> str:
    """Return the name of a log level."""
    return one_of(("DEBUG", "INFO", "WARNING", "ERROR"))(text.upper())


def engine_setting(
    name: str, convert: Callable[[str], Any] = lambda text: text
) -> Callable[[str], Any]:
    """Return a parser with the rules of the engine's setting of this name."""
    setting = conf.FIELDS[name]

    def parse(text: str) -> Any:
        try:
            return setting.parse(convert(text))
        except (TypeError, ValueError) as error:
            raise InvalidValue(str(error)) from None

    return parse


def to_number(text: str) -> int | str:
    """Return a whole number, or any other text as it is."""
    return int(text) if NUMBER.fullmatch(text) else text


@list_parser
def parse_allowed_hosts(text: str) -> list[str]:
    """Return `ALLOWED_HOSTS`. Reject a scheme or a port, with which an entry matches no request.

    See https://docs.djangoproject.com/en/stable/ref/settings/#allowed-hosts
    """
    found = parse_items(text)
    if not all(ALLOWED_HOST.fullmatch(item) for item in found):
        raise InvalidValue(
            "must be host names without scheme, port or path, such as gateway.example.com."
        )
    return found


def parse_scheme_header(text: str) -> tuple[str, str]:
    """Return `SECURE_PROXY_SSL_HEADER` for the named header.

    See https://docs.djangoproject.com/en/stable/ref/settings/#secure-proxy-ssl-header
    """
    if not text.isascii() or not text.replace("-", "").isalnum():
        raise InvalidValue("must be the name of a header, such as X-Forwarded-Proto.")
    return "HTTP_" + text.upper().replace("-", "_"), "https"


def parse_origin(text: str) -> str:
    """Return an origin without its last slash, such as `https://gateway.example.com`."""
    origin = text.removesuffix("/").lower()
    if not ORIGIN.fullmatch(origin):
        raise InvalidValue(
            "must be https:// and a host name, with a port if it is not 443 and without a path, "
            "such as https://gateway.example.com."
        )
    return origin


@list_parser
def parse_networks(text: str) -> list[Network]:
    """Return networks, written as addresses or in CIDR notation (RFC 4632)."""
    try:
        found = [ip_network(item) for item in parse_items(text)]
    except ValueError:
        raise InvalidValue(
            "must be addresses or networks, such as 10.0.0.0/8,192.0.2.7 (the bits of a network's "
            "address after the prefix are 0)."
        ) from None
    if any(network.prefixlen == 0 for network in found):
        raise InvalidValue("must not contain every address.")
    return found


def parse_folder(text: str) -> Path:
    """Return the path of an existing folder."""
    if not Path(text).is_dir():
        raise InvalidValue(": folder not found. Create it, or correct the path.")
    return Path(text)


def parse_new_file(text: str) -> Path:
    """Return the whole path of a file in an existing folder; the file may not exist."""
    path = Path(text)
    if not path.is_absolute():
        raise InvalidValue("must be the whole path of a file, which begins with /.")
    if not path.parent.is_dir():
        raise InvalidValue("must be in a folder that exists: create it, or correct the path.")
    return path


def parse_ca_file(text: str) -> str:
    """Return the path of a file of certificates."""
    try:
        ssl.create_default_context(cafile=text)
    except (OSError, ValueError):  # an SSLError is an OSError
        raise InvalidValue(
            "must be a readable PEM file with the certificates of one or more authorities."
        ) from None
    return text


# Providers and upstreams both have these.
ALLOW_HTTP = declare_flag("allow plain http in a private network")
ALLOW_PRIVATE = Variable(
    parse_flag, None, "metadata may name private addresses", shown_default="`0`"
)
REVOCATION = Variable(
    one_of(("last", "always", "never")),
    "",
    "`last`, `always` or `never`, which decides"
    " [when tokens are revoked](providers.md#when-tokens-are-revoked)",
    shown_default="`last`, at Cognito `always`",
)
CA_FILE = Variable(
    parse_ca_file, None, "file of the accepted certificate authorities", shown_default="public ones"
)


def read_origin(variables: Variables, variable: Variable[Any], url: str) -> str:
    """Return the origin of an https URL from a variable. Raises ImproperlyConfigured.

    Plain http is allowed on loopback, and if ALLOW_HTTP of the same provider or upstream is 1.
    """
    try:
        return _parse_url_origin(url, allow_http=variables.read(ALLOW_HTTP))
    except ValueError:
        raise variables.error(
            variable,
            "must be an https:// address, without user name, query or fragment. http:// is allowed "
            f"on loopback, and in a private network with {variables.get_name(ALLOW_HTTP)}=1.",
        ) from None


def _parse_url_origin(url: str, *, allow_http: bool) -> str:
    parts = urlsplit(url)
    port, host = parts.port, parts.hostname or ""
    is_local = allow_http or host in LOOPBACK_HOSTS
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and is_local)
    is_plain = re.fullmatch(r"[A-Za-z0-9.:/\[\]_~%-]+", url) is not None
    if not (host and is_secure and is_plain):
        raise ValueError
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")
