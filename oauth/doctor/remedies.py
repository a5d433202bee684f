"""From an error to a finding."""

from __future__ import annotations

from oauth.codes import remedy
from oauth.exceptions import ProviderRefused, ProviderUnavailable
from sessions_kms.doctor.finding import Finding, failing

PATIENCE = 5.0  # seconds for each request


def trouble(name: str, error: ProviderUnavailable | ProviderRefused) -> Finding:
    """Return the finding that an error is."""
    return failing(name, f"{error} ({error.code})", remedy(error.code))
