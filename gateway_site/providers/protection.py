"""How sign-ins and tokens are protected: pushed requests, and tokens that are bound to a key."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.variables import Variables

SUFFIXES = ("PAR", "DPOP")


def read(variables: Variables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    found: dict[str, Any] = {}
    pushed = variables.switch("PAR", {"auto"}, "must be auto, 1 or 0.")
    if isinstance(pushed, bool):
        found["par"] = pushed
    if variables.flag("DPOP"):
        found["dpop"] = True
    return found
