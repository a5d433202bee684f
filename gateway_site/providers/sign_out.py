"""What signing out here means to a provider, and signing out there to the gateway."""

from __future__ import annotations

from typing import Any

from gateway_site.providers.variables import Variables

KINDS = frozenset({"no-hint", "post", "post-no-hint"})  # of single logout, besides 1 and 0
SUFFIXES = ("SINGLE_LOGOUT", "BACKCHANNEL_LOGOUT")


def read(variables: Variables) -> dict[str, Any]:
    """Return the settings of `oauth.provider.config`. Raises ImproperlyConfigured."""
    found: dict[str, Any] = {}
    what = f"must be 1, 0, {', '.join(sorted(KINDS))}."
    if single := variables.switch("SINGLE_LOGOUT", KINDS, what):
        found["single_logout"] = "hint" if single is True else single
    back = variables.flag("BACKCHANNEL_LOGOUT")
    return found if back is None else found | {"backchannel_logout": back}
