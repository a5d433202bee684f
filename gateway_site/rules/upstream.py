"""Upstreams by environment: `UPSTREAM_<NAME>_URL` and its companions.

What enters are environment variables; what leaves are frozen `Upstream`s. Nothing but
these can be reached through the gateway.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.addresses import LOOPBACK_HOSTS
from gateway_site.environment.admission import groups
from gateway_site.environment.names import declared
from gateway_site.environment.reading import Variables
from gateway_site.rules import url_rules
from gateway_site.rules.request_headers import LISTED, BadEntry, RequestHeaders

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# TRACE would echo the token; CONNECT asks for a tunnel. RFC 9110 sections 9.3.6 and 9.3.8.
FORBIDDEN_METHODS = frozenset({"CONNECT", "TRACE"})
NUMBERS = {
    "CONNECT_TIMEOUT": 5,
    "READ_TIMEOUT": 60,
    "STREAM_TIMEOUT": 3600,
    "MAX_BODY": 100 * 1024 * 1024,
    "MAX_CONCURRENT": 64,
}
# The first makes the upstream.
SUFFIXES = (
    "URL",
    "PROVIDER",
    "METHODS",
    "PATHS",
    "REQUEST_HEADERS",
    "ALLOW_HTTP",
    "CA_FILE",
    "CLIENT_ADDRESS",
    "ALLOWED_GROUPS",
    "CLIENTS",
    "REDIRECT_HOSTS",
    *NUMBERS,
)
NAME_LENGTH = 40
OWN_ADDRESSES = ("PUBLIC_URL", "AUTHORIZATION_ISSUER")
# The last label of a name begins with a letter: what ends in a number is an address
# (https://url.spec.whatwg.org/#ends-in-a-number-checker).
HOST_NAME = re.compile(
    r"(?!.{254})(?:[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]*:[0-9a-f:.]*")


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """One declared upstream. Times are seconds, `max_body` is bytes.

    `origin` is scheme, host and port without a default port; `prefix` is the path that
    every target starts with, without its last slash. `paths` are the prefixes of what may
    be asked for below it; empty allows everything. `allow_http` is for private networks
    (`client` sees to it); the certificates of `ca_file` count in place of the public
    authorities'. `client_address` tells whether the upstream may know who calls.
    `allowed_groups` are groups at the provider; empty allows everybody who is signed in.
    `clients` tells whether OAuth clients may call it, for people who allowed them to.
    `redirect_hosts` are hosts that its redirects may lead programs to, credentials and all.
    """

    name: str
    origin: str
    prefix: str
    provider: str
    methods: frozenset[str]
    paths: tuple[str, ...]
    request_headers: RequestHeaders
    connect_timeout: int
    read_timeout: int
    stream_timeout: int
    max_body: int
    max_concurrent: int
    allow_http: bool = False
    ca_file: str | None = None
    client_address: bool = False
    allowed_groups: frozenset[str] = frozenset()
    clients: bool = False
    redirect_hosts: frozenset[str] = frozenset()

    def allows(self, groups: Iterable[str]) -> bool:
        """Tell whether somebody in these groups at the provider may call it."""
        return not self.allowed_groups or not self.allowed_groups.isdisjoint(groups)


def configured(environment: Mapping[str, str]) -> dict[str, Upstream]:
    """Return the upstreams of the environment, by the name in their addresses.

    Raises ImproperlyConfigured, naming the variable, when one is missing, unusable or unknown.
    """
    names = declared(environment, "UPSTREAM", SUFFIXES)
    return {name.lower(): _Variables(environment, name).upstream() for name in names}


class _Variables(Variables):
    """The variables of one upstream."""

    def __init__(self, environment: Mapping[str, str], name: str) -> None:
        super().__init__(environment, f"UPSTREAM_{name}_")
        self._name = name
        if len(name) > NAME_LENGTH:
            raise ImproperlyConfigured(
                f"{self.variable('URL')}: the name must not exceed {NAME_LENGTH} letters."
            )

    def upstream(self) -> Upstream:
        origin, prefix = self._address()
        return Upstream(
            name=self._name.lower(),
            origin=origin,
            prefix=prefix,
            provider=self._provider(),
            methods=self._methods(),
            paths=self._paths(),
            request_headers=self._request_headers(),
            allow_http=bool(self.flag("ALLOW_HTTP")),
            ca_file=self.ca_file("CA_FILE"),
            client_address=bool(self.flag("CLIENT_ADDRESS")),
            allowed_groups=self._allowed_groups(),
            clients=bool(self.flag("CLIENTS")),
            redirect_hosts=self._redirect_hosts(),
            **{suffix.lower(): self._number(suffix) for suffix in NUMBERS},
        )

    def _provider(self) -> str:
        provider = self.text("PROVIDER").lower()
        if not provider:
            raise self.error(
                "PROVIDER", "is missing: the provider whose token is sent, such as google."
            )
        return provider

    def _methods(self) -> frozenset[str]:
        methods = frozenset(self.words("METHODS") or METHODS)
        if methods & FORBIDDEN_METHODS or not all(re.fullmatch("[A-Z]+", m) for m in methods):
            raise self.error(
                "METHODS",
                "must be methods in capitals, such as GET,POST; CONNECT and TRACE are never "
                "passed on.",
            )
        return methods

    def _paths(self) -> tuple[str, ...]:
        prefixes = tuple(prefix.rstrip("/") for prefix in self.words("PATHS"))
        if not all(prefix and _is_path(prefix) for prefix in prefixes):
            raise self.error("PATHS", "must be paths below the URL's, such as /user,/repos.")
        return prefixes

    def _request_headers(self) -> RequestHeaders:
        try:
            return LISTED.with_more(self.words("REQUEST_HEADERS"))
        except BadEntry as bad:
            raise self.error("REQUEST_HEADERS", str(bad)) from None

    def _allowed_groups(self) -> frozenset[str]:
        of_github = self._provider() == "github"
        return groups(self._environment, self.variable("ALLOWED_GROUPS"), of_github=of_github)

    def _redirect_hosts(self) -> frozenset[str]:
        found = frozenset(self.words("REDIRECT_HOSTS"))
        if not all(HOST_NAME.fullmatch(host) for host in found):
            raise self.error(
                "REDIRECT_HOSTS",
                "must be whole names of hosts in small letters, such as files.example.com, "
                "without scheme, port, path or wildcard. Redirects lead there over https only.",
            )
        own = [self._environment.get(name, "").lower() for name in OWN_ADDRESSES]
        if any(re.search(rf"//{re.escape(host)}(?![a-z0-9.-])", "\n".join(own)) for host in found):
            raise self.error(
                "REDIRECT_HOSTS",
                "names the gateway's own host: no redirect may lead to its other addresses.",
            )
        return found

    def _number(self, suffix: str) -> int:
        return self.number(suffix, "must be a whole number above 0.", minimum=1) or NUMBERS[suffix]

    def _address(self) -> tuple[str, str]:
        """Return origin and path of the URL; plain http only where it is allowed, or loopback."""
        error = self.error(
            "URL",
            "must be an https:// address, without user name, query or fragment, and without odd "
            "characters in its path. http:// is good on loopback; in a private network "
            f"{self.variable('ALLOW_HTTP')}=1 allows it.",
        )
        url = self.text("URL")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise error from None
        shown = f"[{host}]" if ":" in host else host
        plain = parts.netloc.lower() in {shown, f"{shown}:{port}"}
        local = host in LOOPBACK_HOSTS or self.flag("ALLOW_HTTP")
        secure = parts.scheme == "https" or (parts.scheme == "http" and local)
        prefix = parts.path.rstrip("/")
        bare = not set("?#\\") & set(url)
        if not (HOST.fullmatch(host) and plain and secure and bare and _is_path(prefix)):
            raise error
        default = {"https": 443, "http": 80}[parts.scheme]
        origin = f"{parts.scheme}://{shown}" + (f":{port}" if port not in {None, default} else "")
        return origin, prefix


def _is_path(path: str) -> bool:
    try:
        url_rules.check(path)
    except url_rules.PathRefused:
        return False
    return True
