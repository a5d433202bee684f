"""The doctor of providers: can people sign in with one, as far as it shows without a person?

A provider and this site's own address enter, findings leave. Each file looks at one thing.
Whatever is asked goes by `oauth.network.http`: seven requests of five seconds at most for each
provider, and six more of ten at most where it has an endpoint for pushed requests. Nothing is kept,
and no finding holds a secret or what a provider said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from oauth.doctor.clients import examine_clients
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

__all__ = ["examine", "examine_clients"]


def examine(
    provider: ProviderConfig, site: str | None, *, clock: Callable[[], float]
) -> Iterator[Finding]:
    """Look at everything in turn; without metadata there is nothing else to look at.

    ``site`` is the origin under which browsers know this site, None where that is not known.
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
        yield ok("metadata", f"is of {found.issuer}")
        yield from _guarded("keys", lambda: key_findings(found))
    yield from _guarded("connection", lambda: connection_findings(found, clock))
    yield from _guarded("client", lambda: client_findings(provider, found, site, clock))
    yield from _guarded("redirect URI", lambda: redirect_findings(provider, found, site, clock))
    yield from logout_findings(provider, found, site)


def _guarded(name: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Look; a provider that cannot be asked is a finding under this name."""
    try:
        yield from look()
    except (ProviderUnavailable, ProviderRefused) as exc:
        yield failure_finding(name, exc)
