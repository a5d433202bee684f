"""How sign-ins and tokens are protected: pushed requests, and tokens that are bound to a key."""

from __future__ import annotations

from typing import Any

from gateway_site.environment.reading import FALSE, TRUE
from gateway_site.providers.variables import Variables

SUFFIXES = ("PAR", "DPOP")
AUTO = "auto"


def read(variables: Variables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    pushed, found = variables.text("PAR").lower() or AUTO, dict[str, Any]()
    if pushed not in TRUE | FALSE | {AUTO}:
        raise variables.error("PAR", "must be auto, 1 or 0.")
    if pushed != AUTO:
        found["par"] = pushed in TRUE
    if variables.flag("DPOP"):
        found["dpop"] = True
    return found
