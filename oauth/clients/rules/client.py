"""A client: what is known of it, from whom, and where its answers may go by themselves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum

from oauth.clients.rules import redirect_uris


class Source(Enum):
    """Who says what a client is."""

    OPERATOR = "operator"  # a file of the people who run the gateway
    DOCUMENT = "document"  # the host that its id names
    ITSELF = "itself"  # anybody


@dataclass(frozen=True)
class Client:
    """One client. ``host`` is the one that vouches for its name; None where nobody does."""

    id: str
    name: str
    redirect_uris: tuple[str, ...]
    source: Source
    host: str | None = None

    def has(self, redirect_uri: str, listed: Collection[str]) -> bool:
        """Tell whether an address is one of its own."""
        return redirect_uris.is_among(redirect_uri, self.redirect_uris, listed)

    def is_led_back(self, redirect_uri: str) -> bool:
        """Tell whether a person may be sent to one of its addresses without having chosen to.

        Whoever registers could send people anywhere otherwise, by errors that they cause
        (OAuth 2.1 section 7.12.2).
        """
        if self.source is Source.OPERATOR or redirect_uris.is_loopback(redirect_uri):
            return True
        host = redirect_uris.host_of(redirect_uri)
        return self.source is Source.DOCUMENT and host == self.host
