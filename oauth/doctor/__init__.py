"""The providers' doctor: checks whether people can sign in, as far as possible without a person.

Takes a provider and this site's URL, yields findings; `oauth.doctor.mcp_server` checks whether they
can connect an MCP server. All requests use `oauth.network.http`: at most seven of five seconds for
each provider, and six more of at most ten seconds if it has an endpoint for pushed requests.
Nothing is stored, and findings contain no secrets and no text from a provider.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from oauth.doctor.clients import examine_clients
from oauth.doctor.mcp_server import examine_server
from oauth.doctor.provider import (
    client_findings,
    connection_findings,
    failure_finding,
    key_findings,
    logout_findings,
)
from oauth.doctor.redirect_uri import redirect_findings
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from oauth.provider import metadata
from oauth.provider.config import ProviderConfig
from sessions_kms.doctor.finding import Finding, ok

__all__ = ["examine", "examine_clients", "examine_server"]


def examine(
    provider: ProviderConfig, site: str | None, *, clock: Callable[[], float]
) -> Iterator[Finding]:
    """Run all checks; without metadata no other check is possible.

    ``site`` is the origin of this site for browsers, None if it is not known.
    """
    for finding in _findings(provider, site, clock):
        named = finding.remedy.replace("<NAME>", provider.name.upper())
        yield replace(finding, remedy=named)


def _findings(
    provider: ProviderConfig, site: str | None, clock: Callable[[], float]
) -> Iterator[Finding]:
    try:
        found = metadata.load_metadata(provider, anonymous=False)
    except ProviderUnavailable as exc:
        yield failure_finding("metadata", exc)
        return
    if provider.issuer is not None:
        yield ok("metadata", f"is from {found.issuer}")
        yield from _guarded("keys", lambda: key_findings(found))
    yield from _guarded("connection", lambda: connection_findings(found, clock))
    yield from _guarded("client", lambda: client_findings(provider, found, site, clock))
    yield from _guarded("redirect URI", lambda: redirect_findings(provider, found, site, clock))
    yield from logout_findings(provider, found, site)


def _guarded(name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Run a check; an error of the provider becomes a finding of this name."""
    try:
        yield from check()
    except (ProviderUnavailable, ProviderRefused) as exc:
        yield failure_finding(name, exc)
