"""A client: what is known of it, and from whom."""

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
