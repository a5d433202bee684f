"""The way to the token endpoint: TLS, its certificate's end, and its clock against this one."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from oauth.doctor.remedies import PATIENCE
from oauth.network import http
from oauth.provider.id_token import CLOCK_DIFFERENCE
from oauth.provider.metadata import Metadata
from sessions_kms import moment_of
from sessions_kms.doctor.finding import Finding, failing, ok, warning
from sessions_kms.services import services

DAYS_LEFT = 14
CLOCK_WARNING = 10  # seconds


def connection_findings(found: Metadata) -> Iterator[Finding]:
    """Ask for nothing there, and look at how it answers. Raises ProviderUnavailable."""
    answer = http.get(found.token_endpoint, reach=found.reach, patience=PATIENCE)
    now = services().clock()
    yield _certificate(found.token_endpoint, answer.certificate_end, now)
    yield _clock(moment_of(answer.date), now)


def _certificate(url: str, end: str | None, now: float) -> Finding:
    if not url.startswith("https:"):
        return warning(
            "TLS",
            "the token endpoint is asked over plain http",
            "Give the provider a certificate, unless it is on this machine for trying things out.",
        )
    if end is None:
        return ok("TLS", "is verified by the proxy that stands between")
    days = int((ssl.cert_time_to_seconds(end) - now) // 86_400)
    if days < DAYS_LEFT:
        return warning("TLS", f"the certificate ends in {days} days", "Renew it in time.")
    return ok("TLS", f"the certificate is good for {days} days")


def _clock(there: float | None, now: float) -> Finding:
    if there is None:
        return ok("clock", "cannot be told: the answer has no Date")
    skew = round(now - there)
    detail = f"{abs(skew)} s {'ahead of' if skew > 0 else 'behind'} the provider's"
    remedy = "Set the clocks by NTP, this machine's and the provider's: id tokens go by both."
    if abs(skew) > CLOCK_DIFFERENCE:
        return failing("clock", detail, remedy)
    return warning("clock", detail, remedy) if abs(skew) > CLOCK_WARNING else ok("clock", detail)
