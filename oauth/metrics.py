"""The metrics of this package.

Attributes have few values: configured providers, and closed lists.
"""

from typing import Final

from oauth.provider.config import find_provider
from oauth.signals import sign_in_rejected
from sessions_kms.telemetry import Telemetry

OK: Final = "ok"
OTHER: Final = "_OTHER"
ISSUED: Final = "issued"

telemetry = Telemetry("oauth")


def count_sign_in(provider: str, code: str = OK) -> None:
    """Count a sign-in, or why it did not work; then announce it as well."""
    name = provider if find_provider(provider) is not None else OTHER
    telemetry.count("sign_in", provider=name, code=code)
    if code != OK:
        sign_in_rejected.send_robust(sender=None, provider=name, code=code)


def count_connection(server: str, code: str = OK) -> None:
    """Count a connection of an MCP server, or why it did not work."""
    telemetry.count("connections", provider=server, code=code)


def count_revocation(provider: str, outcome: str) -> None:
    """Count what became of tokens that a provider or an MCP server was to revoke."""
    telemetry.count("revocations", provider=provider, outcome=outcome)


def count_grant(event: str) -> None:
    """Count a grant of a client that was issued, or has ended for a reason."""
    telemetry.count("grants", event=event)
