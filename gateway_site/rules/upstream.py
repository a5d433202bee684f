"""Upstreams: `UPSTREAM_<NAME>_URL` or `UPSTREAM_<NAME>_MCP`, and their companions.

Nothing but these can be reached through the gateway.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from gateway_site.environment.admission_variables import GITHUB, read_groups
from gateway_site.environment.parsers import (
    LOOPBACK_HOSTS,
    declare_flag,
    declare_text,
    number,
    parse_words,
    words_that,
)
from gateway_site.environment.variable import InvalidValue, Variable, list_parser
from gateway_site.providers.variables import ProviderVariables
from gateway_site.rules import url_rules
from gateway_site.rules.identity_tokens import (
    IDENTITY,
    STORED_CLAIMS,
    IdentityToken,
    UpstreamTokenVariables,
)
from gateway_site.rules.rate import Rate, parse_rates
from gateway_site.rules.request_headers import DEFAULT_HEADERS, BadEntry, RequestHeaders

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
# TRACE would echo the token; CONNECT asks for a tunnel. RFC 9110 sections 9.3.6 and 9.3.8.
METHOD = re.compile(r"(?!(?:CONNECT|TRACE)\Z)[A-Z]+")
NAME_LENGTH = 40
OWN_ADDRESSES = ("PUBLIC_URL", "AUTHORIZATION_ISSUER")
# The last label of a name begins with a letter: what ends in a number is an address
# (https://url.spec.whatwg.org/#ends-in-a-number-checker).
HOST_NAME = re.compile(
    r"(?!.{254})(?:[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
# An absolute URI without a fragment (RFC 8707 section 2, RFC 3986 section 4.3); http needs a host.
RESOURCE = re.compile(
    r"(?!https?:(?!//[^/?@]+(?:[/?]|$)))[a-z][a-z0-9+.-]*:"
    r"(?:[a-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9a-f]{2})+",
    re.IGNORECASE,
)
HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|(?=[0-9a-f.]*:)[0-9a-f:.]*")


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """One declared upstream. Times are seconds, `max_body` is bytes.

    `origin` is scheme, host and port without a default port; `prefix` is the path that every
    target starts with, without its last slash. `paths` are prefixes of what may be called below
    it; empty allows everything. `allow_http` is for private networks only, which the client
    enforces. The authorities of `ca_file` replace the public ones. With `client_address` the
    upstream gets the caller's address. `allowed_groups` are groups at the provider; empty
    allows everybody who is signed in. With `clients` OAuth clients may call it, for people who
    allowed them to. `redirect_hosts` are hosts to which its redirects may lead programs, including
    their credentials. `mcp` marks an MCP server that people connect: `provider` is its own name
    then, and `allowed_groups` are groups at the provider with which the person signed in. With
    `read_mcp` the messages of MCP are read (`gateway_site.mcp`), as for `rates` of tools, and for
    the rules in `policy_file` and the tools in `tools_pinned`, which `gateway_site.policy.in_force`
    has read.
    `resource` is what the provider's tokens are requested for (RFC 8707). With `identity` the
    upstream gets the gateway's own token instead of the provider's. `id_jag` is the provider that
    vouches for people at a connected MCP server.
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
    mcp: bool = False
    read_mcp: bool = False
    rates: tuple[Rate, ...] = ()
    resource: str | None = None
    policy_file: str | None = None
    tools_pinned: str | None = None
    identity: IdentityToken | None = None
    id_jag: str | None = None

    @property
    def consent_provider(self) -> str:
        """The provider at which people consent to a client."""
        return self.id_jag or self.provider

    def allows(self, groups: Iterable[str]) -> bool:
        """Return True if a person in these groups at the provider may call it."""
        return not self.allowed_groups or not self.allowed_groups.isdisjoint(groups)


parse_methods = words_that(
    METHOD.fullmatch,
    "must be methods in capitals, such as GET,POST; CONNECT and TRACE are never forwarded.",
)
parse_redirect_hosts = words_that(
    HOST_NAME.fullmatch,
    "must be whole host names in lower case, such as files.example.com, without scheme, port, path "
    "or wildcard. Redirects lead there over https only.",
)


@list_parser
def parse_paths(text: str) -> tuple[str, ...]:
    """Return prefixes of paths, without their last slashes."""
    prefixes = tuple(prefix.rstrip("/") for prefix in parse_words(text))
    if not all(prefix and _is_path(prefix) for prefix in prefixes):
        raise InvalidValue("must be paths below the URL's, such as /user,/repos.")
    return prefixes


def parse_resource(text: str) -> str:
    """Return a resource (RFC 8707)."""
    if not RESOURCE.fullmatch(text):
        raise InvalidValue(
            "must be an absolute URI without a fragment, such as https://mcp.example.com/mcp."
        )
    return text


