"""The scopes that a connection requests, and which of them the page has to name before."""

from collections.abc import Collection
from dataclasses import dataclass

from oauth.mcp.discovery import Discovered
from oauth.provider.token_set import TokenSet


@dataclass(frozen=True)
class RequestedScopes:
    """``scopes`` are requested if the page has named those in ``to_name``."""

    scopes: tuple[str, ...]
    to_name: tuple[str, ...]

    @classmethod
    def of(
        cls, discovered: Discovered, held: TokenSet | None, wanted: tuple[str, ...]
    ) -> "RequestedScopes":
        """Return those that the server names now, those that the last connection requested, and
        ``wanted``.

        Without the second, a step-up would lose what was granted before (MCP Authorization,
        "Step-Up Authorization Flow"). An operator's own list is not extended.
        """
        if discovered.server.scopes is not None:
            return cls(discovered.scopes, ())
        before = held.requested_scope if held is not None else ()
        scopes = tuple(dict.fromkeys((*discovered.scopes, *before, *wanted)))
        known = {*discovered.scopes, *before} - {*discovered.new_scopes}
        return cls(scopes, tuple(each for each in scopes if each not in known))

    def are_named(self, named: Collection[str]) -> bool:
        """Return True if the page named all that it has to."""
        return set(self.to_name) <= set(named)
