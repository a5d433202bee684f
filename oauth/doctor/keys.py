"""The provider's keys, by which its logout tokens are believed."""

from __future__ import annotations

from collections.abc import Iterator

from oauth.provider import jwks
from oauth.provider.metadata import Metadata
from sessions_kms.doctor.finding import Finding, failing, ok


def key_findings(found: Metadata) -> Iterator[Finding]:
    """Fetch the set. Raises ProviderUnavailable."""
    if found.jwks_uri is None:
        return
    keys = jwks.usable_keys(found.jwks_uri, found.reach)
    if keys:
        yield ok("keys", f"{len(keys)} that signatures are accepted by")
    else:
        kinds = ", ".join(sorted({kind if curve is None else curve for kind, curve in jwks.MAKERS}))
        yield failing(
            "keys",
            "none that signatures are accepted by",
            f"Have the provider publish one of {kinds}, for signatures (RSA: 2048 bits or more).",
        )