@list_parser
def parse_request_headers(text: str) -> RequestHeaders:
    """Return the headers that pass: the usual ones and these."""
    try:
        return DEFAULT_HEADERS.with_more(parse_words(text))
    except BadEntry as bad:
        raise InvalidValue(str(bad)) from None


class UpstreamVariables(UpstreamTokenVariables):
    """The variables of one upstream."""

    url = declare_text("https address, or http on loopback; creates the upstream", creates=True)
    methods = Variable(
        parse_methods, frozenset(METHODS), "allowed methods", shown_default=", ".join(METHODS)
    )
    paths = Variable[tuple[str, ...]](
        parse_paths,
        (),
        "allowed path prefixes below `_URL`, of whole segments",
        shown_default="all",
    )
    request_headers = Variable(
        parse_request_headers,
        DEFAULT_HEADERS,
        "more [request headers](gateway.md#headers-that-pass) that pass",
        shown_default="",
    )
    resource = Variable[str | None](
        parse_resource,
        None,
        "[resource](providers.md#tokens-for-one-resource) that tokens are requested for",
        shown_default="",
    )
    client_address = declare_flag(
        "send the client's address; needs `TRUSTED_PROXIES` behind a proxy"
    )
    clients = declare_flag("OAuth clients may call it")
    redirect_hosts = Variable[frozenset[str]](
        parse_redirect_hosts,
        frozenset(),
        "hosts that [redirects](gateway.md#what-is-changed-on-the-way) may lead programs to",
    )
    read_mcp = declare_flag("read [MCP messages](policy.md), reject unclear ones")
    rates = Variable[tuple[Rate, ...]](
        parse_rates,
        (),
        "[rates](policy.md#rates) of each person and client in a process, such as `60/m`",
        shown_default="unlimited",
        name="RATE",
    )
    policy_file = declare_text(
        "TOML file of [rules](policy.md#rules) about who may call which tools",
        shown_default="everything is allowed",
    )
    tools_pinned = declare_text(
        "file of [pinned tools](policy.md#pinned-tools); others are hidden and rejected",
        shown_default="all tools",
    )
    connect_timeout = Variable(number(1), 5, "seconds to connect")
    read_timeout = Variable(number(1), 60, "seconds until a response begins, and between its parts")
    stream_timeout = Variable(number(1), 3600, "seconds between parts of an event stream")
    max_body = Variable(number(1), 100 * 1024 * 1024, "maximum bytes of a request body")
    max_concurrent = Variable(
        number(1),
        64,
        "[open calls](gateway.md#how-many-calls-one-person-may-have-open) of one client"
        " in a process",
    )

    def build(self) -> Upstream:
        """Return the upstream. Raises ImproperlyConfigured."""
        if len(self.name) > NAME_LENGTH:
            raise self.error(
                self._creating_variable(),
                f": the upstream's name must not exceed {NAME_LENGTH} letters.",
            )
        self.check_mcp()
        if self.mcp:
            beside = f"cannot be set beside {self.get_name(UpstreamVariables.mcp)}"
            self.reject(
                [UpstreamVariables.resource],
                f"{beside}: the gateway discovers the resource of that server.",
            )
            self.reject([UpstreamVariables.url], f"{beside}.")
        identity = self.read_identity(self.url)
        if identity and self.resource:
            raise self.error(
                UpstreamVariables.resource,
                f"cannot be set beside {self.get_name(UpstreamVariables.token)}={IDENTITY}.",
            )
        origin, path = self._split_url()
        if not (self.provider or self.mcp):
            raise self.error(
                UpstreamVariables.provider,
                "is missing: the provider whose token is sent, such as google.",
            )
        return Upstream(
            name=self.name,
            origin=origin,
            prefix=path.rstrip("/"),
            provider=self.name if self.mcp else self.provider,
            methods=self.methods,
            paths=self.paths,
            request_headers=self.request_headers,
            connect_timeout=self.connect_timeout,
            read_timeout=self.read_timeout,
            stream_timeout=self.stream_timeout,
            max_body=self.max_body,
            max_concurrent=self.max_concurrent,
            allow_http=self.allow_http,
            ca_file=self.ca_file,
            client_address=self.client_address,
            allowed_groups=read_groups(
                self, UpstreamVariables.allowed_groups, is_github=self._has_github_groups()
            ),
            clients=self.clients,
            redirect_hosts=self._read_redirect_hosts(),
            mcp=bool(self.mcp),
            read_mcp=(
                self.read_mcp
                or bool(self.policy_file or self.tools_pinned)
                or any(rate.tools for rate in self.rates)
            ),
            rates=self.rates,
            resource=self.resource,
            policy_file=self.policy_file or None,
            tools_pinned=self.tools_pinned or None,
            identity=identity,
            id_jag=self.id_jag or None,
        )

    def build_mcp_server(self) -> dict[str, Any]:
        """Return a member of `OAUTH_MCP_SERVERS`, once `build` has checked the variables."""
        return self.describe_server("".join(self._split_url()))

    def _has_github_groups(self) -> bool:
        """Return True if GitHub is the provider whose groups count."""
        if self.mcp:
            return GITHUB.upper() in ProviderVariables.list_mentioned(self.environment)
        return self.provider == GITHUB

    def _creating_variable(self) -> Variable[str]:
        """Return the variable that creates the upstream."""
        return UpstreamVariables.mcp if self.mcp else UpstreamVariables.url

    def _read_redirect_hosts(self) -> frozenset[str]:
        hosts = self.redirect_hosts
        own = "\n".join(self.environment.get(name, "").lower() for name in OWN_ADDRESSES)
        if any(re.search(rf"//{re.escape(host)}(?![a-z0-9.-])", own) for host in hosts):
            raise self.error(
                UpstreamVariables.redirect_hosts,
                "names the gateway's own host: no redirect may lead to its other addresses.",
            )
        return hosts

    def _split_url(self) -> tuple[str, str]:
        """Return origin and path; plain http only on loopback or where it is allowed."""
        error = self.error(
            self._creating_variable(),
            "must be an https:// address, without user name, query or fragment, and without "
            "unusual characters in its path. http:// is allowed on loopback, and in a private "
            f"network with {self.get_name(UpstreamVariables.allow_http)}=1.",
        )
        url = self.read(self._creating_variable())
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise error from None
        shown = f"[{host}]" if ":" in host else host
        is_plain = parts.netloc.lower() in {shown, f"{shown}:{port}"}
        is_local = host in LOOPBACK_HOSTS or self.allow_http
        is_secure = parts.scheme == "https" or (parts.scheme == "http" and is_local)
        is_bare = not set("?#\\") & set(url)
        path = parts.path.rstrip("/")
        if not (HOST.fullmatch(host) and is_plain and is_secure and is_bare and _is_path(path)):
            raise error
        default = {"https": 443, "http": 80}[parts.scheme]
        origin = f"{parts.scheme}://{shown}" + (f":{port}" if port not in {None, default} else "")
        return origin, path + "/" if parts.path.endswith("/") else path


def read_upstreams(environment: Mapping[str, str]) -> dict[str, Upstream]:
    """Return the upstreams, by the name in their addresses. Raises ImproperlyConfigured."""
    names = UpstreamVariables.list_names(environment)
    upstreams = [UpstreamVariables(environment, name).build() for name in names]
    providers = {name.lower() for name in ProviderVariables.list_names(environment)}
    for upstream in upstreams:
        if upstream.mcp and upstream.name in providers:
            raise ImproperlyConfigured(
                f"UPSTREAM_{upstream.name.upper()}_MCP: choose another name, which no provider has."
            )
    return {upstream.name: upstream for upstream in upstreams}


def find_resources(upstreams: Iterable[Upstream]) -> dict[str, str]:
    """Return the resource of each provider that has one, by the provider's name.

    A person has one token of a provider, and all its upstreams get that token. So several upstreams
    of a provider cannot have different resources. Raises ImproperlyConfigured if they do.
    """
    found: dict[str, Upstream] = {}
    for upstream in upstreams:
        if upstream.resource is None:
            continue
        first = found.setdefault(upstream.provider, upstream)
        if upstream.resource != first.resource:
            raise ImproperlyConfigured(
                f"UPSTREAM_{first.name.upper()}_RESOURCE and "
                f"UPSTREAM_{upstream.name.upper()}_RESOURCE differ, but all upstreams of "
                f"{upstream.provider} get the same token. Register another client at the provider, "
                "and name it as another provider (OAUTH_<NAME>_CLIENT_ID) for one of them."
            )
    return {name: str(upstream.resource) for name, upstream in found.items()}


def find_stored_claims(upstreams: Iterable[Upstream]) -> dict[str, frozenset[str]]:
    """Return the claims that a sign-in has to store for upstreams, by the provider's name."""
    found: dict[str, frozenset[str]] = {}
    for upstream in upstreams:
        if upstream.identity and (claims := upstream.identity.claims & STORED_CLAIMS):
            found[upstream.provider] = found.get(upstream.provider, frozenset()) | claims
    return found


def read_mcp_servers(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the setting `OAUTH_MCP_SERVERS`, once `read_upstreams` has checked the variables."""
    variables = [
        UpstreamVariables(environment, name) for name in UpstreamVariables.list_names(environment)
    ]
    return {each.name: each.build_mcp_server() for each in variables if each.mcp}


def _is_path(path: str) -> bool:
    try:
        url_rules.check_path(path)
    except url_rules.UnsafeAddress:
        return False
    return True
